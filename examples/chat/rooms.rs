//! [`Rooms`]: topics with a history, in which a message is published once even if it is sent several times.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use standpipe::{
    Envelope, Gap, Hub, HubConfig, Message, Policy, Publication, Topic, TopicMessage, TopicSettings,
};

/// How many rooms can exist at the same time.
const ROOMS: usize = 50;
/// Messages in the history of a room.
const HISTORY: usize = 500;
/// How long a message stays in the history. A room with no members and no history is removed, so that another can be
/// created.
const MEMORY: Duration = Duration::from_secs(3600);
/// How many messages a room recognizes when they are sent again: more than any client has unacknowledged.
const KNOWN: usize = 1000;
/// Longest room name, message, and `ref`, in characters.
const LENGTHS: [usize; 3] = [32, 1000, 64];

pub(crate) struct Rooms {
    hub: Hub,
    known: Mutex<HashMap<String, Arc<Mutex<Known>>>>,
}

/// The ids of the last messages of a room, by the key of the client and its `ref`.
#[derive(Default)]
struct Known {
    ids: HashMap<(String, String), u64>,
    order: VecDeque<(String, String)>,
}

/// A message that a client says in a room.
pub(crate) struct Line<'a> {
    pub(crate) from: &'a str,
    /// Identifies the client that chose `reference`. A name is not enough, because two people may have the same name.
    pub(crate) key: &'a str,
    pub(crate) say: &'a str,
    pub(crate) reference: &'a str,
}

impl Default for Rooms {
    fn default() -> Self {
        let room = TopicSettings::default()
            .policy(Policy::Disconnect { soft: None })
            .history(HISTORY)
            .max_age(MEMORY);
        let config = HubConfig::default()
            .default_settings(room)
            .max_topics(ROOMS);
        Rooms {
            hub: Hub::new(config.envelope(InRoom)),
            known: Mutex::default(),
        }
    }
}

impl Rooms {
    pub(crate) fn topic(&self, name: &str) -> Result<Topic, String> {
        if !fits(name, LENGTHS[0]) {
            return Err(format!(
                "the name of a room must have 1 to {} characters",
                LENGTHS[0]
            ));
        }
        self.hub.topic(name).map_err(|full| full.to_string())
    }

    /// Publishes the message once, and returns its id. If it is sent again, for example after a lost connection, the id
    /// that it already has is returned.
    ///
    /// The lock of the room is held while publishing. Otherwise the same message could arrive on two connections at the
    /// same time and be published twice. With the policy `disconnect`, publishing does not wait for slow members.
    pub(crate) fn say(&self, room: &Topic, line: Line<'_>) -> Result<u64, String> {
        if !fits(line.say, LENGTHS[1]) || !fits(line.reference, LENGTHS[2]) {
            let [_, say, reference] = LENGTHS;
            return Err(format!(
                "a message must have 1 to {say} characters without control characters, and a ref of up to {reference}"
            ));
        }
        let known = {
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            // Forgets the messages of rooms that no longer exist.
            all.retain(|name, _| name == room.name() || self.hub.get(name).is_some());
            Arc::clone(all.entry(room.name().to_owned()).or_default())
        };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (line.key.to_owned(), line.reference.to_owned());
        if let Some(id) = known.ids.get(&key) {
            return Ok(*id);
        }
        let text = json!({ "from": line.from, "say": line.say, "ref": line.reference });
        let publication = Publication::from(Message::text(text.to_string()));
        let published = room
            .publish(publication)
            .map_err(|error| error.to_string())?;
        known.order.push_back(key.clone());
        known.ids.insert(key, published.id);
        if known.order.len() > KNOWN
            && let Some(oldest) = known.order.pop_front()
        {
            known.ids.remove(&oldest);
        }
        Ok(published.id)
    }

    /// Returns the rooms, with the number of members of each.
    pub(crate) fn list(&self) -> Vec<Value> {
        let mut topics = self.hub.topics();
        topics.sort_by(|a, b| a.name().cmp(b.name()));
        let entry = |topic: &Topic| json!({ "name": topic.name(), "members": topic.members() });
        topics.iter().map(entry).collect()
    }
}

/// Returns whether `text` has 1 to `most` characters, and no control characters except line feed and tab.
fn fits(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count())
        && !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t')
}

/// Builds the JSON that members of a room get. A message is a JSON object already; the room and the id are inserted.
struct InRoom;

impl Envelope for InRoom {
    fn message(&self, room: &str, message: &TopicMessage) -> Message {
        let published = message.message();
        let text = published.to_text().unwrap_or_default();
        let fields = text.strip_prefix('{').unwrap_or("}");
        let (room, id) = (Value::from(room), message.id());
        Message::text(format!(r#"{{"room":{room},"id":{id},{fields}"#))
    }

    fn gap(&self, room: &str, gap: Gap<'_>) -> Message {
        let (gap, epoch) = ([gap.first, gap.last], gap.epoch);
        Message::text(json!({ "room": room, "gap": gap, "epoch": epoch }).to_string())
    }

    fn presence(&self, room: &str, name: &str, joined: bool) -> Message {
        let what = if joined { "came" } else { "went" };
        Message::text(json!({ "room": room, what: name }).to_string())
    }
}
