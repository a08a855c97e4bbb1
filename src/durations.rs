//! [`Durations`]: durations, counted in buckets; and the counters behind it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Durations, counted in buckets, as monitoring systems store them.
///
/// ```
/// use standpipe::{Durations, ServerHandle};
///
/// /// Returns the share of answered pings whose round trip took at most 100 ms.
/// fn fast(handle: &ServerHandle) -> f64 {
///     let round_trips = handle.statistics().round_trips;
///     let fast = Durations::BOUNDS.iter().zip(round_trips.counts);
///     let fast: u64 = fast.filter(|(bound, _)| **bound <= 0.1).map(|(_, count)| count).sum();
///     fast as f64 / round_trips.count().max(1) as f64
/// }
/// # let _: fn(&ServerHandle) -> f64 = fast;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Durations {
    /// How many were at most the bound of the same index, and more than the one before. The last element counts those
    /// above all bounds.
    pub counts: [u64; Durations::BOUNDS.len() + 1],
    /// The sum in seconds.
    pub sum: f64,
}

impl Durations {
    /// The bounds of the buckets in seconds.
    ///
    /// ```
    /// use standpipe::Durations;
    ///
    /// assert_eq!(Durations::default().counts.len(), Durations::BOUNDS.len() + 1);
    /// ```
    pub const BOUNDS: [f64; 16] = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
        5.0, 10.0,
    ];

    /// Returns how many there are.
    ///
    /// ```
    /// assert_eq!(standpipe::Durations::default().count(), 0);
    /// ```
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the durations of both.
    pub(crate) fn plus(mut self, other: &Durations) -> Durations {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum += other.sum;
        self
    }
}

/// The counters behind [`Durations`].
#[derive(Debug, Default)]
pub(crate) struct DurationCounters {
    counts: [AtomicU64; Durations::BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl DurationCounters {
    pub(crate) fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = Durations::BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    pub(crate) fn read(&self) -> Durations {
        Durations {
            counts: self.counts.each_ref().map(|count| count.load(Relaxed)),
            sum: self.nanos.load(Relaxed) as f64 / 1e9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_up_to_their_bound() {
        let counters = DurationCounters::default();
        for micros in [100, 101, 20_000_000] {
            counters.record(Duration::from_micros(micros));
        }
        let durations = counters.read();
        assert_eq!(durations.counts[0], 1, "a bound belongs to its bucket");
        assert_eq!(durations.counts[1], 1);
        assert_eq!(durations.counts[Durations::BOUNDS.len()], 1);
        assert!((durations.sum - 20.000_201).abs() < 1e-9);
        let both = durations.plus(&durations);
        assert_eq!((both.count(), both.counts[0]), (6, 2));
    }
}
