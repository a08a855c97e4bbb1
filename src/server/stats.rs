//! [`Disconnects`]: how often each clock and limit has ended a client.

use std::sync::atomic::{AtomicU64, Ordering};

/// The clocks of [`Config`](crate::Config) that end clients, and what else does.
const NAMES: [&str; 11] = [
    "handshake_timeout",
    "message_timeout",
    "ping_timeout",
    "write_timeout",
    "close_timeout",
    "shutdown_timeout",
    "slow_consumer",
    "fault",
    "handler_failed",
    "refused_request",
    "refused_unread",
];

#[derive(Debug, Default)]
pub(crate) struct Disconnects([AtomicU64; NAMES.len()]);

impl Disconnects {
    /// Counts one; a name that is not on the list is a mistake of ours.
    pub(crate) fn count(&self, name: &str) {
        match NAMES.iter().position(|known| *known == name) {
            Some(at) => {
                self.0[at].fetch_add(1, Ordering::Relaxed);
            }
            None => debug_assert!(false, "{name} is no ending"),
        }
    }

    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let count = |at: &AtomicU64| at.load(Ordering::Relaxed);
        NAMES.into_iter().zip(self.0.iter().map(count)).collect()
    }
}
