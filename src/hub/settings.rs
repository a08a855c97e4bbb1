//! [`TopicSettings`]: the policy, the queue and the history of a topic.

use std::time::Duration;

use super::policy::Policy;
use crate::clock;

/// The smallest [`TopicSettings::max_lateness`] in milliseconds. A peer may send up to 100 control frames per second, which
/// leaves enough for the answers.
const MIN_LATENESS: u64 = 200;

/// When a member of a topic with [`TopicSettings::max_lateness`] is late. Times are in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatenessLimits {
    /// A member is late when a mark is unanswered for this time.
    pub(super) unanswered: u64,
    /// The time between two marks.
    pub(super) interval: u64,
}

/// The settings of a topic.
///
/// ```
/// use std::time::Duration;
/// use standpipe::{Hub, HubConfig, Policy, TopicSettings};
///
/// let prices = TopicSettings::default().policy(Policy::Conflate).queue(16);
/// let rooms = TopicSettings::default().history(100).max_age(Duration::from_secs(3600));
/// let hub = Hub::new(HubConfig::default().topic("prices", prices).topic("room-*", rooms));
/// assert_eq!(hub.topic("room-7")?.settings(), rooms);
/// # Ok::<(), standpipe::TooManyTopics>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSettings {
    /// What happens to a message for a slow member. Default `Disconnect` without a soft limit.
    pub policy: Policy,
    /// The most messages of this topic that are pending for one member, at least 1. Default 64. A client can only
    /// subscribe if its own queue has room for as many: see [`Config::hub`](crate::Config::hub).
    pub queue: usize,
    /// How far a member may be behind, about. Default `None`: as far as the buffers of the kernels and the client allow.
    ///
    /// The server sends pings after the messages. A member that has not answered one for half of this time gets no more
    /// messages of this topic until it answers. They stay pending, so the policy applies to them: under
    /// [`Policy::Conflate`] a newer message immediately replaces the pending one with its key, and other policies apply
    /// when [`queue`](Self::queue) messages are pending. Without this setting, a client that reads slowly, or that stops
    /// for a while, later reads everything that the buffers hold: 10 s of old values in an experiment with 300 small
    /// messages per second.
    ///
    /// While messages are published, up to four pings in this time are sent to each member, and at most 20 per second. A
    /// time below 200 ms counts as 200 ms. Messages that are larger than the buffers delay the answer, so choose a longer
    /// time for them. Messages of other topics are not held back. A member that has not answered for
    /// [`ping_timeout`](crate::Config::ping_timeout) gets the messages without an answer.
    pub max_lateness: Option<Duration>,
    /// The most messages that the history keeps for later subscribers. Default 0: no history.
    pub history: usize,
    /// How long the history keeps a message. Default `None`: until newer messages displace it.
    pub max_age: Option<Duration>,
}

impl Default for TopicSettings {
    fn default() -> Self {
        TopicSettings {
            policy: Policy::Disconnect { soft: None },
            queue: 64,
            max_lateness: None,
            history: 0,
            max_age: None,
        }
    }
}

impl TopicSettings {
    /// Sets the policy.
    ///
    /// ```
    /// # use standpipe::{Policy, TopicSettings};
    /// let cursors = TopicSettings::default().policy(Policy::Conflate);
    /// assert_eq!(cursors.policy, Policy::Conflate);
    /// ```
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the size of a member's queue in messages.
    ///
    /// # Panics
    /// Panics if `queue` is 0.
    ///
    /// ```
    /// # use standpipe::TopicSettings;
    /// assert_eq!(TopicSettings::default().queue(256).queue, 256);
    /// ```
    #[track_caller]
    #[must_use]
    pub fn queue(mut self, queue: usize) -> Self {
        self.queue = queue;
        self.check("of these settings");
        self
    }

    /// Sets how far a member may be behind.
    ///
    /// ```
    /// use std::time::Duration;
    /// use standpipe::{Policy, TopicSettings};
    ///
    /// // A price is at most about half a second old when the client reads it.
    /// let prices = TopicSettings::default().policy(Policy::Conflate).max_lateness(Duration::from_millis(500));
    /// ```
    #[must_use]
    pub fn max_lateness(mut self, max_lateness: Duration) -> Self {
        self.max_lateness = Some(max_lateness);
        self
    }

    /// Returns the times that follow from `max_lateness`, if it is set.
    pub(super) fn lateness_limits(&self) -> Option<LatenessLimits> {
        let bound = clock::millis(self.max_lateness?).max(MIN_LATENESS);
        Some(LatenessLimits {
            unanswered: bound / 2,
            interval: bound / 4,
        })
    }

    /// Sets the size of the history in messages.
    ///
    /// ```
    /// # use standpipe::TopicSettings;
    /// assert_eq!(TopicSettings::default().history(1000).history, 1000);
    /// ```
    #[must_use]
    pub fn history(mut self, history: usize) -> Self {
        self.history = history;
        self
    }

    /// Sets how long the history keeps a message.
    ///
    /// ```
    /// # use standpipe::TopicSettings;
    /// # use std::time::Duration;
    /// let an_hour = Duration::from_secs(3600);
    /// assert_eq!(TopicSettings::default().max_age(an_hour).max_age, Some(an_hour));
    /// ```
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// Panics if the settings are not valid. `whose` says whose settings they are.
    #[track_caller]
    pub(super) fn check(&self, whose: &str) {
        assert!(
            self.queue > 0,
            "the queue {whose} must hold at least 1 message"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "must hold at least 1 message")]
    fn queue_of_a_topic_holds_a_message() {
        let _ = TopicSettings::default().queue(0);
    }
}
