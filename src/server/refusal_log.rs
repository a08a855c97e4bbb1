//! [`RefusalLog`]: the log lines that clients can cause, at most one of each kind in three seconds.
//!
//! A client that is refused can come again immediately: 2,000 connections that send garbage wrote 277 KB. The lines that
//! are left out are counted. The next line of the same kind has the count. If no further line comes, the watchdog logs
//! the count. At the levels *debug* and *trace*, every line is logged.

use std::fmt;
use std::sync::Mutex;

use log::Level;

use crate::clock::{self, Clock};
use crate::sync::lock;

/// The time between two lines of one kind, in milliseconds.
const INTERVAL: u64 = 3000;

/// The target of the lines.
const TARGET: &str = "standpipe::server";

/// The kinds of lines. A kind never contains text from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    ConnectRate,
    NoHandshakeSlot,
    /// A connection to a listener of the PROXY protocol did not come from a trusted proxy.
    NotAProxy,
    /// A pending handshake was reset, because another address needed its slot.
    Evicted,
    /// The kernel could not start a thread.
    NoThread,
    MaxClients,
    MaxClientsPerIp,
    ShuttingDown,
    /// A request was answered with this status for another reason.
    Answer(u16),
    /// The 101 could not be written.
    UpgradeFailed,
    Violation,
    HandlerFailed,
    HandlerPanicked,
    /// The client was reset because this deadline passed.
    Overdue(Clock),
}

/// Every kind. A status that is not listed is counted as the last one, 0.
const ALL: [Refusal; 37] = [
    Refusal::ConnectRate,
    Refusal::NoHandshakeSlot,
    Refusal::NotAProxy,
    Refusal::Evicted,
    Refusal::NoThread,
    Refusal::MaxClients,
    Refusal::MaxClientsPerIp,
    Refusal::ShuttingDown,
    Refusal::UpgradeFailed,
    Refusal::Violation,
    Refusal::HandlerFailed,
    Refusal::HandlerPanicked,
    Refusal::Overdue(Clock::Handshake),
    Refusal::Overdue(Clock::Message),
    Refusal::Overdue(Clock::Ping),
    Refusal::Overdue(Clock::Write),
    Refusal::Overdue(Clock::Close),
    Refusal::Overdue(Clock::Shutdown),
    Refusal::Answer(400),
    Refusal::Answer(401),
    Refusal::Answer(403),
    Refusal::Answer(404),
    Refusal::Answer(405),
    Refusal::Answer(408),
    Refusal::Answer(411),
    Refusal::Answer(413),
    Refusal::Answer(414),
    Refusal::Answer(415),
    Refusal::Answer(417),
    Refusal::Answer(421),
    Refusal::Answer(426),
    Refusal::Answer(431),
    Refusal::Answer(500),
    Refusal::Answer(501),
    Refusal::Answer(503),
    Refusal::Answer(505),
    Refusal::Answer(0),
];

impl Refusal {
    fn position(self) -> usize {
        let at = ALL.iter().position(|known| *known == self);
        at.unwrap_or(ALL.len() - 1)
    }

    /// Returns the level of the lines of this kind. An operator who looks at warnings only sees what needs attention.
    fn level(self) -> Level {
        match self {
            Refusal::NoThread | Refusal::HandlerPanicked => Level::Error,
            // One request that a rule has refused, or one client that has left. The server did what it is for, and
            // every scanner of the internet causes such lines.
            Refusal::Answer(_) | Refusal::ShuttingDown | Refusal::UpgradeFailed => Level::Info,
            // A limit of the server, a failure of the handler, or a client that did harm or was cut off.
            Refusal::ConnectRate
            | Refusal::NoHandshakeSlot
            | Refusal::NotAProxy
            | Refusal::Evicted
            | Refusal::MaxClients
            | Refusal::MaxClientsPerIp
            | Refusal::Violation
            | Refusal::HandlerFailed
            | Refusal::Overdue(_) => Level::Warn,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::ConnectRate => "connect rate exceeded",
            Refusal::NoHandshakeSlot => "no free handshake slot",
            Refusal::NotAProxy => "connections that do not come from a trusted proxy",
            Refusal::Evicted => "pending handshakes reset",
            Refusal::NoThread => "cannot start a thread",
            Refusal::MaxClients => "max_clients reached",
            Refusal::MaxClientsPerIp => "max_clients_per_ip reached",
            Refusal::ShuttingDown => "shutting down",
            Refusal::Answer(0) => "requests refused with another status",
            Refusal::Answer(status) => return write!(f, "requests refused with {status}"),
            Refusal::UpgradeFailed => "writing the 101 failed",
            Refusal::Violation => "violations",
            Refusal::HandlerFailed => "handlers failed",
            Refusal::HandlerPanicked => "handlers panicked",
            Refusal::Overdue(clock) => return write!(f, "resets because {clock} passed"),
        })
    }
}

/// What was logged of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    /// When the last line was logged; 0 if there was none.
    logged_at: u64,
    left_out: u64,
}

