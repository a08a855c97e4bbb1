//! [`TopicMessage`]: one message of a topic with its id, encoded once for all members.

use std::sync::{Arc, OnceLock};

use tungstenite::{Message, Utf8Bytes};

use crate::clock;
use crate::connection::write::frame::EncodedFrame;

/// A message on its way into a topic.
#[derive(Clone, Debug)]
pub struct Publication {
    pub(super) message: Message,
    pub(super) json: bool,
    pub(super) key: Option<Arc<str>>,
    pub(super) except: Option<u64>,
}

impl From<Message> for Publication {
    fn from(message: Message) -> Self {
        Publication {
            message,
            json: false,
            key: None,
            except: None,
        }
    }
}

impl Publication {
    /// The key under which a conflating topic replaces it.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Its text is JSON, and an envelope shows it as the value it is.
    #[must_use]
    pub fn json(mut self) -> Self {
        self.json = true;
        self
    }

    /// Not to the client with this number. With an envelope it is told a gap in its place.
    #[must_use]
    pub fn except(mut self, client: u64) -> Self {
        self.except = Some(client);
        self
    }
}

/// One message of a topic.
#[derive(Debug)]
pub struct TopicMessage {
    id: u64,
    text: bool,
    json: bool,
    key: Option<Arc<str>>,
    at: u64,
    raw: EncodedFrame,
    wrapped: OnceLock<EncodedFrame>,
}

impl TopicMessage {
    /// Of a publication it keeps the encoded bytes alone: the message itself may be a slice of a whole read buffer.
    pub(super) fn new(publication: Publication, raw: EncodedFrame, id: u64) -> TopicMessage {
        TopicMessage {
            id,
            text: publication.message.is_text(),
            json: publication.json,
            key: publication.key,
            at: clock::now(),
            raw,
            wrapped: OnceLock::new(),
        }
    }

    /// Its place in its topic: ids of a topic are consecutive.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What was published: text or binary.
    pub fn message(&self) -> Message {
        let payload = self.raw.payload();
        if !self.text {
            return Message::Binary(payload);
        }
        match Utf8Bytes::try_from(payload) {
            Ok(text) => Message::Text(text),
            Err(_) => unreachable!("it was text when it was published"),
        }
    }

    /// Its text is JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    pub(super) fn key(&self) -> Option<&Arc<str>> {
        self.key.as_ref()
    }

    /// When it was published, as [`clock::now`](crate::clock::now) counts.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes it keeps in memory, about.
    pub(super) fn size(&self) -> usize {
        let wrapped = self.wrapped.get().map_or(0, EncodedFrame::len);
        size_of::<TopicMessage>()
            + self.raw.len()
            + wrapped
            + self.key.as_ref().map_or(0, |key| key.len())
    }

    /// Its bytes on the wire: as it is, or in the envelope, which is made for the first who asks.
    pub(super) fn frame(&self, envelope: Option<(&dyn Envelope, &str)>) -> &EncodedFrame {
        let Some((envelope, topic)) = envelope else {
            return &self.raw;
        };
        let wrap = || {
            EncodedFrame::data(&envelope.message(topic, self)).unwrap_or_else(|| self.raw.clone())
        };
        self.wrapped.get_or_init(wrap)
    }
}

/// How a topic speaks to members that are on many topics, and must know which one it was.
pub trait Envelope: Send + Sync {
    /// The text or binary message that carries a post.
    fn message(&self, topic: &str, post: &TopicMessage) -> Message;
    /// The message that says which ids, `first` to `last`, will never come.
    fn gap(&self, topic: &str, first: u64, last: u64) -> Message;
    /// The message that says who joined or left.
    fn presence(&self, topic: &str, name: &str, joined: bool) -> Message;
}
