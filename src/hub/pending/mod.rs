//! [`PendingMessages`]: the messages of one topic that are pending for one client. Data without locks, sockets or clocks.

mod gaps;
mod keyed_queue;
mod over_limit;
mod tickets;

use gaps::{Gap, Gaps};
use keyed_queue::KeyedQueue;
pub(super) use keyed_queue::PendingMessage;
use over_limit::OverLimit;
use tickets::Tickets;

use super::policy::SoftLimit;
use crate::connection::write::frame::EncodedFrame;

#[derive(Debug, Default)]
pub(super) struct PendingMessages {
    messages: KeyedQueue,
    gaps: Gaps,
    tickets: Tickets,
    over_limit: OverLimit,
    /// The queue of a conflating topic was full, and has not been empty since.
    replaces_in_place: bool,
}

/// What is sent next: the gap before a message, the message, or both.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) gap: Option<Gap>,
    pub(super) message: Option<EncodedFrame>,
}

impl PendingMessages {
    /// If no message and no gap is pending ahead of the ids `first` to `last`, marks these as sent and returns true.
    pub(super) fn try_advance(&mut self, first: u64, last: u64) -> bool {
        let Gaps {
            told_up_to,
            offered_up_to,
        } = self.gaps;
        let is_next = first == told_up_to + 1 && offered_up_to == told_up_to;
        if !is_next || !self.messages.fifo.is_empty() {
            return false;
        }
        self.gaps = Gaps {
            told_up_to: last,
            offered_up_to: last,
        };
        self.over_limit = OverLimit::default();
        true
    }

    /// Starts after `id`: earlier ids are neither sent nor a gap.
    pub(super) fn begin_after(&mut self, id: u64) {
        self.gaps.told_up_to = id;
        self.gaps.offered_up_to = id;
    }

    pub(super) fn len(&self) -> usize {
        self.messages.fifo.len()
    }

    pub(super) fn oldest_id(&self) -> Option<u64> {
        self.messages.fifo.front().map(|message| message.id)
    }

    /// Appends `message`.
    pub(super) fn push(&mut self, message: PendingMessage) {
        self.gaps.offer(message.id);
        self.messages.push(message);
    }

    /// Replaces the newest pending message with the same key, if the queue was full and has not been empty since. Returns
    /// the size of the old message, or else the new message.
    ///
    /// Once the queue has been full, messages are replaced even if a slot is free. Appending whenever a slot is free would
    /// keep moving busy keys to the back, and chance would decide which keys are sent.
    pub(super) fn replace_after_full(
        &mut self,
        message: PendingMessage,
    ) -> Result<usize, PendingMessage> {
        if !message.conflated || !self.replaces_in_place {
            return Err(message);
        }
        self.replace(message)
    }

    fn replace(&mut self, message: PendingMessage) -> Result<usize, PendingMessage> {
        let id = message.id;
        let replaced = self.messages.replace(message)?;
        self.gaps.offer(id);
        Ok(replaced)
    }

    /// From now on a conflated message is replaced by a newer one with its key. Drops the messages that are superseded
    /// already, and calls `dropped` with the size of each.
    pub(super) fn begin_replacing(&mut self, dropped: impl FnMut(usize)) {
        self.messages.remove_superseded(dropped);
        self.replaces_in_place = true;
    }

    /// Queues `message` although the queue is full. A conflated message replaces the newest one with its key, any other
    /// message the oldest. Calls `dropped` with the size of each message that is dropped for it. Returns whether the
    /// message was appended, so that it needs a ticket.
    pub(super) fn displace(
        &mut self,
        mut message: PendingMessage,
        mut dropped: impl FnMut(usize),
    ) -> bool {
        // The client has no room for one more, for whatever reason: there is room only if something is dropped.
        let limit = self.len().max(1);
        if message.conflated {
            self.begin_replacing(&mut dropped);
            message = match self.replace(message) {
                Ok(size) => {
                    dropped(size);
                    return false;
                }
                Err(message) => message,
            };
        }
        if self.len() >= limit {
            self.drop_oldest().into_iter().for_each(dropped);
        }
        self.push(message);
        true
    }

