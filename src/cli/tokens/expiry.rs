//! [`Expiries`]: when the connections of clients with a signed token end.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use standpipe::{Connection, Outbox};

use super::identity::Identity;

/// Close code when the token of a client has expired.
const EXPIRED: u16 = 4001;

/// The connections with a signed token, in the order in which their tokens expire. There is at most one entry for each
/// client. The watchdog looks at the first entry five times per second, so no client needs a timer.
#[derive(Default)]
pub(crate) struct Expiries(Mutex<BTreeMap<(Instant, u64), Outbox>>);

impl Expiries {
    /// Closes the connection when its token expires, if it has a signed token. Dropping the result ends that.
    pub(crate) fn watch(&self, conn: &Connection, identity: &Identity) -> Option<Expiry<'_>> {
        let at = (identity.claims()?.ends, conn.number());
        self.lock().insert(at, conn.outbox());
        let expiries = self;
        Some(Expiry { expiries, at })
    }

    /// Closes the connections whose token has expired at `now`. It never blocks.
    pub(crate) fn close_expired(&self, now: Instant) {
        // Closed without the lock, because a client that ends waits for the lock.
        for outbox in self.take_expired(now) {
            outbox.close_now(EXPIRED, "the token has expired");
        }
    }

    fn take_expired(&self, now: Instant) -> Vec<Outbox> {
        let mut expiries = self.lock();
        let mut expired = Vec::new();
        while let Some(first) = expiries.first_entry() {
            if first.key().0 > now {
                break;
            }
            expired.push(first.remove());
        }
        expired
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Instant, u64), Outbox>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection in [`Expiries`], until this is dropped.
pub(crate) struct Expiry<'a> {
    expiries: &'a Expiries,
    at: (Instant, u64),
}

impl Expiry<'_> {
    /// Moves the end to that of a newer token. A connection that is being closed because of the old one stays closed.
    pub(crate) fn renew(&mut self, identity: &Identity) {
        let Some(claims) = identity.claims() else {
            return;
        };
        let mut expiries = self.expiries.lock();
        if let Some(outbox) = expiries.remove(&self.at) {
            self.at.0 = claims.ends;
            expiries.insert(self.at, outbox);
        }
    }
}

impl Drop for Expiry<'_> {
    fn drop(&mut self) {
        let removed = self.expiries.lock().remove(&self.at);
        // Without the lock, because dropping the last outbox of a connection frees its memory.
        drop(removed);
    }
}
