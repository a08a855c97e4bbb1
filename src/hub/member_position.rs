//! The half of [`Member`] that tells how far the client is in the topic, and moves it over ids that will never come.

use std::sync::Arc;

use super::member::Member;
use super::policy::Policy;
use crate::sync::lock;

impl Member {
    /// Records that ids up to `id` will never come. A member with an envelope will receive a gap notice, unless the topic
    /// conflates.
    pub(super) fn miss_up_to(self: &Arc<Self>, id: u64, policy: Policy) {
        let mut pending = lock(&self.pending);
        if pending.was_offered(id) {
            return;
        }
        if policy == Policy::Conflate {
            pending.skip_to(id);
        } else {
            pending.record_missed(id);
            self.request_gap_notice(&mut pending);
        }
        drop(pending);
        self.outbox.drain_if_finished();
    }

    /// Returns the last id that the member has been offered. A member that continues on this hub after another one may be
    /// ahead of the topic.
    pub(super) fn offered_up_to(&self) -> u64 {
        lock(&self.pending).offered_up_to()
    }

    pub(super) fn pending_len(&self) -> usize {
        lock(&self.pending).len()
    }

    /// Returns false once the connection has begun to close or has ended.
    pub(super) fn is_open(&self) -> bool {
        self.outbox.shared().lifecycle().is_open()
    }
}

#[cfg(test)]
#[path = "tests/member_position.rs"]
mod tests;
