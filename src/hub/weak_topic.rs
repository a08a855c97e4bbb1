//! [`WeakTopic`]: a reference to a topic that does not keep it.

use std::sync::{Arc, Weak};

use super::topic::Topic;
use super::topic_state::TopicState;

/// A reference to one topic, for an engine that must not delay its end. A later topic of the same name is another topic.
#[derive(Clone, Debug)]
pub(crate) struct WeakTopic(Weak<TopicState>);

impl WeakTopic {
    /// Returns the topic, unless its last reference has been dropped.
    pub(crate) fn upgrade(&self) -> Option<Topic> {
        self.0.upgrade().map(Topic::from)
    }
}

impl Topic {
    pub(crate) fn downgrade(&self) -> WeakTopic {
        WeakTopic(Arc::downgrade(&self.state))
    }
}
