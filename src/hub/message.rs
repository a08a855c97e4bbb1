//! [`TopicMessage`]: one message of a topic with its id, encoded once for all members; and [`Envelope`].

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::message::{Message, Text};

use crate::clock;
use crate::connection::write::frame::EncodedFrame;

/// A message to publish, with options. Made from a [`Message`], or from anything that converts into one.
///
/// ```
/// use standpipe::Publication;
///
/// let price = Publication::from(r#"{"EUR": 1.08}"#).key("EUR").json();
/// # let _ = price;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    pub(crate) message: Message,
    pub(crate) json: bool,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) except: Option<u64>,
}

impl<M: Into<Message>> From<M> for Publication {
    fn from(message: M) -> Self {
        Publication {
            message: message.into(),
            json: false,
            key: None,
            except: None,
        }
    }
}

impl Publication {
    /// Sets the key. Under [`Policy::Conflate`](super::Policy::Conflate) a message replaces one with the same key.
    ///
    /// ```
    /// # use standpipe::Publication;
    /// let cursor = Publication::from("line 7").key("ann");
    /// # let _ = cursor;
    /// ```
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Declares that the text is JSON. An envelope can then contain it as a value instead of a string.
    ///
    /// ```
    /// # use standpipe::Publication;
    /// let edit = Publication::from(r#"{"insert": "x", "at": 7}"#).json();
    /// # let _ = edit;
    /// ```
    #[must_use]
    pub fn json(mut self) -> Self {
        self.json = true;
        self
    }

    /// Excludes the client with this number. If that client has an envelope, it receives a gap notice instead.
    ///
    /// ```
    /// # use standpipe::{Connection, Message, Publication, Topic};
    /// /// Publishes what a client sent to all other members.
    /// fn relay(conn: &Connection, topic: &Topic, message: Message) {
    ///     let publication = Publication::from(message).except(conn.number());
    ///     if let Err(error) = topic.publish(publication) {
    ///         println!("not published: {error}");
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn except(mut self, client: u64) -> Self {
        self.except = Some(client);
        self
    }

    /// Returns the message.
    ///
    /// ```
    /// # use standpipe::{Message, Publication};
    /// let publication = Publication::from("hello").key("greeting");
    /// assert_eq!(publication.into_message(), Message::text("hello"));
    /// ```
    pub fn into_message(self) -> Message {
        self.message
    }
}

/// One message of a topic: in its history, and in an [`Envelope`].
///
/// ```
/// use standpipe::{Hub, HubConfig, Message, Publication, TopicSettings};
///
/// let hub = Hub::new(HubConfig::default().topic("*", TopicSettings::default().history(10)));
/// let topic = hub.topic("news")?;
/// let id = topic.publish(Publication::from("[1,2]").json())?.id;
/// let message = &topic.history(0)[0];
/// assert_eq!((message.id(), message.message()), (id, Message::text("[1,2]")));
/// assert!(message.is_json());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TopicMessage {
    id: u64,
    is_text: bool,
    is_json: bool,
    key: Option<Arc<str>>,
    published_at: i64,
    raw: EncodedFrame,
    enveloped: OnceLock<EncodedFrame>,
}

impl TopicMessage {
    /// Keeps only the encoded bytes of the publication, because the message itself may be a slice of a whole read buffer.
    pub(super) fn new(
        publication: Publication,
        raw: EncodedFrame,
        id: u64,
        published_at: i64,
    ) -> TopicMessage {
        TopicMessage {
            id,
            is_text: publication.message.is_text(),
            is_json: publication.json,
            key: publication.key,
            published_at,
            raw,
            enveloped: OnceLock::new(),
        }
    }

    /// Returns the message's id. The ids of a topic are consecutive.
    ///
    /// ```
    /// # use standpipe::Topic;
    /// fn ids(topic: &Topic) -> Vec<u64> {
    ///     topic.history(0).iter().map(|message| message.id()).collect()
    /// }
    /// ```
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the text or binary message that was published.
    ///
    /// ```
    /// # use standpipe::{Message, Topic};
    /// fn last_message(topic: &Topic) -> Option<Message> {
    ///     topic.history(0).last().map(|message| message.message())
    /// }
    /// ```
    pub fn message(&self) -> Message {
        let payload = self.raw.payload();
        if !self.is_text {
            return Message::Binary(payload);
        }
        match Text::try_from(payload) {
            Ok(text) => Message::Text(text),
            Err(_) => unreachable!("it was text when it was published"),
        }
    }

