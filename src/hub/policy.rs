//! [`Policy`] and [`TopicSettings`]: what a topic does with a message for a slow member, and what it keeps.

use std::fmt;
use std::time::Duration;

use crate::clock;

/// What happens to a message for a *slow* member: its queue is full, and its socket refuses bytes.
///
/// If only the queue is full, the delay is ours. Then the publisher flushes the queue or waits for it. A policy applies
/// only when no member got room for 100 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// The publisher waits until the member has room. Other publishers of this topic wait for it.
    Block {
        /// How long one publish may wait in all. Members that still have no room then are disconnected with 4008. `None`:
        /// until the member has room or its [`write_timeout`](crate::Config::write_timeout) ends it.
        timeout: Option<Duration>,
    },
    /// The new message is dropped. For what must be seen from its beginning: a first burst, samples.
    DropNewest,
    /// The oldest pending message of this topic is dropped. For a feed in which the newest messages matter.
    DropOldest,
    /// The new message replaces the newest pending message with the same key, or else the oldest. Messages without a key
    /// share one key. A slow member receives the latest message of every key, and no gap notices.
    Conflate,
    /// The member is disconnected with 4008. For what must arrive completely: the client subscribes again with
    /// [`since`](super::SubscribeOptions::since), if the topic has a history.
    Disconnect {
        /// Also disconnects a member whose queue stays above a limit. `None`: only when its queue is full.
        soft: Option<SoftLimit>,
    },
}

/// A limit that a member's queue may exceed for some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftLimit {
    /// Percent of [`TopicSettings::queue`], 1 to 100.
    pub percent: u8,
    /// How long a member's queue may be above it.
    pub duration: Duration,
}

/// The policies' names, by [`Policy::index`].
pub(super) const NAMES: [&str; 5] = [
    "block",
    "drop-newest",
    "drop-oldest",
    "conflate",
    "disconnect",
];

impl Policy {
    pub(super) fn index(self) -> usize {
        match self {
            Policy::Block { .. } => 0,
            Policy::DropNewest => 1,
            Policy::DropOldest => 2,
            Policy::Conflate => 3,
            Policy::Disconnect { .. } => 4,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES[self.index()])?;
        match self {
            Policy::Block {
                timeout: Some(timeout),
            } => write!(f, ":{timeout:?}"),
            Policy::Disconnect { soft: Some(soft) } => {
                write!(f, ":{}%:{:?}", soft.percent, soft.duration)
            }
            _ => Ok(()),
        }
    }
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSettings {
    /// What happens to a message for a slow member. Default `Disconnect` without a soft limit.
    pub policy: Policy,
    /// The most messages of this topic that are pending for one member, at most
    /// [`Config::queue`](crate::Config::queue). Default 64.
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
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the size of a member's queue in messages, at least 1.
    #[must_use]
    pub fn queue(mut self, queue: usize) -> Self {
        self.queue = queue.max(1);
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
    #[must_use]
    pub fn history(mut self, history: usize) -> Self {
        self.history = history;
        self
    }

    /// Sets how long the history keeps a message.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }
}
