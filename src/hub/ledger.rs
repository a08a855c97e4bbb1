//! [`Ledger`]: the counters of all topics of a hub, also of those that have been removed. [`HubStatistics`]: their sum.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use super::stats::{TopicCounters, TopicCounts};
use crate::durations::Durations;
use crate::sync::lock;

/// The state of a hub, and what it has counted since it was made, for [`Hub::statistics`](super::Hub::statistics). Topics
/// that have been removed are included. No counter ever decreases.
///
/// ```
/// use standpipe::{DropReason, Hub, HubStatistics};
///
/// let hub = Hub::default();
/// hub.topic("news")?.publish("nobody is subscribed")?;
/// let HubStatistics { published, counts, publish_times, .. } = hub.statistics();
/// assert_eq!((published, publish_times.count()), (1, 1));
/// assert_eq!((counts.accepted, counts.dropped_by(DropReason::Conflate)), (0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct HubStatistics {
    /// The number of topics.
    pub topics: usize,
    /// The number of members of all topics. A client counts once for each of its topics.
    pub members: usize,
    /// The bytes that all histories use.
    pub history_bytes: usize,
    /// The outcomes of the messages of all topics. A message counts once for each member.
    pub counts: TopicCounts,
    /// Messages that were published here. A message counts once, whatever the number of members.
    pub published: u64,
    /// Messages that were not published, or whose outcome is not known: see [`PublishError`](super::PublishError).
    pub unpublished: u64,
    /// How long publishing took, with all waits. A batch of messages counts once.
    pub publish_times: Durations,
    /// Subscriptions that continued after an id, and missed nothing.
    pub resumed: u64,
    /// Subscriptions that continued after an id, and had missed messages that no history had any more. Also those that
    /// named an id of another epoch.
    pub resumed_with_gap: u64,
}

impl HubStatistics {
    fn add(&mut self, counters: &TopicCounters) {
        self.counts = self.counts.plus(&counters.read(0));
        self.publish_times = self.publish_times.plus(&counters.publish_times.read());
        self.published += counters.published.load(Relaxed);
        self.unpublished += counters.unpublished.load(Relaxed);
        self.resumed += counters.resumed.load(Relaxed);
        self.resumed_with_gap += counters.resumed_with_gap.load(Relaxed);
    }
}

/// How many topics are removed before their counters are looked for.
const SWEPT_FROM: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// The counters of topics that exist, or whose members still use them, and of some that nobody uses any more.
    open: Vec<Arc<TopicCounters>>,
    /// The sum of the others.
    closed: HubStatistics,
    /// At this number, `open` is looked through.
    sweep_at: usize,
}

impl Ledger {
    /// Returns the counters of a new topic.
    pub(super) fn open(&self) -> Arc<TopicCounters> {
        let mut entries = lock(&self.0);
        if entries.open.len() >= entries.sweep_at.max(SWEPT_FROM) {
            entries.close_unused();
            // So the work for each new topic is bounded, and at most half of the list is unused.
            entries.sweep_at = 2 * entries.open.len();
        }
        let counters = Arc::new(TopicCounters::default());
        entries.open.push(Arc::clone(&counters));
        counters
    }

    /// Returns the sum over all topics. The state of the hub is not filled in.
    pub(super) fn sum(&self) -> HubStatistics {
        let entries = lock(&self.0);
        let mut sum = entries.closed;
        entries.open.iter().for_each(|counters| sum.add(counters));
        sum
    }
}

impl Entries {
    /// Adds up the counters that only this list refers to. Nobody can change them any more.
    fn close_unused(&mut self) {
        let closed = &mut self.closed;
        self.open.retain_mut(|counters| {
            let unused = Arc::get_mut(counters);
            if let Some(counters) = &unused {
                closed.add(counters);
            }
            unused.is_none()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_removed_topics_are_added_up() {
        let ledger = Ledger::default();
        let kept = ledger.open();
        for n in 0..10 * SWEPT_FROM as u64 {
            let counters = ledger.open();
            counters.record_publish(1, true, std::time::Duration::ZERO);
            TopicCounters::add_one(&counters.accepted);
            assert_eq!(ledger.sum().published, n + 1);
        }
        assert!(lock(&ledger.0).open.len() <= SWEPT_FROM + 1);
        kept.record_resume(true);
        let sum = ledger.sum();
        assert_eq!(sum.counts.accepted, 10 * SWEPT_FROM as u64);
        assert_eq!(sum.publish_times.count(), 10 * SWEPT_FROM as u64);
        assert_eq!((sum.resumed, sum.resumed_with_gap), (0, 1));
    }
}
