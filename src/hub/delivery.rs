//! [`Delivery`]: messages on their way to every member, while the publisher holds the publish token. Here a topic's policy
//! is applied.
//!
//! Messages that were published together are delivered to one member, then to the next. So the memory of a member is
//! loaded once, and its socket is written to once.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::direct_messages::try_write_now;
use super::member::Member;
use super::message::TopicMessage;
use super::outcome::PublishOutcome;
use super::placement::{Placed, Service};
use super::policy::Policy;
use super::settings::{LatenessLimits, TopicSettings};
use super::stats::TopicCounters;
use crate::clock;
use crate::connection::queue::room::RetryBudget;
use crate::connection::write::direct_write::WriteNow;
use crate::connection::write::frame::FrameBatch;

/// How many members are prefetched before the first of them is written to. With a thousand members none is in the cache,
/// and each needs several loads that depend on each other. Prefetching several members overlaps these.
const PREFETCHED: usize = 16;

/// One batch of messages on its way to the members.
pub(super) struct Delivery<'a> {
    messages: &'a [Arc<TopicMessage>],
    settings: &'a TopicSettings,
    lateness: Option<LatenessLimits>,
    /// The messages as they are written, without and with envelope. Each is made for the first member that needs it.
    raw: OnceCell<FrameBatch>,
    enveloped: OnceCell<FrameBatch>,
    retry_budget: &'a mut RetryBudget,
    /// When to give up under `block`.
    deadline: Option<Instant>,
    members: &'a [Arc<Member>],
    /// Each member is flushed when its messages are queued. Otherwise all members are flushed by the caller afterwards,
    /// or here before this waits.
    flushes: bool,
    outcomes: Vec<PublishOutcome>,
    written: WrittenMessages<'a>,
    /// Members that the caller has to disconnect after it has returned the publish token.
    to_disconnect: &'a mut Vec<Arc<Member>>,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(
        messages: &'a [Arc<TopicMessage>],
        members: &'a [Arc<Member>],
        settings: &'a TopicSettings,
        counters: &'a TopicCounters,
        (retry_budget, deadline): (&'a mut RetryBudget, Option<Instant>),
        to_disconnect: &'a mut Vec<Arc<Member>>,
    ) -> Delivery<'a> {
        let outcomes = messages.iter().map(|message| PublishOutcome {
            id: message.id(),
            nodes: 1,
            ..PublishOutcome::default()
        });
        Delivery {
            messages,
            settings,
            lateness: settings.lateness_limits(),
            raw: OnceCell::new(),
            enveloped: OnceCell::new(),
            retry_budget,
            deadline,
            members,
            flushes: true,
            outcomes: outcomes.collect(),
            written: WrittenMessages { counters, count: 0 },
            to_disconnect,
        }
    }

    /// Delivers the messages to every member but the client `except`. With `flushes`, each member is also flushed.
    pub(super) fn deliver(mut self, except: Option<u64>, flushes: bool) -> Vec<PublishOutcome> {
        self.flushes = flushes;
        for members in self.members.chunks(PREFETCHED) {
            if flushes && members.len() > 1 {
                members
                    .iter()
                    .for_each(|member| member.outbox.shared().prefetch());
            }
            for member in members {
                if except.is_none_or(|except| member.outbox.number() != except) {
                    self.deliver_to(member);
                }
            }
        }
        self.outcomes
    }

    fn deliver_to(&mut self, member: &'a Arc<Member>) {
        let Some(limits) = self.lateness else {
            return self.deliver_now(member);
        };
        let now = clock::now();
        if member.is_late(limits, now) {
            self.queue_all(member);
            // An answer that has arrived meanwhile may have released the member.
            return member.outbox.flush();
        }
        self.deliver_now(member);
        member.outbox.shared().mark(now, limits.interval);
    }

    fn deliver_now(&mut self, member: &'a Arc<Member>) {
        if !self.flushes {
            return self.queue_all(member);
        }
        match try_write_now(member, self.messages, self.batch_for(member)) {
            WriteNow::Written => {
                self.count_receiver();
                self.written.count += self.messages.len() as u64;
            }
            WriteNow::InFlight => self.count_receiver(),
            WriteNow::NotWritten => {
                self.queue_all(member);
                member.outbox.flush();
            }
        }
    }

    fn batch_for(&self, member: &Member) -> &FrameBatch {
        let batch = if member.has_envelope() {
            &self.enveloped
        } else {
            &self.raw
        };
        batch.get_or_init(|| {
            let frame = |message: &Arc<TopicMessage>| message.frame(member.envelope()).clone();
            FrameBatch::new(self.messages.iter().map(frame).collect())
        })
    }

    fn count_receiver(&mut self) {
        for outcome in &mut self.outcomes {
            outcome.receivers += 1;
        }
    }

    /// Queues one message after another, until the member has to be disconnected or is closed.
    fn queue_all(&mut self, member: &'a Arc<Member>) {
        for index in 0..self.messages.len() {
            if !self.queue(member, index) {
                return;
            }
        }
    }

    /// Queues one message, as the policy says. Returns false if the member receives nothing more.
    fn queue(&mut self, member: &'a Arc<Member>, index: usize) -> bool {
        let (message, settings) = (&self.messages[index], self.settings);
        // A member that is late is slow, although its socket accepts bytes.
        let service = || match self.lateness {
            Some(limits) if member.is_late(limits, clock::now()) => Service::Held,
            _ => Service::Ticket,
        };
        let place = || {
            let service = service();
            let mut placed = member.place(message, settings, service);
            // The topic may have filled its queue while the member was late. Nobody reads the answer now, so this cannot
            // go on until it is read.
            let is_unjudged = self.lateness.is_some() && service == Service::Ticket;
            if placed == Placed::Full && is_unjudged && member.outbox.shared().send_held() {
                placed = member.place(message, settings, service);
            }
            (placed != Placed::Full).then_some(placed)
        };
        let placed = match service() {
            Service::Held => place(),
            Service::Ticket => member.outbox.retry_until_blocked(self.retry_budget, place),
        };
        let outcome = &mut self.outcomes[index];
        // `None`: the member is slow.
        let placed = match (placed, settings.policy) {
            (Some(placed), _) => placed,
            (None, Policy::DropOldest | Policy::Conflate) => {
                member.displace(message, settings, service())
            }
            (None, Policy::Block { .. }) => {
                if !self.flushes {
                    // No member may wait for a message because another member is slow.
                    self.members.iter().for_each(|member| member.outbox.flush());
                }
                let placed = member.outbox.wait_for_room(self.deadline, place);
                outcome.timed_out |= placed.is_none();
                placed.unwrap_or(Placed::Full)
            }
            (None, Policy::DropNewest) => {
                member.drop_newest(message, settings.policy);
                outcome.dropped += 1;
                return true;
            }
            (None, Policy::Disconnect { .. }) => Placed::Full,
        };
        match placed {
            Placed::Queued => {
                outcome.receivers += 1;
                return true;
            }
            Placed::Skipped => return true,
            Placed::OverLimit => {
                outcome.receivers += 1;
                self.to_disconnect.push(Arc::clone(member));
            }
            Placed::Full => {
                outcome.dropped += 1;
                member.drop_for_disconnect(settings.policy);
                self.to_disconnect.push(Arc::clone(member));
            }
            Placed::Closed => {}
        }
        false
    }
}

/// Counts the messages of one batch that were written without being queued, and adds them to the topic's counters when it
/// is dropped: in one step for all members, and also if the envelope panics before the last member.
struct WrittenMessages<'a> {
    counters: &'a TopicCounters,
    count: u64,
}

impl Drop for WrittenMessages<'_> {
    fn drop(&mut self) {
        let TopicCounters {
            accepted,
            delivered,
            ..
        } = self.counters;
        accepted.fetch_add(self.count, Ordering::Relaxed);
        delivered.fetch_add(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "tests/lateness.rs"]
mod tests;
