//! The messages of subprotocol `standpipe.v1`, as JSON. `src/PROTOCOL.md` describes them.

use data_encoding::BASE64;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use standpipe::{Envelope, Gap, Message, TopicMessage};

/// Wraps topic messages for clients that subscribe to many topics.
pub(crate) struct Json;

/// The field `data`: a string for text, the value itself for JSON, base64 for bytes.
#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Text(&'a str),
    Json(&'a RawValue),
    Base64(String),
}

#[derive(Serialize)]
struct Wrapped<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    id: u64,
    data: Data<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<bool>,
}

fn wrapped(topic: Option<&str>, topic_message: &TopicMessage) -> String {
    let message = topic_message.message();
    let (data, base64) = match &message {
        Message::Text(text) => {
            // JSON was checked when it was published, so it parses.
            let value = topic_message
                .is_json()
                .then(|| serde_json::from_str(text).ok())
                .flatten();
            (value.map_or(Data::Text(text), Data::Json), None)
        }
        other => (
            Data::Base64(BASE64.encode(&other.clone().into_bytes())),
            Some(true),
        ),
    };
    to_json(&Wrapped {
        topic,
        id: topic_message.id(),
        data,
        base64,
    })
}

/// Returns a message as an element of `GET /topics/T/history`.
pub(crate) fn element(message: &TopicMessage) -> String {
    wrapped(None, message)
}

pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value)
        .expect("strings, numbers and lists of them can always be written as JSON")
}

fn message(value: &Value) -> Message {
    Message::text(value.to_string())
}

impl Envelope for Json {
    fn message(&self, topic: &str, message: &TopicMessage) -> Message {
        Message::text(wrapped(Some(topic), message))
    }

    fn gap(&self, topic: &str, gap: Gap<'_>) -> Message {
        message(&json!({"topic": topic, "gap": [gap.first, gap.last], "epoch": gap.epoch}))
    }

    fn presence(&self, topic: &str, name: &str, joined: bool) -> Message {
        let change = if joined { "join" } else { "leave" };
        message(&json!({"presence": topic, change: name}))
    }
}
