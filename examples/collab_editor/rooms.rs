//! [`Rooms`]: the open rooms by name. Rooms are opened on demand, saved periodically, and closed when unused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use standpipe::{Hub, HubConfig};

use crate::room::{RevisionEnvelope, Room, settings};
use crate::storage::Storage;

/// Maximum number of open rooms.
const MAX_ROOMS: usize = 50;
/// How long a document that cannot be saved is kept in memory when nobody has it open.
pub(crate) const MEMORY: Duration = Duration::from_secs(3600);

pub(crate) struct Rooms {
    hub: Hub,
    storage: Option<Storage>,
    open: Mutex<HashMap<String, Arc<Room>>>,
}

pub(crate) fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(is_allowed)
}

impl Rooms {
    pub(crate) fn new(storage: Option<Storage>) -> Rooms {
        let mut config = HubConfig::default();
        for (pattern, settings) in settings() {
            config = config.topic(pattern, settings);
        }
        // Two topics for each room, and the same number for closed rooms whose topics still have a history.
        config.max_topics = 4 * MAX_ROOMS;
        config.envelope = Some(Arc::new(RevisionEnvelope));
        Rooms {
            hub: Hub::new(config),
            storage,
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Room>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the room with this name. If it is not open, its document is read from storage, or created.
    ///
    /// The file is read under the lock of the list. This is quick, because files are small.
    pub(crate) fn open_room(&self, name: &str) -> Result<Arc<Room>, String> {
        let mut open = self.open();
        if let Some(room) = open.get(name) {
            return Ok(Arc::clone(room));
        }
        if open.len() >= MAX_ROOMS {
            remove_unused(&mut open);
        }
        if open.len() >= MAX_ROOMS {
            return Err(format!("too many texts are open: {MAX_ROOMS}"));
        }
        let saved = match &self.storage {
            Some(storage) => storage.load(name)?,
            None => None,
        };
        let topic = |kind| self.hub.topic(&format!("{name}/{kind}"));
        let topics = topic("edits").and_then(|edits| Ok((edits, topic("cursors")?)));
        let (edits, cursors) = topics.map_err(|error| error.to_string())?;
        let room = Arc::new(Room::new(edits, cursors, saved));
        open.insert(name.to_owned(), Arc::clone(&room));
        Ok(room)
    }

    /// Saves all changed documents. A document that cannot be saved is tried again with the next call.
    pub(crate) fn save(&self) {
        let Some(storage) = &self.storage else {
            return;
        };
        let rooms: Vec<_> = self
            .open()
            .iter()
            .map(|(name, room)| (name.clone(), Arc::clone(room)))
            .collect();
        for (name, room) in rooms {
            let Some((revision, saved)) = room.unsaved() else {
                continue;
            };
            match storage.save(&name, &saved) {
                Ok(()) => room.mark_saved(revision),
                Err(error) => println!("cannot save {name}: {error}"),
            }
        }
    }

    pub(crate) fn close_unused(&self) {
        remove_unused(&mut self.open());
    }
}

/// Removes unused rooms from the list.
///
/// A room is only removed if the list has the last reference. The list is locked, so no thread can get another one.
fn remove_unused(open: &mut HashMap<String, Arc<Room>>) {
    open.retain(|_, room| Arc::strong_count(room) > 1 || !room.is_unused());
}
