//! [`Command`]: what a client of JSON mode asks for. `parser.rs` reads it.

use std::fmt;

use serde_json::value::RawValue;
use standpipe::{Message, Publication};

/// What a client asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Subscribe {
        topic: String,
        resume: Option<Resume>,
        presence: bool,
    },
    Unsubscribe(String),
    Publish {
        topic: String,
        publish: Publish,
    },
    /// A newer token of a client that is connected.
    Token(TokenText),
}

/// A token from a client. `Debug` hides it.
#[derive(Clone, PartialEq)]
pub(crate) struct TokenText(pub(crate) String);

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(***)")
    }
}

/// After which message a client continues.
#[derive(Debug, PartialEq)]
pub(crate) struct Resume {
    pub(crate) since: u64,
    /// The epoch of this id, if the client knows it.
    pub(crate) epoch: Option<String>,
}

/// The message of a `pub` command, or of a `POST /publish`.
#[derive(Debug, PartialEq)]
pub(crate) struct Publish {
    pub(super) data: Data,
    pub(super) key: Option<String>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Data {
    /// A JSON string is published as the text that it stands for.
    Text(String),
    /// Any other value is published as JSON, with every digit as the client wrote it.
    Json(String),
    /// A JSON string with `"base64": true` is published as the bytes that it stands for.
    Bytes(Vec<u8>),
}

impl From<Publish> for Publication {
    fn from(Publish { data, key }: Publish) -> Publication {
        let publication = match data {
            Data::Text(text) => Message::text(text).into(),
            Data::Json(json) => Publication::from(Message::text(json)).json(),
            Data::Bytes(bytes) => Message::binary(bytes).into(),
        };
        match key {
            Some(key) => publication.key(&key),
            None => publication,
        }
    }
}

/// One message from a client: a command and the reference that its answer carries.
#[derive(Debug)]
pub(crate) struct CommandMessage {
    pub(crate) reference: Reference,
    pub(crate) command: Result<Command, CommandError>,
}

/// A number or a string, kept exactly as the client wrote it. A number that is parsed and printed again may differ.
pub(crate) type Reference = Option<Box<RawValue>>;

/// Why a message is not a command.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The client may speak another protocol.
    NotJson(String),
    Invalid(String),
}

impl CommandMessage {
    pub(super) fn without_reference(error: CommandError) -> CommandMessage {
        CommandMessage {
            reference: None,
            command: Err(error),
        }
    }

    /// Whether this is a valid command that publishes to `name`.
    pub(crate) fn publishes_to(&self, name: &str) -> bool {
        matches!(&self.command, Ok(Command::Publish { topic, .. }) if topic == name)
    }

    /// Returns the reference and the message of a `pub` command.
    pub(crate) fn into_publish(self) -> Option<(Reference, Publish)> {
        match self.command {
            Ok(Command::Publish { publish, .. }) => Some((self.reference, publish)),
            _ => None,
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Command {
    /// Returns the command as JSON, with all of its fields.
    pub(super) fn to_json(&self, reference: Option<&str>) -> String {
        let string = |text: &str| serde_json::Value::from(text).to_string();
        let reference = reference.unwrap_or("null");
        match self {
            Command::Subscribe {
                topic,
                resume,
                presence,
            } => format!(
                r#"{{"sub":{},"since":{},"epoch":{},"presence":{presence},"ref":{reference}}}"#,
                string(topic),
                serde_json::Value::from(resume.as_ref().map(|resume| resume.since)),
                serde_json::Value::from(resume.as_ref().and_then(|resume| resume.epoch.clone()))
            ),
            Command::Token(TokenText(token)) => {
                format!(r#"{{"token":{},"ref":{reference}}}"#, string(token))
            }
            Command::Unsubscribe(topic) => {
                format!(r#"{{"unsub":{},"ref":{reference}}}"#, string(topic))
            }
            Command::Publish { topic, publish } => {
                let (data, base64) = match &publish.data {
                    Data::Text(text) => (string(text), false),
                    Data::Json(json) => (json.clone(), false),
                    Data::Bytes(bytes) => (string(&data_encoding::BASE64.encode(bytes)), true),
                };
                format!(
                    r#"{{"pub":{},"data":{data},"base64":{base64},"key":{},"ref":{reference}}}"#,
                    string(topic),
                    serde_json::Value::from(publish.key.clone())
                )
            }
        }
    }
}
