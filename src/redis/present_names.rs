//! [`PresentNames`]: the names that are present on this hub, and which of them the server has not been told of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// The most changes that are recorded one by one. If there are more, all names are written again instead.
const MAX_CHANGES: usize = 4_096;

/// The hub limits the names of each topic, and the topics.
#[derive(Debug, Default)]
pub(super) struct PresentNames {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    topics: BTreeMap<String, BTreeSet<Arc<str>>>,
    /// Names that have joined or left, by topic. Whether a name is present is read when the server is told.
    changed: BTreeMap<String, BTreeSet<Arc<str>>>,
    changes: usize,
    /// All names have to be written, so that changes need not be recorded.
    is_rewritten: bool,
}

/// What has changed in one topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) topic: String,
    pub(super) joined: Vec<Arc<str>>,
    pub(super) left: Vec<Arc<str>>,
    /// No name of this hub is left in the topic.
    pub(super) is_empty: bool,
}

impl PresentNames {
    /// Records that `name` is present on this hub, or not any more.
    pub(super) fn set(&self, topic: &str, name: &str, is_present: bool) {
        let mut state = lock(&self.state);
        let name: Arc<str> = name.into();
        if is_present {
            let names = state.topics.entry(topic.into()).or_default();
            names.insert(Arc::clone(&name));
        } else if let Some(names) = state.topics.get_mut(topic) {
            names.remove(&name);
            if names.is_empty() {
                state.topics.remove(topic);
            }
        }
        if state.is_rewritten {
            return;
        }
        if state.changed.entry(topic.into()).or_default().insert(name) {
            state.changes += 1;
        }
        if state.changes > MAX_CHANGES {
            state.rewrite();
        }
    }

    /// Makes all names be written again, because it is not certain what the server has.
    pub(super) fn rewrite(&self) {
        lock(&self.state).rewrite();
    }

    /// Returns all topics with names if they have to be written again. From now on, changes are recorded.
    pub(super) fn take_rewrite(&self) -> Option<Vec<String>> {
        let mut state = lock(&self.state);
        let is_due = std::mem::take(&mut state.is_rewritten);
        is_due.then(|| state.topics.keys().cloned().collect())
    }

    /// Takes changes, up to about `most` names.
    pub(super) fn take_changes(&self, most: usize) -> Vec<Changes> {
        let mut state = lock(&self.state);
        let (mut taken, mut count) = (Vec::new(), 0);
        while count < most {
            let Some((topic, names)) = state.changed.pop_first() else {
                break;
            };
            count += names.len();
            let here = state.topics.get(&topic);
            let is_here = |name: &Arc<str>| here.is_some_and(|here| here.contains(name));
            let (joined, left) = names.into_iter().partition(is_here);
            taken.push(Changes {
                is_empty: here.is_none(),
                topic,
                joined,
                left,
            });
        }
        state.changes = state.changes.saturating_sub(count);
        taken
    }

    /// Returns whether all names have to be written again.
    pub(super) fn needs_rewrite(&self) -> bool {
        lock(&self.state).is_rewritten
    }

    /// Returns whether there are changes to take. A rewriting is not one: it begins with a renewal of the lease.
    pub(super) fn has_changes(&self) -> bool {
        !lock(&self.state).changed.is_empty()
    }

    /// Returns the names in one topic.
    pub(super) fn names(&self, topic: &str) -> Vec<Arc<str>> {
        let state = lock(&self.state);
        let names = state.topics.get(topic).into_iter().flatten();
        names.cloned().collect()
    }
}

impl State {
    fn rewrite(&mut self) {
        self.is_rewritten = true;
        self.changed.clear();
        self.changes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(topic: &str, joined: &[&str], left: &[&str], is_empty: bool) -> Changes {
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        Changes {
            topic: topic.into(),
            joined: names(joined),
            left: names(left),
            is_empty,
        }
    }

    #[test]
    fn changes_are_what_is_true_when_they_are_taken() {
        let names = PresentNames::default();
        names.set("a", "ann", true);
        names.set("a", "bob", true);
        names.set("b", "ann", true);
        names.set("a", "bob", false);
        names.set("b", "ann", false);
        assert_eq!(
            names.take_changes(100),
            [
                changes("a", &["ann"], &["bob"], false),
                changes("b", &[], &["ann"], true)
            ]
        );
        assert!(!names.has_changes());
        assert_eq!(names.take_changes(100), []);
        assert_eq!(names.names("a"), [Arc::from("ann")]);
        assert!(names.names("b").is_empty());
    }

    #[test]
    fn rewrite_replaces_recorded_changes() {
        let names = PresentNames::default();
        assert_eq!(names.take_rewrite(), None);
        names.set("a", "ann", true);
        names.rewrite();
        names.set("b", "bob", true);
        assert!(
            !names.has_changes(),
            "otherwise the publisher thread would not wait"
        );
        assert_eq!(names.take_changes(100), [], "the rewriting contains them");
        assert_eq!(names.take_rewrite(), Some(vec!["a".into(), "b".into()]));
        names.set("b", "bob", false);
        assert_eq!(names.take_changes(100), [changes("b", &[], &["bob"], true)]);
    }

    #[test]
    fn recorded_changes_are_limited() {
        let names = PresentNames::default();
        for n in 0..=MAX_CHANGES {
            assert_eq!(lock(&names.state).changes, n);
            names.set(&n.to_string(), "ann", true);
            names.set(&n.to_string(), "ann", false);
        }
        assert_eq!(names.take_changes(1), [], "too many");
        assert_eq!(names.take_rewrite(), Some(Vec::new()));
    }

    #[test]
    fn changes_are_taken_in_parts() {
        let names = PresentNames::default();
        for n in 0..10 {
            names.set(&(n / 2).to_string(), &n.to_string(), true);
        }
        let parts: Vec<usize> = (0..4).map(|_| names.take_changes(4).len()).collect();
        assert_eq!(parts, [2, 2, 1, 0]);
    }
}
