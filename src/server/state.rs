//! [`ServerState`]: what there is once per process: the limits, the list of clients, the latch.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Instant;

use crate::clock::lock;
use crate::config::Config;
use crate::connection::{MessageCounts, Shared};
use crate::http::Rules;
use crate::server::admission::handshake_slots::HandshakeSlots;
use crate::server::admission::per_address::PerAddress;
use crate::server::shutdown::{Latch, ShutdownTally};
use crate::server::stats::Disconnects;
use crate::server::watchdog::TickCallbacks;

#[derive(Debug)]
pub(crate) struct ServerState {
    pub(crate) config: Arc<Config>,
    pub(crate) rules: Rules,
    pub(crate) latch: Latch,
    pub(crate) clients: Registry,
    /// Places for upgraded clients.
    pub(crate) client_permits: Permits,
    /// Places for clients whose request is being read or answered.
    pub(crate) heads: HandshakeSlots,
    pub(crate) tally: ShutdownTally,
    pub(crate) disconnects: Disconnects,
    pub(crate) per_address: PerAddress,
    pub(super) tick_callbacks: TickCallbacks,
    pub(crate) loopback_only: bool,
    last_number: AtomicU64,
}

impl ServerState {
    pub(crate) fn new(
        config: Config,
        rules: Rules,
        client_permits: usize,
        heads: usize,
    ) -> ServerState {
        ServerState {
            disconnects: Disconnects::default(),
            tick_callbacks: TickCallbacks::default(),
            per_address: PerAddress::new(config.max_clients_per_ip, config.connect_rate),
            loopback_only: rules.loopback_only(),
            config: Arc::new(config),
            rules,
            latch: Latch::new(),
            clients: Registry::default(),
            client_permits: Permits::new(client_permits),
            heads: HandshakeSlots::new(heads),
            tally: ShutdownTally::default(),
            last_number: AtomicU64::new(0),
        }
    }

    /// The next connection's number; the first is 1.
    pub(super) fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// So many places; a permit is one of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permits {
    limit: usize,
    taken: AtomicUsize,
}

impl Permits {
    pub(crate) fn new(limit: usize) -> Permits {
        let taken = AtomicUsize::new(0);
        Permits { limit, taken }
    }

    pub(crate) fn take(&self) -> Option<Permit<'_>> {
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < self.limit).then_some(taken + 1)
            })
            .ok()
            .map(|_| Permit(self))
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(crate) struct Permit<'a>(&'a Permits);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Every client from `accept` to the end of its reader thread, held weakly.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    list: Mutex<HashMap<u64, Weak<Shared>>>,
    /// What became of the messages for clients that are gone; changed under the list's lock.
    gone: Mutex<MessageCounts>,
    empty: Condvar,
}

impl Registry {
    /// Puts a client on the list until the entry is dropped.
    pub(crate) fn enter(&self, client: &Arc<Shared>) -> RegistryEntry<'_> {
        lock(&self.list).insert(client.number, Arc::downgrade(client));
        RegistryEntry {
            clients: self,
            number: client.number,
        }
    }

    /// The clients of this moment; what is done with them is done without the lock.
    pub(crate) fn snapshot(&self) -> Vec<Arc<Shared>> {
        lock(&self.list)
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// What became of the messages for all clients there ever were.
    pub(super) fn counts(&self) -> MessageCounts {
        let list = lock(&self.list);
        let gone = *lock(&self.gone);
        let here = list.values().filter_map(Weak::upgrade);
        here.fold(gone, |sum, client| sum + client.queue.counts())
    }

    /// Waits until the last client is gone. Says whether that came before the deadline.
    pub(super) fn wait_until_empty(&self, deadline: Instant) -> bool {
        let mut list = lock(&self.list);
        while !list.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            list = self
                .empty
                .wait_timeout(list, left)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
        true
    }
}

/// A client's place in the list.
#[derive(Debug)]
pub(crate) struct RegistryEntry<'a> {
    clients: &'a Registry,
    number: u64,
}

impl Drop for RegistryEntry<'_> {
    fn drop(&mut self) {
        let mut list = lock(&self.clients.list);
        if let Some(client) = list
            .remove(&self.number)
            .and_then(|client| client.upgrade())
        {
            let mut gone = lock(&self.clients.gone);
            *gone = *gone + client.queue.counts();
        }
        if list.is_empty() {
            self.clients.empty.notify_all();
        }
    }
}
