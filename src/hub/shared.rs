//! [`HubShared`]: the topics of a hub by name, and what keeps a topic alive.
//!
//! A topic lives while a caller holds it or a client is subscribed to it, and while it has something to keep: a history,
//! or a name in its presence list. The hub holds a topic of the second kind itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::config::HubConfig;
use super::outcome::TooManyTopics;
use crate::sync::lock;

/// A topic, as the hub sees it. This file does not import the topic, because the topic imports this file.
pub(super) trait KeptTopic {
    fn name(&self) -> &Arc<str>;
    fn has_something_to_keep(&self) -> bool;
    /// Whether the hub holds the topic. Only [`HubShared`] changes it.
    fn is_kept(&self) -> &AtomicBool;
}

/// What all clones of a hub and all its topics share.
#[derive(Debug)]
pub(super) struct HubShared<T> {
    pub(super) config: HubConfig,
    topics: Mutex<HashMap<Arc<str>, Weak<T>>>,
    /// Topics that have something to keep. They stay although no caller may hold them.
    kept: Mutex<HashMap<Arc<str>, Arc<T>>>,
    /// The last clone of the hub has been dropped. Changed while `kept` is locked.
    is_closed: AtomicBool,
    /// The highest last id of all topics that were dropped.
    last_dropped_id: AtomicU64,
}

impl<T: KeptTopic> HubShared<T> {
    pub(super) fn new(config: HubConfig) -> HubShared<T> {
        HubShared {
            config,
            topics: Mutex::default(),
            kept: Mutex::default(),
            is_closed: AtomicBool::new(false),
            last_dropped_id: AtomicU64::new(0),
        }
    }

    /// Returns the topic of this name, which `create` creates if there is none.
    pub(super) fn get_or_create(
        &self,
        name: &str,
        create: impl FnOnce(Arc<str>) -> T,
    ) -> Result<Arc<T>, TooManyTopics> {
        let mut topics = lock(&self.topics);
        if let Some(topic) = topics.get(name).and_then(Weak::upgrade) {
            return Ok(topic);
        }
        if topics.len() >= self.config.max_topics {
            return Err(TooManyTopics(topics.len()));
        }
        let name: Arc<str> = name.into();
        let topic = Arc::new(create(Arc::clone(&name)));
        topics.insert(name, Arc::downgrade(&topic));
        Ok(topic)
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<T>> {
        lock(&self.topics).get(name).and_then(Weak::upgrade)
    }

    /// Returns all topics, sorted by name.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        // The lock is released before any of these can be dropped, because dropping the last reference takes it.
        let mut all: Vec<Arc<T>> = lock(&self.topics)
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.topics).len()
    }

    /// Holds a topic that has something to keep. The caller has stored that in the topic before.
    pub(super) fn keep(&self, topic: &Arc<T>) {
        if topic.is_kept().load(Ordering::SeqCst) {
            return;
        }
        let mut kept = lock(&self.kept);
        if self.is_closed.load(Ordering::SeqCst) {
            return;
        }
        if !topic.is_kept().swap(true, Ordering::SeqCst) {
            kept.insert(Arc::clone(topic.name()), Arc::clone(topic));
        }
    }

    /// Stops holding a topic if it has nothing to keep any more.
    pub(super) fn release_if_empty(&self, topic: &T) {
        if topic.has_something_to_keep() || !topic.is_kept().load(Ordering::SeqCst) {
            return;
        }
        let mut kept = lock(&self.kept);
        // Cleared before the topic is looked at: a thread that still saw the flag set had already stored its data.
        topic.is_kept().store(false, Ordering::SeqCst);
        if topic.has_something_to_keep() {
            topic.is_kept().store(true, Ordering::SeqCst);
            return;
        }
        let released = kept.remove(topic.name());
        // The lock is released first, because dropping the last reference to a topic takes others.
        drop(kept);
        drop(released);
    }

    /// Releases all kept topics, for ever. Otherwise they and this struct would hold each other for ever.
    pub(super) fn close(&self) {
        let released = {
            let mut kept = lock(&self.kept);
            self.is_closed.store(true, Ordering::SeqCst);
            std::mem::take(&mut *kept)
        };
        // The lock is released first, because dropping the last reference to a topic takes others.
        drop(released);
    }

    /// Forgets a topic whose last reference is being dropped.
    pub(super) fn remove(&self, name: &str, last_id: u64) {
        self.last_dropped_id.fetch_max(last_id, Ordering::SeqCst);
        let mut topics = lock(&self.topics);
        // A new topic of this name may have been created meanwhile.
        if topics
            .get(name)
            .is_some_and(|topic| topic.strong_count() == 0)
        {
            topics.remove(name);
        }
    }

    pub(super) fn last_dropped_id(&self) -> u64 {
        self.last_dropped_id.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct FakeTopic {
        name: Arc<str>,
        history: AtomicU64,
        is_kept: AtomicBool,
    }

    impl KeptTopic for FakeTopic {
        fn name(&self) -> &Arc<str> {
            &self.name
        }
        fn has_something_to_keep(&self) -> bool {
            self.history.load(Ordering::SeqCst) > 0
        }
        fn is_kept(&self) -> &AtomicBool {
            &self.is_kept
        }
    }

    fn create(name: Arc<str>) -> FakeTopic {
        FakeTopic {
            name,
            history: AtomicU64::new(1),
            is_kept: AtomicBool::new(false),
        }
    }

    fn shared() -> HubShared<FakeTopic> {
        HubShared::new(HubConfig::default())
    }

    #[test]
    fn topic_is_kept_until_it_is_empty() {
        let shared = shared();
        let topic = shared.get_or_create("a", create).expect("there is room");
        shared.keep(&topic);
        drop(topic);
        let topic = shared.get("a").expect("it has a history");
        shared.release_if_empty(&topic);
        assert!(topic.is_kept.load(Ordering::SeqCst));
        topic.history.store(0, Ordering::SeqCst);
        shared.release_if_empty(&topic);
        drop(topic);
        assert!(shared.get("a").is_none());
    }

    #[test]
    fn closed_hub_keeps_no_topic() {
        let shared = shared();
        let (before, after) = (create("before".into()), create("after".into()));
        let (before, after) = (Arc::new(before), Arc::new(after));
        shared.keep(&before);
        shared.close();
        shared.keep(&after);
        assert_eq!(
            (Arc::strong_count(&before), Arc::strong_count(&after)),
            (1, 1)
        );
    }

    #[test]
    fn removing_an_old_topic_leaves_the_new_one_of_its_name() {
        let shared = shared();
        let new = shared.get_or_create("a", create).expect("there is room");
        shared.remove("a", 7);
        assert!(shared.get("a").is_some());
        drop(new);
        shared.remove("a", 5);
        assert_eq!((shared.len(), shared.last_dropped_id()), (0, 7));
    }
}
