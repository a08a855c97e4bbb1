//! [`Answers`]: what JSON mode answers to the commands that arrived together.

use serde::Serialize;
use serde_json::value::RawValue;
use standpipe::{Connection, Message, SendAllError};

use super::envelope::to_json;

/// The result of a command: what its acknowledgement contains, or why it was not carried out.
pub(crate) type Outcome = Result<Done, Refusal>;

/// A command that was carried out.
pub(crate) enum Done {
    /// A command about a topic.
    Topic {
        id: u64,
        /// The epoch of the topic's ids, for `sub`.
        epoch: Option<String>,
    },
    /// The client has a newer token.
    Renewed {
        /// The end of the token, in seconds since 1970.
        exp: u64,
        /// The topics that the token does not allow, whose subscriptions have ended.
        ended: Vec<String>,
    },
}

impl From<u64> for Done {
    fn from(id: u64) -> Done {
        Done::Topic { id, epoch: None }
    }
}

/// Why a command was not carried out.
pub(crate) struct Refusal {
    pub(crate) error: String,
    /// The close code, if the connection is closed because of it.
    pub(crate) close: Option<u16>,
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(error: T) -> Refusal {
        let error = error.into();
        Refusal { error, close: None }
    }
}

/// Answers that have not been sent yet, in the order of the commands.
#[derive(Default)]
pub(crate) struct Answers {
    messages: Vec<Message>,
    /// Close code and reason, sent after the answers.
    close: Option<(u16, String)>,
}

#[derive(Serialize)]
struct Ack<'a> {
    ack: &'a RawValue,
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
}

#[derive(Serialize)]
struct TokenAck<'a> {
    ack: &'a RawValue,
    exp: u64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    ended: &'a [String],
}

#[derive(Serialize)]
struct ErrorAnswer<'a> {
    error: &'a str,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a RawValue>,
}

impl Answers {
    /// Adds the answer to one command. A command without a reference is answered only if it was not carried out.
    pub(crate) fn add(&mut self, reference: Option<&RawValue>, outcome: Outcome) {
        let answer = match (&outcome, reference) {
            (Ok(Done::Topic { id, epoch }), Some(ack)) => to_json(&Ack {
                ack,
                id: *id,
                epoch: epoch.as_deref(),
            }),
            (Ok(Done::Renewed { exp, ended }), Some(ack)) => to_json(&TokenAck {
                ack,
                exp: *exp,
                ended,
            }),
            (Ok(_), None) => return,
            (Err(Refusal { error, .. }), reference) => to_json(&ErrorAnswer { error, reference }),
        };
        self.messages.push(Message::text(answer));
        if let Err(Refusal { error, close }) = outcome {
            self.close = close.map(|code| (code, error));
        }
    }

    /// Whether the command that was answered last closes the connection.
    pub(crate) fn has_close(&self) -> bool {
        self.close.is_some()
    }

    /// Sends the answers in one call, and then the Close if there is one.
    ///
    /// # Blocking
    /// Like [`Connection::send_all`].
    pub(crate) fn send(&mut self, conn: &Connection) -> Result<(), SendAllError> {
        if !self.messages.is_empty() {
            conn.send_all(std::mem::take(&mut self.messages))?;
        }
        if let Some((code, reason)) = self.close.take() {
            conn.close(code, &reason);
        }
        Ok(())
    }
}
