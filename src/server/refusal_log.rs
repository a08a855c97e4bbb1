//! [`RefusalLog`]: the log lines about refused, reset and failed clients, at most one of each kind in three seconds.
//!
//! The next line of the same kind has the count of those that were left out. If no further line comes, the watchdog logs
//! the count. At the levels *debug* and *trace*, every line is logged.

use std::fmt;

use log::Level;
use log::kv::Value;

use crate::clock::{self, Clock};
use crate::connection::client_name::{ClientName, log_left_out};
use crate::line_throttle::LineThrottle;

/// The target of the lines.
const TARGET: &str = "standpipe::server";

/// The kinds of lines. A kind never contains text from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    ConnectRate,
    NoHandshakeSlot,
    /// A connection to a listener of the PROXY protocol did not come from a trusted proxy.
    NotAProxy,
    /// The TLS handshake failed.
    NoTls,
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
const ALL: [Refusal; 38] = [
    Refusal::ConnectRate,
    Refusal::NoHandshakeSlot,
    Refusal::NotAProxy,
    Refusal::NoTls,
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
            | Refusal::NoTls
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
            Refusal::NoTls => "TLS handshakes failed",
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

#[derive(Debug)]
pub(crate) struct RefusalLog(LineThrottle<{ ALL.len() }>);

impl RefusalLog {
    pub(crate) fn new() -> RefusalLog {
        RefusalLog(LineThrottle::new())
    }

    /// Logs a line about `client`, or counts it if a line of this kind was logged less than three seconds ago.
    pub(crate) fn log(&self, refusal: Refusal, client: &ClientName, text: fmt::Arguments<'_>) {
        self.log_with(refusal, client, &[], text);
    }

    /// As [`log`](Self::log), with further fields.
    pub(crate) fn log_with(
        &self,
        refusal: Refusal,
        client: &ClientName,
        fields: &[(&str, Value<'_>)],
        text: fmt::Arguments<'_>,
    ) {
        let left_out = if log::log_enabled!(target: TARGET, Level::Debug) {
            Some(0)
        } else {
            self.0.admit(refusal.position(), clock::now())
        };
        if let Some(left_out) = left_out {
            client.log_throttled(TARGET, refusal.level(), fields, left_out, text);
        }
    }

    /// Logs how many lines were left out, for the kinds whose last line is three seconds old. The watchdog calls this on
    /// every tick.
    pub(crate) fn log_left_out(&self) {
        log_counts(self.0.take_due(clock::now()));
    }

    /// Logs how many lines were left out and have not been reported. Called at the end of a shutdown.
    pub(crate) fn log_rest(&self) {
        log_counts(self.0.take_rest());
    }
}

/// The lines are written without the lock.
fn log_counts(counts: [u64; ALL.len()]) {
    let with_rest = ALL.into_iter().zip(counts);
    for (refusal, left_out) in with_rest.filter(|(_, left_out)| *left_out > 0) {
        log_left_out(TARGET, refusal.level(), &refusal, left_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_throttle::INTERVAL;

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
            assert_eq!(refusals.0.admit(kind.position(), 1), Some(0), "{kind}");
            assert_eq!(refusals.0.admit(kind.position(), 1), None, "{kind}");
        }
        assert_eq!(refusals.0.take_due(1 + INTERVAL), [1; ALL.len()]);
        // A status without a kind of its own is counted with others of this sort.
        assert_eq!(
            Refusal::Answer(418).position(),
            Refusal::Answer(0).position()
        );
    }
}
