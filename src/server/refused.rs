//! [`Refused`]: why a client was not served, and the counters of the reasons.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::refusal_log::Refusal;

/// Why a connection or a request was refused, for [`ServerStatistics::refused`](crate::ServerStatistics::refused).
/// [`Display`](fmt::Display) shows the [`name`](Self::name).
///
/// An answer that the handler gives is not a refusal, whatever its status: see
/// [`ServerStatistics::requests`](crate::ServerStatistics::requests).
///
/// ```
/// use standpipe::Refused;
///
/// assert_eq!(Refused::MaxClients.to_string(), "max_clients");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// The address connected more often than [`connect_rate`](crate::Config::connect_rate) allows. Answered 503 unread.
    ConnectRate,
    /// All handshake slots were in use. Answered 503 unread.
    NoHandshakeSlot,
    /// A connection to a listener with [`proxy_protocol`](crate::Listener::proxy_protocol) did not come from a trusted
    /// proxy. Closed unread.
    NotAProxy,
    /// The TLS handshake failed, or the client spoke HTTP without TLS, which is answered 400.
    NoTls,
    /// The connection was reset before its request was complete, because a client of another address needed its handshake
    /// slot.
    Evicted,
    /// The request was not complete within [`handshake_timeout`](crate::Config::handshake_timeout), or its body within
    /// [`message_timeout`](crate::Config::message_timeout), or the answer was not read. The connection was reset.
    TimedOut,
    /// [`max_clients`](crate::Config::max_clients) clients, or as many as the kernel allows, were connected. Answered 503.
    MaxClients,
    /// [`max_clients_per_ip`](crate::Config::max_clients_per_ip) clients of the address were connected. Answered 503.
    MaxClientsPerIp,
    /// The server was shutting down. Answered 503.
    ShuttingDown,
    /// The kernel had no room for a thread. Answered 503.
    NoThread,
    /// The request was invalid, or a rule of the server refused it, for example its `Origin`. Answered with a status of
    /// the classes 4xx and 5xx.
    Request,
    /// The handler failed or panicked. Answered with the status of the failure, or 500.
    HandlerFailed,
    /// Writing the 101 failed, because the client had left.
    UpgradeFailed,
}

impl Refused {
    /// Every reason.
    ///
    /// ```
    /// use standpipe::Refused;
    ///
    /// assert!(Refused::ALL.contains(&Refused::Request));
    /// ```
    pub const ALL: &'static [Refused] = &REASONS;

    /// Returns the name of the reason, as in the metrics of the program.
    ///
    /// ```
    /// assert_eq!(standpipe::Refused::ConnectRate.name(), "connect_rate");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Refused::ConnectRate => "connect_rate",
            Refused::NoHandshakeSlot => "no_handshake_slot",
            Refused::NotAProxy => "not_a_proxy",
            Refused::NoTls => "no_tls",
            Refused::Evicted => "evicted",
            Refused::TimedOut => "timed_out",
            Refused::MaxClients => "max_clients",
            Refused::MaxClientsPerIp => "max_clients_per_ip",
            Refused::ShuttingDown => "shutting_down",
            Refused::NoThread => "no_thread",
            Refused::Request => "request",
            Refused::HandlerFailed => "handler_failed",
            Refused::UpgradeFailed => "upgrade_failed",
        }
    }
}

const REASONS: [Refused; 13] = [
    Refused::ConnectRate,
    Refused::NoHandshakeSlot,
    Refused::NotAProxy,
    Refused::NoTls,
    Refused::Evicted,
    Refused::TimedOut,
    Refused::MaxClients,
    Refused::MaxClientsPerIp,
    Refused::ShuttingDown,
    Refused::NoThread,
    Refused::Request,
    Refused::HandlerFailed,
    Refused::UpgradeFailed,
];

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Refusal> for Refused {
    /// Returns the reason of a refusal that is logged as a line of this kind.
    fn from(line: Refusal) -> Refused {
        match line {
            Refusal::ConnectRate => Refused::ConnectRate,
            Refusal::NoHandshakeSlot => Refused::NoHandshakeSlot,
            Refusal::NotAProxy => Refused::NotAProxy,
            Refusal::NoTls => Refused::NoTls,
            Refusal::Evicted => Refused::Evicted,
            Refusal::NoThread => Refused::NoThread,
            Refusal::MaxClients => Refused::MaxClients,
            Refusal::MaxClientsPerIp => Refused::MaxClientsPerIp,
            Refusal::ShuttingDown => Refused::ShuttingDown,
            Refusal::Answer(_) | Refusal::Violation => Refused::Request,
            Refusal::UpgradeFailed => Refused::UpgradeFailed,
            Refusal::HandlerFailed | Refusal::HandlerPanicked => Refused::HandlerFailed,
            Refusal::Overdue(_) => Refused::TimedOut,
        }
    }
}

/// The counters of a server, one for each reason.
#[derive(Debug, Default)]
pub(crate) struct RefusedCounters([AtomicU64; REASONS.len()]);

impl RefusedCounters {
    pub(crate) fn count(&self, reason: impl Into<Refused>) {
        let reason = reason.into();
        let at = REASONS.iter().position(|known| *known == reason);
        let at = at.expect("`REASONS` lists every reason");
        self.0[at].fetch_add(1, Relaxed);
    }

    /// Returns all reasons with their counts.
    pub(super) fn counts(&self) -> Vec<(Refused, u64)> {
        let counts = self.0.iter().map(|count| count.load(Relaxed));
        REASONS.into_iter().zip(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        let refused = RefusedCounters::default();
        for (at, reason) in REASONS.into_iter().enumerate() {
            (0..=at).for_each(|_| refused.count(reason));
        }
        let counts = refused.counts();
        let expected: Vec<_> = REASONS.into_iter().zip(1..).collect();
        assert_eq!(counts, expected);
        let mut names: Vec<_> = REASONS.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REASONS.len());
    }
}
