//! [`Counts`]: the accounts of one topic.

use std::sync::atomic::{AtomicU64, Ordering};

use super::policy::REASONS;

/// What became of the messages of one topic, over all its members.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) accepted: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) discarded: AtomicU64,
    pub(super) dropped: [AtomicU64; REASONS.len()],
}

impl Counts {
    pub(super) fn one(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Messages of one publish that the kernel has already: one entry in the books for all members, made when it is dropped,
/// so also when the user's envelope panics in the middle.
#[derive(Debug)]
pub(super) struct BulkDelivered<'a> {
    counts: &'a Counts,
    pub(super) messages: u64,
}

impl BulkDelivered<'_> {
    pub(super) fn new(counts: &Counts) -> BulkDelivered<'_> {
        BulkDelivered {
            counts,
            messages: 0,
        }
    }
}

impl Drop for BulkDelivered<'_> {
    fn drop(&mut self) {
        self.counts
            .accepted
            .fetch_add(self.messages, Ordering::Relaxed);
        self.counts
            .delivered
            .fetch_add(self.messages, Ordering::Relaxed);
    }
}
