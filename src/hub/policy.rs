//! [`Policy`] and [`TopicSettings`]: what a topic does with a member that is slow, and what it keeps.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Envelope;

/// What happens to a message for a member that is *slow*: no room for it, and a socket that refuses bytes.
///
/// A member without room whose socket takes bytes is our own delay: it is flushed or waited for, at most 100 ms, before
/// any of these applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// The publisher waits, and with it all who publish to this topic: backpressure that reaches the sender.
    Block {
        /// One deadline for the whole publish; members still without room are cut with 4008 then. `None`: until the
        /// member takes something, or meets its [`write_timeout`](crate::Config::write_timeout).
        timeout: Option<Duration>,
    },
    /// The new message is dropped for this member. For those who must not see an old state replaced half.
    DropNewest,
    /// The oldest message of this topic that waits for this member is dropped.
    DropOldest,
    /// A message takes the place of the newest with its key that still waits; when none does the oldest goes. Messages without a key share one. A slow member gets the latest value of every key; no gaps are told.
    Conflate,
    /// The member is cut with 4008. Made whole again by `since`, if the topic has a history.
    Disconnect {
        /// Cut earlier: when more than this part of the queue is in use for so long.
        soft: Option<SoftLimit>,
    },
}

/// A soft limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftLimit {
    /// Per cent of the topic's queue, 1 to 100.
    pub percent: u8,
    /// How long a member may be over it.
    pub duration: Duration,
}

impl Policy {
    /// Messages take each other's places, so ids that never come are no gaps.
    pub(super) fn conflates(self) -> bool {
        self == Policy::Conflate
    }

    /// Why a message was dropped under it.
    pub(super) fn reason(self) -> usize {
        match self {
            Policy::Block { .. } => 0,
            Policy::DropNewest => 1,
            Policy::DropOldest => 2,
            Policy::Conflate => 3,
            Policy::Disconnect { .. } => 4,
        }
    }
}

/// The names of [`Policy::reason`].
pub(super) const REASONS: [&str; 5] = [
    "block",
    "drop-newest",
    "drop-oldest",
    "conflate",
    "disconnect",
];

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REASONS[self.reason()])?;
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

/// What a topic is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSettings {
    /// What happens to the slow. Default `Disconnect` without a soft limit.
    pub policy: Policy,
    /// Messages of this topic that may wait for one member. Default 64.
    pub queue: usize,
    /// Messages kept for those who come later. Default 0: none.
    pub history: usize,
    /// How long they are kept. Default `None`: until newer ones take their place.
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
    /// Until when a publish that begins now may last, where the policy says.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.policy {
            Policy::Block {
                timeout: Some(timeout),
            } => Instant::now().checked_add(timeout),
            _ => None,
        }
    }

    /// Sets the policy.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the queue, in messages.
    #[must_use]
    pub fn queue(mut self, queue: usize) -> Self {
        self.queue = queue.max(1);
        self
    }

    /// Sets the history, in messages.
    #[must_use]
    pub fn history(mut self, history: usize) -> Self {
        self.history = history;
        self
    }

    /// Sets how long the history is kept.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }
}

/// What a [`Hub`](super::Hub) is like.
#[derive(Clone)]
#[non_exhaustive]
pub struct HubConfig {
    /// Patterns with `*` and `?`, and the settings of the topics they match; the first match wins.
    pub topics: Vec<(String, TopicSettings)>,
    /// The settings of all other topics.
    pub default: TopicSettings,
    /// Topics at once. Default 10,000.
    pub max_topics: usize,
    /// Bytes that all histories together may keep. Default 64 MiB.
    pub history_bytes: usize,
    /// How posts, gaps and presence are told to members that want an envelope. Default `None`: they get the message.
    pub envelope: Option<Arc<dyn Envelope>>,
}

impl Default for HubConfig {
    fn default() -> Self {
        HubConfig {
            topics: Vec::new(),
            default: TopicSettings::default(),
            max_topics: 10_000,
            history_bytes: 64 << 20,
            envelope: None,
        }
    }
}

impl HubConfig {
    /// Gives the topics that match `pattern` these settings, unless an earlier pattern matches.
    #[must_use]
    pub fn topic(mut self, pattern: impl Into<String>, settings: TopicSettings) -> Self {
        self.topics.push((pattern.into(), settings));
        self
    }

    /// The largest queue of any topic: a client's outbox must have so many places.
    pub fn largest_queue(&self) -> usize {
        let queues = self.topics.iter().map(|(_, settings)| settings.queue);
        queues.fold(self.default.queue, usize::max)
    }

    /// The settings of the topic `name`.
    pub(super) fn settings(&self, name: &str) -> TopicSettings {
        let matched = self
            .topics
            .iter()
            .find(|(pattern, _)| matches(pattern, name));
        matched.map_or(self.default, |(_, settings)| *settings)
    }
}

impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig")
            .field("topics", &self.topics)
            .field("default", &self.default)
            .field("max_topics", &self.max_topics)
            .field("history_bytes", &self.history_bytes)
            .finish_non_exhaustive()
    }
}

/// `*` stands for any characters, `?` for one. In time proportional to pattern × name, whatever they are.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last star stood, and how much of the name it stands for.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_file_names_do() {
        for (pattern, name, expected) in [
            ("chat", "chat", true),
            ("chat", "chats", false),
            ("chat*", "chat", true),
            ("*", "", true),
            ("*", "anything", true),
            ("doc-*-cursors", "doc-7-cursors", true),
            ("doc-*-cursors", "doc-7-edits", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("?", "é", true),
            ("??", "é", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        let name = "a".repeat(200);
        assert!(
            !matches(&"*a".repeat(60).replace("*a", "*a*b"), &name),
            "in bounded time"
        );
    }

    #[test]
    fn the_first_pattern_that_matches_wins() {
        let config = HubConfig::default()
            .topic("a*", TopicSettings::default().queue(1))
            .topic("ab", TopicSettings::default().queue(2));
        assert_eq!(config.settings("ab").queue, 1);
        assert_eq!(config.settings("b").queue, 64);
        assert_eq!(config.largest_queue(), 64);
    }
}
