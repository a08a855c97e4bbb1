//! [`Hub`]: who is connected to what, and how to tell them all.
//!
//! It knows outboxes and no socket. There is no hub thread: whoever publishes does the work, and joining and leaving
//! are a moment under a lock that nobody waits under.

mod delivery;
mod history;
mod member;
mod message;
mod pending;
mod policy;
mod presence;
mod publish;
mod stats;
mod subscribe;
mod topic;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

pub use message::{Envelope, Publication, TopicMessage};
pub use policy::{HubConfig, Policy, SoftLimit, TopicSettings};
pub use publish::{PublishError, PublishOutcome};
pub use subscribe::{SubscribeOptions, Subscription};
pub use topic::{Topic, TopicCounts};

use crate::sync::lock;
use history::Bytes;
use topic::{Held, Inner};

/// Topics by name. Cloning it is cheap; all clones are the same hub.
///
/// A topic is there while somebody holds it or is subscribed to it, or it has a history to keep; it costs nothing after.
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<Shared>,
    budget: Arc<Bytes>,
    _last: Arc<LastOut>,
}

/// Dropped with the last of a hub's clones: from then on a topic is kept by nobody but those who hold it. Else the topics
/// that are kept, and what they share, would hold each other for ever.
#[derive(Debug)]
struct LastOut(Arc<Shared>);

impl Drop for LastOut {
    fn drop(&mut self) {
        let kept = {
            let mut kept = lock(&self.0.kept);
            self.0.is_gone.store(true, Ordering::SeqCst);
            std::mem::take(&mut *kept)
        };
        // Beyond the lock: the last of a topic to go takes others.
        drop(kept);
    }
}

#[derive(Debug)]
struct Shared {
    config: HubConfig,
    topics: Mutex<HashMap<Arc<str>, Held>>,
    /// Topics that nobody may hold but us: they have a history, or a name that is about to go.
    kept: Mutex<HashMap<Arc<str>, Arc<Inner>>>,
    /// Nobody has the hub any more. Changed under the lock of `kept`.
    is_gone: AtomicBool,
    /// The last id of any topic that is gone.
    floor: AtomicU64,
}

/// There are as many topics as may be: no new one is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {0} topics, and no more are made")]
pub struct TooManyTopics(pub usize);

impl Hub {
    /// A hub without topics.
    pub fn new(config: HubConfig) -> Hub {
        let budget = Arc::new(Bytes::new(config.history_bytes));
        let shared = Arc::new(Shared {
            config,
            topics: Mutex::default(),
            kept: Mutex::default(),
            is_gone: AtomicBool::new(false),
            floor: AtomicU64::new(0),
        });
        Hub {
            budget,
            _last: Arc::new(LastOut(Arc::clone(&shared))),
            shared,
        }
    }

    /// The topic of this name, made when it is not there.
    ///
    /// # Errors
    /// [`TooManyTopics`]: it is not there, and [`HubConfig::max_topics`] are.
    pub fn topic(&self, name: &str) -> Result<Topic, TooManyTopics> {
        let mut topics = lock(&self.shared.topics);
        if let Some(inner) = topics.get(name).and_then(Weak::upgrade) {
            return Ok(Topic { inner });
        }
        if topics.len() >= self.shared.config.max_topics {
            return Err(TooManyTopics(topics.len()));
        }
        let name: Arc<str> = name.into();
        let settings = self.shared.config.settings(&name);
        let shared = Arc::clone(&self.shared);
        let inner = Inner::new(
            Arc::clone(&name),
            shared,
            settings,
            Arc::clone(&self.budget),
        );
        let inner = Arc::new(inner);
        topics.insert(name, Arc::downgrade(&inner));
        Ok(Topic { inner })
    }

    /// The topic of this name, if it is there.
    pub fn get(&self, name: &str) -> Option<Topic> {
        let inner = lock(&self.shared.topics)
            .get(name)
            .and_then(Weak::upgrade)?;
        Some(Topic { inner })
    }

    /// The topics that are there at this moment, by name.
    pub fn topics(&self) -> Vec<Topic> {
        // Held beyond the lock: the last of a topic to go takes it.
        let inners: Vec<_> = lock(&self.shared.topics)
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        let mut topics: Vec<_> = inners.into_iter().map(|inner| Topic { inner }).collect();
        topics.sort_by(|a, b| a.name().cmp(b.name()));
        topics
    }

    /// Who is subscribed to what at this moment: connection numbers and topic names.
    pub fn memberships(&self) -> Vec<(u64, String)> {
        self.topics().iter().flat_map(Topic::memberships).collect()
    }

    /// Lets time pass: forgets posts that are too old and names that are gone, tells who left, and cuts members that
    /// are over a soft limit for too long. To be called some times a second, see
    /// [`ServerHandle::on_tick`](crate::ServerHandle::on_tick). Never waits.
    pub fn sweep(&self) {
        for topic in self.topics() {
            topic.sweep();
        }
    }

    /// Bytes that all histories keep.
    pub fn history_bytes(&self) -> usize {
        self.budget.used()
    }

    /// Topics that are there now.
    pub fn len(&self) -> usize {
        lock(&self.shared.topics).len()
    }

    /// No topic is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Hub {
    fn default() -> Self {
        Hub::new(HubConfig::default())
    }
}

impl Shared {
    /// Holds a topic that has something to keep, which is there already when this is called.
    fn keep(&self, inner: &Arc<Inner>) {
        if inner.kept.load(Ordering::SeqCst) {
            return;
        }
        let mut kept = lock(&self.kept);
        if self.is_gone.load(Ordering::SeqCst) {
            return;
        }
        if !inner.kept.swap(true, Ordering::SeqCst) {
            kept.insert(Arc::clone(&inner.name), Arc::clone(inner));
        }
    }

    /// Lets go of a topic that has nothing to keep any more.
    fn release(&self, inner: &Inner) {
        if !inner.kept.load(Ordering::SeqCst) {
            return;
        }
        let mut kept = lock(&self.kept);
        // First the word, then the look: whoever still read the word had put something there before.
        inner.kept.store(false, Ordering::SeqCst);
        if inner.has_something_to_keep() {
            inner.kept.store(true, Ordering::SeqCst);
            return;
        }
        let released = kept.remove(&inner.name);
        // Beyond the lock: the last of a topic to go takes others.
        drop(kept);
        drop(released);
    }

    /// A topic is gone. A new one of its name may stand there already.
    fn forget(&self, name: &str) {
        let mut topics = lock(&self.topics);
        if topics
            .get(name)
            .is_some_and(|held| held.strong_count() == 0)
        {
            topics.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::Message;

    #[test]
    fn a_hub_with_a_history_is_freed_with_its_last_clone_and_topic() {
        let mut config = HubConfig::default();
        config.default.history = 2;
        let hub = Hub::new(config);
        let shared = Arc::downgrade(&hub.shared);
        let topic = hub.topic("kept").expect("there is room");
        topic.publish(Message::text("x")).expect("nobody is busy");
        drop(topic);
        let again = hub.clone();
        drop(hub);
        let topic = again.get("kept").expect("its history keeps it");
        drop(again);
        // Whoever holds it may go on with it.
        topic.publish(Message::text("y")).expect("nobody is busy");
        assert_eq!(topic.history(0).len(), 2);
        drop(topic);
        assert!(shared.upgrade().is_none());
    }
}
