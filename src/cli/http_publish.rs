//! `POST /publish/TOPIC` and `POST /publish`.

use serde::Serialize;
use serde::de::IgnoredAny;
use standpipe::{Hub, Message, Publication, PublishError, Reply, Request};

use super::admin::answer_table::Final;
use super::admin::broadcast::Broadcast;
use super::admin::once::{Identity, Once};
use super::envelope::to_json;
use super::links::Links;
use super::permits::{Permit, Permits};
use super::publish_counts::{self, Way};
use super::replies::{bad_request, busy};
use super::{nesting, params};

/// How many requests may publish at the same time: half of the requests that the server handles at a time. Under `block`
/// they may wait for slow members. Without this limit they could use all handshake slots, and no client could connect.
const MAX_PUBLISHING: usize = 128;

/// The most bytes of an answer to a publish to one topic: four numbers with their names.
const MAX_ANSWER: usize = 160;

/// Publishes the bodies of requests.
pub(crate) struct HttpPublisher {
    hub: Hub,
    max_body: usize,
    permits: Permits,
    /// Whether the hub shares its topics with others.
    is_shared: bool,
    once: Once,
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
    pub(crate) fn new(hub: Hub, max_body: usize, links: Option<Links>) -> HttpPublisher {
        HttpPublisher {
            hub,
            max_body,
            permits: Permits::new(MAX_PUBLISHING),
            is_shared: links.is_some(),
            once: Once::new(links),
        }
    }

    /// Publishes the body of an authorized request to the topic in its path.
    ///
    /// # Blocking
    /// Like [`Topic::publish`](standpipe::Topic::publish), and until the body has been received.
    pub(crate) fn publish(&self, request: &mut Request, topic: &str) -> Result<Reply, Reply> {
        params::check_topic(topic)?;
        let key = params::key(request)?;
        let body = request.read_body(self.max_body)?;
        let identity = Identity::of(request, &body)?;
        let mut publication = publication(request.header("content-type"), body)?;
        if let Some(key) = key {
            publication = publication.key(&key);
        }
        self.once.run(&identity, MAX_ANSWER, || {
            let _permit = self.permit()?;
            self.publish_to(topic, publication)
        })
    }

    /// Publishes the message in the body of an authorized request to the topics that the body names.
    ///
    /// # Blocking
    /// As [`publish`](Self::publish), for each topic.
    pub(crate) fn broadcast(&self, request: &mut Request) -> Result<Reply, Reply> {
        let body = request.read_body(self.max_body)?;
        let identity = Identity::of(request, &body)?;
        let broadcast = Broadcast::parse(&body).map_err(bad_request)?;
        drop(body);
        self.once.run(&identity, broadcast.max_answer(), || {
            let _permit = self.permit()?;
            broadcast.publish(&self.hub, self.is_shared)
        })
    }

    fn permit(&self) -> Result<Permit<'_>, Reply> {
        let permit = self.permits.try_acquire();
        permit.ok_or_else(|| busy("too many publishers are waiting"))
    }

    fn publish_to(&self, topic: &str, publication: Publication) -> Result<Final, Reply> {
        let topic = self.hub.topic(topic);
        let topic = topic.map_err(|error| busy(error.to_string()))?;
        let published = topic.publish(publication);
        publish_counts::record(Way::Http, 1, &published);
        let outcome = match published {
            Ok(outcome) => outcome,
            Err(error @ PublishError::Unknown(_)) => {
                return Ok(Final {
                    status: 504,
                    body: format!("{error}\n"),
                });
            }
            Err(error) => return Err(busy(error.to_string())),
        };
        let answer = Answer {
            id: outcome.id,
            receivers: outcome.receivers,
            dropped: outcome.dropped,
            nodes: self.is_shared.then_some(outcome.nodes),
        };
        Ok(Final {
            status: if outcome.timed_out { 503 } else { 202 },
            body: to_json(&answer),
        })
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
