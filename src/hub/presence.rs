//! [`Presence`]: the names that are present in a topic.
//!
//! A hub that shares its topics with others also lists the names on the other hubs. Members are told of a name when the
//! number of hubs on which it is present changes from 0 to 1, or from 1 to 0.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::clock;
use crate::sync::lock;

/// How long a name stays after its last subscription has ended. Otherwise a page that reloads would leave and join.
const GRACE: Duration = Duration::from_secs(2);

/// The most names that a topic lists, over all hubs. A client beyond that is a member like any other, but is not listed.
const MAX_NAMES: usize = 10_000;

/// The most places of names on other hubs that a topic records. A name has one place for each hub on which it is present.
const MAX_PLACES: usize = 10 * MAX_NAMES;

/// The most places of one name. They are searched one by one.
const MAX_PLACES_OF_NAME: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Presence {
    names: Mutex<Names>,
    /// Held while a change is made and announced. Otherwise a name that joins while another thread removes it could be
    /// announced in the wrong order. Sending a notice never waits.
    notices: Mutex<()>,
}

/// The names that are present on this hub, or on another hub with which it shares its topics.
#[derive(Debug, Default)]
struct Names {
    listed: BTreeMap<Arc<str>, Present>,
    /// The number of names that are present on this hub.
    here: usize,
    /// The number of places on other hubs, over all names.
    places: usize,
}

#[derive(Debug, Default)]
struct Present {
    /// The subscriptions on this hub.
    subscriptions: usize,
    /// Without a subscription, the name is no longer present on this hub at this moment. 0: it is not.
    until: u64,
    /// The other hubs on which the name is present.
    nodes: Vec<u64>,
}

/// A name that got a subscription on this hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entered {
    /// The name was not present on this hub.
    pub(super) is_new_here: bool,
    /// The name was not present on any hub.
    pub(super) is_new: bool,
}

/// A name that is no longer present on this hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) name: Arc<str>,
    /// The name is not present on another hub either.
    pub(super) is_gone: bool,
}

impl Present {
    fn is_here(&self) -> bool {
        self.subscriptions > 0 || self.until > 0
    }
}

impl Names {
    /// Records that `name` is present on another hub. Returns whether it is new in the list. A list that is full is not
    /// changed.
    fn add_place(&mut self, node: u64, name: &str) -> bool {
        if self.places >= MAX_PLACES {
            return false;
        }
        if let Some(present) = self.listed.get_mut(name) {
            let is_full = present.nodes.len() >= MAX_PLACES_OF_NAME;
            if !is_full && !present.nodes.contains(&node) {
                present.nodes.push(node);
                self.places += 1;
            }
            return false;
        }
        if self.listed.len() >= MAX_NAMES {
            return false;
        }
        let present = Present {
            nodes: vec![node],
            ..Present::default()
        };
        self.listed.insert(name.into(), present);
        self.places += 1;
        true
    }

    /// Records that `name` is no longer present on another hub. Returns whether it is no longer in the list.
    fn remove_place(&mut self, node: u64, name: &str) -> bool {
        let Some(present) = self.listed.get_mut(name) else {
            return false;
        };
        let Some(at) = present.nodes.iter().position(|other| *other == node) else {
            return false;
        };
        present.nodes.swap_remove(at);
        self.places -= 1;
        let is_gone = present.nodes.is_empty() && !present.is_here();
        if is_gone {
            self.listed.remove(name);
        }
        is_gone
    }
}

