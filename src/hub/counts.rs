//! [`Counts`]: the accounts of one topic.

use std::sync::atomic::{AtomicU64, Ordering};

use super::settings::REASONS;

/// What became of the messages of one topic, over all its members.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) accepted: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) discarded: AtomicU64,
    pub(super) dropped: [AtomicU64; REASONS.len()],
}

impl Counts {
    /// So many were offered and given to the kernel in one step.
    pub(super) fn delivered_at_once(&self, messages: u64) {
        self.accepted.fetch_add(messages, Ordering::Relaxed);
        self.delivered.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn one(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
