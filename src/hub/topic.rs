//! [`Topic`]: a message to it goes to every member, to all in the same order.
//!
//! The order is made by the *turn*, a token that one publisher holds while it queues to every member. (Taking a
//! snapshot of the members and then sending gave 21,870 backward steps in 600,000 deliveries.) The lock on the list of
//! members is for memory work only: who joins, leaves or closes never needs the turn. Flushing sockets and cutting slow
//! members come after the turn.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tungstenite::Message;

use super::Topics;
use crate::clock::lock;
use crate::connection::{Frame, Offer, Outbox, Patience};

/// How long a publisher waits for its turn. A turn lasts as long as queueing to every member does, and at most 100 ms
/// more, so this is met only where hundreds publish to one topic of slow members.
const TURN: Duration = Duration::from_secs(30);

/// One topic, to publish to and to subscribe to.
#[derive(Clone)]
pub struct Topic {
    members: Arc<Members>,
}

/// What became of a published message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Members it was queued for.
    pub receivers: usize,
    /// Members that were too slow for it, and are cut with 4008.
    pub cut: usize,
}

pub(super) struct Members {
    name: Arc<str>,
    /// Replaced as a whole: publishers walk through the list that was there when their turn began.
    list: Mutex<Arc<Vec<Outbox>>>,
    turn: (Sender<()>, Receiver<()>),
    topics: Weak<Topics>,
}

impl Members {
    pub(super) fn new(name: Arc<str>, topics: Weak<Topics>) -> Members {
        let turn = crossbeam_channel::bounded(1);
        turn.0.send(()).expect("the receiver is beside it");
        Members {
            name,
            list: Mutex::default(),
            turn,
            topics,
        }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        if let Some(topics) = self.topics.upgrade() {
            let mut topics = lock(&topics);
            // A new topic of this name may stand there already.
            if topics
                .get(&self.name)
                .is_some_and(|topic| topic.strong_count() == 0)
            {
                topics.remove(&self.name);
            }
        }
    }
}

/// The turn, until it is dropped.
struct Turn<'a>(&'a Sender<()>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.send(()).expect("the receiver is beside it");
    }
}

impl Topic {
    pub(super) fn new(members: Arc<Members>) -> Topic {
        Topic { members }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.members.name
    }

    /// How many members it has.
    pub fn members(&self) -> usize {
        lock(&self.members.list).len()
    }

    pub(super) fn memberships(&self) -> Vec<(u64, String)> {
        let members = Arc::clone(&lock(&self.members.list));
        let membership = |outbox: &Outbox| (outbox.client(), self.name().to_owned());
        members.iter().map(membership).collect()
    }

    /// Makes the client behind `outbox` a member until the subscription is dropped.
    pub fn subscribe(&self, outbox: Outbox) -> Subscription {
        let client = outbox.client();
        Arc::make_mut(&mut lock(&self.members.list)).push(outbox);
        Subscription {
            topic: self.clone(),
            client,
        }
    }

    /// Queues a text or binary message for every member; other messages for none.
    ///
    /// A member that is *slow*, whose outbox is full and whose socket has refused bytes since, is cut with 4008. One
    /// that is only full is waited for.
    ///
    /// # Blocking
    /// For the topic's turn, at most 30 s: then nobody gets the message. For members that are full and not blocked, at
    /// most 100 ms in all.
    pub fn publish(&self, message: &Message) -> Published {
        self.publish_to(message, None)
    }

    /// As [`publish`](Self::publish), to all but the client with the number `sender`.
    pub fn publish_except(&self, message: &Message, sender: u64) -> Published {
        self.publish_to(message, Some(sender))
    }

    fn publish_to(&self, message: &Message, except: Option<u64>) -> Published {
        let mut published = Published::default();
        let (Some(frame), Some(turn)) = (Frame::data(message), self.take_turn()) else {
            return published;
        };
        let members = Arc::clone(&lock(&self.members.list));
        let mut patience = Patience::default();
        let mut victims = Vec::new();
        for outbox in members.iter() {
            if Some(outbox.client()) == except {
                continue;
            }
            match outbox.offer(&frame, &mut patience) {
                Offer::Queued => published.receivers += 1,
                Offer::Slow => victims.push(outbox),
                Offer::Closed => {}
            }
        }
        drop(turn);
        for outbox in members.iter() {
            outbox.flush();
        }
        published.cut = victims.len();
        for outbox in victims {
            outbox.cut(self.name());
        }
        published
    }

    fn take_turn(&self) -> Option<Turn<'_>> {
        let (give, take) = &self.members.turn;
        take.recv_timeout(TURN).ok().map(|()| Turn(give))
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic")
            .field("name", &self.name())
            .field("members", &self.members())
            .finish()
    }
}

/// A membership; dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    topic: Topic,
    client: u64,
}

impl Subscription {
    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut list = lock(&self.topic.members.list);
        if let Some(at) = list
            .iter()
            .position(|outbox| outbox.client() == self.client)
        {
            Arc::make_mut(&mut list).swap_remove(at);
        }
    }
}
