//! A point at which a handler waits until the test lets it go on.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::deadline::DEADLINE;

/// Shared by the handler and the test. Once opened, the barrier stays open.
#[derive(Clone)]
pub(crate) struct Barrier {
    arrived: (Sender<u64>, Receiver<u64>),
    opener: Sender<()>,
    open: Receiver<()>,
}

impl Barrier {
    pub(crate) fn new() -> Barrier {
        let (opener, open) = bounded(1);
        Barrier {
            arrived: unbounded(),
            opener,
            open,
        }
    }

    /// Called by the handler: reports that client `number` has arrived, and waits until the barrier is opened.
    pub(crate) fn wait(&self, number: u64) {
        self.arrived.0.send(number).unwrap();
        // Longer than any test waits, so that the handler of a failed test still ends.
        let opened = self.open.recv_timeout(DEADLINE * 2);
        assert!(opened.is_ok(), "the test never opened the barrier");
        let _ = self.opener.try_send(());
    }

    /// Called by the test: waits until a handler arrives at the barrier, and returns the number it reported.
    #[track_caller]
    pub(crate) fn arrival(&self) -> u64 {
        let arrived = self.arrived.1.recv_timeout(DEADLINE);
        arrived.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for a handler to reach the barrier"))
    }

    /// Returns whether a handler reaches the barrier within `time`.
    pub(crate) fn is_reached_within(&self, time: Duration) -> bool {
        self.arrived.1.recv_timeout(time).is_ok()
    }

    /// Called by the test: lets all handlers through, now and later.
    pub(crate) fn open(&self) {
        let _ = self.opener.try_send(());
    }
}
