//! The data of topics that HTTP requests read, and the removal of a history.

use serde::Serialize;
use standpipe::{Hub, Reply, Request, SubscribeError, Topic};

use crate::cli::envelope::{element, to_json};
use crate::cli::params;
use crate::cli::replies::{busy, no_topic};

/// The bytes of one answer with a history. All histories together have a limit, but each answer is a copy, and 256 clients
/// that do not read would hold as many copies. An answer has at least one message, so that a client always gets further.
const MAX_HISTORY_ANSWER: usize = 1 << 20;

/// The topics of the hub, for requests that the caller has authorized.
pub(crate) struct TopicData {
    hub: Hub,
    /// Whether the hub shares its topics with others.
    is_shared: bool,
}

impl TopicData {
    pub(crate) fn new(hub: Hub, is_shared: bool) -> TopicData {
        TopicData { hub, is_shared }
    }

    /// Returns all topics of this hub.
    pub(crate) fn topics(&self) -> Reply {
        let topics = self.hub.topics();
        let rows: Vec<TopicRow> = topics.iter().map(TopicRow::new).collect();
        Reply::json(200, to_json(&rows))
    }

    /// Returns one topic of this hub.
    pub(crate) fn topic(&self, name: &str) -> Result<Reply, Reply> {
        let topic = self.hub.get(name).ok_or_else(no_topic)?;
        Ok(Reply::json(200, to_json(&TopicRow::new(&topic))))
    }

    /// Returns a page of a history: the messages after `?since=`, up to `?limit=` of them.
    pub(crate) fn history(&self, request: &Request, topic: &str) -> Result<Reply, Reply> {
        let since = params::since(request)?.unwrap_or(0);
        let limit = params::limit(request)?.unwrap_or(usize::MAX);
        let epoch = request.query("epoch");
        let messages = self.read(topic, |topic| {
            let is_ours = epoch.is_none_or(|epoch| epoch == topic.epoch());
            topic.history(if is_ours { since } else { 0 })
        })?;
        let mut body = String::from("[");
        for message in messages.iter().take(limit) {
            let element = element(message);
            let is_first = body.len() == 1;
            if !is_first && body.len() + element.len() > MAX_HISTORY_ANSWER {
                break;
            }
            body.push_str(if is_first { "" } else { "," });
            body.push_str(&element);
        }
        body.push(']');
        Ok(Reply::json(200, body))
    }

    /// Removes the messages that the topic keeps, on all hubs that share it.
    pub(crate) fn clear_history(&self, name: &str) -> Result<Reply, Reply> {
        let topic = if self.is_shared {
            let topic = self.hub.topic(name);
            Some(topic.map_err(|error| busy(error.to_string()))?)
        } else {
            self.hub.get(name)
        };
        if let Some(topic) = topic {
            topic
                .clear_history()
                .map_err(|error| busy(error.to_string()))?;
        }
        Ok(Reply::status(204))
    }

    /// Returns the names that are present in a topic.
    pub(crate) fn presence(&self, topic: &str) -> Result<Reply, Reply> {
        let names = self.read(topic, Topic::presence)?;
        Ok(Reply::json(200, to_json(&names)))
    }

    /// Returns what `read` finds in a topic, or nothing if the topic does not exist. With links, every topic may exist on
    /// another hub, so it is opened.
    fn read<T>(&self, name: &str, read: impl FnOnce(&Topic) -> Vec<T>) -> Result<Vec<T>, Reply> {
        if !self.is_shared {
            return Ok(self.hub.get(name).as_ref().map_or_else(Vec::new, read));
        }
        let topic = self.hub.topic(name);
        let topic = topic.map_err(|error| busy(error.to_string()))?;
        let found = read(&topic);
        // A topic has no id until the links have given it one.
        match topic.last_id() {
            0 => Err(busy(SubscribeError::Unavailable.to_string())),
            _ => Ok(found),
        }
    }
}

/// The answer of `GET /topics/TOPIC`, and one element of `GET /topics`.
#[derive(Serialize)]
struct TopicRow {
    topic: String,
    members: usize,
    id: u64,
    epoch: String,
    policy: String,
    queue: usize,
    history: usize,
    accepted: u64,
    delivered: u64,
    dropped: u64,
    discarded: u64,
}

impl TopicRow {
    fn new(topic: &Topic) -> TopicRow {
        let (counts, settings) = (topic.counts(), topic.settings());
        TopicRow {
            topic: topic.name().to_owned(),
            members: topic.members(),
            id: topic.last_id(),
            epoch: topic.epoch().to_owned(),
            policy: settings.policy.to_string(),
            queue: settings.queue,
            history: counts.history,
            accepted: counts.accepted,
            delivered: counts.delivered,
            dropped: counts.dropped,
            discarded: counts.discarded,
        }
    }
}
