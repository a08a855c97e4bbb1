//! [`Engine`]: what a hub needs of a service through which the hubs of several machines share their topics.
//!
//! This file knows no particular service. A hub without an engine assigns the ids and carries the messages itself.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::message::Publication;
use super::outcome::{PublishError, PublishOutcome};
use super::topic::Topic;

/// Assigns the ids of all topics, and carries messages between the hubs that use it.
///
/// Local members receive a message when it comes back from the engine: the engine calls
/// [`Topic::receive`](super::Topic::receive). So all hubs deliver the messages of a topic in one order.
pub(crate) trait Engine: Send + Sync + fmt::Debug {
    /// Returns the epoch of the ids. All hubs that share topics return the same one.
    fn epoch(&self) -> Arc<str>;

    /// Publishes messages, and waits until they have been delivered to the members of this hub. Under
    /// [`Policy::Block`](super::Policy::Block) the caller has waited for slow members before. `deadline` is an upper limit
    /// in addition to the engine's own.
    fn publish(
        &self,
        topic: &Topic,
        publications: Vec<Publication>,
        deadline: Option<Instant>,
    ) -> Result<Vec<PublishOutcome>, PublishError<Vec<Publication>>>;

    /// Makes this hub receive the topic's messages, until [`close`](Self::close). Returns when the topic has its position:
    /// see [`Topic::place_at`](super::Topic::place_at). Returns immediately if that is so already.
    fn open(&self, topic: &Topic) -> Result<(), Unavailable>;

    /// Completes the topic's history from the engine, once for each topic that is open. Without the engine, the history
    /// remains as it is.
    fn fill(&self, topic: &Topic);

    /// Removes the topic's history from the engine. Every hub removes the messages that were published before from its own:
    /// see [`Topic::remove_history_up_to`](super::Topic::remove_history_up_to).
    fn clear_history(&self, topic: &Topic) -> Result<(), Unavailable>;

    /// Says what is known about an id above the last one of this hub.
    fn check_since(&self, topic: &Topic, since: u64) -> Since;

    /// Stops receiving the topic's messages. The topic of this name has ended, or a new one of this name has been created
    /// meanwhile, which then stays open.
    fn close(&self, topic: &str);

    /// Reports that `name` has become present on this hub, or is no longer present. Never waits.
    fn set_present(&self, topic: &Topic, name: &str, is_present: bool);
}

/// What an engine knows about an id that this hub has not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// The id has been assigned, or every later id of this hub will be above it. The client continues after it.
    Assigned,
    /// The id was assigned by another hub while it was alone. The client continues after the last id of this hub.
    NotAssigned,
    /// The engine does not answer now.
    Unknown,
}

/// Why an engine did not do something. The engine logs the text, because a client is told only that it cannot subscribe
/// now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable(pub(crate) Cow<'static, str>);
