//! [`Registry`]: every client of the server, from `accept` to the end of its reader thread.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Instant;

use crate::connection::MessageCounts;
use crate::connection::shared::Shared;
use crate::sync::{lock, wait};

/// The clients by number. The registry holds them weakly, so it keeps no client alive.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    clients: Mutex<HashMap<u64, Weak<Shared>>>,
    /// The sum of the counts of clients that have been removed. Changed under the lock of `clients`.
    removed: Mutex<MessageCounts>,
    empty: Condvar,
}

impl Registry {
    /// Adds a client. It stays in the registry until the entry is dropped.
    pub(crate) fn add(&self, client: &Arc<Shared>) -> RegistryEntry<'_> {
        lock(&self.clients).insert(client.number, Arc::downgrade(client));
        RegistryEntry {
            registry: self,
            number: client.number,
        }
    }

    /// Returns the current clients. The caller uses them without holding the lock.
    pub(crate) fn snapshot(&self) -> Vec<Arc<Shared>> {
        lock(&self.clients)
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Returns the sum of the message counts of all clients, including those that have been removed.
    pub(super) fn counts(&self) -> MessageCounts {
        let clients = lock(&self.clients);
        let removed = *lock(&self.removed);
        let present = clients.values().filter_map(Weak::upgrade);
        present.fold(removed, |sum, client| sum + client.write.queue.counts())
    }

    /// Waits until the last client has been removed, at most until `deadline`. Returns whether the registry is empty.
    ///
    /// # Blocking
    /// Woken when the last entry is dropped.
    pub(super) fn wait_until_empty(&self, deadline: Instant) -> bool {
        let mut clients = lock(&self.clients);
        while !clients.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            clients = wait(&self.empty, clients, Some(left));
        }
        true
    }
}

/// A client's entry in the [`Registry`].
#[derive(Debug)]
pub(crate) struct RegistryEntry<'a> {
    registry: &'a Registry,
    number: u64,
}

impl Drop for RegistryEntry<'_> {
    fn drop(&mut self) {
        let mut clients = lock(&self.registry.clients);
        if let Some(client) = clients
            .remove(&self.number)
            .and_then(|client| client.upgrade())
        {
            let mut removed = lock(&self.registry.removed);
            *removed = *removed + client.write.queue.counts();
        }
        if clients.is_empty() {
            self.registry.empty.notify_all();
        }
    }
}
