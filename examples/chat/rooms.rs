//! [`Rooms`]: topics that remember, and words that are said once however often they are sent.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use standpipe::{
    Envelope, Hub, HubConfig, Message, Policy, Publication, Topic, TopicMessage, TopicSettings,
};

/// Rooms at once.
const ROOMS: usize = 50;
/// Messages a room remembers.
const HISTORY: usize = 500;
/// How long it remembers them; after that a room without anybody is gone, and makes room for another.
const MEMORY: Duration = Duration::from_secs(3600);
/// Words a room knows again when they are sent anew: more than anybody has unanswered.
const KNOWN: usize = 1000;
/// Characters of a room's name, of a word, and of the client's own name for it.
const LENGTHS: [usize; 3] = [32, 1000, 64];

pub(crate) struct Rooms {
    hub: Hub,
    known: Mutex<HashMap<String, Arc<Mutex<Known>>>>,
}

/// The last words of a room, by their senders' keys and names for them.
#[derive(Default)]
struct Known {
    ids: HashMap<(String, String), u64>,
    order: VecDeque<(String, String)>,
}

/// What somebody says.
pub(crate) struct Word<'a> {
    pub(crate) from: &'a str,
    /// Whose refs they are. Not the name, which others may have too.
    pub(crate) key: &'a str,
    pub(crate) say: &'a str,
    pub(crate) reference: &'a str,
}

impl Default for Rooms {
    fn default() -> Self {
        let mut config = HubConfig::default();
        config.max_topics = ROOMS;
        config.default = TopicSettings::default()
            .policy(Policy::Disconnect { soft: None })
            .history(HISTORY)
            .max_age(MEMORY);
        config.envelope = Some(Arc::new(InRoom));
        Rooms {
            hub: Hub::new(config),
            known: Mutex::default(),
        }
    }
}

impl Rooms {
    pub(crate) fn topic(&self, name: &str) -> Result<Topic, String> {
        if !fits(name, LENGTHS[0]) {
            return Err(format!("a room's name has 1 to {} characters", LENGTHS[0]));
        }
        self.hub.topic(name).map_err(|full| full.to_string())
    }

    /// Says it, once: sent again after a lost connection it gets the id that it has.
    ///
    /// The room's lock is held while it is published, or the same word from two connections would be new to both. Under
    /// `disconnect` a publish does not wait for the slow.
    pub(crate) fn say(&self, room: &Topic, word: Word<'_>) -> Result<u64, String> {
        if !fits(word.say, LENGTHS[1]) || !fits(word.reference, LENGTHS[2]) {
            let [_, say, reference] = LENGTHS;
            return Err(format!(
                "a word has 1 to {say} characters, no control characters, and a ref of 1 to {reference}"
            ));
        }
        let known = {
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            // Rooms that are gone take their words with them.
            all.retain(|name, _| name == room.name() || self.hub.get(name).is_some());
            Arc::clone(all.entry(room.name().to_owned()).or_default())
        };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (word.key.to_owned(), word.reference.to_owned());
        if let Some(id) = known.ids.get(&key) {
            return Ok(*id);
        }
        let text = json!({ "from": word.from, "say": word.say, "ref": word.reference });
        let publication = Publication::from(Message::text(text.to_string()));
        let published = room
            .publish(publication)
            .map_err(|error| error.to_string())?;
        known.order.push_back(key.clone());
        known.ids.insert(key, published.id);
        if known.order.len() > KNOWN {
            if let Some(oldest) = known.order.pop_front() {
                known.ids.remove(&oldest);
            }
        }
        Ok(published.id)
    }

    /// The rooms with how many are in each.
    pub(crate) fn list(&self) -> Vec<Value> {
        let mut topics = self.hub.topics();
        topics.sort_by(|a, b| a.name().cmp(b.name()));
        let one = |topic: &Topic| json!({ "name": topic.name(), "members": topic.members() });
        topics.iter().map(one).collect()
    }

    pub(crate) fn sweep(&self) {
        self.hub.sweep();
    }
}

fn fits(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count())
        && !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t')
}

/// What members are told of a room, as JSON. A post is an object already, and gets its room and its id.
struct InRoom;

impl Envelope for InRoom {
    fn message(&self, room: &str, post: &TopicMessage) -> Message {
        let text = post.message().into_text().unwrap_or_default();
        let fields = text.strip_prefix('{').unwrap_or("}");
        let (room, id) = (Value::from(room), post.id());
        Message::text(format!(r#"{{"room":{room},"id":{id},{fields}"#))
    }

    fn gap(&self, room: &str, first: u64, last: u64) -> Message {
        Message::text(json!({ "room": room, "gap": [first, last] }).to_string())
    }

    fn presence(&self, room: &str, name: &str, joined: bool) -> Message {
        let what = if joined { "came" } else { "went" };
        Message::text(json!({ "room": room, what: name }).to_string())
    }
}
