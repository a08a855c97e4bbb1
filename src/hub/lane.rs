//! [`Member`]: one client's membership in one topic, and the lane of what waits for it.
//!
//! The FIFO belongs to the client, the policy to the topic. So the client's queue holds only *tickets* of this topic;
//! the messages wait here, where the policy may drop or replace them, until the writer redeems a ticket. A topic never
//! displaces another's message: it touches its own lane alone.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::counts::Counts;
use super::post::{Envelope, TopicMessage};
use super::ring::{Next, Ring, Waiting};
use super::settings::{Policy, SoftLimit, TopicSettings};
use crate::clock::{Stamp, lock};
use crate::connection::{Admission, End, Frame, Lane, Outbox, Redeemed, Run, Straight, Went};
use crate::panic::catch_panic;

pub(super) struct Member {
    pub(super) outbox: Outbox,
    /// It hears who joins and leaves.
    pub(super) wants_presence: bool,
    topic: Arc<str>,
    envelope: Option<Arc<dyn Envelope>>,
    counts: Arc<Counts>,
    ring: Mutex<Ring>,
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
            ring: Mutex::default(),
        })
    }

    /// It has heard everything up to `id`.
    pub(super) fn begin_after(&self, id: u64) {
        let mut ring = lock(&self.ring);
        ring.told = id;
        ring.offered = id;
    }

    /// Ids up to `id` were published before it came, and are not all there any more.
    pub(super) fn missed_up_to(self: &Arc<Self>, id: u64, policy: Policy) {
        let mut ring = lock(&self.ring);
        ring.offered = ring.offered.max(id);
        if policy.conflates() {
            ring.told = ring.offered;
        } else if ring.offered > ring.told && ring.waiting.is_empty() {
            self.tell_the_rest(&mut ring);
        }
        drop(ring);
        self.outbox.queue().settle_late();
    }

    pub(super) fn is_enveloped(&self) -> bool {
        self.envelope.is_some()
    }

    /// Writes `posts`, which are `run` on the wire, past queue and lane, if nothing is before them.
    pub(super) fn go_straight(self: &Arc<Self>, posts: &[Arc<TopicMessage>], run: &Run) -> Went {
        self.outbox.inner().go_straight(&Past {
            member: self,
            posts,
            run,
        })
    }

    pub(super) fn envelope(&self) -> Option<(&dyn Envelope, &str)> {
        let envelope = self.envelope.as_deref()?;
        Some((envelope, &self.topic))
    }

    /// Queues `post` if there is room for it.
    pub(super) fn place(self: &Arc<Self>, post: &TopicMessage, settings: &TopicSettings) -> Placed {
        let frame = post.frame(self.envelope()).clone();
        let placed = self.place_in(&mut lock(&self.ring), frame, post, settings);
        self.outbox.queue().settle_late();
        placed
    }

    fn place_in(
        self: &Arc<Self>,
        ring: &mut Ring,
        frame: Frame,
        post: &TopicMessage,
        settings: &TopicSettings,
    ) -> Placed {
        let queue = self.outbox.queue();
        let size = frame.len();
        let conflates = settings.policy.conflates();
        // The gate first: who is being closed is closed, however full.
        match queue.admit(size, false) {
            Admission::In => {}
            Admission::Full => return Placed::Full,
            Admission::Closed => return Placed::Closed,
        }
        // Full it was, and not empty since: room for one would send a key that has a place to the end of the line, again
        // and again, and luck would say who comes to the front.
        if conflates && ring.crowded {
            if let Some(at) = ring.place_of(post) {
                self.take_place(ring, at, frame, post, settings.policy);
                return Placed::Queued;
            }
        }
        if ring.waiting.len() >= settings.queue {
            queue.return_bytes(size);
            return Placed::Full;
        }
        if !self.take_ticket(ring) {
            queue.return_bytes(size);
            return Placed::Full;
        }
        self.append(ring, frame, post, conflates);
        match settings.policy {
            Policy::Disconnect { soft: Some(soft) } if ring.is_overdue(soft, settings.queue) => {
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
            let mut ring = lock(&self.ring);
            match self.place_in(&mut ring, frame.clone(), post, settings) {
                Placed::Full => self.replace(&mut ring, frame, post, settings.policy),
                placed => placed,
            }
        };
        self.outbox.queue().settle_late();
        placed
    }

    /// Takes the place of the newest with this key, in a conflating topic, else of the oldest; and of so many more of the
    /// oldest as its bytes need. When nothing waits here, and the client's room is taken by its other topics, it goes in all
    /// the same: one for each lane, which is the bound.
    fn replace(
        self: &Arc<Self>,
        ring: &mut Ring,
        frame: Frame,
        post: &TopicMessage,
        policy: Policy,
    ) -> Placed {
        let queue = self.outbox.queue();
        if queue.admit(frame.len(), true) == Admission::Closed {
            return Placed::Closed;
        }
        // Full for whatever reason: there is room only if something has gone.
        let (most, size) = (ring.waiting.len().max(1), frame.len());
        let (mut freed, mut known) = (0, None);
        if policy.conflates() {
            ring.crowded = true;
            for old in ring.take_superseded() {
                queue.waits_no_more(1);
                self.dropped(old, policy);
                freed += old;
            }
            known = ring.place_of(post);
        }
        if let Some(at) = known {
            freed += ring.waiting[at].frame.len();
            self.take_place(ring, at, frame, post, policy);
        } else {
            if ring.waiting.len() >= most {
                freed += self.drop_oldest(ring, policy);
            }
            if !self.take_ticket(ring) {
                self.be_owed(ring);
            }
            self.append(ring, frame, post, policy.conflates());
        }
        // Larger than what has gone: then more goes, so that what waits never grows beyond its bytes. What others have too
        // much of is not this lane's to make good.
        let is_older = |oldest: &Waiting| oldest.id != post.id();
        while freed < size
            && queue.bytes() > queue.most_bytes()
            && ring.waiting.front().is_some_and(is_older)
        {
            freed += self.drop_oldest(ring, policy);
        }
        Placed::Queued
    }

    /// Gives its bytes.
    fn drop_oldest(&self, ring: &mut Ring, policy: Policy) -> usize {
        let Some(oldest) = ring.pop() else {
            return 0;
        };
        self.outbox.queue().waits_no_more(1);
        self.dropped(oldest.frame.len(), policy);
        oldest.frame.len()
    }

    /// Takes the place of an older one of its key, for which bytes have been admitted.
    fn take_place(
        &self,
        ring: &mut Ring,
        at: usize,
        frame: Frame,
        post: &TopicMessage,
        policy: Policy,
    ) {
        let waiting = &mut ring.waiting[at];
        self.dropped(waiting.frame.len(), policy);
        waiting.frame = frame;
        waiting.id = post.id();
        waiting.queued = post.stamp();
        waiting.conflated = true;
        self.accepted(ring, post);
    }

    /// Counts `post` as offered and dropped; a member with an envelope will be told.
    pub(super) fn drop_newest(self: &Arc<Self>, post: &TopicMessage, policy: Policy) {
        let mut ring = lock(&self.ring);
        self.accepted(&mut ring, post);
        self.dropped(0, policy);
        self.tell_the_rest(&mut ring);
        drop(ring);
        self.outbox.queue().settle_late();
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
        lock(&self.ring).is_overdue(soft, queue)
    }

    fn append(
        self: &Arc<Self>,
        ring: &mut Ring,
        frame: Frame,
        post: &TopicMessage,
        conflated: bool,
    ) {
        let key = post.key().cloned();
        if conflated {
            ring.keys
                .insert(key.clone(), ring.left + ring.waiting.len() as u64);
        } else if !ring.keys.is_empty() {
            // The policy was another before: what waits under this key must not be overtaken in its place.
            ring.keys.remove(&key);
        }
        self.outbox.queue().waits(1);
        self.accepted(ring, post);
        ring.waiting.push_back(Waiting {
            frame,
            id: post.id(),
            queued: post.stamp(),
            key,
            conflated,
        });
    }

    /// Sees to it that the client's queue holds a ticket for the next message. False: it has no place.
    fn take_ticket(self: &Arc<Self>, ring: &mut Ring) -> bool {
        if ring.tickets > ring.waiting.len() {
            return true;
        }
        let taken = self.outbox.queue().ticket(self.lane());
        ring.tickets += usize::from(taken);
        taken
    }

    /// Asks to be visited when the client's queue is empty.
    fn be_owed(self: &Arc<Self>, ring: &mut Ring) {
        if !ring.owed {
            ring.owed = true;
            self.outbox.queue().owe(&self.lane());
        }
    }

    /// If nothing more comes, the client must still hear what it has missed.
    fn tell_the_rest(self: &Arc<Self>, ring: &mut Ring) {
        if self.is_enveloped() {
            self.be_owed(ring);
        }
    }

    fn lane(self: &Arc<Self>) -> Arc<dyn Lane> {
        Arc::clone(self) as Arc<dyn Lane>
    }

    fn accepted(&self, ring: &mut Ring, post: &TopicMessage) {
        ring.offered = ring.offered.max(post.id());
        Counts::one(&self.counts.accepted);
        self.outbox.queue().count_accepted(1);
    }

    fn dropped(&self, bytes: usize, policy: Policy) {
        Counts::one(&self.counts.dropped[policy.reason()]);
        self.outbox.queue().drop_one(bytes);
    }

    /// Puts the gap into words. The envelope is the user's code, and the caller has the wire: no lock is held here, and
    /// a panic costs this word alone.
    fn redeemed(&self, (gap, message): Next, end: End) -> Option<Redeemed> {
        let say = |(first, last), envelope: &Arc<dyn Envelope>| {
            let said = catch_panic(|| envelope.gap(&self.topic, first, last));
            said.and_then(|message| Frame::data(&message))
        };
        let notice = gap
            .filter(|_| end == End::Sent)
            .zip(self.envelope.as_ref())
            .and_then(|(gap, envelope)| say(gap, envelope));
        (notice.is_some() || message.is_some()).then_some(Redeemed { notice, message })
    }
}

