//! [`HubShared`]: the topics of a hub by name, and what keeps a topic alive.
//!
//! A topic lives while a caller holds it or a client is subscribed to it, and while it has something to keep: a history,
//! or a name in its presence list. The hub holds a topic of the second kind itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::config::HubConfig;
use super::ids::{IdClock, Ids, LastId, new_epoch};
use super::ledger::Ledger;
use super::outcome::TooManyTopics;
use super::patterns::Patterns;
use super::policy::Policy;
use super::settings::TopicSettings;
use crate::config_error::ConfigError;
use crate::sweep::Sweep;
use crate::sync::lock;

/// A topic, as the hub sees it. This file does not import the topic, because the topic imports this file.
pub(super) trait KeptTopic {
    fn name(&self) -> &Arc<str>;
    fn has_something_to_keep(&self) -> bool;
    /// Does what time requires. Never blocks.
    fn sweep(self: &Arc<Self>);
    /// The settings of the topic have become `new` in the patterns, and were `old` before. Never blocks.
    fn settings_replaced(&self, old: TopicSettings, new: TopicSettings);
    /// Whether the hub holds the topic. Only [`HubShared`] changes it.
    fn is_kept(&self) -> &AtomicBool;
}

/// What all clones of a hub and all its topics share.
#[derive(Debug)]
pub(super) struct HubShared<T> {
    /// Except the patterns and their settings, which may have been replaced.
    pub(super) config: HubConfig,
    pub(super) patterns: Patterns,
    /// Distinguishes the ids of this hub from those of every other hub.
    pub(super) epoch: Arc<str>,
    pub(super) ledger: Ledger,
    topics: Mutex<Topics<T>>,
    /// Topics that have something to keep. They stay although no caller may hold them.
    kept: Mutex<HashMap<Arc<str>, Arc<T>>>,
    /// The last clone of the hub has been dropped. Changed while `kept` is locked.
    is_closed: AtomicBool,
    /// Topics must be swept although they have nothing to keep: a topic has, or has had, a policy with a soft limit, or the
    /// hub has an engine and histories with a `max_age`.
    sweeps_all: AtomicBool,
}

#[derive(Debug)]
struct Topics<T> {
    existing: HashMap<Arc<str>, Existing<T>>,
    ids: Ids,
}

/// A topic that exists, or whose last reference is being dropped.
#[derive(Debug)]
struct Existing<T> {
    topic: Weak<T>,
    last_id: LastId,
}

impl<T: KeptTopic> HubShared<T> {
    pub(super) fn new(config: HubConfig, clock: IdClock) -> HubShared<T> {
        let engine = config.engine.as_ref();
        let hub = HubShared {
            epoch: engine.map_or_else(new_epoch, |engine| engine.epoch()),
            ledger: Ledger::default(),
            topics: Mutex::new(Topics {
                existing: HashMap::new(),
                ids: Ids::new(engine.is_none().then_some(clock)),
            }),
            kept: Mutex::default(),
            is_closed: AtomicBool::new(false),
            sweeps_all: AtomicBool::new(false),
            patterns: Patterns::new(&config),
            config,
        };
        (hub.patterns.current().all()).for_each(|settings| hub.settings_changed(settings));
        hub
    }

    /// Records that a topic has got these settings, or may get them.
    pub(super) fn settings_changed(&self, settings: &TopicSettings) {
        // With an engine, the hub does not keep a topic because of its history.
        let is_aged = self.config.engine.is_some() && settings.max_age.is_some();
        if is_aged || has_soft_limit(settings) {
            self.sweeps_all.store(true, Ordering::SeqCst);
        }
    }

    /// Replaces the patterns, and gives the topics that exist their new settings.
    ///
    /// # Blocking
    /// Only until another thread has done the same.
    pub(super) fn set_topics(
        &self,
        topics: Vec<(String, TopicSettings)>,
    ) -> Result<(), ConfigError> {
        let right = self.patterns.lock_replacing();
        let [old, new] = self.patterns.replace(topics, &right)?;
        new.all()
            .for_each(|settings| self.settings_changed(settings));
        // A topic that is being created with the old settings is among these: it is created under the lock that `all`
        // takes.
        for topic in self.all() {
            let (old, new) = (old.settings(topic.name()), new.settings(topic.name()));
            if old != new {
                topic.settings_replaced(old, new);
                self.release_if_empty(&topic);
            }
        }
        Ok(())
    }

