//! [`HandshakeSlots`]: the places for clients whose request is being read or answered, and who gives one up when all are taken.
//!
//! A request that trickles keeps its place until `handshake_timeout`, so one host with as many sockets as there are
//! places would keep everybody else out, at 26 connections a second. So the address that has the most gives up the
//! oldest of its requests that have not come whole, for a newcomer whose own address has at least two places fewer.
//! Who has been heard is answered. An IPv6 /64 is one address; peers on unix sockets never give way.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};

use crate::clock::lock;
use crate::connection::Shared;
use crate::http::Peer;
use crate::server::admission::capacity::MAX_EVICTED;
use crate::server::admission::per_address::address_group;

#[derive(Debug)]
pub(crate) struct HandshakeSlots {
    limit: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    /// By the connection's number, so the oldest is the first.
    held: BTreeMap<u64, Held>,
    /// How many of them each address has.
    places: HashMap<Option<IpAddr>, usize>,
    /// Have given up their place, and are not gone yet: [`MAX_EVICTED`] at most.
    leaving: usize,
}

#[derive(Debug)]
struct Held {
    /// None of a peer on a unix socket.
    address: Option<IpAddr>,
    client: Weak<Shared>,
}

impl HandshakeSlots {
    pub(crate) fn new(limit: usize) -> HandshakeSlots {
        HandshakeSlots {
            limit,
            inside: Mutex::default(),
        }
    }

    /// A place for the connection of this number, until it is dropped; and who has been turned away for it, and is to be
    /// reset.
    pub(crate) fn take(
        &self,
        number: u64,
        peer: &Peer,
    ) -> Option<(HandshakeSlot<'_>, Option<Arc<Shared>>)> {
        let address = peer.ip().map(address_group);
        let mut inside = lock(&self.inside);
        let mut given_up = None;
        if inside.held.len() >= self.limit {
            given_up = Some(inside.make_room(address)?);
        }
        let client = Weak::new();
        inside.held.insert(number, Held { address, client });
        *inside.places.entry(address).or_default() += 1;
        let heads = self;
        Some((HandshakeSlot { heads, number }, given_up))
    }

    /// Places that are taken, and clients that have given theirs up and are not gone yet.
    pub(crate) fn taken(&self) -> usize {
        let inside = lock(&self.inside);
        inside.held.len() + inside.leaving
    }
}

impl Inside {
    /// Takes a place from the address that has the most, if that is fair to it.
    fn make_room(&mut self, newcomer: Option<IpAddr>) -> Option<Arc<Shared>> {
        let own = self.places.get(&newcomer).copied().unwrap_or(0);
        let strangers = self.places.iter().filter(|(address, _)| address.is_some());
        let (&most, &count) = strangers.max_by_key(|(_, count)| **count)?;
        if count < own + 2 || self.leaving >= MAX_EVICTED {
            return None;
        }
        let of_most = self.held.values().filter(|held| held.address == most);
        let client = of_most
            .filter_map(|held| held.client.upgrade())
            .find(|client| client.try_evict())?;
        self.remove(client.number);
        self.leaving += 1;
        Some(client)
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some(Held { address, .. }) = self.held.remove(&number) else {
            return false;
        };
        if let Some(count) = self.places.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(&address);
            }
        }
        true
    }
}

/// One of the places, until it is dropped.
#[derive(Debug)]
pub(crate) struct HandshakeSlot<'a> {
    heads: &'a HandshakeSlots,
    number: u64,
}

impl HandshakeSlot<'_> {
    /// Whose place this is. Before that, it is given up for nobody.
    pub(crate) fn belongs_to(&self, client: &Arc<Shared>) {
        if let Some(held) = lock(&self.heads.inside).held.get_mut(&self.number) {
            held.client = Arc::downgrade(client);
        }
    }
}

impl Drop for HandshakeSlot<'_> {
    fn drop(&mut self) {
        let mut inside = lock(&self.heads.inside);
        if !inside.remove(self.number) {
            inside.leaving -= 1;
        }
    }
}