    /// Drops the oldest message. Returns its size.
    pub(super) fn drop_oldest(&mut self) -> Option<usize> {
        Some(self.pop()?.frame.len())
    }

    /// Records ids up to `id` as offered but never queued. They are a gap.
    pub(super) fn record_missed(&mut self, id: u64) {
        self.gaps.offer(id);
    }

    /// Records ids up to `id` as offered but never queued, and not as a gap, because the topic conflates.
    pub(super) fn skip_to(&mut self, id: u64) {
        self.gaps.offer(id);
        self.gaps.skip_to(self.gaps.offered_up_to);
    }

    /// Returns whether the message with this id, or a later one, was offered to the member or told to it before.
    pub(super) fn was_offered(&self, id: u64) -> bool {
        id <= self.gaps.offered_up_to
    }

    pub(super) fn offered_up_to(&self) -> u64 {
        self.gaps.offered_up_to
    }

    /// Returns whether a gap is pending that no pending message will report.
    pub(super) fn has_trailing_gap(&self) -> bool {
        self.gaps.has_trailing(self.last_id())
    }

    /// Returns the highest id of a pending message. With `conflate`, it need not be the last in the queue.
    fn last_id(&self) -> Option<u64> {
        self.messages.fifo.iter().map(|message| message.id).max()
    }

    /// Takes out the next message in exchange for a ticket. Returns `None` if no message is pending: the ticket's message
    /// was dropped, and a gap is told when the topic is served from the overflow list.
    pub(super) fn take_for_ticket(&mut self) -> Option<Next> {
        self.tickets.redeem();
        if self.messages.fifo.is_empty() {
            return None;
        }
        self.take_next()
    }

    /// Takes out what is sent next, for a topic on the overflow list. Also returns whether the topic has to stay on the
    /// list: for a message without a ticket, or (if the member is told of gaps) for a gap at the end.
    pub(super) fn take_for_overflow(&mut self, is_told_of_gaps: bool) -> (Option<Next>, bool) {
        let next = self.take_next();
        let stays = !self.tickets.cover(self.len()) || (is_told_of_gaps && self.has_trailing_gap());
        self.tickets.set_in_overflow(stays);
        (next, stays)
    }

    fn take_next(&mut self) -> Option<Next> {
        let Some(message) = self.pop() else {
            let gap = self.gaps.take_trailing();
            return gap.is_some().then_some(Next { gap, message: None });
        };
        let gap = if message.conflated {
            self.gaps.skip_to(message.id);
            None
        } else {
            self.gaps.advance_to(message.id)
        };
        Some(Next {
            gap,
            message: Some(message.frame),
        })
    }

    fn pop(&mut self) -> Option<PendingMessage> {
        let message = self.messages.pop();
        self.replaces_in_place &= !self.messages.fifo.is_empty();
        message
    }

    /// Returns whether the client's queue holds fewer than `messages` tickets of this topic.
    pub(super) fn needs_ticket_for(&self, messages: usize) -> bool {
        !self.tickets.cover(messages)
    }

    pub(super) fn add_ticket(&mut self) {
        self.tickets.add();
    }

    /// Marks the topic as on the overflow list. Returns false if it was there already.
    pub(super) fn enter_overflow(&mut self) -> bool {
        self.tickets.enter_overflow()
    }

    /// Starts or stops the timer of the soft limit. Returns whether the member has been over `limit` for too long at
    /// `now`.
    pub(super) fn update_over_limit(
        &mut self,
        limit: SoftLimit,
        capacity: usize,
        now: u64,
    ) -> bool {
        self.over_limit.update((self.len(), capacity), limit, now)
    }
}

#[cfg(test)]
mod tests;
