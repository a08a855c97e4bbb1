//! [`HandshakeSlots`]: the slots for clients whose request is being read or answered, and the rule for evicting a
//! pending handshake when all slots are in use.
//!
//! A request that arrives slowly keeps its slot until `handshake_timeout`. Without eviction, one host that opens 26
//! connections per second could occupy all slots and lock all other clients out. So when all slots are in use, the
//! address with the most slots loses the oldest of its handshakes whose request is incomplete. This happens only if the
//! address of the new client has at least two slots fewer. A request counts as incomplete, too, while its body is
//! waited for, and while the client does not read the answer. Every other client whose request is complete is answered.
//! An IPv6 /64 network counts as one address. Peers on Unix sockets are never evicted, and a trusted proxy is not as long
//! as its client is not known: a proxy sends a head in one piece.
//!
//! A connection that is idle between two requests keeps its slot too, but gives it up to any newcomer: the oldest such
//! connection is ended before any handshake is evicted.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};

use super::per_address::address_group;
use crate::connection::lifecycle::Phase;
use crate::connection::shared::Shared;
use crate::http1::Peer;
use crate::sync::lock;

/// How many requests may be read or answered at the same time, each on its own thread.
pub(crate) const HANDSHAKE_SLOTS: usize = 256;

/// The maximum number of evicted handshakes whose thread has not ended yet.
pub(crate) const MAX_EVICTED: usize = 32;

#[derive(Debug)]
pub(crate) struct HandshakeSlots {
    limit: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// The slots by the number of the connection, so the first is the oldest.
    slots: BTreeMap<u64, Slot>,
    /// How many slots each address has.
    by_address: HashMap<Option<IpAddr>, usize>,
    /// The number of evicted clients whose thread has not ended yet. At most [`MAX_EVICTED`].
    evicted: usize,
}

#[derive(Debug)]
struct Slot {
    /// `None` for a peer on a Unix socket, and for a trusted proxy whose client is not known yet.
    address: Option<IpAddr>,
    client: Weak<Shared>,
}

impl HandshakeSlots {
    pub(crate) fn new(limit: usize) -> HandshakeSlots {
        HandshakeSlots {
            limit,
            table: Mutex::default(),
        }
    }

    /// Acquires a slot for the connection with this number. `peer` is `None` for a trusted proxy. If all slots are in use, this ends an idle connection, or may
    /// evict another handshake, and the caller must reset the evicted client. Returns `None` if no slot can be freed.
    pub(crate) fn acquire(
        &self,
        number: u64,
        peer: Option<&Peer>,
    ) -> Option<(HandshakeSlot<'_>, Option<Arc<Shared>>)> {
        let address = group(peer);
        let mut table = lock(&self.table);
        let mut evicted = None;
        if table.slots.len() >= self.limit && !table.end_idle() {
            evicted = Some(table.evict_for(address)?);
        }
        let client = Weak::new();
        table.slots.insert(number, Slot { address, client });
        table.count(address);
        let slots = self;
        Some((HandshakeSlot { slots, number }, evicted))
    }

    /// Returns the number of pending handshakes, including evicted ones that have not ended yet. Idle connections do not
    /// count.
    pub(crate) fn pending(&self) -> usize {
        let table = lock(&self.table);
        let pending = table.slots.values().filter(|slot| !slot.is_idle()).count();
        pending + table.evicted
    }
}

impl Slot {
    fn is_idle(&self) -> bool {
        let client = self.client.upgrade();
        client.is_some_and(|client| client.lifecycle().phase() == Phase::Idle)
    }
}

impl Table {
    /// Ends the oldest idle connection. Returns false if there is none.
    fn end_idle(&mut self) -> bool {
        if self.evicted >= MAX_EVICTED {
            return false;
        }
        let clients = self.slots.values();
        let mut clients = clients.filter_map(|slot| slot.client.upgrade());
        let Some(client) = clients.find(|client| client.end_idle()) else {
            return false;
        };
        self.remove(client.number);
        self.evicted += 1;
        true
    }

    /// Evicts the oldest incomplete handshake of the address with the most slots, if that address has at least two
    /// slots more than `newcomer`.
    fn evict_for(&mut self, newcomer: Option<IpAddr>) -> Option<Arc<Shared>> {
        let own = self.by_address.get(&newcomer).copied().unwrap_or(0);
        let candidates = self
            .by_address
            .iter()
            .filter(|(address, _)| address.is_some());
        let (&most, &count) = candidates.max_by_key(|(_, count)| **count)?;
        if count < own + 2 || self.evicted >= MAX_EVICTED {
            return None;
        }
        let of_most = self.slots.values().filter(|slot| slot.address == most);
        let client = of_most
            .filter_map(|slot| slot.client.upgrade())
            .find(|client| client.lifecycle().try_evict())?;
        self.remove(client.number);
        self.evicted += 1;
        Some(client)
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some(Slot { address, .. }) = self.slots.remove(&number) else {
            return false;
        };
        self.discount(address);
        true
    }

    fn count(&mut self, address: Option<IpAddr>) {
        *self.by_address.entry(address).or_default() += 1;
    }

    fn discount(&mut self, address: Option<IpAddr>) {
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// Returns the address for which a slot is counted.
fn group(peer: Option<&Peer>) -> Option<IpAddr> {
    peer?.ip().map(address_group)
}

/// An acquired slot. Dropping this value frees the slot.
#[derive(Debug)]
pub(crate) struct HandshakeSlot<'a> {
    slots: &'a HandshakeSlots,
    number: u64,
}

impl HandshakeSlot<'_> {
    /// Counts the slot for another address, because the trusted proxy has named its client, or because its next client is
    /// not known yet.
    pub(crate) fn set_peer(&self, peer: Option<&Peer>) {
        let address = group(peer);
        let mut table = lock(&self.slots.table);
        // An evicted client has no slot any more.
        let Some(slot) = table.slots.get_mut(&self.number) else {
            return;
        };
        let before = std::mem::replace(&mut slot.address, address);
        table.discount(before);
        table.count(address);
    }

    /// Sets the client of this slot. A slot without a client is never evicted.
    pub(crate) fn set_client(&self, client: &Arc<Shared>) {
        if let Some(slot) = lock(&self.slots.table).slots.get_mut(&self.number) {
            slot.client = Arc::downgrade(client);
        }
    }
}

impl Drop for HandshakeSlot<'_> {
    fn drop(&mut self) {
        let mut table = lock(&self.slots.table);
        if !table.remove(self.number) {
            table.evicted -= 1;
        }
    }
}

#[cfg(test)]
#[path = "tests/handshake_slots.rs"]
mod tests;
