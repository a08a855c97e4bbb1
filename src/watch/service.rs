//! Thread `sp-ready`: waits for the descriptors of all [`Watch`](super::Watch)es of the process, and fires the signal of
//! each one that is ready.
//!
//! A descriptor is waited for after [`Service::arm`], until it is ready once. So a descriptor that stays ready costs
//! nothing until its owner waits again. The thread starts with the first watch. Each watch owns a part of the
//! [`Service`], and the last one that is dropped wakes the thread and joins it. A watch that is made at that moment finds
//! no service any more, and starts another one, which shares nothing with the first.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{Builder, JoinHandle};

#[cfg(target_os = "linux")]
use super::epoll::Poller;
use super::interest::Interest;
#[cfg(not(target_os = "linux"))]
use super::poll::Poller;
use super::signal::Signal;
use crate::sync::lock;

/// The stack of the thread. No user code runs on it.
const STACK: usize = 64 << 10;

/// The service that runs, if there is one.
static RUNNING: Mutex<Weak<Service>> = Mutex::new(Weak::new());

/// The thread, and what it shares with the watches. Dropping this value ends the thread.
#[derive(Debug)]
pub(super) struct Service {
    watched: Arc<Watched>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Watched {
    poller: Poller,
    last_id: AtomicU64,
    signals: Mutex<HashMap<u64, Arc<Signal>>>,
}

impl Service {
    /// Returns the service that runs, or starts one.
    pub(super) fn running() -> io::Result<Arc<Service>> {
        let mut running = lock(&RUNNING);
        if let Some(service) = running.upgrade() {
            return Ok(service);
        }
        let service = Arc::new(Service::start()?);
        *running = Arc::downgrade(&service);
        Ok(service)
    }

    fn start() -> io::Result<Service> {
        let watched = Arc::new(Watched {
            poller: Poller::new()?,
            last_id: AtomicU64::new(0),
            signals: Mutex::default(),
        });
        let theirs = Arc::clone(&watched);
        let thread = Builder::new()
            .name("sp-ready".into())
            .stack_size(STACK)
            .spawn(move || run(&theirs))?;
        Ok(Service {
            watched,
            thread: Some(thread),
        })
    }

    /// Adds a descriptor, which is not waited for yet. Returns the number for the other methods.
    pub(super) fn add(&self, descriptor: BorrowedFd<'_>, signal: Arc<Signal>) -> io::Result<u64> {
        let id = self.watched.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        self.watched.poller.add(id, descriptor)?;
        lock(&self.watched.signals).insert(id, signal);
        Ok(id)
    }

    /// Waits for the descriptor until it is ready once.
    pub(super) fn arm(
        &self,
        id: u64,
        descriptor: BorrowedFd<'_>,
        interest: Interest,
    ) -> io::Result<()> {
        self.watched.poller.arm(id, descriptor, interest)
    }

    pub(super) fn remove(&self, id: u64, descriptor: BorrowedFd<'_>) {
        self.watched.poller.remove(id, descriptor);
        lock(&self.watched.signals).remove(&id);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.watched.poller.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread sp-ready panicked");
        }
    }
}

/// # Blocking
/// Waits for the descriptors. Woken when one of them is ready, and when the last watch is dropped.
fn run(watched: &Watched) {
    let mut ready = Vec::new();
    while watched.poller.wait(&mut ready) {
        for id in ready.drain(..) {
            let signal = lock(&watched.signals).get(&id).cloned();
            if let Some(signal) = signal {
                signal.descriptor_is_ready();
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
