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
    pub(super) fn one(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
