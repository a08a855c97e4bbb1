//! [`HubConfig`]: the limits of a hub, and the settings of its topics by pattern.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::message::Envelope;
use super::settings::TopicSettings;

/// The configuration of a [`Hub`](super::Hub).
///
/// ```
/// use standpipe::{Hub, HubConfig, Policy, TopicSettings};
///
/// let config = HubConfig::default()
///     .topic("prices", TopicSettings::default().policy(Policy::Conflate))
///     .default_settings(TopicSettings::default().history(100))
///     .max_topics(500);
/// let hub = Hub::new(config);
/// assert_eq!(hub.topic("room")?.settings().history, 100);
/// # Ok::<(), standpipe::TooManyTopics>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct HubConfig {
    /// Patterns, and the settings of the topics that match. In a pattern, `*` stands for any characters and `?` for one
    /// character. The first pattern that matches is used. Default: empty. [`Hub::set_topics`](super::Hub::set_topics)
    /// replaces them while the hub runs.
    pub topics: Vec<(String, TopicSettings)>,
    /// The settings of all other topics. Default: [`TopicSettings::default`].
    pub default: TopicSettings,
    /// The most topics that exist at the same time. Default 10,000.
    pub max_topics: usize,
    /// The most bytes that all histories use together. Default 64 MiB.
    pub history_bytes: usize,
    /// How long [`Topic::publish`](super::Topic::publish) and a replay wait for other publishers of the topic, unless
    /// [`Policy::Block`](super::Policy::Block) has a timeout, which then counts instead. Default 60 s. Publishers wait
    /// for each other because messages have one order. They wait for long only while one of them waits for slow members
    /// under `block`. A shorter time tells a publisher sooner that the topic is busy.
    pub publish_timeout: Duration,
    /// How messages, gaps and presence are written for members that ask for an envelope. Default `None`: these members
    /// receive plain messages, and no notices.
    pub envelope: Option<Arc<dyn Envelope>>,
    /// What connects this hub with those of other machines.
    pub(crate) engine: Option<Arc<dyn Engine>>,
}

impl Default for HubConfig {
    fn default() -> Self {
        HubConfig {
            topics: Vec::new(),
            default: TopicSettings::default(),
            max_topics: 10_000,
            history_bytes: 64 << 20,
            publish_timeout: Duration::from_secs(60),
            envelope: None,
            engine: None,
        }
    }
}

impl HubConfig {
    /// Uses `settings` for the topics that match `pattern`, unless an earlier pattern matches.
    ///
    /// ```
    /// use standpipe::{HubConfig, TopicSettings};
    /// let rooms = TopicSettings::default().history(100);
    /// let config = HubConfig::default().topic("room-*", rooms).max_topics(50);
    /// assert_eq!(config.topics, [("room-*".to_owned(), rooms)]);
    /// ```
    #[must_use]
    pub fn topic(mut self, pattern: impl Into<String>, settings: TopicSettings) -> Self {
        self.topics.push((pattern.into(), settings));
        self
    }

    /// Sets [`default`](Self#structfield.default), the settings of the topics that match no pattern.
    ///
    /// ```
    /// # use standpipe::{HubConfig, TopicSettings};
    /// let config = HubConfig::default().default_settings(TopicSettings::default().history(100));
    /// assert_eq!(config.default.history, 100);
    /// ```
    #[must_use]
    pub fn default_settings(mut self, settings: TopicSettings) -> Self {
        self.default = settings;
        self
    }

    /// Sets [`max_topics`](Self#structfield.max_topics).
    ///
    /// ```
    /// # use standpipe::HubConfig;
    /// assert_eq!(HubConfig::default().max_topics(50).max_topics, 50);
    /// ```
    #[must_use]
    pub fn max_topics(mut self, topics: usize) -> Self {
        self.max_topics = topics;
        self
    }

    /// Sets [`history_bytes`](Self#structfield.history_bytes).
    ///
    /// ```
    /// # use standpipe::HubConfig;
    /// assert_eq!(HubConfig::default().history_bytes(1 << 20).history_bytes, 1 << 20);
    /// ```
    #[must_use]
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.history_bytes = bytes;
        self
    }

    /// Sets [`publish_timeout`](Self#structfield.publish_timeout).
    ///
    /// ```
    /// # use standpipe::HubConfig;
    /// # use std::time::Duration;
    /// let config = HubConfig::default().publish_timeout(Duration::from_secs(1));
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.publish_timeout = timeout;
        self
    }

    /// Sets [`envelope`](Self#structfield.envelope). [`Envelope`] has an example.
    ///
    /// ```
    /// use standpipe::{Envelope, Gap, Hub, HubConfig, Message, TopicMessage};
    ///
    /// struct Plain;
    ///
    /// impl Envelope for Plain {
    ///     fn message(&self, _topic: &str, message: &TopicMessage) -> Message {
    ///         message.message()
    ///     }
    ///
    ///     fn gap(&self, topic: &str, _gap: Gap<'_>) -> Message {
    ///         Message::text(format!("{topic}: messages are lost"))
    ///     }
    ///
    ///     fn presence(&self, topic: &str, name: &str, joined: bool) -> Message {
    ///         Message::text(format!("{topic}: {name} {joined}"))
    ///     }
    /// }
    ///
    /// let hub = Hub::new(HubConfig::default().envelope(Plain));
    /// # drop(hub);
    /// ```
    #[must_use]
    pub fn envelope(mut self, envelope: impl Envelope + 'static) -> Self {
        self.envelope = Some(Arc::new(envelope));
        self
    }

    /// Returns whether the topic `name` matches `pattern`, as in [`topics`](Self::topics).
    ///
    /// ```
    /// use standpipe::HubConfig;
    /// assert!(HubConfig::matches("doc-*", "doc-7"));
    /// assert!(!HubConfig::matches("doc-?", "doc-77"));
    /// ```
    pub fn matches(pattern: &str, name: &str) -> bool {
        matches(pattern, name)
    }

    /// Panics if the settings of a topic are not valid.
    #[track_caller]
    pub(super) fn check(&self) {
        self.default.check("of the default settings");
        for (pattern, settings) in &self.topics {
            settings.check(&format!("of the topics {pattern:?}"));
        }
    }
}

impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig")
            .field("topics", &self.topics)
            .field("default", &self.default)
            .field("max_topics", &self.max_topics)
            .field("history_bytes", &self.history_bytes)
            .field("publish_timeout", &self.publish_timeout)
            .finish_non_exhaustive()
    }
}

/// Returns whether `name` matches `pattern`, in time proportional to the product of their lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // The last star's index in the pattern, and the index in the name where its match ends.
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
                Some((at, end)) => {
                    star = Some((at, end + 1));
                    p = at + 1;
                    n = end + 1;
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
    fn patterns_match_like_file_names() {
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
        assert!(!matches(&"*a*b".repeat(60), &name), "in bounded time");
    }

    /// The fields are public, so they can be set without the checks of the setters.
    #[test]
    #[should_panic(expected = "the queue of the topics \"room-*\" must hold at least 1 message")]
    fn hub_refuses_a_queue_of_zero() {
        let settings = TopicSettings {
            queue: 0,
            ..TopicSettings::default()
        };
        let _hub = crate::hub::Hub::new(HubConfig::default().topic("room-*", settings));
    }
}
