//! [`TopicSettings`]: the policy, the queue and the history of a topic.

use std::time::Duration;

use super::policy::Policy;

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
