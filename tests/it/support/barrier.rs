//! A place where a handler stands still until the test lets it go on.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::deadline::DEADLINE;

/// Shared by handler and test. Opened once, it stays open.
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

    /// The handler's part: says that client `number` is here, and waits for the barrier to open.
    pub(crate) fn wait(&self, number: u64) {
        self.arrived.0.send(number).unwrap();
        // Longer than any test, so that one that fails ends.
        let opened = self.open.recv_timeout(DEADLINE * 2);
        assert!(opened.is_ok(), "nobody opened the barrier");
        let _ = self.opener.try_send(());
    }

    /// The test's part: waits until somebody stands at the barrier, and says who.
    #[track_caller]
    pub(crate) fn arrival(&self) -> u64 {
        let arrived = self.arrived.1.recv_timeout(DEADLINE);
        arrived.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for somebody to reach the barrier"))
    }

    /// Whether somebody reaches the barrier within `time`.
    pub(crate) fn is_reached_within(&self, time: Duration) -> bool {
        self.arrived.1.recv_timeout(time).is_ok()
    }

    pub(crate) fn open(&self) {
        let _ = self.opener.try_send(());
    }
}
