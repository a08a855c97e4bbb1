//! [`Disconnects`]: counts how often each deadline and limit has ended a connection. [`ShutdownTally`]: counts the
//! outcomes of a shutdown.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Clock;
use crate::connection::CloseCause;
use crate::connection::lifecycle::ShutdownOutcome;

/// The deadline or limit that ended a connection, for [`ServerHandle::disconnects`](crate::ServerHandle::disconnects).
/// Ordinary closes are not counted. [`Display`](fmt::Display) shows the [`name`](Self::name).
///
/// ```
/// use standpipe::{Clock, Disconnect};
///
/// assert_eq!(Disconnect::Deadline(Clock::Ping).to_string(), "ping_timeout");
/// assert_eq!(Disconnect::SlowConsumer.name(), "slow_consumer");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Disconnect {
    /// The connection was reset because this deadline passed.
    Deadline(Clock),
    /// A topic disconnected the client with 4008.
    SlowConsumer,
    /// The peer violated the protocol or a limit.
    Violation,
    /// The handler returned an error or panicked.
    HandlerFailed,
    /// The request was rejected, or writing the 101 failed.
    RequestRejected,
    /// The connection was refused before its request was read, or reset to free its handshake slot.
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
    /// Returns what to count for a connection that ended with `cause`. `missed` is the deadline at which the connection
    /// was reset, if any; it takes precedence, because a reset may also happen during a close.
    pub(crate) fn of(missed: Option<Clock>, cause: Option<CloseCause>) -> Option<Disconnect> {
        if let Some(clock) = missed {
            return Some(Disconnect::Deadline(clock));
        }
        match cause? {
            CloseCause::SlowConsumer => Some(Disconnect::SlowConsumer),
            CloseCause::Violation { .. } => Some(Disconnect::Violation),
            CloseCause::HandlerFailed | CloseCause::Unfinished => Some(Disconnect::HandlerFailed),
            CloseCause::TimedOut(clock) => Some(Disconnect::Deadline(clock)),
            CloseCause::Peer { .. }
            | CloseCause::Application { .. }
            | CloseCause::Shutdown
            | CloseCause::Terminated
            | CloseCause::Gone => None,
        }
    }

    /// Returns the name of the counter, as in the metrics of the program. For a deadline it is the name of the field in
    /// [`Config`](crate::Config).
    ///
    /// ```
    /// # fn example(handle: &standpipe::ServerHandle) {
    /// for (reason, count) in handle.disconnects() {
    ///     println!("standpipe_disconnects{{reason=\"{}\"}} {count}", reason.name());
    /// }
    /// # }
    /// ```
    pub const fn name(self) -> &'static str {
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

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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

    /// Returns all disconnects with their counts.
    pub(super) fn counts(&self) -> Vec<(Disconnect, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        ALL.into_iter().zip(counts).collect()
    }
}

/// The outcomes for the clients that were connected when they were told to close. A client that ended for another reason is in
/// neither count.
///
/// ```
/// use standpipe::{Config, Connection, Server, ShutdownReport};
///
/// let server = Server::bind("127.0.0.1:0", Config::default())?;
/// let ShutdownReport { drained, lost, .. } = server.spawn(|_: &mut Connection| Ok(()))?.shutdown()?;
/// assert_eq!((drained, lost), (0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Clients to which everything that was queued for them, and the Close with 1001, was written.
    pub drained: u64,
    /// Clients that were reset, or whose connection broke, before that.
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
    fn every_disconnect_has_its_own_counter() {
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
        let mut labels: Vec<_> = counts.iter().map(|(each, _)| each.name()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ALL.len());
    }

    #[test]
    fn close_code_does_not_determine_the_cause() {
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
