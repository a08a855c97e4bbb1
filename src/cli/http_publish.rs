//! `POST /publish/TOPIC`.

use serde::Serialize;
use serde::de::IgnoredAny;
use standpipe::{Hub, Message, Publication, PublishError, Reply, Request};

use super::envelope::to_json;
use super::permits::Permits;
use super::replies::{bad_request, busy, unknown};
use super::{nesting, params};

/// How many requests may publish at the same time: half of the requests that the server handles at a time. Under `block`
/// they may wait for slow members. Without this limit they could use all handshake slots, and no client could connect.
const MAX_PUBLISHING: usize = 128;

/// Publishes the bodies of requests.
pub(crate) struct HttpPublisher {
    hub: Hub,
    max_body: usize,
    permits: Permits,
    /// Whether the hub shares its topics with others.
    is_shared: bool,
}

#[derive(Serialize)]
struct Answer {
    id: u64,
    receivers: usize,
    dropped: usize,
    /// The number of hubs that received the message, if the hub shares its topics with others.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<usize>,
}

impl HttpPublisher {
    pub(crate) fn new(hub: Hub, max_body: usize, is_shared: bool) -> HttpPublisher {
        HttpPublisher {
            hub,
            max_body,
            permits: Permits::new(MAX_PUBLISHING),
            is_shared,
        }
    }

    /// Publishes the body of an authorized request.
    ///
    /// # Blocking
    /// Like [`Topic::publish`](standpipe::Topic::publish), and until the body has been received.
    pub(crate) fn publish(&self, request: &mut Request, topic: &str) -> Result<Reply, Reply> {
        params::check_topic(topic)?;
        let key = params::key(request)?;
        let body = request.read_body(self.max_body)?;
        let mut publication = publication(request.header("content-type"), body)?;
        if let Some(key) = key {
            publication = publication.key(&key);
        }
        let _permit = self
            .permits
            .try_acquire()
            .ok_or_else(|| busy("too many publishers are waiting"))?;
        let outcome = self
            .hub
            .topic(topic)
            .map_err(|error| busy(error.to_string()))?
            .publish(publication)
            .map_err(|error| match error {
                PublishError::Unknown(_) => unknown(error.to_string()),
                _ => busy(error.to_string()),
            })?;
        let status = if outcome.timed_out { 503 } else { 202 };
        let answer = Answer {
            id: outcome.id,
            receivers: outcome.receivers,
            dropped: outcome.dropped,
            nodes: self.is_shared.then_some(outcome.nodes),
        };
        Ok(Reply::json(status, to_json(&answer)))
    }
}

/// Returns the message of a body: text for `text/*` and JSON, bytes for every other type.
fn publication(content_type: Option<&str>, body: Vec<u8>) -> Result<Publication, Reply> {
    let media_type = content_type
        .and_then(|content_type| content_type.split(';').next())
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let is_json = media_type == "application/json";
    if !is_json && !media_type.starts_with("text/") {
        return Ok(Message::binary(body).into());
    }
    let text = String::from_utf8(body).map_err(|_| bad_request("text must be valid UTF-8"))?;
    if !is_json {
        return Ok(Message::text(text).into());
    }
    serde_json::from_str::<IgnoredAny>(&text)
        .map_err(|error| bad_request(format!("not JSON: {error}")))?;
    nesting::check(&text).map_err(bad_request)?;
    Ok(Publication::from(Message::text(text)).json())
}
