//! [`CommonState`]: what all connections of one server share.

use std::time::Duration;

use crate::durations::{DurationCounters, Durations};
use crate::sync::Latch;

/// One value for each server, so that a connection needs one reference for all of it.
#[derive(Debug, Default)]
pub(crate) struct CommonState {
    /// Set when the server has stopped accepting in order to end.
    pub(crate) draining: Latch,
    round_trips: DurationCounters,
}

impl CommonState {
    /// Counts the round trip of a ping that has been answered. There is at most one for each client and `ping_interval`.
    pub(super) fn record_round_trip(&self, took: Duration) {
        self.round_trips.record(took);
    }

    pub(crate) fn round_trips(&self) -> Durations {
        self.round_trips.read()
    }
}
