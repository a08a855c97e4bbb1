//! [`LinkStatus`]: the state and the figures of the connections to one Redis server.

use std::fmt;
use std::time::Duration;

use crate::durations::Durations;

/// The state of the connections to one Redis server.
///
/// ```
/// use standpipe::redis::LinkState;
/// assert_eq!(LinkState::Isolated.to_string(), "isolated");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkState {
    /// The hub has started, and has not been connected yet. Publishes wait. Lasts
    /// [`RedisConfig::timeout`](super::RedisConfig::timeout) at most.
    Joining,
    /// The hub shares its topics with others.
    Up,
    /// The connection has just broken. Publishes wait.
    Suspect,
    /// The server has been silent for [`RedisConfig::timeout`](super::RedisConfig::timeout).
    /// [`Lost`](super::Lost) says what is done with publishes.
    Isolated,
    /// The connection is there again, and the topics catch up with the server. Publishes wait.
    Rejoining,
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LinkState::Joining => "joining",
            LinkState::Up => "up",
            LinkState::Suspect => "suspect",
            LinkState::Isolated => "isolated",
            LinkState::Rejoining => "rejoining",
        })
    }
}

/// The state and the figures of the connections to one Redis server: see [`Redis::links`](super::Redis::links).
///
/// ```
/// use standpipe::redis::{LinkState, Redis};
///
/// fn report(redis: &Redis) {
///     for link in redis.links() {
///         println!("{}: {}, {} messages published", link.address, link.state, link.counts.published);
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkStatus {
    /// The URL of the server, without user and password. Before the first connection: the first candidate.
    pub address: String,
    /// The state.
    pub state: LinkState,
    /// How long nothing has been received from the server. Since the start, if nothing ever was.
    pub silent_for: Duration,
    /// How long the hub has been isolated. It counts until the link is up again, so also in
    /// [`Rejoining`](LinkState::Rejoining) after [`Isolated`](LinkState::Isolated). Otherwise `None`.
    pub isolated_for: Option<Duration>,
    /// Messages that wait to be sent to the server.
    pub queue: usize,
    /// Topics whose messages the hub receives.
    pub topics: usize,
    /// Hubs that use the server, this one included, as far as known.
    pub nodes: usize,
    /// What has happened since the start.
    pub counts: LinkCounts,
    /// The time from sending a heartbeat to receiving it.
    pub round_trip: Durations,
    /// The time from the publishing of a message in the server to its reception, by the server's clock.
    pub lag: Durations,
}

/// What has happened on the connections to one Redis server since the start.
///
/// ```
/// use standpipe::redis::LinkCounts;
/// assert_eq!(LinkCounts::default().isolated, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkCounts {
    /// Messages that this hub has published through the server.
    pub published: u64,
    /// Messages that this hub has received.
    pub received: u64,
    /// Messages that were missed on a broken connection, and read from the server's history afterwards.
    pub caught_up: u64,
    /// Connections that broke.
    pub links_lost: u64,
    /// How often the hub became isolated.
    pub isolated: u64,
    /// How often a topic began a local sequence, because it was published to while the hub was isolated.
    pub local_sequences: u64,
    /// Messages that only members on this hub have received, because it was isolated.
    pub local_messages: u64,
    /// Gaps of which the members of a topic on this hub were told, because of a lost connection or server.
    pub gaps: u64,
    /// Messages that were refused.
    pub refused: u64,
    /// Messages whose outcome was not known: see [`PublishError::Unknown`](crate::PublishError::Unknown).
    pub unknown: u64,
    /// Received messages that this hub had already received.
    pub duplicates: u64,
    /// Received payloads that were not valid, and were dropped.
    pub malformed: u64,
    /// Messages of other hubs whose ids were inside a local sequence of this one, and which were therefore not delivered
    /// here.
    pub overlapped: u64,
}
