//! [`Member`]: one client's subscription to one topic, between the topic's policy and the client's queue.
//!
//! The FIFO belongs to the client, the policy to the topic. The client's queue therefore holds only *tickets* of this
//! topic. The messages are pending here, where the policy may drop or replace them, until the thread that writes exchanges
//! a ticket for the next one. A topic never drops another topic's messages.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use super::message::{Envelope, Gap, TopicMessage};
use super::pending::{Next, PendingMessage, PendingMessages};
use super::placement::{Placed, Service};
use super::policy::{DropReason, Policy, SoftLimit};
use super::settings::{LatenessLimits, TopicSettings};
use super::stats::TopicCounters;
use crate::clock;
use crate::connection::Outbox;
use crate::connection::queue::item::{Outgoing, Purpose, TopicSource};
use crate::connection::queue::send_queue::{Admission, Wait};
use crate::connection::write::frame::EncodedFrame;
use crate::panic::catch_panic;
use crate::sync::lock;

pub(super) struct Member {
    pub(super) outbox: Outbox,
    /// The member is told who joins and leaves.
    pub(super) wants_presence: AtomicBool,
    topic: Arc<str>,
    envelope: Option<Arc<dyn Envelope>>,
    pub(super) counters: Arc<TopicCounters>,
    pub(super) pending: Mutex<PendingMessages>,
    epoch: Arc<str>,
}

impl Member {
    pub(super) fn new(
        outbox: Outbox,
        topic: Arc<str>,
        envelope: Option<Arc<dyn Envelope>>,
        wants_presence: bool,
        counters: Arc<TopicCounters>,
        epoch: Arc<str>,
    ) -> Arc<Member> {
        Arc::new(Member {
            outbox,
            wants_presence: AtomicBool::new(wants_presence),
            topic,
            envelope,
            counters,
            pending: Mutex::default(),
            epoch,
        })
    }

    /// The member's messages begin after `id`.
    pub(super) fn begin_after(&self, id: u64) {
        lock(&self.pending).begin_after(id);
    }

    /// Ends a replay. Messages up to `id` that were not replayed are no longer in the history, so they are a gap.
    pub(super) fn end_replay(self: &Arc<Self>, id: u64, policy: Policy) {
        let mut pending = lock(&self.pending);
        if policy == Policy::Conflate {
            pending.skip_to(id);
        } else {
            pending.record_missed(id);
            if pending.has_trailing_gap() {
                self.request_gap_notice(&mut pending);
            }
        }
        drop(pending);
        self.outbox.drain_if_finished();
    }

    /// Discards what is pending, without a gap notice: the client is not a member after all.
    pub(super) fn withdraw(&self) {
        let mut pending = lock(&self.pending);
        while let Some(bytes) = pending.drop_oldest() {
            self.outbox.queue().add_pending(-1);
            self.outbox.queue().record_discarded(bytes, Some(self));
        }
        pending.skip_to(0);
    }

    /// Returns the envelope for this member's messages, with the topic's name, if the member asked for it.
    pub(super) fn envelope(&self) -> Option<(&dyn Envelope, &str)> {
        let envelope = self.envelope.as_deref()?;
        Some((envelope, &self.topic))
    }

    pub(super) fn has_envelope(&self) -> bool {
        self.envelope.is_some()
    }

    /// Returns whether the client is late, and since when it must be for that.
    pub(super) fn is_late(&self, limits: LatenessLimits, now: u64) -> bool {
        self.outbox.shared().is_late(now, limits.unanswered)
    }

    /// Returns how many messages of the topic can be queued at most, before any is written.
    pub(super) fn room(&self, settings: &TopicSettings) -> usize {
        let free = self.outbox.capacity().saturating_sub(self.outbox.len());
        settings.queue.min(free)
    }

    /// Queues `message` if there is room for it. For a member that is late, the message is added to what is held back, and
    /// under `conflate` it replaces an older one with its key.
    pub(super) fn place(
        self: &Arc<Self>,
        message: &TopicMessage,
        settings: &TopicSettings,
        service: Service,
    ) -> Placed {
        // Encoded before the lock is taken, because the envelope is user code.
        let frame = message.frame(self.envelope());
        let placed = {
            let mut pending = lock(&self.pending);
            if service == Service::Held && settings.policy == Policy::Conflate {
                self.begin_replacing(&mut pending, settings.policy);
            }
            self.place_locked(&mut pending, frame, message, (settings, service))
        };
        self.outbox.drain_if_finished();
        placed
    }

