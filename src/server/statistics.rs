//! [`ServerStatistics`]: what monitoring shows about a server as a whole.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::refused::Refused;
use super::request_counts::RequestCount;
use super::state::ServerState;
use super::tls_counts::TlsCounts;
use crate::clock;
use crate::connection::{CloseCause, MessageCounts};
use crate::durations::Durations;

/// The state of a server, and what it has counted since it was bound, for
/// [`ServerHandle::statistics`](crate::ServerHandle::statistics). No counter ever decreases.
///
/// No message changes a counter that clients share. The counters of the clients are added up when this is read.
///
/// ```
/// use standpipe::{ServerHandle, ServerStatistics};
///
/// fn report(handle: &ServerHandle) -> String {
///     let ServerStatistics { clients, max_clients, messages, .. } = handle.statistics();
///     format!("{clients} of {max_clients} clients, {} messages received", messages.received)
/// }
/// # let _: fn(&ServerHandle) -> String = report;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ServerStatistics {
    /// Connected clients: see [`ServerHandle::clients`](crate::ServerHandle::clients).
    pub clients: usize,
    /// The connection limit: the lower of [`max_clients`](crate::Config::max_clients) and what the kernel allows.
    pub max_clients: usize,
    /// Requests that are being read or answered: see
    /// [`ServerHandle::pending_handshakes`](crate::ServerHandle::pending_handshakes).
    pub pending_handshakes: usize,
    /// Connections that were accepted, or handed over.
    pub accepted: u64,
    /// Connections and requests that were refused, for each reason. One connection may have several requests.
    pub refused: Vec<(Refused, u64)>,
    /// TLS handshakes, by version, and the failed ones by reason.
    pub tls: TlsCounts,
    /// Answered HTTP requests, by route and status, sorted. Up to 512 pairs of these are counted separately.
    pub requests: Vec<RequestCount>,
    /// Clients whose connection was opened: they were sent the 101.
    pub opened: u64,
    /// Clients whose connection was opened and has ended, by cause, sorted. The reasons are left out. A code of a peer from
    /// 3000 on is that of its range: 3000 or 4000. Up to 256 pairs of a cause and a code are counted separately.
    pub closed: Vec<(CloseCause, u64)>,
    /// The sum of the counts of all clients, including those that have left.
    pub messages: MessageCounts,
    /// Messages that are queued for clients.
    pub queued_messages: usize,
    /// Bytes that are queued for clients or in flight.
    pub queued_bytes: usize,
    /// How full the fullest queue of a client is, in messages: from 0 to 1.
    pub fullest_queue: f64,
    /// Clients whose socket refuses bytes at the moment.
    pub blocked_clients: usize,
    /// For how long the socket of a client has accepted no 64 KiB, and not everything that was offered: the longest such
    /// time of all clients. So the message that has waited longest has waited for at least this time.
    pub longest_blocked: Duration,
    /// For how long the sockets of all clients have refused bytes, in all, since the server was bound.
    pub blocked_time: Duration,
    /// The times from a ping to its pong: see [`Outbox::round_trip`](crate::Outbox::round_trip).
    pub round_trips: Durations,
}

impl ServerStatistics {
    /// Reads everything. `opened` is read before `closed` and `clients`, so that it is not more than both together.
    pub(super) fn of(server: &ServerState) -> ServerStatistics {
        let counters = &server.counters;
        let opened = counters.opened.load(Relaxed);
        let (messages, blocked_time) = server.clients.totals();
        let mut statistics = ServerStatistics {
            accepted: counters.accepted.load(Relaxed),
            opened,
            refused: counters.refused.counts(),
            tls: counters.tls.counts(),
            requests: counters.requests.counts(),
            closed: counters.closed.counts(),
            clients: server.client_permits.in_use(),
            max_clients: server.client_permits.limit(),
            pending_handshakes: server.handshakes.pending(),
            messages,
            queued_messages: 0,
            queued_bytes: 0,
            fullest_queue: 0.0,
            blocked_clients: 0,
            longest_blocked: Duration::ZERO,
            blocked_time: counters.at_least(blocked_time),
            round_trips: server.shutdown.common().round_trips(),
        };
        statistics.add_queues(server);
        statistics
    }

    fn add_queues(&mut self, server: &ServerState) {
        let now = clock::now();
        for client in server.clients.snapshot() {
            let (queue, deadlines) = (&client.write.queue, &client.write.deadlines);
            if !client.lifecycle().is_upgraded() {
                continue;
            }
            let queued = queue.len();
            self.queued_messages += queued;
            self.queued_bytes += queue.bytes();
            let fullness = queued as f64 / queue.capacity() as f64;
            // A message that waits for its ticket to fit may be above the capacity.
            self.fullest_queue = self.fullest_queue.max(fullness.min(1.0));
            if let Some(since) = deadlines.blocked_since() {
                self.blocked_clients += 1;
                let blocked = Duration::from_millis(now.saturating_sub(since));
                self.longest_blocked = self.longest_blocked.max(blocked);
            }
        }
    }
}
