//! [`Ids`]: where the ids of a hub's topics begin, and the last ids of topics that were removed.
//!
//! Within the life of a hub, the ids of a topic never go back and never repeat, even if the topic is removed and created
//! again. Two hubs, such as those of a server before and after a restart, may give the same id to different messages if
//! the clock was set back in between. So each hub has an *epoch*, which tells their ids apart.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// The most removed topics whose last id is remembered. They use up to about 4 MB.
const MAX_REMOVED: usize = 10_000;

/// The last id of one topic. The topic changes it under its own lock. The hub reads it when the topic has ended.
#[derive(Clone, Debug)]
pub(super) struct LastId(Arc<Numbers>);

#[derive(Debug)]
struct Numbers {
    last: AtomicU64,
    /// The last id of a local sequence, which this hub began without its engine. 0: there is none.
    local: AtomicU64,
    /// The first id of the local sequence.
    local_from: AtomicU64,
}

impl LastId {
    pub(super) fn new(id: u64) -> LastId {
        LastId(Arc::new(Numbers {
            last: AtomicU64::new(id),
            local: AtomicU64::new(0),
            local_from: AtomicU64::new(0),
        }))
    }

    pub(super) fn get(&self) -> u64 {
        self.0.last.load(Ordering::Relaxed)
    }

    /// Assigns ids to `messages`. Returns the first of them. Only one thread at a time may call this.
    pub(super) fn assign(&self, messages: usize) -> u64 {
        let last = self.get();
        let assigned = last + messages as u64;
        self.0.last.store(assigned, Ordering::Relaxed);
        last + 1
    }

    /// Raises the last id to `id`, unless it is higher. Returns whether it was lower. Only one thread at a time may call
    /// this.
    pub(super) fn raise_to(&self, id: u64) -> bool {
        self.0.last.fetch_max(id, Ordering::Relaxed) < id
    }

    /// Forgets all ids.
    pub(super) fn restart(&self) {
        self.0.last.store(0, Ordering::Relaxed);
        self.end_local();
    }

    /// Makes the ids from `first` to the last one part of a local sequence.
    pub(super) fn mark_local(&self, first: u64) {
        if !self.is_local() {
            self.0.local_from.store(first, Ordering::Relaxed);
        }
        self.0.local.store(self.get(), Ordering::Relaxed);
    }

    /// Returns the first id of the local sequence.
    pub(super) fn local_from(&self) -> Option<u64> {
        let first = self.0.local_from.load(Ordering::Relaxed);
        self.is_local().then_some(first)
    }

    pub(super) fn end_local(&self) {
        self.0.local.store(0, Ordering::Relaxed);
    }

    /// Returns whether there is a local sequence.
    pub(super) fn is_local(&self) -> bool {
        self.0.local.load(Ordering::Relaxed) != 0
    }

    /// Returns whether the next id continues the local sequence.
    pub(super) fn continues_locally(&self) -> bool {
        self.is_local() && self.0.local.load(Ordering::Relaxed) == self.get()
    }
}

/// A clock in microseconds.
pub(super) type IdClock = Box<dyn Fn() -> u64 + Send + Sync>;

/// What a hub knows about the ids of topics that do not exist now.
pub(super) struct Ids {
    /// `None`: an engine assigns the ids.
    clock: Option<IdClock>,
    /// The last ids of removed topics, with the place of each in `order`.
    removed: HashMap<Arc<str>, (LastId, u64)>,
    /// The names of the removed topics, the one that was removed first in front.
    order: BTreeMap<u64, Arc<str>>,
    next_place: u64,
    /// The highest last id of all topics that are not remembered any more.
    highest_forgotten: u64,
}

impl Ids {
    pub(super) fn new(clock: Option<IdClock>) -> Ids {
        Ids {
            clock,
            removed: HashMap::new(),
            order: BTreeMap::new(),
            next_place: 0,
            highest_forgotten: 0,
        }
    }

    /// Returns the last id of a topic that is created now: the one that it had when it was removed. If that is not known,
    /// the next id is the number of microseconds since 1970, or more if a forgotten topic had higher ids. With an engine,
    /// which then knows the last id, the result is 0.
    pub(super) fn of_created(&mut self, name: &str) -> LastId {
        if let Some((last_id, place)) = self.removed.remove(name) {
            self.order.remove(&place);
            return last_id;
        }
        let Some(clock) = &self.clock else {
            return LastId::new(0);
        };
        LastId::new(clock().saturating_sub(1).max(self.highest_forgotten))
    }

    /// Remembers the last id of a topic that is removed. Of too many such topics, the one that was removed first is
    /// forgotten.
    pub(super) fn remember(&mut self, name: Arc<str>, last_id: LastId) {
        self.order.insert(self.next_place, Arc::clone(&name));
        self.removed.insert(name, (last_id, self.next_place));
        self.next_place += 1;
        if self.removed.len() > MAX_REMOVED {
            let forgotten = self.order.pop_first();
            let forgotten = forgotten.and_then(|(_, name)| self.removed.remove(&name));
            if let Some((last_id, _)) = forgotten {
                self.highest_forgotten = self.highest_forgotten.max(last_id.get());
            }
        }
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids")
            .field("removed", &self.removed.len())
            .field("highest_forgotten", &self.highest_forgotten)
            .finish_non_exhaustive()
    }
}

/// Returns the number of microseconds since 1970.
pub(super) fn system_clock() -> IdClock {
    Box::new(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(1, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX / 2)
        })
    })
}

/// Returns the epoch of a new hub: 16 hexadecimal digits that no other hub has.
pub(super) fn new_epoch() -> Arc<str> {
    // The keys of a `RandomState` come from the random number generator of the system.
    let random = RandomState::new().hash_one((SystemTime::now(), process::id()));
    format!("{random:016x}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(now: u64) -> Ids {
        Ids::new(Some(Box::new(move || now)))
    }

    #[test]
    fn new_topic_begins_at_the_time() {
        let last_id = ids(1000).of_created("t");
        assert_eq!(
            (last_id.get(), last_id.assign(3), last_id.get()),
            (999, 1000, 1002)
        );
        assert_eq!(ids(0).of_created("t").assign(1), 1);
    }

    #[test]
    fn created_again_topic_continues_its_ids() {
        let mut ids = ids(1000);
        let last_id = ids.of_created("t");
        last_id.assign(5);
        ids.remember("t".into(), last_id);
        assert_eq!(ids.of_created("other").get(), 999);
        assert_eq!(ids.of_created("t").get(), 1004);
        assert_eq!((ids.removed.len(), ids.order.len()), (0, 0));
    }

    /// The table is bounded, and no id of a forgotten topic is ever assigned again.
    #[test]
    fn topic_removed_first_is_forgotten_first() {
        let mut ids = ids(1000);
        for n in 0..MAX_REMOVED + 2 {
            let last_id = ids.of_created(&n.to_string());
            last_id.assign(2);
            ids.remember(n.to_string().into(), last_id);
        }
        assert_eq!(
            (ids.removed.len(), ids.order.len()),
            (MAX_REMOVED, MAX_REMOVED)
        );
        assert_eq!(ids.of_created("2").get(), 1001);
        let again = ids.of_created("0");
        assert_eq!(again.get(), 1001, "the clock has not moved");
        assert_eq!(again.assign(1), 1002);
    }

    #[test]
    fn hubs_have_different_epochs() {
        let epochs: std::collections::HashSet<_> = (0..1000).map(|_| new_epoch()).collect();
        assert_eq!(epochs.len(), 1000);
        assert!(epochs.iter().all(|epoch| epoch.len() == 16));
    }
}
