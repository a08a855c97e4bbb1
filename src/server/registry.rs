//! [`Registry`]: every client of the server, from `accept` to the end of its reader thread.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::connection::MessageCounts;
use crate::connection::shared::Shared;
use crate::sync::{lock, wait};

/// The clients by number. The registry holds them weakly, so it keeps no client alive.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    clients: Mutex<HashMap<u64, Weak<Shared>>>,
    /// The sum of the counts of clients that have been removed, and for how long their sockets refused bytes. Changed under
    /// the lock of `clients`.
    removed: Mutex<(MessageCounts, Duration)>,
    /// Notified when the last client is removed, and when a deadline changes.
    changed: Condvar,
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

    /// Returns the client with this number.
    pub(super) fn get(&self, number: u64) -> Option<Arc<Shared>> {
        lock(&self.clients).get(&number)?.upgrade()
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
        self.totals().0
    }

    /// Returns the sum of the message counts of all clients, including those that have been removed, and for how long their
    /// sockets have refused bytes.
    pub(super) fn totals(&self) -> (MessageCounts, Duration) {
        let clients = lock(&self.clients);
        let removed = *lock(&self.removed);
        let present = clients.values().filter_map(Weak::upgrade);
        present.fold(removed, |sum, client| add(sum, &client))
    }

    /// Waits until the last client has been removed, at most until `deadline`. Returns whether the registry is empty.
    ///
    /// # Blocking
    /// Woken when the last entry is dropped.
    pub(super) fn wait_until_empty(&self, deadline: Instant) -> bool {
        self.wait_until_empty_or(|| Some(deadline))
    }

    /// As [`wait_until_empty`](Self::wait_until_empty), with a deadline that may change, or begin to exist, while this
    /// method waits.
    ///
    /// # Blocking
    /// Woken when the last entry is dropped. [`deadline_changed`](Self::deadline_changed) makes it look at the deadline
    /// again.
    pub(super) fn wait_until_empty_or(&self, deadline: impl Fn() -> Option<Instant>) -> bool {
        let mut clients = lock(&self.clients);
        while !clients.is_empty() {
            let deadline = deadline();
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            clients = wait(&self.changed, clients, left);
        }
        true
    }

    /// Wakes the threads that wait in [`wait_until_empty_or`](Self::wait_until_empty_or), after their deadline has
    /// changed.
    pub(super) fn deadline_changed(&self) {
        // A waiting thread reads its deadline under this lock. Without it, the thread could begin to wait after it has read
        // the old deadline, and miss the notification.
        let _clients = lock(&self.clients);
        self.changed.notify_all();
    }
}

/// A client's entry in the [`Registry`].
#[derive(Debug)]
pub(crate) struct RegistryEntry<'a> {
    registry: &'a Registry,
    number: u64,
}

impl RegistryEntry<'_> {
    /// Replaces the client of this entry. From now on, nobody finds the earlier one here.
    pub(super) fn replace(&self, client: &Arc<Shared>) {
        lock(&self.registry.clients).insert(self.number, Arc::downgrade(client));
    }
}

impl Drop for RegistryEntry<'_> {
    fn drop(&mut self) {
        let mut clients = lock(&self.registry.clients);
        if let Some(client) = clients
            .remove(&self.number)
            .and_then(|client| client.upgrade())
        {
            let mut removed = lock(&self.registry.removed);
            *removed = add(*removed, &client);
        }
        if clients.is_empty() {
            self.registry.changed.notify_all();
        }
    }
}

fn add((counts, blocked): (MessageCounts, Duration), client: &Shared) -> (MessageCounts, Duration) {
    let blocked_time = client.write.deadlines.blocked_time();
    (counts + client.counts(), blocked + blocked_time)
}
