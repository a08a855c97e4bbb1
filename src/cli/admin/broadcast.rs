//! `POST /publish`: one message to several topics.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use standpipe::{Hub, Publication, PublishError, Reply};

use super::answer_table::Final;
use super::one_line;
use crate::cli::command::Publish;
use crate::cli::envelope::to_json;
use crate::cli::names;
use crate::cli::parser::data_of;
use crate::cli::publish_counts::{self, Way};
use crate::cli::replies::busy;

/// The most topics of one request.
const MAX_TOPICS: usize = 100;

/// How long one request may publish. A topic whose turn comes later is not published to. Otherwise, a request could wait
/// for busy topics one after the other, and hold a permit for hours.
const MAX_TIME: Duration = Duration::from_secs(60);

/// The most bytes of one row of the answer, beside the topic.
const MAX_ROW: usize = 400;

/// A message, and the topics that it is for.
#[derive(Debug)]
pub(crate) struct Broadcast {
    topics: Vec<String>,
    publication: Publication,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    topics: Vec<String>,
    #[serde(borrow)]
    data: &'a RawValue,
    key: Option<String>,
    base64: Option<bool>,
}

/// The outcome for one topic.
#[derive(Serialize)]
#[serde(untagged)]
enum Row<'a> {
    Published {
        topic: &'a str,
        id: u64,
        receivers: usize,
        dropped: usize,
        /// As in the answer to a publish to one topic.
        #[serde(skip_serializing_if = "Option::is_none")]
        nodes: Option<usize>,
    },
    Failed {
        topic: &'a str,
        error: String,
    },
}

impl Broadcast {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// The text for the client. Nothing is published if one topic is not valid.
    pub(crate) fn parse(body: &[u8]) -> Result<Broadcast, String> {
        let text = std::str::from_utf8(body).map_err(|_| "the body must be valid UTF-8")?;
        let body: Body<'_> = serde_json::from_str(text)
            .map_err(|error| format!("the body: {}", one_line(&error)))?;
        if body.topics.is_empty() || body.topics.len() > MAX_TOPICS {
            return Err(format!("topics has 1 to {MAX_TOPICS} names"));
        }
        for topic in &body.topics {
            names::check("a topic", topic)?;
        }
        let different: HashSet<&String> = body.topics.iter().collect();
        if different.len() < body.topics.len() {
            return Err("topics has a name twice".into());
        }
        if let Some(key) = &body.key {
            names::check("a key", key)?;
        }
        let publish = Publish {
            data: data_of(body.data, body.base64 == Some(true))?,
            key: body.key,
        };
        Ok(Broadcast {
            topics: body.topics,
            publication: publish.into(),
        })
    }

    /// Returns the most bytes that the answer can have.
    pub(crate) fn max_answer(&self) -> usize {
        // In JSON a quotation mark has two bytes. Topics have no control characters.
        let rows = self.topics.iter().map(|topic| 2 * topic.len() + MAX_ROW);
        rows.sum()
    }

    /// Publishes to each topic, in the order of the request.
    ///
    /// # Blocking
    /// Like [`Topic::publish`](standpipe::Topic::publish), for each topic whose turn comes within a minute.
    ///
    /// # Errors
    /// The answer, if no topic has the message.
    pub(crate) fn publish(&self, hub: &Hub, is_shared: bool) -> Result<Final, Reply> {
        let started = Instant::now();
        let (mut status, mut rows, mut reached) = (202, Vec::new(), false);
        for topic in &self.topics {
            let outcome = if started.elapsed() > MAX_TIME {
                Err((503, "not published: the other topics took too long".into()))
            } else {
                publish_to(hub, topic, self.publication.clone())
            };
            rows.push(match outcome {
                Ok(outcome) => {
                    reached = true;
                    if outcome.timed_out {
                        status = status.max(503);
                    }
                    Row::Published {
                        topic,
                        id: outcome.id,
                        receivers: outcome.receivers,
                        dropped: outcome.dropped,
                        nodes: is_shared.then_some(outcome.nodes),
                    }
                }
                Err((code, error)) => {
                    reached |= code == 504;
                    status = status.max(code);
                    Row::Failed { topic, error }
                }
            });
        }
        match &rows[..] {
            [Row::Failed { error, .. }, ..] if !reached => Err(busy(error.clone())),
            _ => Ok(Final {
                status,
                body: to_json(&rows),
            }),
        }
    }
}

