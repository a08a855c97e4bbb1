//! [`Latency`]: a histogram of message latencies whose size does not depend on the number of messages.

use std::time::Duration;

/// Below this value each microsecond has its own slot.
const EXACT: u64 = 64;
/// From `EXACT` on, each doubling is divided into this many slots, so a quantile is at most 1/32 too low.
const PARTS: u64 = 32;
/// The base-2 logarithms of the two constants above.
const EXACT_BITS: u32 = EXACT.ilog2();
const PART_BITS: u32 = PARTS.ilog2();
/// The longest time, in microseconds: about twelve days. Longer times count as this one.
const LONGEST: u64 = (1 << 40) - 1;

/// A histogram of microseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Latency {
    /// Grows up to the slot of the slowest message.
    slots: Vec<u64>,
    count: u64,
    max: u64,
}

impl Latency {
    pub(super) fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros())
            .unwrap_or(LONGEST)
            .min(LONGEST);
        let slot = slot(micros);
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, 0);
        }
        self.slots[slot] += 1;
        self.count += 1;
        self.max = self.max.max(micros);
    }

    /// Adds the counts of another histogram.
    pub(super) fn add(&mut self, other: &Latency) {
        if self.slots.len() < other.slots.len() {
            self.slots.resize(other.slots.len(), 0);
        }
        for (mine, others) in self.slots.iter_mut().zip(&other.slots) {
            *mine += others;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn max(&self) -> u64 {
        self.max
    }

    /// Returns the number of microseconds within which the share `q` of all messages arrived, or 0 without messages.
    pub(super) fn quantile(&self, q: f64) -> u64 {
        let rank = ((self.count as f64 * q).ceil() as u64).max(1);
        let mut below = 0;
        for (slot, count) in self.slots.iter().enumerate() {
            below += count;
            if below >= rank {
                return lower_bound(slot);
            }
        }
        0
    }
}

fn slot(micros: u64) -> usize {
    if micros < EXACT {
        return micros as usize;
    }
    let doubling = micros.ilog2() - EXACT_BITS;
    let part = (micros >> (micros.ilog2() - PART_BITS)) - PARTS;
    (EXACT + u64::from(doubling) * PARTS + part) as usize
}

/// Returns the smallest value of a slot.
fn lower_bound(slot: usize) -> u64 {
    let slot = slot as u64;
    if slot < EXACT {
        return slot;
    }
    let (doubling, part) = ((slot - EXACT) / PARTS, (slot - EXACT) % PARTS);
    (PARTS + part) << (doubling + u64::from(EXACT_BITS - PART_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(micros: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        for micros in micros {
            latency.record(Duration::from_micros(micros));
        }
        latency
    }

    #[test]
    fn slots_are_at_most_a_32nd_too_low() {
        let mut last = 0;
        for micros in (0..5000).chain([1 << 20, (1 << 20) + 12345, LONGEST]) {
            let slot = slot(micros);
            let low = lower_bound(slot);
            assert!(
                low <= micros && micros - low <= micros / 32,
                "{micros} {low}"
            );
            assert!(slot == last || slot == last + 1 || micros > 5000);
            last = slot;
        }
    }

    #[test]
    fn quantiles_are_ranks() {
        let latency = histogram(1..=50);
        assert_eq!((latency.quantile(0.5), latency.quantile(0.99)), (25, 50));
        assert_eq!((latency.count(), latency.max()), (50, 50));
        assert_eq!(histogram([7]).quantile(0.5), 7);
        assert_eq!(histogram([]).quantile(0.99), 0);
    }

    #[test]
    fn add_merges_two_histograms() {
        let mut both = histogram([1, 2, 3]);
        both.add(&histogram([100_000]));
        assert_eq!(
            (both.count(), both.max(), both.quantile(0.75)),
            (4, 100_000, 3)
        );
        assert!(both.quantile(1.0) > 96_000);
    }

    #[test]
    fn very_long_times_count_as_the_longest() {
        assert_eq!(histogram([u64::MAX]).max(), LONGEST);
    }
}
