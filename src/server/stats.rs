//! [`Disconnects`]: how often each deadline and limit has ended a connection; and [`ShutdownTally`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Clock;
use crate::connection::CloseCause;
use crate::connection::lifecycle::ShutdownOutcome;

/// What ended a connection, if it was not an ordinary close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disconnect {
    /// The connection was reset because this deadline passed.
    Deadline(Clock),
    SlowConsumer,
    Violation,
    HandlerFailed,
    /// The request was answered with an error.
    RequestRejected,
    /// The connection was refused, or reset to free its handshake slot, before its request was complete.
    RefusedUnread,
}

const ALL: [Disconnect; 11] = [
    Disconnect::Deadline(Clock::Handshake),
    Disconnect::Deadline(Clock::Message),
    Disconnect::Deadline(Clock::Ping),
    Disconnect::Deadline(Clock::Write),
    Disconnect::Deadline(Clock::Close),
    Disconnect::Deadline(Clock::Shutdown),
    Disconnect::SlowConsumer,
    Disconnect::Violation,
    Disconnect::HandlerFailed,
    Disconnect::RequestRejected,
    Disconnect::RefusedUnread,
];

impl Disconnect {
    /// Returns what to count for a connection that ended with `cause`, and was perhaps reset at a deadline while closing.
    pub(crate) fn of(missed: Option<Clock>, cause: Option<CloseCause>) -> Option<Disconnect> {
        if let Some(clock) = missed {
            return Some(Disconnect::Deadline(clock));
        }
        match cause? {
            CloseCause::SlowConsumer => Some(Disconnect::SlowConsumer),
            CloseCause::Violation { .. } => Some(Disconnect::Violation),
            CloseCause::HandlerFailed => Some(Disconnect::HandlerFailed),
            CloseCause::TimedOut(clock) => Some(Disconnect::Deadline(clock)),
            CloseCause::Peer { .. }
            | CloseCause::Application { .. }
            | CloseCause::Shutdown
            | CloseCause::Terminated
            | CloseCause::Gone => None,
        }
    }

    /// Returns the label in the figures. A deadline has the name of its field in [`Config`](crate::Config).
    const fn label(self) -> &'static str {
        match self {
            Disconnect::Deadline(clock) => clock.name(),
            Disconnect::SlowConsumer => "slow_consumer",
            Disconnect::Violation => "violation",
            Disconnect::HandlerFailed => "handler_failed",
            Disconnect::RequestRejected => "refused_request",
            Disconnect::RefusedUnread => "refused_unread",
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Disconnects([AtomicU64; ALL.len()]);

impl Disconnects {
    pub(crate) fn count(&self, disconnect: Disconnect) {
        let at = ALL.iter().position(|known| *known == disconnect);
        let at = at.expect("`ALL` lists every disconnect");
        self.0[at].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the label and the count of each.
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        ALL.iter().map(|each| each.label()).zip(counts).collect()
    }
}

/// What became of the clients that were connected when shutdown began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Clients that got everything that was queued for them, and the Close with 1001.
    pub drained: u64,
    /// Clients that were reset, or broke off, before that.
    pub lost: u64,
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "drained {}, lost {}", self.drained, self.lost)
    }
}

/// The counters behind [`ShutdownReport`].
#[derive(Debug, Default)]
pub(crate) struct ShutdownTally {
    drained: AtomicU64,
    lost: AtomicU64,
}

impl ShutdownTally {
    pub(crate) fn count(&self, outcome: ShutdownOutcome) {
        match outcome {
            ShutdownOutcome::Drained => self.drained.fetch_add(1, Ordering::Relaxed),
            ShutdownOutcome::Lost => self.lost.fetch_add(1, Ordering::Relaxed),
            ShutdownOutcome::Other => 0,
        };
    }

    pub(super) fn report(&self) -> ShutdownReport {
        ShutdownReport {
            drained: self.drained.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_disconnect_is_counted_under_its_own_label() {
        let disconnects = Disconnects::default();
        for (at, disconnect) in ALL.into_iter().enumerate() {
            (0..=at).for_each(|_| disconnects.count(disconnect));
        }
        let counts = disconnects.counts();
        let expected: Vec<u64> = (1..).take(ALL.len()).collect();
        assert_eq!(
            counts.iter().map(|(_, count)| *count).collect::<Vec<_>>(),
            expected
        );
        let mut labels: Vec<_> = counts.iter().map(|(label, _)| *label).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ALL.len());
    }

    #[test]
    fn a_close_code_of_the_application_is_not_counted_as_a_violation() {
        let application = |code| CloseCause::Application {
            code,
            reason: String::new(),
        };
        for code in [1000, 1008, 1011, 4008] {
            assert_eq!(Disconnect::of(None, Some(application(code))), None);
        }
        let missed = Disconnect::of(Some(Clock::Close), Some(application(1000)));
        assert_eq!(missed, Some(Disconnect::Deadline(Clock::Close)));
    }
}
