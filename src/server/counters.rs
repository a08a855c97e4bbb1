//! [`ServerCounters`]: what a server counts, apart from the counters of its clients. Each is changed once for each
//! connection or request, and never for a message.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::close_counts::CloseCounters;
use super::refused::RefusedCounters;
use super::request_counts::RequestCounters;
use super::tls_counts::TlsCounters;
use crate::clock;
use crate::http1::Request;

/// The counters behind [`ServerStatistics`](crate::ServerStatistics).
#[derive(Debug, Default)]
pub(crate) struct ServerCounters {
    pub(super) accepted: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(crate) refused: RefusedCounters,
    pub(super) tls: TlsCounters,
    pub(crate) requests: RequestCounters,
    pub(crate) closed: CloseCounters,
    /// The most that was ever read as the time during which sockets refused bytes.
    blocked_millis: AtomicU64,
}

impl ServerCounters {
    /// Counts a connection that was accepted.
    pub(super) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    /// Counts a client that was sent the 101.
    pub(super) fn count_opened(&self, request: &Request) {
        self.opened.fetch_add(1, Relaxed);
        self.requests.count(request.route(), 101);
    }

    /// Returns `time`, or what was returned before if that is more. A socket may begin to accept bytes at a moment that lies
    /// before the one at which it was last read, by as long as a thread can be interrupted.
    pub(super) fn at_least(&self, time: Duration) -> Duration {
        let millis = clock::millis(time);
        let before = self.blocked_millis.fetch_max(millis, Relaxed);
        Duration::from_millis(before.max(millis))
    }
}
