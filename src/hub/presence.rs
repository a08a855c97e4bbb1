//! [`Presence`]: the names that are present in a topic.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::clock;
use crate::sync::lock;

/// How long a name stays after its last subscription has ended. Otherwise a page that reloads would leave and join.
const GRACE: Duration = Duration::from_secs(2);

/// The most names that a topic lists. A client beyond that is a member like any other, but is not listed.
const MAX_NAMES: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Presence {
    names: Mutex<BTreeMap<Arc<str>, Present>>,
    /// Held while a change is made and announced. Otherwise a name that joins while another thread removes it could be
    /// announced in the wrong order. Sending a notice never waits.
    notices: Mutex<()>,
}

#[derive(Debug, Default)]
struct Present {
    subscriptions: usize,
    /// Without a subscription, the name is removed at this moment.
    until: u64,
}

impl Presence {
    /// Keeps the notices of other threads back while the caller makes and announces a change.
    pub(super) fn lock_notices(&self) -> MutexGuard<'_, ()> {
        lock(&self.notices)
    }

    /// Adds a subscription of `name`. Returns whether the name is new, or `None` if the list is full and the name is not
    /// listed.
    pub(super) fn enter(&self, name: &Arc<str>) -> Option<bool> {
        let mut names = lock(&self.names);
        if !names.contains_key(name) && names.len() >= MAX_NAMES {
            return None;
        }
        let mut is_new = false;
        let present = names.entry(Arc::clone(name)).or_insert_with(|| {
            is_new = true;
            Present::default()
        });
        present.subscriptions += 1;
        Some(is_new)
    }

    /// Removes a subscription of `name`. Returns whether it was the last one, so that the name expires.
    pub(super) fn leave(&self, name: &str) -> bool {
        let mut names = lock(&self.names);
        let Some(present) = names.get_mut(name) else {
            return false;
        };
        present.subscriptions = present.subscriptions.saturating_sub(1);
        present.until = clock::after(GRACE);
        present.subscriptions == 0
    }

    /// Removes the names that have expired, and returns them.
    pub(super) fn remove_expired(&self) -> Vec<Arc<str>> {
        let now = clock::now();
        let mut expired = Vec::new();
        lock(&self.names).retain(|name, present| {
            let stays = present.subscriptions > 0 || now < present.until;
            if !stays {
                expired.push(Arc::clone(name));
            }
            stays
        });
        expired
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
    fn full_list_accepts_only_known_names() {
        let presence = Presence::default();
        for n in 0..MAX_NAMES {
            assert_eq!(presence.enter(&n.to_string().into()), Some(true));
        }
        assert_eq!(presence.enter(&"one too many".into()), None);
        assert_eq!(presence.enter(&"7".into()), Some(false));
        assert_eq!(presence.names().len(), MAX_NAMES);
    }

    #[test]
    fn name_that_returns_within_the_grace_has_not_left() {
        let presence = Presence::default();
        let ann: Arc<str> = "ann".into();
        assert_eq!(presence.enter(&ann), Some(true));
        assert_eq!(presence.enter(&ann), Some(false), "a second tab");
        assert!(!presence.leave(&ann));
        assert!(presence.leave(&ann));
        assert!(presence.remove_expired().is_empty(), "within the grace");
        assert_eq!(presence.enter(&ann), Some(false));
        assert_eq!(presence.names(), ["ann"]);
    }
}