    /// Returns the topic of this name, which `create` creates if there is none.
    pub(super) fn get_or_create(
        &self,
        name: &str,
        create: impl FnOnce(Arc<str>, LastId) -> T,
    ) -> Result<Arc<T>, TooManyTopics> {
        let mut topics = lock(&self.topics);
        let existing = topics.existing.get(name);
        if let Some(topic) = existing.and_then(|existing| existing.topic.upgrade()) {
            return Ok(topic);
        }
        // The last reference to a topic of this name may be being dropped. Then the new topic continues its ids.
        let last_id = existing.map(|existing| existing.last_id.clone());
        if last_id.is_none() && topics.existing.len() >= self.config.max_topics {
            return Err(TooManyTopics(topics.existing.len()));
        }
        let last_id = last_id.unwrap_or_else(|| topics.ids.of_created(name));
        let name: Arc<str> = name.into();
        let topic = Arc::new(create(Arc::clone(&name), last_id.clone()));
        let existing = Existing {
            topic: Arc::downgrade(&topic),
            last_id,
        };
        topics.existing.insert(name, existing);
        Ok(topic)
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<T>> {
        lock(&self.topics).existing.get(name)?.topic.upgrade()
    }

    /// Returns all topics, sorted by name.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        // The lock is released before any of these can be dropped, because dropping the last reference takes it.
        let mut all: Vec<Arc<T>> = lock(&self.topics)
            .existing
            .values()
            .filter_map(|existing| existing.topic.upgrade())
            .collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.topics).existing.len()
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

    /// Removes a topic whose last reference is being dropped, and remembers its last id.
    pub(super) fn remove(&self, name: &Arc<str>) {
        let mut topics = lock(&self.topics);
        // A new topic of this name may have been created meanwhile.
        let is_removed = topics
            .existing
            .get(name)
            .is_some_and(|existing| existing.topic.strong_count() == 0);
        if is_removed
            && let Some((name, Existing { last_id, .. })) = topics.existing.remove_entry(name)
        {
            topics.ids.remember(name, last_id);
        }
    }
}

impl<T: KeptTopic + Send + Sync> Sweep for HubShared<T> {
    fn sweep(&self) {
        // Mostly, only the kept topics need it. The others are left alone, because a reference held here would delay the end
        // of a topic.
        let topics = if self.sweeps_all.load(Ordering::SeqCst) {
            self.all()
        } else {
            lock(&self.kept).values().cloned().collect()
        };
        for topic in topics {
            topic.sweep();
            self.release_if_empty(&topic);
        }
    }
}

fn has_soft_limit(settings: &TopicSettings) -> bool {
    matches!(settings.policy, Policy::Disconnect { soft: Some(_) })
}

#[cfg(test)]
#[path = "tests/set_topics.rs"]
mod set_topics_tests;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[derive(Debug)]
    struct FakeTopic {
        name: Arc<str>,
        last_id: LastId,
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
        fn sweep(self: &Arc<Self>) {
            self.history.store(0, Ordering::SeqCst);
        }
        fn settings_replaced(&self, _: TopicSettings, _: TopicSettings) {}
        fn is_kept(&self) -> &AtomicBool {
            &self.is_kept
        }
    }

    fn create(name: Arc<str>, last_id: LastId) -> FakeTopic {
        FakeTopic {
            name,
            last_id,
            history: AtomicU64::new(1),
            is_kept: AtomicBool::new(false),
        }
    }

    fn shared() -> HubShared<FakeTopic> {
        HubShared::new(HubConfig::default(), Box::new(|| 1000))
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
    fn sweeping_releases_a_topic_that_has_become_empty() {
        let shared = shared();
        let topic = shared.get_or_create("a", create).expect("there is room");
        shared.keep(&topic);
        drop(topic);
        shared.sweep();
        assert!(shared.get("a").is_none());
    }

    #[test]
    fn closed_hub_keeps_no_topic() {
        let shared = shared();
        let create = |name: &str| create(name.into(), LastId::new(0));
        let (before, after) = (create("before"), create("after"));
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
        shared.remove(&"a".into());
        assert!(shared.get("a").is_some());
        drop(new);
        shared.remove(&"a".into());
        assert_eq!(shared.len(), 0);
    }

    /// The new topic is created between the end of the old one and its removal, or after both.
    #[test]
    fn new_topic_continues_the_ids_of_the_old_one() {
        let shared = shared();
        let old = shared.get_or_create("a", create).expect("there is room");
        assert_eq!(old.last_id.assign(3), 1000);
        drop(old);
        let new = shared.get_or_create("a", create).expect("there is room");
        shared.remove(&"a".into());
        assert_eq!(new.last_id.assign(1), 1003);
        drop(new);
        shared.remove(&"a".into());
        shared.remove(&"a".into());
        let new = shared.get_or_create("a", create).expect("there is room");
        assert_eq!(new.last_id.assign(1), 1004);
    }
}