impl Lane for Member {
    fn redeem(&self, end: End) -> Option<Redeemed> {
        let next = {
            let mut ring = lock(&self.ring);
            ring.tickets = ring.tickets.saturating_sub(1);
            if ring.waiting.is_empty() {
                // Dropped since; what is to be told is told when the lane is visited.
                return None;
            }
            ring.next()
        };
        self.redeemed(next?, end)
    }

    fn redeem_owed(&self, end: End) -> (Option<Redeemed>, bool) {
        let (next, more) = {
            let mut ring = lock(&self.ring);
            let next = ring.next();
            ring.owed =
                ring.waiting.len() > ring.tickets || (self.is_enveloped() && ring.ends_in_a_gap());
            (next, ring.owed)
        };
        (next.and_then(|next| self.redeemed(next, end)), more)
    }

    fn settled(&self, delivered: bool) {
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
    run: &'a Run,
}

impl Straight for Past<'_> {
    fn run(&self) -> &Run {
        self.run
    }

    fn queued(&self) -> Stamp {
        self.posts[0].stamp()
    }

    fn passes(&self) -> bool {
        let (first, last) = (&self.posts[0], &self.posts[self.posts.len() - 1]);
        lock(&self.member.ring).pass(first.id(), last.id())
    }

    fn lane(&self) -> Option<Arc<dyn Lane>> {
        // Before anybody can call it delivered; what went whole is counted for all members together.
        Counts::one(&self.member.counts.accepted);
        Some(self.member.lane())
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
