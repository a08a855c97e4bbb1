//! [`Patterns`]: the settings of topics by pattern, which can be replaced while the hub runs.

use std::sync::{Arc, Mutex, MutexGuard};

use super::config::HubConfig;
use super::settings::TopicSettings;
use crate::config_error::ConfigError;
use crate::sync::lock;

/// The patterns of a hub. A topic's settings are looked up when it is created, and when the patterns are replaced.
#[derive(Debug)]
pub(super) struct Patterns {
    current: Mutex<Arc<PatternList>>,
    /// Held while patterns are replaced and the topics get their settings. Otherwise, of two callers, one could replace
    /// the patterns last, and the other one could change the topics last.
    replacing: Mutex<()>,
    /// The largest queue of the patterns that the hub was created with. The queues of attached servers have room for it.
    largest_queue: usize,
}

/// The patterns at one time, and the settings of the topics that match none.
#[derive(Debug)]
pub(super) struct PatternList {
    topics: Vec<(String, TopicSettings)>,
    default: TopicSettings,
}

impl PatternList {
    /// Returns the settings of the topic `name`.
    pub(super) fn settings(&self, name: &str) -> TopicSettings {
        let mut topics = self.topics.iter();
        let matching = topics.find(|(pattern, _)| HubConfig::matches(pattern, name));
        matching.map_or(self.default, |(_, settings)| *settings)
    }

    /// Returns all settings, also those of the topics that match no pattern.
    pub(super) fn all(&self) -> impl Iterator<Item = &TopicSettings> {
        let topics = self.topics.iter().map(|(_, settings)| settings);
        topics.chain([&self.default])
    }
}

impl Patterns {
    pub(super) fn new(config: &HubConfig) -> Patterns {
        let list = PatternList {
            topics: config.topics.clone(),
            default: config.default,
        };
        let queues = list.all().map(|settings| settings.queue);
        Patterns {
            largest_queue: queues.max().unwrap_or_default(),
            current: Mutex::new(Arc::new(list)),
            replacing: Mutex::default(),
        }
    }

    /// Returns the patterns that are in force now.
    pub(super) fn current(&self) -> Arc<PatternList> {
        Arc::clone(&lock(&self.current))
    }

    pub(super) fn largest_queue(&self) -> usize {
        self.largest_queue
    }

    /// Returns the right to replace the patterns. Waits until another thread has finished to replace them.
    pub(super) fn lock_replacing(&self) -> MutexGuard<'_, ()> {
        lock(&self.replacing)
    }

    /// Replaces the patterns. Returns the old ones and the new ones.
    ///
    /// # Errors
    /// [`ConfigError`]: a queue is 0, or larger than the clients' queues may be.
    pub(super) fn replace(
        &self,
        topics: Vec<(String, TopicSettings)>,
        _right: &MutexGuard<'_, ()>,
    ) -> Result<[Arc<PatternList>; 2], ConfigError> {
        self.check(&topics)?;
        let mut current = lock(&self.current);
        let new = Arc::new(PatternList {
            topics,
            default: current.default,
        });
        let old = std::mem::replace(&mut *current, Arc::clone(&new));
        Ok([old, new])
    }

    fn check(&self, topics: &[(String, TopicSettings)]) -> Result<(), ConfigError> {
        for (pattern, TopicSettings { queue, .. }) in topics {
            let problem = match *queue {
                0 => "must hold at least 1 message".to_owned(),
                queue if queue > self.largest_queue => format!(
                    "is {queue}, but it may be at most {}, the largest queue that the hub was created with, because the \
                     queues of clients have room for that",
                    self.largest_queue
                ),
                _ => continue,
            };
            let problem = format!("the queue of the topics {pattern:?} {problem}");
            return Err(ConfigError::new("topics", problem));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_matching_pattern_is_used() {
        let config = HubConfig::default()
            .topic("a*", TopicSettings::default().queue(1))
            .topic("ab", TopicSettings::default().queue(2));
        let patterns = Patterns::new(&config);
        assert_eq!(patterns.current().settings("ab").queue, 1);
        assert_eq!(patterns.current().settings("b").queue, 64);
        assert_eq!(patterns.largest_queue(), 64);
    }

    #[test]
    fn larger_queue_than_at_the_start_is_refused() {
        let settings = |queue| TopicSettings {
            queue,
            ..TopicSettings::default()
        };
        let topics = |queue| {
            vec![
                ("ok".into(), settings(1)),
                ("doc-*".into(), settings(queue)),
            ]
        };
        let patterns = Patterns::new(&HubConfig::default().topic("large", settings(100)));
        let right = patterns.lock_replacing();
        for (queue, reason) in [
            (0, "must hold at least 1 message"),
            (101, "is 101, but it may be at most 100"),
        ] {
            let error = patterns.replace(topics(queue), &right).expect_err(reason);
            assert_eq!(error.field(), "topics");
            let expected = format!("topics: the queue of the topics \"doc-*\" {reason}");
            assert!(error.to_string().starts_with(&expected), "{error}");
            assert_eq!(
                patterns.current().settings("ok").queue,
                64,
                "nothing has changed"
            );
        }
        // The bound does not shrink with the patterns, because the queues of clients do not either.
        for queue in [2, 100] {
            patterns
                .replace(topics(queue), &right)
                .expect("there is room");
            assert_eq!(patterns.current().settings("doc-1").queue, queue);
        }
    }
}
