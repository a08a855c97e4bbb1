//! [`Members`]: the members of a topic, each client at most once.

use std::collections::HashMap;
use std::sync::Arc;

use super::ids::LastId;
use super::member::Member;

/// The members of a topic, and its last id. A publisher takes both under one lock.
pub(super) struct Members {
    /// Never changed while a publisher uses it, but replaced: a publisher visits the members that were there when it took
    /// its ids.
    pub(super) list: Arc<Vec<Arc<Member>>>,
    pub(super) last_id: LastId,
    /// By the number of the client.
    places: HashMap<u64, Place>,
}

/// A client's place in the list.
struct Place {
    /// The index in the list. `None` while missed messages are sent to the client, which is not a member yet.
    at: Option<u32>,
    subscriptions: u32,
}

/// What the topic knows about a client that subscribes.
pub(super) enum Known {
    New,
    /// The client is a member, and now has one subscription more.
    Member(Arc<Member>),
    /// Another subscription of this client is being replayed.
    Replaying,
}

impl Members {
    pub(super) fn new(last_id: LastId) -> Members {
        Members {
            list: Arc::default(),
            last_id,
            places: HashMap::new(),
        }
    }

    /// Adds a subscription of a client that is a member already.
    pub(super) fn subscribe_again(&mut self, client: u64) -> Known {
        match self.places.get_mut(&client) {
            None => Known::New,
            Some(Place { at: None, .. }) => Known::Replaying,
            Some(Place {
                at: Some(at),
                subscriptions,
            }) => {
                *subscriptions += 1;
                Known::Member(Arc::clone(&self.list[*at as usize]))
            }
        }
    }

    /// Reserves the place of a new client, until [`add`](Self::add) or [`give_up`](Self::give_up).
    pub(super) fn reserve(&mut self, client: u64) {
        let place = Place {
            at: None,
            subscriptions: 0,
        };
        self.places.insert(client, place);
    }

    /// Gives up a reserved place.
    pub(super) fn give_up(&mut self, client: u64) {
        if self
            .places
            .get(&client)
            .is_some_and(|place| place.at.is_none())
        {
            self.places.remove(&client);
        }
    }

    /// Adds a new member, with one subscription.
    pub(super) fn add(&mut self, member: &Arc<Member>) {
        let place = Place {
            at: Some(self.list.len() as u32),
            subscriptions: 1,
        };
        self.places.insert(member.outbox.number(), place);
        Arc::make_mut(&mut self.list).push(Arc::clone(member));
    }

    /// Removes a subscription of a member. With its last one, the client is no longer a member.
    pub(super) fn remove(&mut self, member: &Arc<Member>) {
        let client = member.outbox.number();
        let Some(place) = self.places.get_mut(&client) else {
            return;
        };
        place.subscriptions -= 1;
        if place.subscriptions > 0 {
            return;
        }
        let at = place.at;
        self.places.remove(&client);
        let Some(at) = at else { return };
        let list = Arc::make_mut(&mut self.list);
        list.swap_remove(at as usize);
        // The last member has moved into the gap.
        if let Some(moved) = list.get(at as usize)
            && let Some(place) = self.places.get_mut(&moved.outbox.number())
        {
            place.at = Some(at);
        }
    }
}

#[cfg(test)]
#[path = "tests/members.rs"]
mod tests;
