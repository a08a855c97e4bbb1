//! [`Figures`]: counters of one link, which its threads and the publishing threads change.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::status::LinkCounts;
use crate::durations::{DurationCounters, Durations};

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
    round_trip: DurationCounters,
    lag: DurationCounters,
}

impl Figures {
    pub(super) fn add(counter: &AtomicU64, number: usize) {
        counter.fetch_add(number as u64, Ordering::Relaxed);
    }

    pub(super) fn record_round_trip(&self, took: Duration) {
        self.round_trip.record(took);
    }

    pub(super) fn record_lag(&self, took: Duration) {
        self.lag.record(took);
    }

    pub(super) fn durations(&self) -> (Durations, Durations) {
        (self.round_trip.read(), self.lag.read())
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
