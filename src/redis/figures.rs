//! [`Figures`]: counters of one link, which its threads and the publishing threads change.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::status::{Durations, LinkCounts};
use crate::sync::lock;

#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) published: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) caught_up: AtomicU64,
    pub(super) links_lost: AtomicU64,
    pub(super) isolated: AtomicU64,
    pub(super) local_sequences: AtomicU64,
    pub(super) local_messages: AtomicU64,
    pub(super) gaps: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) overlapped: AtomicU64,
    /// Hubs that use the server, as far as known.
    pub(super) nodes: AtomicUsize,
    round_trip: Mutex<Durations>,
    lag: Mutex<Durations>,
}

impl Figures {
    pub(super) fn add(counter: &AtomicU64, number: usize) {
        counter.fetch_add(number as u64, Ordering::Relaxed);
    }

    pub(super) fn record_round_trip(&self, took: Duration) {
        lock(&self.round_trip).record(took);
    }

    pub(super) fn record_lag(&self, took: Duration) {
        lock(&self.lag).record(took);
    }

    pub(super) fn durations(&self) -> (Durations, Durations) {
        (*lock(&self.round_trip), *lock(&self.lag))
    }

    pub(super) fn counts(&self) -> LinkCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkCounts {
            published: count(&self.published),
            received: count(&self.received),
            caught_up: count(&self.caught_up),
            links_lost: count(&self.links_lost),
            isolated: count(&self.isolated),
            local_sequences: count(&self.local_sequences),
            local_messages: count(&self.local_messages),
            gaps: count(&self.gaps),
            refused: count(&self.refused),
            unknown: count(&self.unknown),
            duplicates: count(&self.duplicates),
            malformed: count(&self.malformed),
            overlapped: count(&self.overlapped),
        }
    }
}

impl Durations {
    fn record(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = Durations::BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum += seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_up_to_their_bound() {
        let mut durations = Durations::default();
        for micros in [100, 101, 2_000_000] {
            durations.record(Duration::from_micros(micros));
        }
        assert_eq!(durations.counts[0], 1, "a bound belongs to its bucket");
        assert_eq!(durations.counts[1], 1);
        assert_eq!(durations.counts[Durations::BOUNDS.len()], 1);
        assert_eq!(durations.counts.iter().sum::<u64>(), 3);
    }
}
