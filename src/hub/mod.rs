//! [`Hub`]: who is connected to what, and how to tell them all.
//!
//! It knows outboxes and no socket. There is no hub thread: whoever publishes does the work, and joining and leaving
//! are a moment under a lock that nobody waits under.

mod topic;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

pub use topic::{Published, Subscription, Topic};

use crate::clock::lock;
use topic::Members;

/// Topics by name. Cloning it is cheap; all clones are the same hub.
///
/// A topic is there while somebody holds it or is subscribed to it, and costs nothing after.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    topics: Arc<Topics>,
}

type Topics = Mutex<HashMap<Arc<str>, Weak<Members>>>;

impl Hub {
    /// A hub without topics.
    pub fn new() -> Hub {
        Hub::default()
    }

    /// The topic of this name, made when it is not there.
    pub fn topic(&self, name: &str) -> Topic {
        let mut topics = lock(&self.topics);
        if let Some(members) = topics.get(name).and_then(Weak::upgrade) {
            return Topic::new(members);
        }
        let name: Arc<str> = name.into();
        let members = Arc::new(Members::new(
            Arc::clone(&name),
            Arc::downgrade(&self.topics),
        ));
        topics.insert(name, Arc::downgrade(&members));
        Topic::new(members)
    }

    /// Who is subscribed to what at this moment: connection numbers and topic names.
    pub fn memberships(&self) -> Vec<(u64, String)> {
        let topics: Vec<_> = lock(&self.topics)
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        // Without the lock: the last of these to go takes it.
        let topics = topics.into_iter().map(Topic::new);
        topics.flat_map(|topic| topic.memberships()).collect()
    }

    /// Topics that are there now.
    pub fn len(&self) -> usize {
        lock(&self.topics).len()
    }

    /// No topic is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
