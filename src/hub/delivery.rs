//! [`Delivery`]: posts on their way to every member, inside the topic's turn. Here a policy becomes what it says.
//!
//! Posts that were published together are given to a member all, and then to the next: a member's memory is at hand
//! once, and its socket is written to once.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Instant;

use super::member::{Member, Placed};
use super::message::TopicMessage;
use super::policy::{Policy, TopicSettings};
use super::publish::PublishOutcome;
use super::stats::{BulkDelivered, Counts};
use crate::connection::queue::outbox::RetryBudget;
use crate::connection::write::direct_write::WriteNow;
use crate::connection::write::frame::FrameBatch;

/// Members that are looked at before the first of them is written to. Of a thousand members none is in the processor's
/// cache, and what is read of one lies behind pointers: several waits for memory, one after the other, before each write.
/// Looked at one behind the other, they wait at the same time.
const LOOKED_AT: usize = 16;

/// One publish on its way through the members.
pub(super) struct Delivery<'a> {
    posts: &'a [Arc<TopicMessage>],
    settings: &'a TopicSettings,
    /// The posts on the wire: as they are, and in the envelope. Made for the first member who gets them so.
    raw: OnceCell<FrameBatch>,
    enveloped: OnceCell<FrameBatch>,
    patience: &'a mut RetryBudget,
    /// Under `block`, until when.
    deadline: Option<Instant>,
    members: &'a [Arc<Member>],
    /// Members are written to as their turn comes; else all of them when this is over, or before it waits.
    at_once: bool,
    published: Vec<PublishOutcome>,
    books: BulkDelivered<'a>,
    /// To be cut when the turn is over.
    victims: &'a mut Vec<Arc<Member>>,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(
        posts: &'a [Arc<TopicMessage>],
        members: &'a [Arc<Member>],
        settings: &'a TopicSettings,
        counts: &'a Counts,
        (patience, deadline): (&'a mut RetryBudget, Option<Instant>),
        victims: &'a mut Vec<Arc<Member>>,
    ) -> Delivery<'a> {
        let published = posts.iter().map(|post| PublishOutcome {
            id: post.id(),
            ..PublishOutcome::default()
        });
        Delivery {
            posts,
            settings,
            raw: OnceCell::new(),
            enveloped: OnceCell::new(),
            patience,
            deadline,
            members,
            at_once: true,
            published: published.collect(),
            books: BulkDelivered::new(counts),
            victims,
        }
    }

    /// Gives the posts to every member but one. `at_once`: as far as their sockets take them now. The books have it when
    /// this returns, or panics.
    pub(super) fn give(mut self, except: Option<u64>, at_once: bool) -> Vec<PublishOutcome> {
        self.at_once = at_once;
        for some in self.members.chunks(LOOKED_AT) {
            if at_once {
                some.iter()
                    .for_each(|member| member.outbox.shared().prefetch());
            }
            for member in some {
                if Some(member.outbox.number()) != except {
                    self.give_to(member);
                }
            }
        }
        self.published
    }

    fn give_to(&mut self, member: &'a Arc<Member>) {
        if !self.at_once {
            return self.offer_all(member);
        }
        match member.try_write_now(self.posts, self.run(member)) {
            WriteNow::Written => {
                self.received();
                self.books.messages += self.posts.len() as u64;
            }
            WriteNow::InFlight => self.received(),
            WriteNow::NotWritten => {
                self.offer_all(member);
                member.outbox.flush();
            }
        }
    }

    fn run(&self, member: &Member) -> &FrameBatch {
        let run = if member.is_enveloped() {
            &self.enveloped
        } else {
            &self.raw
        };
        run.get_or_init(|| {
            let frame = |post: &Arc<TopicMessage>| post.frame(member.envelope()).clone();
            FrameBatch::new(self.posts.iter().map(frame).collect())
        })
    }

    fn received(&mut self) {
        for published in &mut self.published {
            published.receivers += 1;
        }
    }

    /// One by one, until it is to be cut, or gone.
    fn offer_all(&mut self, member: &'a Arc<Member>) {
        for at in 0..self.posts.len() {
            if !self.offer(member, at) {
                return;
            }
        }
    }

    /// False: this member gets nothing more.
    fn offer(&mut self, member: &'a Arc<Member>, at: usize) -> bool {
        let (posts, settings) = (self.posts, self.settings);
        let place = || match member.place(&posts[at], settings) {
            Placed::Full => None,
            placed => Some(placed),
        };
        let placed = member.outbox.retry_until_blocked(self.patience, place);
        let published = &mut self.published[at];
        let end = match placed {
            Some(placed) => placed,
            None => match settings.policy {
                Policy::DropOldest | Policy::Conflate => member.displace(&posts[at], settings),
                Policy::Block { .. } => {
                    if !self.at_once {
                        // Nobody shall wait for a message because another does.
                        self.members.iter().for_each(|member| member.outbox.flush());
                    }
                    let placed = member.outbox.wait_for_room(self.deadline, place);
                    published.timed_out |= placed.is_none();
                    placed.unwrap_or(Placed::Full)
                }
                Policy::DropNewest => {
                    member.drop_newest(&posts[at], settings.policy);
                    published.dropped += 1;
                    return true;
                }
                Policy::Disconnect { .. } => Placed::Full,
            },
        };
        match end {
            Placed::Queued => {
                published.receivers += 1;
                return true;
            }
            Placed::Overdue => {
                published.receivers += 1;
                self.victims.push(Arc::clone(member));
            }
            Placed::Full => {
                published.dropped += 1;
                member.count_lost(settings.policy);
                self.victims.push(Arc::clone(member));
            }
            Placed::Closed => {}
        }
        false
    }
}
