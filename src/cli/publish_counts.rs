//! How many messages were published in which way, and with which result, for `GET /metrics`.
//!
//! The counters belong to the process, which has one server. Each thread uses one of a few sets of them, so that
//! publishers on different processors rarely change the same cache line. The sets are added up when they are read.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use standpipe::PublishError;

/// How a message came to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `POST /publish/TOPIC` and `POST /publish`.
    Http,
    /// A `pub` command in JSON mode.
    Json,
    /// A message in raw mode.
    Raw,
    /// A line of the command of `standpipe exec`.
    Exec,
}

const WAYS: [(Way, &str); 4] = [
    (Way::Http, "http"),
    (Way::Json, "json"),
    (Way::Raw, "raw"),
    (Way::Exec, "exec"),
];

const RESULTS: [&str; 4] = ["published", "forbidden", "unavailable", "unknown"];
const PUBLISHED: usize = 0;
const FORBIDDEN: usize = 1;
/// The topic is busy, or what connects the hubs refused the message.
const UNAVAILABLE: usize = 2;
const UNKNOWN: usize = 3;

/// One set of counters, on cache lines of its own.
#[repr(align(128))]
struct Set([[AtomicU64; RESULTS.len()]; WAYS.len()]);

const SETS: usize = 16;

static COUNTERS: [Set; SETS] =
    [const { Set([const { [const { AtomicU64::new(0) }; RESULTS.len()] }; WAYS.len()]) }; SETS];

static NEXT_SET: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The set of this thread.
    static SET: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Counts `messages` that were published together, or were not.
pub(crate) fn record<T, U>(way: Way, messages: usize, result: &Result<T, PublishError<U>>) {
    let result = match result {
        Ok(_) => PUBLISHED,
        Err(PublishError::Unknown(_)) => UNKNOWN,
        Err(_) => UNAVAILABLE,
    };
    add(way, result, messages);
}

/// Counts `messages` that the client may not publish.
pub(crate) fn record_forbidden(way: Way, messages: usize) {
    add(way, FORBIDDEN, messages);
}

fn add(way: Way, result: usize, messages: usize) {
    let set = SET.get().unwrap_or_else(|| {
        let set = NEXT_SET.fetch_add(1, Relaxed) % SETS;
        SET.set(Some(set));
        set
    });
    COUNTERS[set].0[way as usize][result].fetch_add(messages as u64, Relaxed);
}

/// Returns the names of all ways and results, with their counts.
pub(crate) fn counts() -> Vec<(&'static str, &'static str, u64)> {
    let mut rows = Vec::with_capacity(WAYS.len() * RESULTS.len());
    for (way, name) in WAYS {
        for (result, text) in RESULTS.into_iter().enumerate() {
            let counters = COUNTERS.iter().map(|set| &set.0[way as usize][result]);
            rows.push((
                name,
                text,
                counters.map(|counter| counter.load(Relaxed)).sum(),
            ));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_are_added_up() {
        // Other tests of this process publish in other ways.
        std::thread::scope(|scope| {
            for _ in 0..2 * SETS {
                scope.spawn(|| record_forbidden(Way::Exec, 3));
            }
        });
        let expected = ("exec", "forbidden", 6 * SETS as u64);
        assert!(counts().contains(&expected), "{:?}", counts());
        assert!(
            WAYS.iter()
                .enumerate()
                .all(|(at, (way, _))| *way as usize == at)
        );
    }
}