    /// From now on a pending message is replaced by a newer one with its key, although the topic's queue has room.
    fn begin_replacing(&self, pending: &mut PendingMessages, policy: Policy) {
        let before = pending.len();
        pending.begin_replacing(|bytes| self.count_dropped(bytes, policy));
        let queue = self.outbox.queue();
        queue.add_pending(pending.len() as isize - before as isize);
    }

    fn place_locked(
        self: &Arc<Self>,
        pending: &mut PendingMessages,
        frame: &EncodedFrame,
        message: &TopicMessage,
        (settings, service): (&TopicSettings, Service),
    ) -> Placed {
        if pending.was_offered(message.id()) {
            return Placed::Skipped;
        }
        let (queue, size) = (self.outbox.queue(), frame.len());
        // Bytes are reserved first, because this also finds out whether the client is closed, however full it is.
        match queue.admit(size, Wait::Never) {
            Admission::Admitted => {}
            Admission::Full => return Placed::Full,
            Admission::Closed => return Placed::Closed,
        }
        let new = pending_message(frame, message, settings.policy);
        let new = match pending.replace_after_full(new) {
            Ok(replaced) => {
                self.count_accepted();
                self.count_dropped(replaced, settings.policy);
                return Placed::Queued;
            }
            Err(new) => new,
        };
        let messages = pending.len() + 1;
        let is_served = messages <= settings.queue
            && (service == Service::Held || self.ensure_ticket(pending, messages));
        if !is_served {
            queue.cancel(size);
            return Placed::Full;
        }
        queue.add_pending(1);
        self.count_accepted();
        pending.push(new);
        if service == Service::Held {
            self.hold_back(pending);
        }
        match settings.policy {
            Policy::Disconnect { soft: Some(limit) }
                if pending.update_over_limit(limit, settings.queue, clock::now()) =>
            {
                Placed::OverLimit
            }
            _ => Placed::Queued,
        }
    }

    /// Queues `message` for a slow member. If there still is no room, other messages of this topic are dropped for it:
    /// the newest one with its key (`conflate`) or else the oldest, and further old ones until its bytes fit.
    ///
    /// If none of this topic is pending because other topics fill the client's queue, the message is queued anyway. This
    /// is at most one message per topic.
    pub(super) fn displace(
        self: &Arc<Self>,
        message: &TopicMessage,
        settings: &TopicSettings,
        service: Service,
    ) -> Placed {
        let frame = message.frame(self.envelope());
        let placed = {
            let mut pending = lock(&self.pending);
            match self.place_locked(&mut pending, frame, message, (settings, service)) {
                Placed::Full => {
                    let policy = settings.policy;
                    self.displace_locked(&mut pending, frame, message, (policy, service))
                }
                placed => placed,
            }
        };
        self.outbox.drain_if_finished();
        placed
    }

    fn displace_locked(
        self: &Arc<Self>,
        pending: &mut PendingMessages,
        frame: &EncodedFrame,
        message: &TopicMessage,
        (policy, service): (Policy, Service),
    ) -> Placed {
        let (queue, size) = (self.outbox.queue(), frame.len());
        if !queue.admit_replacement(size) {
            return Placed::Closed;
        }
        self.count_accepted();
        let (before, mut freed) = (pending.len(), 0);
        let is_appended = pending.displace(pending_message(frame, message, policy), |dropped| {
            self.count_dropped(dropped, policy);
            freed += dropped;
        });
        let messages = pending.len();
        match service {
            Service::Held => self.hold_back(pending),
            Service::Ticket if is_appended && !self.ensure_ticket(pending, messages) => {
                self.request_service(pending);
            }
            Service::Ticket => {}
        }
        // If the new message is larger than what it replaced, more of this topic's oldest are dropped until the client is
        // back under `queue_bytes`. Bytes that other topics use beyond that are not made good here.
        while freed < size
            && queue.bytes() > queue.byte_limit()
            && pending.oldest_id().is_some_and(|id| id != message.id())
        {
            let dropped = pending.drop_oldest().unwrap_or(0);
            self.count_dropped(dropped, policy);
            freed += dropped;
        }
        queue.add_pending(pending.len() as isize - before as isize);
        Placed::Queued
    }

