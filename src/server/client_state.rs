//! [`ClientState`] and its parts: what monitoring shows about a client.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::MessageCounts;
use crate::connection::activity::Activity;
use crate::connection::shared::Shared;
use crate::http1::Peer;
use crate::tls::TlsVersion;

/// The state of one client at the time of [`ServerHandle::client_states`](crate::ServerHandle::client_states).
///
/// ```
/// use std::time::Duration;
///
/// use standpipe::{ClientState, ServerHandle};
///
/// /// Returns the clients whose socket has refused bytes for a second.
/// fn slow(handle: &ServerHandle) -> Vec<ClientState> {
///     let second = Duration::from_secs(1);
///     let states = handle.client_states().into_iter();
///     states.filter(|state| state.queue.blocked >= Some(second)).collect()
/// }
/// # let _: fn(&ServerHandle) -> Vec<ClientState> = slow;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientState {
    /// The connection's number.
    pub number: u64,
    /// The client's address.
    pub peer: Peer,
    /// The client's user, if the handler has named one: see [`Reply::user`](crate::Reply::user).
    pub user: Option<Arc<str>>,
    /// The version of TLS, or `None` if the connection to this server has no TLS.
    pub tls: Option<TlsVersion>,
    /// How many messages for the client were accepted, delivered, dropped and discarded, how many it has sent, and the
    /// bytes both ways.
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

/// The state of a client's queue: a part of [`ClientState`].
///
/// ```
/// # use standpipe::{ClientState, QueueState};
/// # fn example(client: &ClientState) {
/// let QueueState { messages, capacity, bytes, blocked, .. } = client.queue;
/// println!("{messages} of {capacity} messages, {bytes} bytes, blocked for {blocked:?}");
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueState {
    /// The number of queued messages.
    pub messages: usize,
    /// How many messages the queue can hold.
    pub capacity: usize,
    /// The number of bytes that are queued or in flight.
    pub bytes: usize,
    /// For how long the socket has been refusing bytes. `None` if it accepts bytes.
    pub blocked: Option<Duration>,
}

/// The state of a thread: a part of [`ClientState`].
///
/// ```
/// # use standpipe::ThreadState;
/// # fn example(thread: ThreadState) {
/// println!("{} for {:.1?}", thread.activity, thread.since);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadState {
    /// What the thread is doing.
    pub activity: Activity,
    /// For how long the thread has been doing that. If the thread waits for the peer, or its handler has found nothing to
    /// receive: the time since the peer's last byte.
    pub since: Duration,
}

impl ClientState {
    pub(super) fn of(client: &Shared, now: u64) -> ClientState {
        let (queue, deadlines) = (&client.write.queue, &client.write.deadlines);
        let ago = |since: u64| Duration::from_millis(now.saturating_sub(since));
        let thread = |(activity, since): (Activity, u64)| ThreadState {
            activity,
            since: ago(since),
        };
        let name = client.name.get();
        ClientState {
            number: client.number,
            peer: name.peer,
            user: name.user,
            tls: client.tls.version(),
            counts: client.counts(),
            queue: QueueState {
                messages: queue.len(),
                capacity: queue.capacity(),
                bytes: queue.bytes(),
                blocked: deadlines.blocked_since().map(ago),
            },
            reader: thread(client.reader.get()),
            writer: thread(client.writer.get()),
            round_trip: client.write.control.pings.round_trip(),
        }
    }
}
