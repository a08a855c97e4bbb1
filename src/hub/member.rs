//! [`Member`]: one client's membership in one topic, and the lane of what waits for it.
//!
//! The FIFO belongs to the client, the policy to the topic. So the client's queue holds only *tickets* of this topic;
//! the messages wait here, where the policy may drop or replace them, until the writer redeems a ticket. A topic never
//! displaces another's message: it touches its own lane alone.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::message::{Envelope, TopicMessage};
use super::pending::{Next, PendingMessages, Waiting};
use super::policy::{Policy, SoftLimit, TopicSettings};
use super::stats::Counts;
use crate::caught::caught;
use crate::connection::Outbox;
use crate::connection::queue::item::{Outgoing, Purpose, TopicSource};
use crate::connection::queue::send_queue::{Admission, Wait};
use crate::connection::write::direct_write::{DirectWrite, WriteNow};
use crate::connection::write::frame::{EncodedFrame, FrameBatch};
use crate::sync::lock;

pub(super) struct Member {
    pub(super) outbox: Outbox,
    /// It hears who joins and leaves.
    pub(super) wants_presence: bool,
    topic: Arc<str>,
    envelope: Option<Arc<dyn Envelope>>,
    counts: Arc<Counts>,
    pending: Mutex<PendingMessages>,
}

/// What became of one post for one member, before any policy for the slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Queued,
    /// No room: the topic's queue, the client's bytes, or the client's places.
    Full,
    /// It is over the soft limit for too long.
    Overdue,
    Closed,
}

impl Member {
    pub(super) fn new(
        outbox: Outbox,
        topic: Arc<str>,
        envelope: Option<Arc<dyn Envelope>>,
        wants_presence: bool,
        counts: Arc<Counts>,
    ) -> Arc<Member> {
        Arc::new(Member {
            outbox,
            wants_presence,
            topic,
            envelope,
            counts,
            pending: Mutex::default(),
        })
    }

    /// It has heard everything up to `id`.
    pub(super) fn begin_after(&self, id: u64) {
        let mut pending = lock(&self.pending);
        pending.told = id;
        pending.offered = id;
    }

    /// Ids up to `id` were published before it came, and are not all there any more.
    pub(super) fn missed_up_to(self: &Arc<Self>, id: u64, policy: Policy) {
        let mut pending = lock(&self.pending);
        pending.offered = pending.offered.max(id);
        if policy.conflates() {
            pending.told = pending.offered;
        } else if pending.offered > pending.told && pending.waiting.is_empty() {
            self.tell_the_rest(&mut pending);
        }
        drop(pending);
        self.outbox.drain_if_finished();
    }

    pub(super) fn is_enveloped(&self) -> bool {
        self.envelope.is_some()
    }

    /// Writes `posts`, which are `run` on the wire, past queue and lane, if nothing is before them.
    pub(super) fn try_write_now(
        self: &Arc<Self>,
        posts: &[Arc<TopicMessage>],
        run: &FrameBatch,
    ) -> WriteNow {
        self.outbox.shared().write.try_write_now(
            run,
            Some(&Past {
                member: self,
                posts,
            }),
        )
    }

    pub(super) fn envelope(&self) -> Option<(&dyn Envelope, &str)> {
        let envelope = self.envelope.as_deref()?;
        Some((envelope, &self.topic))
    }

    /// Queues `post` if there is room for it.
    pub(super) fn place(self: &Arc<Self>, post: &TopicMessage, settings: &TopicSettings) -> Placed {
        let frame = post.frame(self.envelope()).clone();
        let placed = self.place_in(&mut lock(&self.pending), frame, post, settings);
        self.outbox.drain_if_finished();
        placed
    }

    fn place_in(
        self: &Arc<Self>,
        pending: &mut PendingMessages,
        frame: EncodedFrame,
        post: &TopicMessage,
        settings: &TopicSettings,
    ) -> Placed {
        let queue = self.outbox.queue();
        let size = frame.len();
        let conflates = settings.policy.conflates();
        // The gate first: who is being closed is closed, however full.
        match queue.admit(size, Wait::Never) {
            Admission::Admitted => {}
            Admission::Full => return Placed::Full,
            Admission::Closed => return Placed::Closed,
        }
        // Full it was, and not empty since: room for one would send a key that has a place to the end of the line, again
        // and again, and luck would say who comes to the front.
        if conflates && pending.crowded {
            if let Some(at) = pending.place_of(post) {
                self.take_place(pending, at, frame, post, settings.policy);
                return Placed::Queued;
            }
        }
        if pending.waiting.len() >= settings.queue {
            queue.cancel(size);
            return Placed::Full;
        }
        if !self.take_ticket(pending) {
            queue.cancel(size);
            return Placed::Full;
        }
        self.append(pending, frame, post, conflates);
        match settings.policy {
            Policy::Disconnect { soft: Some(soft) } if pending.is_overdue(soft, settings.queue) => {
                Placed::Overdue
            }
            _ => Placed::Queued,
        }
    }

