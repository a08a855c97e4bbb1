//! [`Presence`]: the names of who is in a topic. Who comes back at once has never left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::clock;
use crate::sync::lock;

/// How long a name stays after its last connection: a page that reloads does not flicker.
const GRACE: Duration = Duration::from_secs(2);

/// Names a topic shows; who comes after is a member like others, and not shown.
const NAMES: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Presence {
    names: Mutex<BTreeMap<Arc<str>, Present>>,
    /// Held from deciding to telling, which never waits: or who comes as another goes is told in the wrong order.
    telling: Mutex<()>,
}

#[derive(Debug, Default)]
struct Present {
    connections: usize,
    /// Without a connection, it is forgotten at this moment.
    until: u64,
}

impl Presence {
    /// To be held while a change is decided and told.
    pub(super) fn telling(&self) -> MutexGuard<'_, ()> {
        lock(&self.telling)
    }

    /// Says whether the name is new. `None`: there are so many names that this one is not shown.
    pub(super) fn enter(&self, name: &Arc<str>) -> Option<bool> {
        let mut names = lock(&self.names);
        if !names.contains_key(name) && names.len() >= NAMES {
            return None;
        }
        let mut new = false;
        let present = names.entry(Arc::clone(name)).or_insert_with(|| {
            new = true;
            Present::default()
        });
        present.connections += 1;
        Some(new)
    }

    /// Says whether that was its last connection, so that the name will go in a while.
    pub(super) fn leave(&self, name: &str) -> bool {
        let mut names = lock(&self.names);
        let Some(present) = names.get_mut(name) else {
            return false;
        };
        present.connections = present.connections.saturating_sub(1);
        present.until = clock::after(GRACE);
        present.connections == 0
    }

    /// Forgets the names whose time is over, and gives them.
    pub(super) fn expire(&self) -> Vec<Arc<str>> {
        let now = clock::now();
        let mut gone = Vec::new();
        lock(&self.names).retain(|name, present| {
            let stays = present.connections > 0 || now < present.until;
            if !stays {
                gone.push(Arc::clone(name));
            }
            stays
        });
        gone
    }

    pub(super) fn names(&self) -> Vec<String> {
        lock(&self.names)
            .keys()
            .map(|name| name.to_string())
            .collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.names).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_found_no_room_takes_nobodys_place_when_it_leaves() {
        let presence = Presence::default();
        for n in 0..NAMES {
            assert_eq!(presence.enter(&n.to_string().into()), Some(true));
        }
        assert_eq!(presence.enter(&"one too many".into()), None);
        assert_eq!(
            presence.enter(&"7".into()),
            Some(false),
            "who is there may come twice"
        );
        assert_eq!(presence.names().len(), NAMES);
    }

    #[test]
    fn who_comes_back_at_once_has_never_left() {
        let presence = Presence::default();
        let ann: Arc<str> = "ann".into();
        assert_eq!(presence.enter(&ann), Some(true));
        assert_eq!(
            presence.enter(&ann),
            Some(false),
            "a second tab is no second ann"
        );
        assert!(!presence.leave(&ann));
        assert!(presence.leave(&ann));
        assert!(
            presence.expire().is_empty(),
            "she has a moment to come back"
        );
        assert_eq!(presence.enter(&ann), Some(false));
        assert_eq!(presence.names(), ["ann"]);
    }
}