    /// Returns whether the publisher declared that the text is JSON.
    ///
    /// ```
    /// # use standpipe::TopicMessage;
    /// /// Writes a message as the value of a JSON field.
    /// fn value(message: &TopicMessage) -> String {
    ///     let text = message.message().to_string();
    ///     if message.is_json() { text } else { format!("{text:?}") }
    /// }
    /// ```
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    pub(super) fn key(&self) -> Option<&Arc<str>> {
        self.key.as_ref()
    }

    /// Returns how long ago it was published, in milliseconds.
    pub(super) fn age(&self) -> u64 {
        u64::try_from(time_before(Duration::ZERO) - self.published_at).unwrap_or(0)
    }

    /// Returns how many bytes of memory it uses, approximately.
    pub(super) fn size(&self) -> usize {
        let enveloped = self.enveloped.get().map_or(0, EncodedFrame::len);
        let key = self.key.as_ref().map_or(0, |key| key.len());
        size_of::<TopicMessage>() + self.raw.len() + enveloped + key
    }

    /// Returns the encoded frame, without envelope or in the envelope of the topic with this name. The envelope is made in
    /// the first call that needs it.
    pub(super) fn frame(&self, envelope: Option<(&dyn Envelope, &str)>) -> &EncodedFrame {
        let Some((envelope, topic)) = envelope else {
            return &self.raw;
        };
        self.enveloped
            .get_or_init(|| EncodedFrame::data(&envelope.message(topic, self)))
    }
}

/// Returns the time `age` ago, in milliseconds as [`clock::now`] counts. A message that another hub has published may be
/// older than this process, and then the result is negative.
pub(super) fn time_before(age: Duration) -> i64 {
    let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    ms(clock::now()).saturating_sub(ms(clock::millis(age)))
}

/// Ids of a topic that a member will never receive.
///
/// ```
/// use standpipe::Gap;
///
/// fn notice(gap: Gap<'_>) -> String {
///     format!("{} messages are missing: {} to {}", gap.last - gap.first + 1, gap.first, gap.last)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap<'a> {
    /// The first id.
    pub first: u64,
    /// The last id, which is also in the gap.
    pub last: u64,
    /// The [`Topic::epoch`](super::Topic::epoch) of these ids. Tell it to the client: the ids after the gap are of this
    /// epoch, even if the client asked for the messages after an id of another one.
    pub epoch: &'a str,
}

/// How messages and notices are written for members that subscribed
/// [`with_envelope`](super::SubscribeOptions::with_envelope). Such a client can subscribe to several topics, because each
/// message names its topic.
///
/// [`message`](Self::message) runs on the thread that publishes or subscribes, once for each message; a panic reaches the
/// caller. [`presence`](Self::presence) runs on the thread that subscribes or sweeps. [`gap`](Self::gap) runs on whatever
/// thread writes to the client: a publisher, another client's reader, or the writer. A panic in `gap` or `presence` is
/// caught, and only that notice is lost. Keep all of them short, because they delay messages to other clients.
///
/// ```
/// use standpipe::{Envelope, Gap, Hub, HubConfig, Message, TopicMessage};
///
/// /// `TOPIC ID TEXT`, for clients that read lines.
/// struct Lines;
///
/// impl Envelope for Lines {
///     fn message(&self, topic: &str, message: &TopicMessage) -> Message {
///         Message::text(format!("{topic} {} {}", message.id(), message.message()))
///     }
///     fn gap(&self, topic: &str, gap: Gap<'_>) -> Message {
///         Message::text(format!("{topic} missed {}-{}", gap.first, gap.last))
///     }
///     fn presence(&self, topic: &str, name: &str, joined: bool) -> Message {
///         Message::text(format!("{topic} {} {name}", if joined { "+" } else { "-" }))
///     }
/// }
///
/// let hub = Hub::new(HubConfig::default().envelope(Lines));
/// # let _ = hub;
/// ```
pub trait Envelope: Send + Sync {
    /// Returns the text or binary message that carries `message`.
    fn message(&self, topic: &str, message: &TopicMessage) -> Message;
    /// Returns the message that says that the ids of `gap` will never come.
    fn gap(&self, topic: &str, gap: Gap<'_>) -> Message;
    /// Returns the message that says that `name` joined (`joined`) or left.
    fn presence(&self, topic: &str, name: &str, joined: bool) -> Message;
}