impl Kind {
    /// Returns the number of lines that were left out, if a line may be logged at `now`.
    fn try_log(&mut self, now: u64) -> Option<u64> {
        if self.logged_at != 0 && now.saturating_sub(self.logged_at) < INTERVAL {
            return None;
        }
        self.logged_at = now;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[derive(Debug)]
pub(crate) struct RefusalLog(Mutex<[Kind; ALL.len()]>);

impl RefusalLog {
    pub(crate) fn new() -> RefusalLog {
        RefusalLog(Mutex::new([Kind::default(); ALL.len()]))
    }

    /// Logs `line`, or counts it if a line of this kind was logged less than three seconds ago.
    pub(crate) fn log(&self, refusal: Refusal, line: fmt::Arguments<'_>) {
        let level = refusal.level();
        if log::log_enabled!(target: TARGET, Level::Debug) {
            return log::log!(target: TARGET, level, "{line}");
        }
        match self.admit(refusal, clock::now()) {
            None => {}
            Some(0) => log::log!(target: TARGET, level, "{line}"),
            Some(more) => {
                log::log!(target: TARGET, level, "{line}; left out: {more} of this kind");
            }
        }
    }

    /// Counts a line. Returns the number of lines that were left out, if this one is to be logged.
    fn admit(&self, refusal: Refusal, now: u64) -> Option<u64> {
        let mut kinds = lock(&self.0);
        let kind = &mut kinds[refusal.position()];
        let admitted = kind.try_log(now);
        if admitted.is_none() {
            kind.left_out += 1;
        }
        admitted
    }

    /// Logs how many lines were left out, for the kinds whose last line is three seconds old. The watchdog calls this on
    /// every tick.
    pub(crate) fn log_left_out(&self) {
        log_counts(self.take_due(clock::now()));
    }

    /// Logs how many lines were left out and have not been reported. Called at the end of a shutdown.
    pub(crate) fn log_rest(&self) {
        log_counts(self.take_rest());
    }

    /// Returns every kind with a count, and begins anew: nobody would report a line that is left out later.
    fn take_rest(&self) -> Vec<(Refusal, u64)> {
        let kinds = std::mem::replace(&mut *lock(&self.0), [Kind::default(); ALL.len()]);
        let counts = kinds.map(|kind| kind.left_out);
        let all = ALL.into_iter().zip(counts);
        all.filter(|(_, left_out)| *left_out > 0).collect()
    }

    /// Returns the kinds whose count is to be logged at `now`. The lines are written without the lock.
    fn take_due(&self, now: u64) -> Vec<(Refusal, u64)> {
        let mut kinds = lock(&self.0);
        let with_rest = ALL.into_iter().zip(kinds.iter_mut());
        with_rest
            .filter(|(_, kind)| kind.left_out > 0)
            .filter_map(|(refusal, kind)| Some((refusal, kind.try_log(now)?)))
            .collect()
    }
}

fn log_counts(counts: Vec<(Refusal, u64)>) {
    for (refusal, left_out) in counts {
        log::log!(
            target: TARGET,
            refusal.level(),
            "{refusal}: left out: {left_out} of this kind"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_counts_of_a_kind_add_up() {
        let refusals = RefusalLog::new();
        let kind = Refusal::Answer(400);
        let (mut lines, mut left_out) = (0, 0);
        for n in 0..6000 {
            // A request each millisecond.
            if let Some(more) = refusals.admit(kind, 1 + n) {
                (lines, left_out) = (lines + 1, left_out + more);
            }
        }
        assert_eq!((lines, left_out), (2, 2999), "a line in each 3 s");
        assert_eq!(
            refusals.take_due(1 + 5999),
            [],
            "the last line is too recent"
        );
        assert_eq!(refusals.take_due(1 + 6000), [(kind, 2999)]);
        assert_eq!(
            refusals.admit(kind, 1 + 6001),
            None,
            "the count was a line too"
        );
        assert_eq!(refusals.take_rest(), [(kind, 1)]);
        assert_eq!(refusals.take_rest(), [], "nothing is told twice");
        assert_eq!(refusals.admit(kind, 6003), Some(0), "the end begins anew");
    }

    #[test]
    fn only_limits_and_failures_are_warnings() {
        for (kind, level) in [
            (Refusal::NoThread, Level::Error),
            (Refusal::HandlerPanicked, Level::Error),
            (Refusal::HandlerFailed, Level::Warn),
            (Refusal::MaxClients, Level::Warn),
            (Refusal::MaxClientsPerIp, Level::Warn),
            (Refusal::ConnectRate, Level::Warn),
            (Refusal::NoHandshakeSlot, Level::Warn),
            (Refusal::Evicted, Level::Warn),
            (Refusal::Answer(403), Level::Info),
            (Refusal::Answer(0), Level::Info),
            (Refusal::ShuttingDown, Level::Info),
        ] {
            assert_eq!(kind.level(), level, "{kind}");
        }
    }

    #[test]
    fn kinds_do_not_hide_each_other() {
        let refusals = RefusalLog::new();
        for kind in ALL {
            assert_eq!(refusals.admit(kind, 1), Some(0), "{kind}");
            assert_eq!(refusals.admit(kind, 1), None, "{kind}");
        }
        let told = refusals.take_due(1 + INTERVAL);
        assert_eq!(told, ALL.map(|kind| (kind, 1)));
        // A status without a kind of its own is counted with others of this sort.
        assert_eq!(
            Refusal::Answer(418).position(),
            Refusal::Answer(0).position()
        );
    }
}
