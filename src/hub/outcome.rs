//! What became of a call: [`PublishOutcome`], [`PublishError`] and [`TooManyTopics`].

/// What became of a published message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishOutcome {
    /// The message's id in the topic.
    pub id: u64,
    /// The number of members that it was queued for, or written to.
    pub receivers: usize,
    /// The number of members that were too slow: their policy dropped the message, or they are disconnected.
    pub dropped: usize,
    /// Under [`Policy::Block`](super::Policy::Block), the timeout ended while a member still had no room. That member is
    /// disconnected.
    pub timed_out: bool,
}

/// Why a message was not published. No member received it, and it has no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Other publishers held the topic for too long, because they wait for slow members. Try again later.
    #[error("the topic is busy: its publishers wait for slow members")]
    Busy,
    /// Only text and binary messages can be published.
    #[error("only text and binary messages can be published")]
    NotData,
}

/// The hub has [`HubConfig::max_topics`](super::HubConfig::max_topics) topics, so a new one was not created. Contains the
/// number of topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {0} topics, and no more are made")]
pub struct TooManyTopics(pub usize);
