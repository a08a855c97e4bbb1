//! The messages of subprotocol `standpipe.v1`, as JSON. `src/PROTOCOL.md` is their description.

use data_encoding::BASE64;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use standpipe::{Envelope, Message, TopicMessage};

/// Wraps posts for clients that are on many topics.
pub(crate) struct Json;

/// What `data` is: a string for a text, the value itself for JSON, base64 for bytes.
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

fn wrapped(topic: Option<&str>, post: &TopicMessage) -> String {
    let message = post.message();
    let (data, base64) = match &message {
        Message::Text(text) => {
            // What was published as JSON was found to be JSON then.
            let value = post
                .is_json()
                .then(|| serde_json::from_str(text).ok())
                .flatten();
            (value.map_or(Data::Text(text), Data::Json), None)
        }
        other => (
            Data::Base64(BASE64.encode(&other.clone().into_data())),
            Some(true),
        ),
    };
    to_json(&Wrapped {
        topic,
        id: post.id(),
        data,
        base64,
    })
}

/// One post as an element of `GET /topics/T/history`.
pub(crate) fn element(post: &TopicMessage) -> String {
    wrapped(None, post)
}

pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and their lists are always JSON")
}

fn text(value: &Value) -> Message {
    Message::text(value.to_string())
}

impl Envelope for Json {
    fn message(&self, topic: &str, post: &TopicMessage) -> Message {
        Message::text(wrapped(Some(topic), post))
    }

    fn gap(&self, topic: &str, first: u64, last: u64) -> Message {
        text(&json!({"topic": topic, "gap": [first, last]}))
    }

    fn presence(&self, topic: &str, name: &str, joined: bool) -> Message {
        let what = if joined { "join" } else { "leave" };
        text(&json!({"presence": topic, what: name}))
    }
}
