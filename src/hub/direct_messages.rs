//! Messages of a topic on the fast path to one member: written to the socket without being queued.

use std::sync::Arc;

use super::member::Member;
use super::message::TopicMessage;
use super::stats::TopicCounters;
use crate::connection::queue::item::TopicSource;
use crate::connection::write::direct_write::{DirectWrite, WriteNow};
use crate::connection::write::frame::FrameBatch;
use crate::sync::lock;

/// Writes `messages`, which `batch` has encoded, without queueing them, if nothing is ahead of them.
pub(super) fn try_write_now(
    member: &Arc<Member>,
    messages: &[Arc<TopicMessage>],
    batch: &FrameBatch,
) -> WriteNow {
    let topic = DirectMessages { member, messages };
    let write = &member.outbox.shared().write;
    write.try_write_now(batch, Some(&topic))
}

struct DirectMessages<'a> {
    member: &'a Arc<Member>,
    messages: &'a [Arc<TopicMessage>],
}

impl DirectWrite for DirectMessages<'_> {
    fn try_claim(&self) -> bool {
        let (first, last) = (&self.messages[0], &self.messages[self.messages.len() - 1]);
        lock(&self.member.pending).try_advance(first.id(), last.id())
    }

    fn begin_in_flight(&self) -> Arc<dyn TopicSource> {
        // Counted as accepted before any thread can count it as delivered. Complete writes are counted in bulk by
        // `Delivery`.
        TopicCounters::add_one(&self.member.counters.accepted);
        self.member.source()
    }
}
