//! [`Mailbox`]: what one user has not read. It has no socket, no lock and no clock of its own, so its rules can be tested
//! as they stand. In memory: a restart forgets it. Here a table of a database would go, with a row for each [`Item`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::notice::Notice;

/// Notifications one user's mailbox holds, read ones included: those are the memory of dedupe ids.
pub(crate) const KEEP: usize = 50;
/// The first resend comes so long after the first delivery, each further one after twice the time before.
const AGAIN: Duration = Duration::from_secs(2);
/// The longest time between two resends.
const AGAIN_MOST: Duration = Duration::from_secs(5 * 60);

/// One notification on its way to a user.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) id: u64,
    pub(crate) notice: Notice,
    /// Milliseconds since 1970 when it was posted, for people.
    pub(crate) at: u64,
    /// Tabs it was queued for when it was posted: what a repeated POST is answered.
    pub(crate) tabs: usize,
    /// Times it was sent.
    pub(crate) tries: u32,
    expires: Instant,
    /// Not sent again before.
    again: Instant,
    is_read: bool,
}

impl Item {
    /// It was queued for at least one tab.
    pub(crate) fn sent(&mut self, now: Instant) {
        let wait = AGAIN.saturating_mul(1 << self.tries.min(10));
        self.tries = self.tries.saturating_add(1);
        self.again = now + wait.min(AGAIN_MOST);
    }
}

/// What became of the ids that a tab has acknowledged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Acked {
    /// Unread until now.
    pub(crate) now: Vec<u64>,
    /// Read before, in another tab perhaps.
    pub(crate) before: Vec<u64>,
    /// Not here, or not here any more.
    pub(crate) unknown: Vec<u64>,
}

/// The notifications of one user, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    items: VecDeque<Item>,
    missed: u64,
}

impl Mailbox {
    /// The one that was posted with this dedupe id, read or not.
    pub(crate) fn posted_as(&self, key: &str) -> Option<&Item> {
        let mut items = self.items.iter();
        items.find(|item| item.notice.key.as_deref() == Some(key))
    }

    /// Takes one more. When it is full the oldest that was read goes; else the oldest that is not urgent; else the oldest.
    /// Gives what went unread: it counts as missed.
    pub(crate) fn add(&mut self, id: u64, notice: Notice, now: Instant, at: u64) -> Option<u64> {
        let gone = (self.items.len() >= KEEP).then(|| {
            let calm = |item: &Item| !item.notice.urgent;
            let read = self.items.iter().position(|item| item.is_read);
            let at = read.or_else(|| self.items.iter().position(calm));
            self.items.remove(at.unwrap_or(0))
        });
        let gone = gone.flatten().filter(|item| !item.is_read);
        self.missed += u64::from(gone.is_some());
        self.items.push_back(Item {
            id,
            at,
            tabs: 0,
            tries: 0,
            expires: now + notice.ttl,
            again: now,
            is_read: false,
            notice,
        });
        gone.map(|item| item.id)
    }

    /// Takes note that the user has read these.
    pub(crate) fn ack(&mut self, ids: &[u64]) -> Acked {
        let mut acked = Acked::default();
        for &id in ids {
            match self.items.iter_mut().find(|item| item.id == id) {
                None => acked.unknown.push(id),
                Some(item) if item.is_read => acked.before.push(id),
                Some(item) => {
                    item.is_read = true;
                    acked.now.push(id);
                }
            }
        }
        acked
    }

    /// Lets go of what is too old, and gives what of it was never read: it counts as missed.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<u64> {
        let mut gone = Vec::new();
        self.items.retain(|item| {
            let stays = now < item.expires;
            if !stays && !item.is_read {
                gone.push(item.id);
            }
            stays
        });
        self.missed += gone.len() as u64;
        gone
    }

    /// The unread, urgent ones first, then the oldest first.
    pub(crate) fn unread(&mut self) -> Vec<&mut Item> {
        let mut unread: Vec<_> = self.items.iter_mut().filter(|i| !i.is_read).collect();
        // Stable: among equals the order of posting stays.
        unread.sort_by_key(|item| !item.notice.urgent);
        unread
    }

    /// Of the unread those whose time to be sent again has come, in the same order.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<&mut Item> {
        let mut unread = self.unread();
        unread.retain(|item| item.again <= now);
        unread
    }

    /// Ids of those that were read and are remembered.
    pub(crate) fn read(&self) -> Vec<u64> {
        let read = self.items.iter().filter(|item| item.is_read);
        read.map(|item| item.id).collect()
    }

    pub(crate) fn unread_count(&self) -> usize {
        self.items.iter().filter(|item| !item.is_read).count()
    }

    /// How many went unread, and the user has not said yet that he knows.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    /// The user knows of so many.
    pub(crate) fn dismiss(&mut self, missed: u64) {
        self.missed = self.missed.saturating_sub(missed);
    }

    /// Nothing in it matters to the user; only dedupe ids would be forgotten.
    pub(crate) fn is_settled(&self) -> bool {
        self.unread_count() == 0 && self.missed == 0
    }

    /// Nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.missed == 0
    }
}
