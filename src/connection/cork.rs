//! The cork: a thread that surely comes back holds its flushes back while the input it has read lasts, and sixteen
//! messages in become sixteen out in one write for each receiver, not in sixteen.
//!
//! *A thread that holds back flushes does them all before it waits for anything*: input, room, a turn, the user's code.
//! [`release`] stands at each of these places.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::connection::shared::Shared;

/// Many clients at once: the members a topic had.
pub(crate) trait FlushAll {
    fn flush_all(&self);
    /// Tells two of them apart, so that one is not held twice.
    fn address(&self) -> usize;
}

#[derive(Default)]
struct Held {
    /// Each once, by its own flag.
    clients: Vec<Arc<Shared>>,
    /// A few at most: one for each topic published to, and each change of its members.
    fans: Vec<Box<dyn FlushAll>>,
}

thread_local! {
    static IS_ON: Cell<bool> = const { Cell::new(false) };
    /// The input that was read holds more than the message that was handed out last.
    static LASTS: Cell<bool> = const { Cell::new(false) };
    static HELD: RefCell<Held> = RefCell::default();
}

/// Turns this thread's cork on or off; off, what it held goes out.
pub(crate) fn set(is_on: bool) {
    IS_ON.set(is_on);
    if !is_on {
        release();
    }
}

/// Says whether the input that this thread has read holds more than what it is given now. With the last of it nothing
/// is held back: what would come next is waiting.
pub(super) fn input_lasts(lasts: bool) {
    LASTS.set(lasts);
}

/// Whether a flush would be held back now.
pub(crate) fn holds_back() -> bool {
    IS_ON.get() && LASTS.get()
}

/// Flushes `client` now, or before this thread next waits.
pub(super) fn flush(client: &Arc<Shared>) {
    if !(holds_back() && client.config.early_flush) {
        client.flush();
    } else if !client.is_held_back() {
        // Held by another thread, it is flushed when that one waits; and what is queued now is queued before.
        HELD.with_borrow_mut(|held| held.clients.push(Arc::clone(client)));
    }
}

/// Flushes them all now, or before this thread next waits.
pub(crate) fn flush_all(fan: Box<dyn FlushAll>) {
    if !holds_back() {
        return fan.flush_all();
    }
    HELD.with_borrow_mut(|held| {
        let mut fans = held.fans.iter();
        if fans.all(|other| other.address() != fan.address()) {
            held.fans.push(fan);
        }
    });
}

/// The members at this address have been flushed: nothing of theirs is held any more.
pub(crate) fn flushed(address: usize) {
    HELD.with_borrow_mut(|held| held.fans.retain(|fan| fan.address() != address));
}

/// Does what was held back. Before every wait.
pub(crate) fn release() {
    if HELD.with_borrow(|held| held.clients.is_empty() && held.fans.is_empty()) {
        return;
    }
    let (clients, fans) = HELD.with_borrow_mut(|held| {
        let clients = std::mem::take(&mut held.clients);
        (clients, std::mem::take(&mut held.fans))
    });
    for client in clients {
        client.let_go();
        client.flush();
    }
    for fan in fans {
        fan.flush_all();
    }
}
