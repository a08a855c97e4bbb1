//! [`Fan`]: posts on their way to every member, inside the topic's turn. Here a policy becomes what it says.
//!
//! Posts that were published together are given to a member all, and then to the next: a member's memory is at hand
//! once, and its socket is written to once.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Instant;

use super::counts::{AtOnce, Counts};
use super::lane::{Member, Placed};
use super::post::Post;
use super::publishing::Published;
use super::settings::{Policy, TopicSettings};
use crate::connection::{Patience, Run, Went};

/// One publish on its way through the members.
pub(super) struct Fan<'a> {
    posts: &'a [Arc<Post>],
    settings: &'a TopicSettings,
    /// The posts on the wire: as they are, and in the envelope. Made for the first member who gets them so.
    raw: OnceCell<Run>,
    enveloped: OnceCell<Run>,
    patience: Patience,
    /// Under `block`, until when.
    deadline: Option<Instant>,
    published: Vec<Published>,
    at_once: AtOnce<'a>,
    /// To be cut when the turn is over.
    victims: Vec<&'a Arc<Member>>,
}

impl<'a> Fan<'a> {
    pub(super) fn new(
        posts: &'a [Arc<Post>],
        settings: &'a TopicSettings,
        deadline: Option<Instant>,
        counts: &'a Counts,
    ) -> Fan<'a> {
        let published = posts.iter().map(|post| Published {
            id: post.id(),
            ..Published::default()
        });
        Fan {
            posts,
            settings,
            raw: OnceCell::new(),
            enveloped: OnceCell::new(),
            patience: Patience::default(),
            deadline,
            published: published.collect(),
            at_once: AtOnce::new(counts),
            victims: Vec::new(),
        }
    }

    /// Gives the posts to a member. `at_once`: as far as its socket takes them now.
    pub(super) fn give(&mut self, member: &'a Arc<Member>, at_once: bool) {
        if !at_once {
            return self.offer_all(member);
        }
        match member.go_straight(self.posts, self.run(member)) {
            Went::Whole => {
                self.received();
                self.at_once.messages += self.posts.len() as u64;
            }
            Went::InHand => self.received(),
            Went::Nowhere => {
                self.offer_all(member);
                member.outbox.flush();
            }
        }
    }

    /// What became of them, and who is to be cut. The books have it now.
    pub(super) fn end(self) -> (Vec<Published>, Vec<&'a Arc<Member>>) {
        (self.published, self.victims)
    }

    fn run(&self, member: &Member) -> &Run {
        let run = if member.is_enveloped() {
            &self.enveloped
        } else {
            &self.raw
        };
        run.get_or_init(|| {
            let frame = |post: &Arc<Post>| post.frame(member.envelope()).clone();
            Run::new(self.posts.iter().map(frame).collect())
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
        let placed = member.outbox.unless_slow(&mut self.patience, place);
        let published = &mut self.published[at];
        let end = match placed {
            Some(placed) => placed,
            None => match settings.policy {
                Policy::DropOldest | Policy::Conflate => member.displace(&posts[at], settings),
                Policy::Block { .. } => {
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
                self.victims.push(member);
            }
            Placed::Full => {
                published.dropped += 1;
                member.count_lost(settings.policy);
                self.victims.push(member);
            }
            Placed::Closed => {}
        }
        false
    }
}
