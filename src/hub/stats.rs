//! [`TopicCounters`] and [`TopicCounts`]: what became of the messages of one topic.

use std::sync::atomic::{AtomicU64, Ordering};

use super::policy::NAMES;

/// What became of a topic's messages since the topic was created, over all its members.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TopicCounts {
    /// Messages offered to members. A message counts once for each member.
    pub accepted: u64,
    /// Messages given whole to our kernel's socket.
    pub delivered: u64,
    /// Messages that were still queued or in flight when their member's connection ended.
    pub discarded: u64,
    /// Messages dropped, by the name of the policy that dropped them.
    pub dropped: Vec<(&'static str, u64)>,
    /// Messages in the history.
    pub history: usize,
}

#[derive(Debug, Default)]
pub(super) struct TopicCounters {
    pub(super) accepted: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) discarded: AtomicU64,
    /// By [`Policy::index`](super::Policy::index).
    pub(super) dropped: [AtomicU64; NAMES.len()],
}

impl TopicCounters {
    pub(super) fn add_one(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, history: usize) -> TopicCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // `accepted` is read last, so that it is not less than the others together.
        TopicCounts {
            delivered: count(&self.delivered),
            discarded: count(&self.discarded),
            dropped: NAMES
                .into_iter()
                .zip(self.dropped.iter().map(count))
                .collect(),
            accepted: count(&self.accepted),
            history,
        }
    }
}
