//! [`Fan`]: one post on its way to every member, inside the topic's turn. Here a policy becomes what it says.

use std::sync::Arc;
use std::time::Instant;

use super::counts::{AtOnce, Counts};
use super::lane::{Member, Placed};
use super::post::Post;
use super::settings::{Policy, TopicSettings};
use super::topic::Published;
use crate::connection::{Patience, Went};

/// One publish on its way through the members.
pub(super) struct Fan<'a> {
    post: &'a Post,
    settings: &'a TopicSettings,
    patience: Patience,
    /// Under `block`, until when.
    deadline: Option<Instant>,
    published: Published,
    at_once: AtOnce<'a>,
    /// To be cut when the turn is over.
    victims: Vec<&'a Arc<Member>>,
}

impl<'a> Fan<'a> {
    pub(super) fn new(
        post: &'a Post,
        settings: &'a TopicSettings,
        deadline: Option<Instant>,
        counts: &'a Counts,
    ) -> Fan<'a> {
        let id = post.id();
        Fan {
            post,
            settings,
            patience: Patience::default(),
            deadline,
            published: Published {
                id,
                ..Published::default()
            },
            at_once: AtOnce::new(counts),
            victims: Vec::new(),
        }
    }

    /// Gives the post to a member. `at_once`: as far as its socket takes it now.
    pub(super) fn give(&mut self, member: &'a Arc<Member>, at_once: bool) {
        if !at_once {
            return self.offer(member);
        }
        match member.go_straight(self.post) {
            Went::Whole => {
                self.published.receivers += 1;
                self.at_once.messages += 1;
            }
            Went::InHand => self.published.receivers += 1,
            Went::Nowhere => {
                self.offer(member);
                member.outbox.flush();
            }
        }
    }

    /// What became of it, and who is to be cut. The books have it now.
    pub(super) fn end(self) -> (Published, Vec<&'a Arc<Member>>) {
        (self.published, self.victims)
    }

    fn offer(&mut self, member: &'a Arc<Member>) {
        let place = || match member.place(self.post, self.settings) {
            Placed::Full => None,
            placed => Some(placed),
        };
        let placed = member.outbox.unless_slow(&mut self.patience, place);
        let placed = placed.unwrap_or_else(|| self.offer_to_slow(member));
        match placed {
            Placed::Queued => self.published.receivers += 1,
            Placed::Overdue => {
                self.published.receivers += 1;
                self.victims.push(member);
            }
            Placed::Full => self.published.dropped += 1,
            Placed::Closed => {}
        }
    }

    /// What the policy says. `Full`: this member does not get it.
    fn offer_to_slow(&mut self, member: &'a Arc<Member>) -> Placed {
        let policy = self.settings.policy;
        match policy {
            Policy::DropOldest | Policy::Conflate => {
                return member.displace(self.post, self.settings);
            }
            Policy::Block { .. } => {
                let place = || match member.place(self.post, self.settings) {
                    Placed::Full => None,
                    placed => Some(placed),
                };
                if let Some(placed) = member.outbox.wait_for_room(self.deadline, place) {
                    return placed;
                }
                self.published.timed_out = true;
            }
            Policy::Disconnect { .. } => {}
            Policy::DropNewest => {
                member.drop_newest(self.post, policy);
                return Placed::Full;
            }
        }
        member.count_lost(policy);
        self.victims.push(member);
        Placed::Full
    }
}
