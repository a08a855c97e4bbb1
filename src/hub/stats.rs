//! [`TopicCounters`] and [`TopicCounts`]: what became of the messages of one topic.
//!
//! A hub adds the counters of its topics up when they are read ([`Ledger`](super::ledger::Ledger)). So topics share no
//! counter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::policy::DropReason;
use crate::durations::DurationCounters;

/// What became of a topic's messages since the topic was created, over all its members.
///
/// ```
/// use standpipe::{DropReason, Hub};
///
/// let topic = Hub::default().topic("news")?;
/// topic.publish("nobody is subscribed")?;
/// let counts = topic.counts();
/// assert_eq!((counts.accepted, counts.dropped), (0, 0)); // A message counts once for each member.
/// assert_eq!(counts.dropped_by(DropReason::Conflate), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicCounts {
    /// Messages offered to members. A message counts once for each member.
    pub accepted: u64,
    /// Messages given whole to our kernel's socket.
    pub delivered: u64,
    /// Messages that were still queued or in flight when their member's connection ended.
    pub discarded: u64,
    /// Messages dropped by the topic's policies. [`dropped_by`](Self::dropped_by) tells them apart.
    pub dropped: u64,
    /// Messages in the history.
    pub history: usize,
    dropped_by: [u64; DropReason::ALL.len()],
}

impl TopicCounts {
    /// Returns how many messages were dropped for this reason. A topic has several reasons if
    /// [`Topic::set_policy`](super::Topic::set_policy) has changed its policy.
    ///
    /// ```
    /// # use standpipe::{DropReason, Topic};
    /// fn report(topic: &Topic) {
    ///     let counts = topic.counts();
    ///     for reason in DropReason::ALL {
    ///         println!("{}: {} dropped by {reason}", topic.name(), counts.dropped_by(*reason));
    ///     }
    /// }
    /// ```
    pub fn dropped_by(&self, reason: DropReason) -> u64 {
        self.dropped_by[reason.index()]
    }

    /// Returns the counts of both.
    pub(super) fn plus(mut self, other: &TopicCounts) -> TopicCounts {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.discarded += other.discarded;
        self.dropped += other.dropped;
        self.history += other.history;
        for (dropped, more) in self.dropped_by.iter_mut().zip(other.dropped_by) {
            *dropped += more;
        }
        self
    }
}

#[derive(Debug, Default)]
pub(super) struct TopicCounters {
    pub(super) accepted: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) discarded: AtomicU64,
    /// By [`DropReason::index`].
    pub(super) dropped: [AtomicU64; DropReason::ALL.len()],
    pub(super) published: AtomicU64,
    pub(super) unpublished: AtomicU64,
    pub(super) publish_times: DurationCounters,
    pub(super) resumed: AtomicU64,
    pub(super) resumed_with_gap: AtomicU64,
}

impl TopicCounters {
    pub(super) fn add_one(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one publish of `messages` messages.
    pub(super) fn record_publish(&self, messages: usize, is_published: bool, took: Duration) {
        if messages == 0 {
            return;
        }
        if is_published {
            self.publish_times.record(took);
        }
        let counter = if is_published {
            &self.published
        } else {
            &self.unpublished
        };
        counter.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// Counts a client that has continued after an id.
    pub(super) fn record_resume(&self, has_gap: bool) {
        TopicCounters::add_one(if has_gap {
            &self.resumed_with_gap
        } else {
            &self.resumed
        });
    }

    pub(super) fn read(&self, history: usize) -> TopicCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let dropped_by = self.dropped.each_ref().map(count);
        // `accepted` is read last, so that it is not less than the others together.
        TopicCounts {
            delivered: count(&self.delivered),
            discarded: count(&self.discarded),
            dropped: dropped_by.iter().sum(),
            accepted: count(&self.accepted),
            history,
            dropped_by,
        }
    }
}
