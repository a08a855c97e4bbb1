//! [`Rooms`]: the documents that are open, by name, and what becomes of those that nobody has open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use standpipe::{Hub, HubConfig};

use crate::room::{Revised, Room, settings};
use crate::storage::Shelf;

/// Documents that are open at once.
const ROOMS: usize = 50;
/// How long a document without a shelf is kept when nobody has it open.
pub(crate) const MEMORY: Duration = Duration::from_secs(3600);

pub(crate) struct Rooms {
    hub: Hub,
    shelf: Option<Shelf>,
    open: Mutex<HashMap<String, Arc<Room>>>,
}

pub(crate) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(fits)
}

impl Rooms {
    pub(crate) fn new(shelf: Option<Shelf>) -> Rooms {
        let mut config = HubConfig::default();
        for (pattern, settings) in settings() {
            config = config.topic(pattern, settings);
        }
        // Two for each, and as many again that are still forgetting their history.
        config.max_topics = 4 * ROOMS;
        config.envelope = Some(Arc::new(Revised));
        Rooms {
            hub: Hub::new(config),
            shelf,
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Room>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The document of this name, from the shelf or new. One is read at a time: its file is small.
    pub(crate) fn enter(&self, name: &str) -> Result<Arc<Room>, String> {
        let mut open = self.open();
        if let Some(room) = open.get(name) {
            return Ok(Arc::clone(room));
        }
        if open.len() >= ROOMS {
            forget(&mut open);
        }
        if open.len() >= ROOMS {
            return Err(format!("{ROOMS} texts are open, and no more may be"));
        }
        let saved = match &self.shelf {
            Some(shelf) => shelf.take(name)?,
            None => None,
        };
        let topic = |lane| self.hub.topic(&format!("{name}/{lane}"));
        let topics = topic("edits").and_then(|edits| Ok((edits, topic("cursors")?)));
        let (edits, cursors) = topics.map_err(|full| full.to_string())?;
        let room = Arc::new(Room::new(edits, cursors, saved));
        open.insert(name.to_owned(), Arc::clone(&room));
        Ok(room)
    }

    /// Puts on the shelf what has changed. What could not be saved is tried again with the next call.
    pub(crate) fn save(&self) {
        let Some(shelf) = &self.shelf else {
            return;
        };
        let all: Vec<_> = self
            .open()
            .iter()
            .map(|(name, room)| (name.clone(), Arc::clone(room)))
            .collect();
        for (name, room) in all {
            let Some((revision, saved)) = room.unsaved() else {
                continue;
            };
            match shelf.put(&name, &saved) {
                Ok(()) => room.is_saved(revision),
                Err(error) => println!("{name} could not be saved: {error}"),
            }
        }
    }

    pub(crate) fn tidy(&self) {
        forget(&mut self.open());
        self.hub.sweep();
    }
}

/// Nobody has it but us, and nobody can get it while the list is locked.
fn forget(open: &mut HashMap<String, Arc<Room>>) {
    open.retain(|_, room| Arc::strong_count(room) > 1 || !room.may_go());
}
