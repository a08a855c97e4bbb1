//! The logs of clients: everything that a member has seen of a topic, and the answer to every publish.

use std::time::Instant;

/// A hub, by its number in the cluster.
pub(crate) type Node = usize;

/// The log of one member of one topic, over all its connections.
#[derive(Clone, Debug)]
pub(crate) struct MemberLog {
    pub(crate) member: String,
    pub(crate) topic: String,
    pub(crate) events: Vec<Event>,
}

/// One entry of a [`MemberLog`], in the order of arrival.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// The member has connected to a node, and has sent the `sub`.
    Asked { node: Node, since: Option<u64> },
    /// The answer to the `sub`. Messages may arrive before it.
    Joined { id: u64 },
    Message {
        id: u64,
        payload: String,
        at: Instant,
    },
    /// The server told that the messages with these ids, both included, will never come.
    Gap { first: u64, last: u64 },
    /// The connection has ended.
    Left,
}

/// One published message, and what its publisher was told.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) payload: String,
    pub(crate) topic: String,
    pub(crate) node: Node,
    /// Commands of one batch are sent together, before the first answer is read.
    pub(crate) batch: usize,
    pub(crate) sent: Instant,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Published with this id.
    Acked(u64),
    /// Not published.
    Refused,
    /// The server does not know whether the message was published.
    Unknown,
    /// The connection ended before the answer.
    Lost,
}