    /// Queues `post` for a member that is slow, in the place of another of this lane.
    pub(super) fn displace(
        self: &Arc<Self>,
        post: &TopicMessage,
        settings: &TopicSettings,
    ) -> Placed {
        let frame = post.frame(self.envelope()).clone();
        let placed = {
            let mut pending = lock(&self.pending);
            match self.place_in(&mut pending, frame.clone(), post, settings) {
                Placed::Full => self.replace(&mut pending, frame, post, settings.policy),
                placed => placed,
            }
        };
        self.outbox.drain_if_finished();
        placed
    }

    /// Takes the place of the newest with this key, in a conflating topic, else of the oldest; and of so many more of the
    /// oldest as its bytes need. When nothing waits here, and the client's room is taken by its other topics, it goes in all
    /// the same: one for each lane, which is the bound.
    fn replace(
        self: &Arc<Self>,
        pending: &mut PendingMessages,
        frame: EncodedFrame,
        post: &TopicMessage,
        policy: Policy,
    ) -> Placed {
        let queue = self.outbox.queue();
        if !queue.admit_replacement(frame.len()) {
            return Placed::Closed;
        }
        // Full for whatever reason: there is room only if something has gone.
        let (most, size) = (pending.waiting.len().max(1), frame.len());
        let (mut freed, mut known) = (0, None);
        if policy.conflates() {
            pending.crowded = true;
            for old in pending.take_superseded() {
                queue.add_pending(-1);
                self.dropped(old, policy);
                freed += old;
            }
            known = pending.place_of(post);
        }
        if let Some(at) = known {
            freed += pending.waiting[at].frame.len();
            self.take_place(pending, at, frame, post, policy);
        } else {
            if pending.waiting.len() >= most {
                freed += self.drop_oldest(pending, policy);
            }
            if !self.take_ticket(pending) {
                self.be_owed(pending);
            }
            self.append(pending, frame, post, policy.conflates());
        }
        // Larger than what has gone: then more goes, so that what waits never grows beyond its bytes. What others have too
        // much of is not this lane's to make good.
        let is_older = |oldest: &Waiting| oldest.id != post.id();
        while freed < size
            && queue.bytes() > queue.byte_limit()
            && pending.waiting.front().is_some_and(is_older)
        {
            freed += self.drop_oldest(pending, policy);
        }
        Placed::Queued
    }

    /// Gives its bytes.
    fn drop_oldest(&self, pending: &mut PendingMessages, policy: Policy) -> usize {
        let Some(oldest) = pending.pop() else {
            return 0;
        };
        self.outbox.queue().add_pending(-1);
        self.dropped(oldest.frame.len(), policy);
        oldest.frame.len()
    }

    /// Takes the place of an older one of its key, for which bytes have been admitted.
    fn take_place(
        &self,
        pending: &mut PendingMessages,
        at: usize,
        frame: EncodedFrame,
        post: &TopicMessage,
        policy: Policy,
    ) {
        let waiting = &mut pending.waiting[at];
        self.dropped(waiting.frame.len(), policy);
        waiting.frame = frame;
        waiting.id = post.id();
        waiting.conflated = true;
        self.accepted(pending, post);
    }

    /// Counts `post` as offered and dropped; a member with an envelope will be told.
    pub(super) fn drop_newest(self: &Arc<Self>, post: &TopicMessage, policy: Policy) {
        let mut pending = lock(&self.pending);
        self.accepted(&mut pending, post);
        self.dropped(0, policy);
        self.tell_the_rest(&mut pending);
        drop(pending);
        self.outbox.drain_if_finished();
    }

    /// Counts `post` as offered and dropped for a member that is cut. It is told 4008 and nothing else: of a gap it
    /// would think that the history has none of it either.
    pub(super) fn count_lost(&self, policy: Policy) {
        Counts::one(&self.counts.accepted);
        self.outbox.queue().count_accepted(1);
        self.dropped(0, policy);
    }

    /// Over its soft limit for too long at this moment.
    pub(super) fn is_overdue(&self, soft: SoftLimit, queue: usize) -> bool {
        lock(&self.pending).is_overdue(soft, queue)
    }

