//! [`AnswerTable`]: the answers to requests with an `Idempotency-Key`, for five minutes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use standpipe::Reply;

/// How long an answer is remembered.
pub(crate) const LIFETIME: Duration = Duration::from_secs(300);

/// The most entries, over all credentials.
const MAX_ENTRIES: usize = 1 << 16;

/// The most bytes of all answers together.
const MAX_BYTES: usize = 16 << 20;

/// Identifies a key of one credential and path.
pub(crate) type Name = [u8; 32];

/// The answer to a request that has published a message, or may have. A repetition of the request gets it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Final {
    pub(crate) status: u16,
    /// JSON, or a line of text after status 504.
    pub(crate) body: String,
}

impl Final {
    /// Returns the answer, which has no `Retry-After`, because a repetition could publish the message twice.
    pub(crate) fn reply(self) -> Reply {
        if self.body.starts_with(['{', '[']) {
            Reply::json(self.status, self.body)
        } else {
            Reply::text(self.status, self.body)
        }
    }
}

/// The answers by name. It never removes an entry before its time, because a repetition would then publish a message
/// twice. While it is full, new keys are refused.
pub(crate) struct AnswerTable {
    max_entries: usize,
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Name, Entry>,
    /// The names by the number of their entry, so that the oldest is the first.
    by_age: BTreeMap<u64, Name>,
    next: u64,
    /// The bytes of the answers, and those reserved for requests that are not finished.
    bytes: usize,
}

struct Entry {
    number: u64,
    begun: Instant,
    /// A hash of the request, so that another request with the same key is noticed.
    content: u64,
    /// The bytes that this entry may use of the limit.
    bytes: usize,
    /// `None` while the first request is not finished.
    answer: Option<Final>,
}

/// The knowledge of the table about a key.
pub(crate) enum Claim<'a> {
    /// The key is new. The request may be carried out.
    New(Reservation<'a>),
    /// The request was answered so.
    Answered(Final),
    /// The first request with the key is not finished.
    Running,
    /// The key belongs to another request.
    OtherRequest,
    /// There is no room before this time has passed.
    Full(Duration),
}

/// The entry of a request that is being carried out. Dropping it removes the entry.
pub(crate) struct Reservation<'a> {
    table: &'a AnswerTable,
    name: Name,
    number: u64,
}

impl AnswerTable {
    pub(crate) fn new() -> AnswerTable {
        AnswerTable::with_limits(MAX_ENTRIES, MAX_BYTES)
    }

    fn with_limits(max_entries: usize, max_bytes: usize) -> AnswerTable {
        AnswerTable {
            max_entries,
            max_bytes,
            state: Mutex::default(),
        }
    }