    /// Drops `message`, and counts it. A member with an envelope will receive a gap notice.
    pub(super) fn drop_newest(self: &Arc<Self>, message: &TopicMessage, policy: Policy) {
        let mut pending = lock(&self.pending);
        pending.record_missed(message.id());
        self.count_accepted();
        self.count_dropped(0, policy);
        self.request_gap_notice(&mut pending);
        drop(pending);
        self.outbox.drain_if_finished();
    }

    /// Drops a message for a member that is about to be disconnected, and counts it. The member receives close code 4008
    /// but no gap notice: a gap would tell the client that the history does not have the message either.
    pub(super) fn drop_for_disconnect(&self, policy: Policy) {
        self.count_accepted();
        self.count_dropped(0, policy);
    }

    /// Starts or stops the timer of the soft limit. Returns whether the member has been over it for too long.
    pub(super) fn update_over_limit(&self, limit: SoftLimit, queue: usize) -> bool {
        lock(&self.pending).update_over_limit(limit, queue, clock::now())
    }

    /// Queues a ticket unless there are enough for `messages` messages. Returns false if the client's channel is full.
    fn ensure_ticket(self: &Arc<Self>, pending: &mut PendingMessages, messages: usize) -> bool {
        if !pending.needs_ticket_for(messages) {
            return true;
        }
        let is_queued = self.outbox.queue().push_ticket(self.source());
        if is_queued {
            pending.add_ticket();
        }
        is_queued
    }

    /// Puts this topic on the client's overflow list.
    fn request_service(self: &Arc<Self>, pending: &mut PendingMessages) {
        if pending.enter_overflow() {
            self.outbox.queue().push_overflow(self.source());
        }
    }

    /// Holds this topic back until the client has answered the mark. It is then served from the overflow list.
    fn hold_back(self: &Arc<Self>, pending: &mut PendingMessages) {
        if pending.enter_overflow() {
            self.outbox.queue().hold(self.source());
        }
    }

    /// If no further message is published, the client must still be told what it has missed.
    pub(super) fn request_gap_notice(self: &Arc<Self>, pending: &mut PendingMessages) {
        if self.has_envelope() {
            self.request_service(pending);
        }
    }

    pub(super) fn source(self: &Arc<Self>) -> Arc<dyn TopicSource> {
        Arc::clone(self) as Arc<dyn TopicSource>
    }

    fn count_accepted(&self) {
        TopicCounters::add_one(&self.counters.accepted);
        self.outbox.queue().count_accepted(1);
    }

    fn count_dropped(&self, bytes: usize, policy: Policy) {
        TopicCounters::add_one(&self.counters.dropped[DropReason::from(policy).index()]);
        self.outbox.queue().record_dropped(bytes);
    }

    /// Builds the notice of a gap. No lock is held, because the envelope is user code. The caller holds the write half, so
    /// a panic is caught; it costs this notice only.
    fn outgoing(self: &Arc<Self>, next: Next, purpose: Purpose) -> Option<Outgoing> {
        let Next { gap, message } = next;
        let notice = gap
            .filter(|_| purpose == Purpose::Send)
            .zip(self.envelope())
            .and_then(|((first, last), (envelope, topic))| {
                let epoch = &*self.epoch;
                let gap = Gap { first, last, epoch };
                catch_panic(|| envelope.gap(topic, gap))
            })
            .map(|notice| EncodedFrame::data(&notice));
        (notice.is_some() || message.is_some()).then(|| Outgoing {
            notice,
            message,
            source: Some(self.source()),
        })
    }
}

fn pending_message(frame: &EncodedFrame, message: &TopicMessage, policy: Policy) -> PendingMessage {
    PendingMessage {
        frame: frame.clone(),
        id: message.id(),
        key: message.key().cloned(),
        conflated: policy == Policy::Conflate,
    }
}

impl TopicSource for Member {
    fn take_next(self: Arc<Self>, purpose: Purpose) -> Option<Outgoing> {
        let next = lock(&self.pending).take_for_ticket()?;
        self.outgoing(next, purpose)
    }

    fn take_overflow(self: Arc<Self>, purpose: Purpose) -> (Option<Outgoing>, bool) {
        let (next, stays) = lock(&self.pending).take_for_overflow(self.has_envelope());
        (next.and_then(|next| self.outgoing(next, purpose)), stays)
    }

    fn finished(&self, delivered: bool) {
        TopicCounters::add_one(if delivered {
            &self.counters.delivered
        } else {
            &self.counters.discarded
        });
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("client", &self.outbox.number())
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
