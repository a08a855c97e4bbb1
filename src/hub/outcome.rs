//! What became of a call: [`PublishOutcome`], [`PublishError`], [`SubscribeError`], [`ClearHistoryError`] and
//! [`TooManyTopics`].

use std::borrow::Cow;

use super::message::Publication;

/// What became of a published message.
///
/// ```
/// use standpipe::{PublishOutcome, Topic};
///
/// fn announce(topic: &Topic) -> Result<(), Box<dyn std::error::Error>> {
///     let PublishOutcome { id, receivers, dropped, .. } = topic.publish("lunch")?;
///     println!("message {id}: {receivers} members get it, {dropped} were too slow");
///     Ok(())
/// }
/// ```
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
    /// The number of hubs that received the message: 1 unless the hub shares its topics with others. A hub receives the
    /// messages of a topic while the topic has members there, so this may be 0.
    pub nodes: usize,
}

/// Why nothing was published, and what was not published: one [`Publication`], or all those of
/// [`Topic::publish_all`](super::Topic::publish_all). No member received any of it, and no id was used, except after
/// [`Unknown`](Self::Unknown).
///
/// ```
/// use standpipe::{Publication, PublishError, Topic};
///
/// /// Publishes a batch, or keeps it for the next attempt.
/// fn flush(topic: &Topic, batch: &mut Vec<Publication>) {
///     if let Err(error) = topic.publish_all(std::mem::take(batch)) {
///         println!("{}: {error}", topic.name());
///         *batch = error.into_inner();
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError<T = Publication> {
    /// Other publishers held the topic for too long, because they wait for slow members. Try again later.
    #[error("the topic is busy: its publishers wait for slow members")]
    Busy(T),
    /// The hub shares its topics with others, and what connects them did not take the message. The text says why. Nothing
    /// was published, and nothing will be published later. Try again later.
    #[error("not published: {1}")]
    Unavailable(T, Cow<'static, str>),
    /// The hub shares its topics with others, and what connects them did not answer in time. The message may be published
    /// or not. This happens if messages are refused while the connection is lost, and if a publish of more than 64
    /// messages or 1 MiB has been published in part. The messages whose ids are known are not given back.
    #[error("the outcome is not known: the message may be published or not")]
    Unknown(T),
}

impl<T> PublishError<T> {
    /// Returns what was not published.
    ///
    /// ```
    /// use standpipe::{Message, Publication, PublishError};
    ///
    /// let error = PublishError::Busy(Publication::from("unsent"));
    /// assert_eq!(error.into_inner().into_message(), Message::text("unsent"));
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            PublishError::Busy(unpublished)
            | PublishError::Unavailable(unpublished, _)
            | PublishError::Unknown(unpublished) => unpublished,
        }
    }

    /// Returns the same error about something else.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> PublishError<U> {
        match self {
            PublishError::Busy(unpublished) => PublishError::Busy(change(unpublished)),
            PublishError::Unavailable(unpublished, reason) => {
                PublishError::Unavailable(change(unpublished), reason)
            }
            PublishError::Unknown(unpublished) => PublishError::Unknown(change(unpublished)),
        }
    }
}

/// Why a client is not a member.
///
/// ```
/// use standpipe::{Connection, SubscribeError, SubscribeOptions, Topic};
///
/// /// In `Handler::opening`: keeps the subscription, unless the client has missed more than its queue holds.
/// fn subscribe_early(conn: &Connection, topic: &Topic, since: u64) -> Result<(), SubscribeError> {
///     match topic.subscribe(conn.outbox(), SubscribeOptions::new().since(since)) {
///         Ok(subscription) => conn.keep(subscription),
///         Err(SubscribeError::NotOpen) => {} // `Handler::run` subscribes it.
///         Err(error) => return Err(error),
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// With [`since`](super::SubscribeOptions::since): publishers held the topic for too long, because they wait for slow
    /// members. Also: another thread subscribes the same client with `since`, and the client is still sent what it missed.
    /// Try again later.
    #[error("the topic is busy: its publishers wait for slow members")]
    Busy,
    /// The hub shares its topics with others, and what connects them does not answer, or refuses to open the topic, for
    /// example because it is out of memory. The client is no member, because it would miss what the other hubs publish. Try
    /// again later.
    #[error("the topic is unavailable: what connects the hubs does not answer, or refuses it")]
    Unavailable,
    /// Only with [`since`](super::SubscribeOptions::since), and only in [`Handler::opening`](crate::Handler::opening): the
    /// missed messages do not fit into the client's queue, which is not written to yet. Subscribe in
    /// [`Handler::run`](crate::Handler::run), which can wait for the client.
    #[error(
        "the missed messages do not fit into the queue of a client whose connection is not open yet"
    )]
    NotOpen,
    /// The topic may have more messages pending for a member than the client's queue holds. Otherwise the topic's queue
    /// would be smaller than its settings say. It cannot happen if the hub is attached with
    /// [`Config::hub`](crate::Config::hub).
    #[error(
        "up to {topic} messages of the topic may be pending for a member, but a client's queue holds {client}: attach \
         the hub with `Config::hub`, or set `Config::queue` to at least {topic}"
    )]
    QueueTooLarge {
        /// [`TopicSettings::queue`](super::TopicSettings::queue).
        topic: usize,
        /// [`Outbox::capacity`](crate::Outbox::capacity).
        client: usize,
    },
}

/// Why a history may not have been removed.
///
/// ```
/// use standpipe::Topic;
///
/// fn forget(room: &Topic) {
///     if let Err(error) = room.clear_history() {
///         println!("{}: {error}; try again later", room.name());
///     }
/// }
/// # let _ = forget;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClearHistoryError {
    /// The hub shares its topics with others, and what connects them did not do it, or did not answer in time. The text
    /// says why. It can be repeated.
    #[error("the history may not be removed: {0}")]
    Unavailable(Cow<'static, str>),
}

/// The hub has [`HubConfig::max_topics`](super::HubConfig::max_topics) topics, so a new one was not created. Contains the
/// number of topics.
///
/// ```
/// use standpipe::{Hub, HubConfig};
///
/// let hub = Hub::new(HubConfig::default().max_topics(0));
/// let error = hub.topic("news").expect_err("no topic is allowed");
/// assert_eq!(error.to_string(), "there are 0 topics, and no more are made");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {0} topics, and no more are made")]
pub struct TooManyTopics(pub usize);
