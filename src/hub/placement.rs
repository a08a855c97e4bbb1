//! [`Placed`] and [`Service`]: how a message is queued for a member, and whether it was.

/// Whether a member had room for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Queued,
    /// The member has seen a later id already, because it was ahead of this hub.
    Skipped,
    /// There is no room: in the topic's queue, in the client's bytes, or in the client's channel.
    Full,
    /// The message is queued, but the member has been over its soft limit for too long.
    OverLimit,
    /// The connection has ended or is closing.
    Closed,
}

/// How a pending message reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// By a ticket in the client's queue.
    Ticket,
    /// The member is late: by the overflow list, after the client has answered the mark.
    Held,
}