    fn append(
        self: &Arc<Self>,
        pending: &mut PendingMessages,
        frame: EncodedFrame,
        post: &TopicMessage,
        conflated: bool,
    ) {
        let key = post.key().cloned();
        if conflated {
            pending
                .keys
                .insert(key.clone(), pending.left + pending.waiting.len() as u64);
        } else if !pending.keys.is_empty() {
            // The policy was another before: what waits under this key must not be overtaken in its place.
            pending.keys.remove(&key);
        }
        self.outbox.queue().add_pending(1);
        self.accepted(pending, post);
        pending.waiting.push_back(Waiting {
            frame,
            id: post.id(),
            key,
            conflated,
        });
    }

    /// Sees to it that the client's queue holds a ticket for the next message. False: it has no place.
    fn take_ticket(self: &Arc<Self>, pending: &mut PendingMessages) -> bool {
        if pending.tickets > pending.waiting.len() {
            return true;
        }
        let taken = self.outbox.queue().push_ticket(self.lane());
        pending.tickets += usize::from(taken);
        taken
    }

    /// Asks to be visited when the client's queue is empty.
    fn be_owed(self: &Arc<Self>, pending: &mut PendingMessages) {
        if !pending.owed {
            pending.owed = true;
            self.outbox.queue().push_overflow(self.lane());
        }
    }

    /// If nothing more comes, the client must still hear what it has missed.
    fn tell_the_rest(self: &Arc<Self>, pending: &mut PendingMessages) {
        if self.is_enveloped() {
            self.be_owed(pending);
        }
    }

    fn lane(self: &Arc<Self>) -> Arc<dyn TopicSource> {
        Arc::clone(self) as Arc<dyn TopicSource>
    }

    fn accepted(&self, pending: &mut PendingMessages, post: &TopicMessage) {
        pending.offered = pending.offered.max(post.id());
        Counts::one(&self.counts.accepted);
        self.outbox.queue().count_accepted(1);
    }

    fn dropped(&self, bytes: usize, policy: Policy) {
        Counts::one(&self.counts.dropped[policy.reason()]);
        self.outbox.queue().record_dropped(bytes);
    }

    /// Puts the gap into words. The envelope is the user's code, and the caller has the wire: no lock is held here, and
    /// a panic costs this word alone.
    fn redeemed(self: &Arc<Self>, (gap, message): Next, purpose: Purpose) -> Option<Outgoing> {
        let say = |(first, last), envelope: &Arc<dyn Envelope>| {
            let said = caught(|| envelope.gap(&self.topic, first, last));
            said.and_then(|message| EncodedFrame::data(&message))
        };
        let notice = gap
            .filter(|_| purpose == Purpose::Send)
            .zip(self.envelope.as_ref())
            .and_then(|(gap, envelope)| say(gap, envelope));
        (notice.is_some() || message.is_some()).then(|| Outgoing {
            notice,
            message,
            source: Some(self.lane()),
        })
    }
}

impl TopicSource for Member {
    fn take_next(self: Arc<Self>, purpose: Purpose) -> Option<Outgoing> {
        let next = {
            let mut pending = lock(&self.pending);
            pending.tickets = pending.tickets.saturating_sub(1);
            if pending.waiting.is_empty() {
                // Dropped since; what is to be told is told when the lane is visited.
                return None;
            }
            pending.next()
        };
        self.redeemed(next?, purpose)
    }

    fn take_overflow(self: Arc<Self>, purpose: Purpose) -> (Option<Outgoing>, bool) {
        let (next, more) = {
            let mut pending = lock(&self.pending);
            let next = pending.next();
            pending.owed = pending.waiting.len() > pending.tickets
                || (self.is_enveloped() && pending.ends_in_a_gap());
            (next, pending.owed)
        };
        (next.and_then(|next| self.redeemed(next, purpose)), more)
    }

    fn finished(&self, delivered: bool) {
        Counts::one(if delivered {
            &self.counts.delivered
        } else {
            &self.counts.discarded
        });
    }
}

/// Posts on their way past their member's lane.
struct Past<'a> {
    member: &'a Arc<Member>,
    posts: &'a [Arc<TopicMessage>],
}

impl DirectWrite for Past<'_> {
    fn try_claim(&self) -> bool {
        let (first, last) = (&self.posts[0], &self.posts[self.posts.len() - 1]);
        lock(&self.member.pending).pass(first.id(), last.id())
    }

    fn begin_in_flight(&self) -> Arc<dyn TopicSource> {
        // Before anybody can call it delivered; what went whole is counted for all members together.
        Counts::one(&self.member.counts.accepted);
        self.member.lane()
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