/// Publishes to one topic. The error is a status and a text.
fn publish_to(
    hub: &Hub,
    topic: &str,
    publication: Publication,
) -> Result<standpipe::PublishOutcome, (u16, String)> {
    let topic = hub.topic(topic).map_err(|error| (503, error.to_string()))?;
    let published = topic.publish(publication);
    publish_counts::record(Way::Http, 1, &published);
    published.map_err(|error| {
        let status = match error {
            PublishError::Unknown(_) => 504,
            _ => 503,
        };
        (status, error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use standpipe::Message;

    use super::*;

    #[test]
    fn broadcast_is_read_as_documented() {
        let long = "t".repeat(200);
        for (body, topics, message) in [
            (
                r#"{"topics":["a"],"data":"x"}"#,
                vec!["a"],
                Message::text("x"),
            ),
            (
                r#"{"data":{"b":1.50},"topics":["a","b/c"],"key":"k"}"#,
                vec!["a", "b/c"],
                Message::text(r#"{"b":1.50}"#),
            ),
            (
                r#"{"topics":["a"],"data":null}"#,
                vec!["a"],
                Message::text("null"),
            ),
            (
                r#"{"topics":["a"],"data":"eA==","base64":true}"#,
                vec!["a"],
                Message::binary("x"),
            ),
            (
                r#"{"topics":["a"],"data":"eA==","base64":null,"key":null}"#,
                vec!["a"],
                Message::text("eA=="),
            ),
            (
                &format!(r#"{{"topics":["{long}"],"data":""}}"#),
                vec![&*long],
                Message::text(""),
            ),
        ] {
            let broadcast = Broadcast::parse(body.as_bytes()).expect(body);
            assert_eq!(broadcast.topics, topics, "{body}");
            assert_eq!(broadcast.publication.into_message(), message, "{body}");
        }
        let hundred = |count: usize| {
            let topics: Vec<String> = (0..count).map(|n| n.to_string()).collect();
            format!(r#"{{"topics":{},"data":1}}"#, to_json(&topics))
        };
        assert!(Broadcast::parse(hundred(MAX_TOPICS).as_bytes()).is_ok());
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        for body in [
            "",
            "[]",
            r#"{"topics":["a"]}"#,
            r#"{"data":1}"#,
            r#"{"topics":[],"data":1}"#,
            r#"{"topics":"a","data":1}"#,
            r#"{"topics":["a","a"],"data":1}"#,
            r#"{"topics":["a",""],"data":1}"#,
            r#"{"topics":["a\n"],"data":1}"#,
            r#"{"topics":["\ud800"],"data":1}"#,
            r#"{"topics":["a"],"data":1,"key":""}"#,
            r#"{"topics":["a"],"data":1,"base64":true}"#,
            r#"{"topics":["a"],"data":"!","base64":true}"#,
            r#"{"topics":["a"],"data":1,"topic":"b"}"#,
            r#"{"topics":["a"],"data":1,"data":2}"#,
            r#"{"topics":["a"],"data":1} 2"#,
            &format!(r#"{{"topics":["{long}t"],"data":1}}"#),
            &format!(r#"{{"topics":["a"],"data":{deep}}}"#),
            &hundred(MAX_TOPICS + 1),
        ] {
            let error = Broadcast::parse(body.as_bytes()).expect_err(body);
            assert!(!error.contains(char::is_control), "{error:?}");
        }
        let control = b"{\"a\\nb\":1}";
        let error = Broadcast::parse(control).expect_err("the field is unknown");
        assert!(!error.contains('\n'), "a refusal is one line: {error:?}");
        assert!(Broadcast::parse(b"{\"topics\":[\"\xff\"],\"data\":1}").is_err());
    }
}