    /// Looks a key up, and reserves `bytes` for the answer if it is new.
    pub(crate) fn claim(&self, name: Name, content: u64, bytes: usize, now: Instant) -> Claim<'_> {
        let mut state = self.lock();
        state.remove_expired(now);
        if let Some(entry) = state.entries.get(&name) {
            return match &entry.answer {
                _ if entry.content != content => Claim::OtherRequest,
                Some(answer) => Claim::Answered(answer.clone()),
                None => Claim::Running,
            };
        }
        if state.entries.len() >= self.max_entries || state.bytes + bytes > self.max_bytes {
            return Claim::Full(state.until_room(now));
        }
        let number = state.next;
        state.next += 1;
        state.bytes += bytes;
        state.by_age.insert(number, name);
        let entry = Entry {
            number,
            begun: now,
            content,
            bytes,
            answer: None,
        };
        state.entries.insert(name, entry);
        Claim::New(Reservation {
            table: self,
            name,
            number,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove_expired(&mut self, now: Instant) {
        while let Some((_, name)) = self.by_age.first_key_value() {
            let name = *name;
            let begun = self.entries.get(&name).map(|entry| entry.begun);
            if begun.is_some_and(|begun| now.saturating_duration_since(begun) < LIFETIME) {
                return;
            }
            self.remove(&name);
        }
    }

    fn remove(&mut self, name: &Name) {
        if let Some(entry) = self.entries.remove(name) {
            self.by_age.remove(&entry.number);
            self.bytes -= entry.bytes;
        }
    }

    /// Returns after what time the oldest entry is removed.
    fn until_room(&self, now: Instant) -> Duration {
        let oldest = self.by_age.first_key_value();
        let oldest = oldest.and_then(|(_, name)| self.entries.get(name));
        oldest.map_or(Duration::ZERO, |entry| {
            (entry.begun + LIFETIME).saturating_duration_since(now)
        })
    }
}

impl Reservation<'_> {
    /// Remembers the answer.
    pub(crate) fn finish(self, answer: &Final) {
        let mut state = self.table.lock();
        let state = &mut *state;
        // The entry may have expired, and the key may have been used again.
        if let Some(entry) = state.entries.get_mut(&self.name)
            && entry.number == self.number
        {
            let unused = entry.bytes.saturating_sub(answer.body.len());
            entry.bytes -= unused;
            state.bytes -= unused;
            entry.answer = Some(answer.clone());
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        let is_unfinished = state
            .entries
            .get(&self.name)
            .is_some_and(|entry| entry.number == self.number && entry.answer.is_none());
        if is_unfinished {
            state.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u64) -> Name {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&n.to_le_bytes());
        name
    }

    fn answer(body: &str) -> Final {
        Final {
            status: 202,
            body: body.into(),
        }
    }

    /// Returns what the table says about a key, without keeping a reservation.
    fn look(table: &AnswerTable, n: u64, content: u64, now: Instant) -> String {
        match table.claim(name(n), content, 10, now) {
            Claim::New(_) => "new".into(),
            Claim::Answered(answer) => answer.body,
            Claim::Running => "running".into(),
            Claim::OtherRequest => "other".into(),
            Claim::Full(left) => format!("full {}", left.as_secs()),
        }
    }

    fn finish(table: &AnswerTable, n: u64, body: &str, now: Instant) {
        match table.claim(name(n), 0, 10, now) {
            Claim::New(reservation) => reservation.finish(&answer(body)),
            _ => panic!("{n} is not new"),
        }
    }

    #[test]
    fn first_answer_is_remembered_for_five_minutes() {
        let (table, start) = (AnswerTable::new(), Instant::now());
        let Claim::New(first) = table.claim(name(1), 7, 10, start) else {
            panic!("the table is empty");
        };
        assert_eq!(look(&table, 1, 7, start), "running");
        first.finish(&answer("one"));
        let last = start + LIFETIME - Duration::from_millis(1);
        assert_eq!(look(&table, 1, 7, last), "one");
        assert_eq!(look(&table, 1, 8, last), "other");
        assert_eq!(look(&table, 2, 7, last), "new");
        assert_eq!(look(&table, 1, 7, start + LIFETIME), "new");
    }

    #[test]
    fn request_that_was_not_carried_out_frees_its_key() {
        let (table, now) = (AnswerTable::new(), Instant::now());
        assert_eq!(look(&table, 1, 0, now), "new");
        assert_eq!(look(&table, 1, 1, now), "new");
        let state = table.lock();
        assert_eq!(
            (state.entries.len(), state.by_age.len(), state.bytes),
            (0, 0, 0)
        );
    }

    #[test]
    fn full_table_keeps_its_answers_and_refuses_new_keys() {
        let (table, start) = (AnswerTable::with_limits(2, 1000), Instant::now());
        let second = start + Duration::from_secs(100);
        finish(&table, 1, "one", start);
        finish(&table, 2, "two", second);
        assert_eq!(look(&table, 3, 0, second), "full 200");
        assert_eq!(look(&table, 1, 0, second), "one");
        assert_eq!(look(&table, 2, 0, second), "two");
        assert_eq!(look(&table, 3, 0, start + LIFETIME), "new");
        assert_eq!(look(&table, 2, 0, start + LIFETIME), "two");
    }

    #[test]
    fn bytes_of_answers_are_limited_too() {
        let (table, now) = (AnswerTable::with_limits(100, 25), Instant::now());
        finish(&table, 1, "12345", now);
        finish(&table, 2, "1234567890", now);
        assert_eq!(table.lock().bytes, 15);
        let Claim::New(reserved) = table.claim(name(3), 0, 10, now) else {
            panic!("10 bytes are left");
        };
        assert_eq!(look(&table, 4, 0, now), "full 300");
        drop(reserved);
        assert_eq!(look(&table, 4, 0, now), "new");
    }

    #[test]
    fn answer_of_an_expired_request_is_not_remembered() {
        let (table, start) = (AnswerTable::new(), Instant::now());
        let Claim::New(late) = table.claim(name(1), 0, 10, start) else {
            panic!("the table is empty");
        };
        finish(&table, 1, "second", start + LIFETIME);
        late.finish(&answer("first"));
        assert_eq!(look(&table, 1, 0, start + LIFETIME), "second");
        assert_eq!(table.lock().bytes, "second".len());
    }

    #[test]
    fn million_keys_leave_the_table_within_its_limits() {
        let (table, now) = (AnswerTable::new(), Instant::now());
        for n in 0..1_000_000 {
            match table.claim(name(n), 0, 160, now) {
                Claim::New(reservation) => reservation.finish(&answer("an answer")),
                Claim::Full(_) => assert!(n >= MAX_ENTRIES as u64, "full after {n}"),
                _ => panic!("{n} is known"),
            }
        }
        assert_eq!(look(&table, 0, 0, now), "an answer");
        let state = table.lock();
        assert_eq!(
            (state.entries.len(), state.by_age.len()),
            (MAX_ENTRIES, MAX_ENTRIES)
        );
        assert!(state.bytes <= MAX_BYTES && state.entries.capacity() <= 2 * MAX_ENTRIES);
    }
}