impl Presence {
    /// Keeps the notices of other threads back while the caller makes and announces a change.
    pub(super) fn lock_notices(&self) -> MutexGuard<'_, ()> {
        lock(&self.notices)
    }

    /// Adds a subscription of `name`. Returns `None` if the list is full and the name is not listed.
    pub(super) fn enter(&self, name: &Arc<str>) -> Option<Entered> {
        let mut names = lock(&self.names);
        let Names { listed, here, .. } = &mut *names;
        if !listed.contains_key(name) && listed.len() >= MAX_NAMES {
            return None;
        }
        let mut is_new = false;
        let present = listed.entry(Arc::clone(name)).or_insert_with(|| {
            is_new = true;
            Present::default()
        });
        let is_new_here = !present.is_here();
        present.subscriptions += 1;
        *here += usize::from(is_new_here);
        Some(Entered {
            is_new_here,
            is_new,
        })
    }

    /// Removes a subscription of `name`. Returns whether it was the last one, so that the name expires.
    pub(super) fn leave(&self, name: &str) -> bool {
        let mut names = lock(&self.names);
        let Some(present) = names.listed.get_mut(name) else {
            return false;
        };
        present.subscriptions = present.subscriptions.saturating_sub(1);
        present.until = clock::after(GRACE);
        present.subscriptions == 0
    }

    /// Removes the names that have expired on this hub, and returns them.
    pub(super) fn remove_expired(&self) -> Vec<Left> {
        let now = clock::now();
        let mut expired = Vec::new();
        let mut names = lock(&self.names);
        names.listed.retain(|name, present| {
            if !present.is_here() || present.subscriptions > 0 || now < present.until {
                return true;
            }
            present.until = 0;
            let is_gone = present.nodes.is_empty();
            let name = Arc::clone(name);
            expired.push(Left { name, is_gone });
            !is_gone
        });
        names.here -= expired.len();
        expired
    }

    /// Records that `name` is present on another hub, or is not any more. Returns whether this changed the list.
    pub(super) fn set_remote(&self, node: u64, name: &str, is_present: bool) -> bool {
        let mut names = lock(&self.names);
        if is_present {
            names.add_place(node, name)
        } else {
            names.remove_place(node, name)
        }
    }

    /// Replaces what is recorded about all other hubs. Returns the names that are no longer listed, and those that are
    /// listed now.
    pub(super) fn replace_remote(
        &self,
        places: Vec<(u64, String)>,
    ) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        let mut names = lock(&self.names);
        let mut before = BTreeSet::new();
        names.listed.retain(|name, present| {
            present.nodes = Vec::new();
            let stays = present.is_here();
            if !stays {
                before.insert(Arc::clone(name));
            }
            stays
        });
        names.places = 0;
        let mut joined: Vec<Arc<str>> = Vec::new();
        for (node, name) in places {
            if names.add_place(node, &name) && !before.remove(&*name) {
                joined.push(name.into());
            }
        }
        (before.into_iter().collect(), joined)
    }

    /// Returns the names that are present on any hub, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let names = lock(&self.names);
        names.listed.keys().map(|name| name.to_string()).collect()
    }

    /// Returns the names that are present on this hub, sorted.
    #[cfg(test)]
    pub(super) fn local_names(&self) -> Vec<Arc<str>> {
        let names = lock(&self.names);
        let here = names.listed.iter().filter(|(_, present)| present.is_here());
        here.map(|(name, _)| Arc::clone(name)).collect()
    }

    pub(super) fn has_local_names(&self) -> bool {
        lock(&self.names).here > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Option<Entered> = Some(Entered {
        is_new_here: true,
        is_new: true,
    });
    const AGAIN: Option<Entered> = Some(Entered {
        is_new_here: false,
        is_new: false,
    });

    #[test]
    fn full_list_accepts_only_known_names() {
        let presence = Presence::default();
        for n in 0..MAX_NAMES {
            assert_eq!(presence.enter(&n.to_string().into()), FIRST);
        }
        assert_eq!(presence.enter(&"one too many".into()), None);
        assert_eq!(presence.enter(&"7".into()), AGAIN);
        assert_eq!(presence.names().len(), MAX_NAMES);
    }

    #[test]
    fn name_that_returns_within_the_grace_has_not_left() {
        let presence = Presence::default();
        let ann: Arc<str> = "ann".into();
        assert_eq!(presence.enter(&ann), FIRST);
        assert_eq!(presence.enter(&ann), AGAIN, "a second tab");
        assert!(!presence.leave(&ann));
        assert!(presence.leave(&ann));
        assert!(presence.remove_expired().is_empty(), "within the grace");
        assert_eq!(presence.enter(&ann), AGAIN);
        assert_eq!(presence.names(), ["ann"]);
    }
}
