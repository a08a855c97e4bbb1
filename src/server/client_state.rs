//! [`ClientState`] and its parts: what monitoring shows about a client.

use std::time::Duration;

use crate::connection::MessageCounts;
use crate::connection::activity::Activity;
use crate::connection::shared::Shared;
use crate::http1::Peer;

/// The state of one client at the time of [`ServerHandle::client_states`](crate::ServerHandle::client_states).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientState {
    /// The connection's number.
    pub number: u64,
    /// The client's address.
    pub peer: Peer,
    /// How many messages for the client were accepted, delivered, dropped and discarded.
    pub counts: MessageCounts,
    /// The client's queue.
    pub queue: QueueState,
    /// What thread `sp-N-read` is doing.
    pub reader: ThreadState,
    /// What thread `sp-N-write` is doing.
    pub writer: ThreadState,
    /// The time from the last answered ping to its pong: see [`Outbox::round_trip`](crate::Outbox::round_trip).
    pub round_trip: Option<Duration>,
}

/// The state of a client's queue.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct QueueState {
    /// The number of queued messages.
    pub messages: usize,
    /// How many messages the queue can hold.
    pub capacity: usize,
    /// The number of bytes that are queued or in flight.
    pub bytes: usize,
    /// How long the socket has been refusing bytes, in milliseconds. 0 if it accepts bytes.
    pub oldest_ms: u64,
}

/// The state of a thread.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ThreadState {
    /// What the thread is doing, as text.
    pub state: String,
    /// How long the thread has been doing that, in milliseconds.
    pub since_ms: u64,
}

impl ClientState {
    pub(super) fn of(client: &Shared, now: u64) -> ClientState {
        let (queue, deadlines) = (&client.write.queue, &client.write.deadlines);
        let ago = |since: u64| now.saturating_sub(since);
        let thread = |(doing, since): (Activity, u64)| ThreadState {
            state: doing.to_string(),
            since_ms: ago(since),
        };
        ClientState {
            number: client.number,
            peer: client.peer.clone(),
            counts: queue.counts(),
            queue: QueueState {
                messages: queue.len(),
                capacity: queue.capacity(),
                bytes: queue.bytes(),
                oldest_ms: deadlines.blocked_since().map_or(0, ago),
            },
            reader: thread(client.reader.get()),
            writer: thread(client.writer.get()),
            round_trip: client.write.control.pings.round_trip(),
        }
    }
}
