//! [`Hub`]: topics by name, and publishing to all clients that are subscribed to one.
//!
//! The hub uses outboxes and knows no socket. It has no thread: the thread that publishes does the work, and the watchdog
//! of each server does what time requires. Joining and leaving only take a lock that no thread holds while it waits.

mod attached;
mod config;
mod delivery;
mod direct_messages;
mod duration_text;
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod engine;
mod engine_calls;
mod history;
mod ids;
mod ledger;
mod member;
mod member_position;
mod members;
mod message;
mod outcome;
mod patterns;
mod pending;
mod placement;
mod policy;
mod presence;
mod publish;
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod remote_names;
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod sequence;
mod settings;
mod shared;
mod stats;
mod subscribe;
mod subscribe_options;
mod subscription;
mod topic;
mod topic_state;
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod weak_topic;

#[cfg(test)]
#[path = "tests/fake_engine.rs"]
mod fake_engine;

use std::sync::Arc;

pub use config::HubConfig;
pub use ledger::HubStatistics;
pub use message::{Envelope, Gap, Publication, TopicMessage};
pub use outcome::{ClearHistoryError, PublishError, PublishOutcome, SubscribeError, TooManyTopics};
pub use policy::{DropReason, Policy, SoftLimit};
pub use settings::TopicSettings;
pub use stats::TopicCounts;
pub use subscribe_options::SubscribeOptions;
pub use subscription::Subscription;
pub use topic::Topic;

#[cfg(feature = "redis")]
pub(crate) use engine::{Engine, Since, Unavailable};
#[cfg(feature = "redis")]
pub(crate) use sequence::{Position, Received, Stored};
#[cfg(feature = "redis")]
pub(crate) use weak_topic::WeakTopic;

use history::HistoryBudget;
use ids::IdClock;
use shared::HubShared;
use topic_state::TopicState;

use crate::config_error::ConfigError;
use crate::sweep::{self, Sweep};

/// Topics by name. Cloning it is cheap; all clones are the same hub.
///
/// A topic exists while a caller holds it, while a client is subscribed to it, and while it has a history (which does not
/// count on a hub that shares its topics with others, because the history is kept outside of it). Then it is
/// removed. Only its last id is remembered, for the 10,000 topics that were removed last, so that a topic that is created
/// again continues its ids.
///
/// ```no_run
/// use standpipe::{Config, Connection, Hub, Server, SubscribeOptions};
///
/// let hub = Hub::default();
/// let server = Server::bind("127.0.0.1:9001", Config::default().hub(&hub))?;
/// // Each path is a room.
/// server.serve(move |conn: &mut Connection| {
///     let room = hub.topic(conn.request().path())?;
///     let _member = room.subscribe(conn.outbox(), SubscribeOptions::new())?;
///     while let Some(message) = conn.recv()? {
///         room.publish(message)?;
///     }
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<HubShared<TopicState>>,
    history_budget: Arc<HistoryBudget>,
    _close: Arc<CloseOnDrop>,
}

