//! [`Heads`]: the places for clients whose request is being read or answered, and who gives one up when all are taken.
//!
//! A request that trickles keeps its place until `handshake_timeout`, so one host with as many sockets as there are
//! places would keep everybody else out, at 26 connections a second. So the address that has the most places gives up
//! its oldest for a newcomer whose own has at least two fewer. Among clients of one address, behind a proxy all of
//! them, nobody gives way.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};

use super::visitors::grouped;
use crate::clock::lock;
use crate::connection::Client;

#[derive(Debug)]
pub(crate) struct Heads {
    limit: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    /// By the connection's number, so the oldest is the first.
    held: BTreeMap<u64, Held>,
    /// Have given up their place, and are not gone yet: as many as there are places at most.
    leaving: usize,
}

#[derive(Debug)]
struct Held {
    /// All Unix peers are one.
    address: Option<IpAddr>,
    client: Weak<Client>,
}

impl Heads {
    pub(crate) fn new(limit: usize) -> Heads {
        Heads {
            limit,
            inside: Mutex::default(),
        }
    }

    /// A place for `client`, until it is dropped; and who has been turned away for it, and is to be reset.
    pub(crate) fn take(&self, client: &Arc<Client>) -> Option<(Head<'_>, Option<Arc<Client>>)> {
        let address = client.peer.ip().map(grouped);
        let mut inside = lock(&self.inside);
        let mut given_up = None;
        if inside.held.len() >= self.limit {
            if inside.leaving >= self.limit {
                return None;
            }
            given_up = Some(inside.make_room(address)?);
            inside.leaving += 1;
        }
        let held = Held {
            address,
            client: Arc::downgrade(client),
        };
        inside.held.insert(client.number, held);
        let head = Head {
            heads: self,
            number: client.number,
        };
        Some((head, given_up))
    }

    pub(crate) fn taken(&self) -> usize {
        let inside = lock(&self.inside);
        inside.held.len() + inside.leaving
    }
}

impl Inside {
    /// Takes a place from the address that has the most, if that is fair to it.
    fn make_room(&mut self, newcomer: Option<IpAddr>) -> Option<Arc<Client>> {
        let mut places: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for held in self.held.values() {
            *places.entry(held.address).or_default() += 1;
        }
        let own = places.get(&newcomer).copied().unwrap_or(0);
        let (most, count) = places.into_iter().max_by_key(|(_, count)| *count)?;
        if count < own + 2 {
            return None;
        }
        let of_most = self.held.iter().filter(|(_, held)| held.address == most);
        let client = of_most
            .filter_map(|(_, held)| held.client.upgrade())
            .find(|client| client.turn_away())?;
        self.held.remove(&client.number);
        Some(client)
    }
}

/// One of the places, until it is dropped.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    heads: &'a Heads,
    number: u64,
}

impl Drop for Head<'_> {
    fn drop(&mut self) {
        let mut inside = lock(&self.heads.inside);
        if inside.held.remove(&self.number).is_none() {
            inside.leaving -= 1;
        }
    }
}
