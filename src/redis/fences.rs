//! [`Fences`]: when it is certain that the server will not execute a publish any more.
//!
//! A heartbeat that was sent after the deadline of a publish and has come back is a fence for it. The server refuses the
//! publish after its deadline. If it had executed the publish before, the message would have come back before the
//! heartbeat.

use std::sync::Arc;
use std::time::Instant;

use super::pending::PendingPublish;

pub(super) struct Fences {
    /// Publishes that were sent on an earlier connection, and whose outcome is not known.
    pub(super) in_doubt: Vec<Arc<PendingPublish>>,
    /// Heartbeats that have not come back, and the server's time before each, in microseconds.
    sent: Vec<(u64, u64)>,
}

impl Fences {
    pub(super) fn new(in_doubt: Vec<Arc<PendingPublish>>) -> Fences {
        Fences {
            in_doubt,
            sent: Vec::new(),
        }
    }

    /// Records a heartbeat, which the server has executed after `time`, in microseconds.
    pub(super) fn add(&mut self, heartbeat: u64, time: u64) {
        // Without a publish in doubt, no fence is needed.
        if !self.in_doubt.is_empty() {
            self.sent.push((heartbeat, time));
        }
    }

    /// Removes the publishes that the server will not execute any more. `returned` is the newest heartbeat that has come
    /// back. Those that were not executed can be sent again, until `deadline`.
    pub(super) fn take_over(&mut self, returned: u64, deadline: Instant) -> Over {
        let mut over = Over::default();
        let passed = self.sent.iter().filter(|(number, _)| *number <= returned);
        let Some(fence) = passed.map(|(_, time)| *time).max() else {
            return over;
        };
        self.sent.retain(|(number, _)| *number > returned);
        self.in_doubt.retain(|publish| {
            publish.lose_reply();
            if !publish.is_in_doubt() {
                return false;
            }
            let is_over = publish.deadline_us() < fence;
            if is_over && publish.is_unprovable() {
                over.unproved.push(Arc::clone(publish));
            } else if is_over && publish.set_not_executed(Some(deadline)) {
                over.not_executed.push(Arc::clone(publish));
            }
            !is_over
        });
        over
    }
}

/// Publishes that the server will not execute any more.
#[derive(Default)]
pub(super) struct Over {
    pub(super) not_executed: Vec<Arc<PendingPublish>>,
    /// They may have been executed before.
    pub(super) unproved: Vec<Arc<PendingPublish>>,
}