/// Dropped with the last clone of a hub. From then on, a topic exists only while a caller holds it or a client is
/// subscribed.
#[derive(Debug)]
struct CloseOnDrop(Arc<HubShared<TopicState>>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Hub {
    /// Creates a hub without topics.
    ///
    /// # Panics
    /// Panics if [`TopicSettings::queue`] of a topic is 0.
    ///
    /// ```
    /// use standpipe::{Hub, HubConfig, TopicSettings};
    /// let rooms = TopicSettings::default().history(100);
    /// let hub = Hub::new(HubConfig::default().topic("room-*", rooms));
    /// # let _ = hub;
    /// ```
    #[track_caller]
    pub fn new(config: HubConfig) -> Hub {
        config.check();
        Hub::with_clock(config, ids::system_clock())
    }

    /// Creates a hub in which the ids of a new topic begin at the time of `clock`, in microseconds.
    fn with_clock(config: HubConfig, clock: IdClock) -> Hub {
        let history_budget = Arc::new(HistoryBudget::new(config.history_bytes));
        let shared = Arc::new(HubShared::new(config, clock));
        let swept = Arc::<HubShared<TopicState>>::downgrade(&shared);
        sweep::register(swept);
        Hub {
            history_budget,
            _close: Arc::new(CloseOnDrop(Arc::clone(&shared))),
            shared,
        }
    }

    /// Returns the topic of this name, and creates it if it does not exist.
    ///
    /// # Errors
    /// [`TooManyTopics`]: it does not exist, and there are [`HubConfig::max_topics`] others.
    ///
    /// ```
    /// # use standpipe::{Hub, HubConfig};
    /// let hub = Hub::new(HubConfig::default().max_topics(1));
    /// let news = hub.topic("news")?;
    /// assert!(hub.topic("sports").is_err());
    /// drop(news); // It has no member and no history, so it ends.
    /// assert!(hub.topic("sports").is_ok());
    /// # Ok::<(), standpipe::TooManyTopics>(())
    /// ```
    pub fn topic(&self, name: &str) -> Result<Topic, TooManyTopics> {
        let create = |name, last_id| {
            let (hub, budget) = (Arc::clone(&self.shared), Arc::clone(&self.history_budget));
            TopicState::new(name, last_id, hub, budget)
        };
        let state = self.shared.get_or_create(name, create)?;
        Ok(Topic { state })
    }

    /// Replaces the [patterns](HubConfig::topics) and their settings, while the hub runs. The settings of the topics that
    /// match no pattern do not change.
    ///
    /// A topic that exists gets what differs between the settings of its name in the old and in the new patterns, so a
    /// policy that [`Topic::set_policy`] has changed stays until the patterns name another one. The new settings apply
    /// from the next message on:
    ///
    /// - A publish that has begun goes on under the old policy.
    /// - A history loses its oldest messages immediately if it has become shorter, and grows with new messages if it has
    ///   become longer.
    /// - A member that has more messages pending than its new queue has room for keeps them. The policy applies to the
    ///   next message.
    ///
    /// # Blocking
    /// Only while another thread replaces the patterns. Does not wait for publishers.
    ///
    /// # Errors
    /// [`ConfigError`]: a queue is 0, or larger than the largest queue that the hub was created with. Each server to which
    /// the hub is [attached](crate::Config::hub) has given its clients room for that many messages. Nothing has changed
    /// then.
    ///
    /// ```
    /// use standpipe::{Hub, HubConfig, TopicSettings};
    ///
    /// let settings = TopicSettings::default();
    /// let hub = Hub::new(HubConfig::default().topic("room-*", settings));
    /// let room = hub.topic("room-7")?;
    /// hub.set_topics(vec![("room-*".into(), settings.history(100))])?;
    /// assert_eq!(room.settings().history, 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_topics(&self, topics: Vec<(String, TopicSettings)>) -> Result<(), ConfigError> {
        self.shared.set_topics(topics)
    }

    /// Returns the topic of this name, if it exists.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// let hub = Hub::default();
    /// assert!(hub.get("news").is_none());
    /// let _news = hub.topic("news")?;
    /// assert!(hub.get("news").is_some());
    /// # Ok::<(), standpipe::TooManyTopics>(())
    /// ```
    pub fn get(&self, name: &str) -> Option<Topic> {
        let state = self.shared.get(name)?;
        Some(Topic { state })
    }

    /// Returns all topics, sorted by name.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// # let hub = Hub::default();
    /// for topic in hub.topics() {
    ///     println!("{}: {} members", topic.name(), topic.members());
    /// }
    /// ```
    pub fn topics(&self) -> Vec<Topic> {
        let states = self.shared.all().into_iter();
        states.map(|state| Topic { state }).collect()
    }

    /// Returns which client is a member of which topic, as connection numbers and topic names.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// # let hub = Hub::default();
    /// for (client, topic) in hub.memberships() {
    ///     println!("client {client} is a member of {topic}");
    /// }
    /// ```
    pub fn memberships(&self) -> Vec<(u64, String)> {
        let mut memberships = Vec::new();
        for topic in self.shared.all() {
            for member in topic.members().iter() {
                memberships.push((member.outbox.number(), topic.name.to_string()));
            }
        }
        memberships
    }

    /// Does what time requires: removes old messages from the histories, removes names that have left and announces it,
    /// and disconnects members that have been over a soft limit for too long.
    ///
    /// Every server does this five times per second for all hubs of its process, so a program need not call it. Never
    /// blocks.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// Hub::default().sweep(); // In a test without a server.
    /// ```
    pub fn sweep(&self) {
        self.shared.sweep();
    }

    /// Returns the state of the hub, and what it has counted since it was made.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// # let hub = Hub::default();
    /// let statistics = hub.statistics();
    /// println!("{} topics, {} members", statistics.topics, statistics.members);
    /// println!("{} messages dropped", statistics.counts.dropped);
    /// ```
    pub fn statistics(&self) -> HubStatistics {
        let mut statistics = self.shared.ledger.sum();
        statistics.history_bytes = self.history_bytes();
        for topic in self.shared.all() {
            statistics.topics += 1;
            statistics.members += topic.members().len();
            statistics.counts.history += topic.history.len();
        }
        statistics
    }

    /// Returns the bytes that all histories use.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// assert_eq!(Hub::default().history_bytes(), 0);
    /// ```
    pub fn history_bytes(&self) -> usize {
        self.history_budget.used()
    }

    /// Returns the number of topics.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// let hub = Hub::default();
    /// let _news = hub.topic("news")?;
    /// assert_eq!(hub.len(), 1);
    /// # Ok::<(), standpipe::TooManyTopics>(())
    /// ```
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Returns whether there is no topic.
    ///
    /// ```
    /// # use standpipe::Hub;
    /// assert!(Hub::default().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Hub {
    fn default() -> Self {
        Hub::new(HubConfig::default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::message::Message;

    use super::*;

    #[test]
    fn hub_with_a_history_is_freed() {
        let mut config = HubConfig::default();
        config.default.history = 2;
        let hub = Hub::new(config);
        let shared = Arc::downgrade(&hub.shared);
        let topic = hub.topic("kept").expect("there is room");
        topic
            .publish(Message::text("x"))
            .expect("there is no other publisher");
        drop(topic);
        let clone = hub.clone();
        drop(hub);
        let topic = clone.get("kept").expect("it has a history");
        drop(clone);
        // A topic can be used without its hub.
        topic
            .publish(Message::text("y"))
            .expect("there is no other publisher");
        assert_eq!(topic.history(0).len(), 2);
        drop(topic);
        // The watchdog of another test may be sweeping this hub.
        let deadline = Instant::now() + Duration::from_secs(30);
        while shared.strong_count() > 0 {
            assert!(Instant::now() < deadline, "the hub is never freed");
            std::thread::yield_now();
        }
    }

    /// A publisher reads the settings, and adds its message to the history later.
    #[test]
    fn sweep_removes_what_a_late_publisher_added() {
        let settings = TopicSettings::default().history(5);
        let hub = Hub::new(HubConfig::default().topic("*", settings));
        let topic = hub.topic("a").expect("there is room");
        for _ in 0..5 {
            topic.publish("x").expect("there is no other publisher");
        }
        let late = topic.history(0).remove(0);
        hub.set_topics(vec![("*".into(), settings.history(2))])
            .expect("the settings are valid");
        topic.state.history.add(&late, &settings);
        assert_eq!(topic.state.history.len(), 3);
        hub.sweep();
        assert_eq!(topic.state.history.len(), 2);
    }
}
