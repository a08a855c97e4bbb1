//! [`Signal`]: a channel of capacity one that tells a thread in `select!` to look again.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::interest::Interest;
use crate::clock;

/// Set in [`Signal::armed`] while the thread `sp-ready` waits for the descriptor.
const ARMED: u8 = 4;

#[derive(Debug)]
pub(crate) struct Signal {
    /// What the thread `sp-ready` waits for. 0: it does not wait.
    armed: AtomicU8,
    /// When the thread `sp-ready` last found the descriptor ready, in milliseconds of [`clock::now`].
    ready_at: AtomicU64,
    sender: Sender<()>,
    /// The other end of the channel, to take a message that is out of date.
    receiver: Receiver<()>,
}

impl Signal {
    pub(super) fn new() -> (Signal, Receiver<()>) {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let signal = Signal {
            armed: AtomicU8::new(0),
            ready_at: AtomicU64::new(0),
            sender,
            receiver: receiver.clone(),
        };
        (signal, receiver)
    }

    /// Makes the channel ready. Never blocks.
    pub(crate) fn fire(&self) {
        match self.sender.try_send(()) {
            // It is ready already.
            Ok(()) | Err(TrySendError::Full(())) => {}
            Err(TrySendError::Disconnected(())) => unreachable!("the signal holds the receiver"),
        }
    }

    /// Takes a message of an earlier event.
    pub(crate) fn clear(&self) {
        let _ = self.receiver.try_recv();
    }

    pub(super) fn set_armed(&self, interest: Interest) {
        let armed = ARMED | u8::from(interest.read) | u8::from(interest.write) << 1;
        self.armed.store(armed, Ordering::SeqCst);
    }

    pub(super) fn is_armed_for(&self, interest: Interest) -> bool {
        let armed = ARMED | u8::from(interest.read) | u8::from(interest.write) << 1;
        self.armed.load(Ordering::SeqCst) == armed
    }

    /// Records that the descriptor is ready, and makes the channel ready.
    pub(super) fn descriptor_is_ready(&self) {
        self.ready_at.store(clock::now(), Ordering::SeqCst);
        self.disarm();
        self.fire();
    }

    /// Returns when the descriptor was last found ready, or 0.
    pub(crate) fn ready_at(&self) -> u64 {
        self.ready_at.load(Ordering::SeqCst)
    }

    /// Records that the thread does not wait for the descriptor any more. Must be called before [`fire`](Self::fire), so
    /// that a thread that takes the message waits for the descriptor again.
    pub(super) fn disarm(&self) {
        self.armed.store(0, Ordering::SeqCst);
    }
}
