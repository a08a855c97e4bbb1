//! [`Mailbox`]: the notifications of one user. A mailbox has no socket, no lock and no clock, so its rules can be
//! tested without the program. It is in memory, so a restart forgets it. A real server would use a database table with
//! one row for each [`Item`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::notice::Notice;

/// How many notifications a mailbox holds. Read ones count too: they are kept to recognize dedupe ids.
pub(crate) const KEEP: usize = 50;
/// Time from the first delivery to the first resend. It doubles for each further resend.
const RESEND_AFTER: Duration = Duration::from_secs(2);
/// The longest time between two resends.
const RESEND_AFTER_MAX: Duration = Duration::from_secs(5 * 60);

/// One notification on its way to a user.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) id: u64,
    pub(crate) notice: Notice,
    /// When it was posted, in milliseconds since 1970. Only for display.
    pub(crate) at: u64,
    /// Number of tabs that it was queued for when it was posted. A repeated POST gets the same answer.
    pub(crate) tabs: usize,
    /// How many times it was sent.
    pub(crate) tries: u32,
    expires: Instant,
    /// When it is sent again, at the earliest.
    resend_at: Instant,
    is_read: bool,
}

impl Item {
    /// Records that it was queued for at least one tab, and schedules the next resend.
    pub(crate) fn sent(&mut self, now: Instant) {
        let wait = RESEND_AFTER.saturating_mul(1 << self.tries.min(10));
        self.tries = self.tries.saturating_add(1);
        self.resend_at = now + wait.min(RESEND_AFTER_MAX);
    }
}

/// The ids that a tab has acknowledged, grouped by their previous state.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Acked {
    /// Ids of notifications that were unread until now.
    pub(crate) now: Vec<u64>,
    /// Ids of notifications that had been read already, perhaps in another tab.
    pub(crate) before: Vec<u64>,
    /// Ids that are not in the mailbox, or no longer.
    pub(crate) unknown: Vec<u64>,
}

/// The notifications of one user, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    items: VecDeque<Item>,
    missed: u64,
}

impl Mailbox {
    /// Returns the notification that was posted with this dedupe id, whether it is read or not.
    pub(crate) fn posted_as(&self, key: &str) -> Option<&Item> {
        let mut items = self.items.iter();
        items.find(|item| item.notice.key.as_deref() == Some(key))
    }

    /// Adds a notification. A full mailbox first drops its oldest read one; without a read one, its oldest that is not
    /// urgent; otherwise its oldest. Returns the id of a notification that was dropped unread. It counts as missed.
    pub(crate) fn add(&mut self, id: u64, notice: Notice, now: Instant, at: u64) -> Option<u64> {
        let removed = (self.items.len() >= KEEP).then(|| {
            let calm = |item: &Item| !item.notice.urgent;
            let read = self.items.iter().position(|item| item.is_read);
            let at = read.or_else(|| self.items.iter().position(calm));
            self.items.remove(at.unwrap_or(0))
        });
        let removed = removed.flatten().filter(|item| !item.is_read);
        self.missed += u64::from(removed.is_some());
        self.items.push_back(Item {
            id,
            at,
            tabs: 0,
            tries: 0,
            expires: now + notice.ttl,
            resend_at: now,
            is_read: false,
            notice,
        });
        removed.map(|item| item.id)
    }

    /// Marks these as read.
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

    /// Removes notifications that are too old. Returns the ids of the unread ones among them, which count as missed.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<u64> {
        let mut expired = Vec::new();
        self.items.retain(|item| {
            let is_valid = now < item.expires;
            if !is_valid && !item.is_read {
                expired.push(item.id);
            }
            is_valid
        });
        self.missed += expired.len() as u64;
        expired
    }

    /// Returns the unread notifications: urgent ones first, and within each group the oldest first.
    pub(crate) fn unread(&mut self) -> Vec<&mut Item> {
        let mut unread: Vec<_> = self.items.iter_mut().filter(|i| !i.is_read).collect();
        // The sort is stable, so each group stays in the order of posting.
        unread.sort_by_key(|item| !item.notice.urgent);
        unread
    }

    /// Returns the unread notifications that are due to be sent again, in the same order as [`Mailbox::unread`].
    pub(crate) fn due(&mut self, now: Instant) -> Vec<&mut Item> {
        let mut unread = self.unread();
        unread.retain(|item| item.resend_at <= now);
        unread
    }

    /// Returns the ids of the read notifications that are still kept.
    pub(crate) fn read(&self) -> Vec<u64> {
        let read = self.items.iter().filter(|item| item.is_read);
        read.map(|item| item.id).collect()
    }

    pub(crate) fn unread_count(&self) -> usize {
        self.items.iter().filter(|item| !item.is_read).count()
    }

    /// Returns how many notifications were removed unread and not yet dismissed by the user.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    /// Records that the user has dismissed this many missed notifications.
    pub(crate) fn dismiss(&mut self, missed: u64) {
        self.missed = self.missed.saturating_sub(missed);
    }

    /// Returns whether nothing is unread or missed. Forgetting the mailbox would then lose dedupe ids only.
    pub(crate) fn is_settled(&self) -> bool {
        self.unread_count() == 0 && self.missed == 0
    }

    /// Returns whether it holds no notifications, read or unread, and none are missed.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.missed == 0
    }
}
