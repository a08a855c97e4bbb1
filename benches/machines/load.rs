//! [`Load`]: what is published, and how much of it arrived.

use std::time::Duration;

/// The bytes of one message.
pub(crate) const SIZE: usize = 100;

/// How many threads publish at the same time, and how many messages each of them publishes in one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) publishers: usize,
    pub(crate) together: usize,
    pub(crate) topics: usize,
    /// How many messages each topic keeps.
    pub(crate) history: usize,
    /// How long the publishers publish.
    pub(crate) duration: Duration,
}

impl Load {
    /// Returns the index of the topic for the batch `batch` of the publisher `publisher`: all topics in turn.
    pub(crate) fn topic(&self, publisher: usize, batch: usize) -> usize {
        (publisher * self.topics / self.publishers + batch) % self.topics
    }
}

pub(crate) fn topic_name(index: usize) -> String {
    format!("bench-{index}")
}

/// The result of one measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) messages: u64,
    /// From the first publish until everything has been received.
    pub(crate) took: Duration,
    /// Messages that a member was too slow for.
    pub(crate) dropped: u64,
    /// Processor time of the Redis server.
    pub(crate) redis: Duration,
    /// Processor time of this program: hubs, publishers and members.
    pub(crate) program: Duration,
}

impl Measured {
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.took.as_secs_f64()
    }

    /// Returns a processor time in microseconds per message.
    pub(crate) fn each(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.messages as f64
    }
}
