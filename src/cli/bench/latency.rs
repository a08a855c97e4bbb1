//! How long messages took, counted in a bounded place however many there are.

use std::time::Duration;

/// Below, a slot for each microsecond; above, so many halves for each doubling: a quantile is at most 1/32 too low.
const EXACT: u64 = 64;
const PARTS: u64 = 32;
/// `log2` of the two.
const EXACT_BITS: u32 = EXACT.ilog2();
const PART_BITS: u32 = PARTS.ilog2();
/// Up to 2^40 us, which are twelve days.
const LONGEST: u64 = (1 << 40) - 1;

/// A histogram of microseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Latency {
    /// Grows to the slowest message's slot.
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

    /// Takes another's in.
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

    /// Microseconds within which the share `of` of all messages came. 0 without a message.
    pub(super) fn quantile(&self, of: f64) -> u64 {
        let rank = ((self.count as f64 * of).ceil() as u64).max(1);
        let mut below = 0;
        for (slot, count) in self.slots.iter().enumerate() {
            below += count;
            if below >= rank {
                return least(slot);
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

/// The smallest value of a slot.
fn least(slot: usize) -> u64 {
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

    fn of(micros: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        for micros in micros {
            latency.record(Duration::from_micros(micros));
        }
        latency
    }

    #[test]
    fn every_value_is_in_the_slot_that_begins_at_most_a_32nd_below_it() {
        let mut last = 0;
        for micros in (0..5000).chain([1 << 20, (1 << 20) + 12345, LONGEST]) {
            let slot = slot(micros);
            let low = least(slot);
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
        let latency = of(1..=50);
        assert_eq!((latency.quantile(0.5), latency.quantile(0.99)), (25, 50));
        assert_eq!((latency.count(), latency.max()), (50, 50));
        assert_eq!(of([7]).quantile(0.5), 7);
        assert_eq!(of([]).quantile(0.99), 0);
    }

    #[test]
    fn two_histograms_are_one() {
        let mut both = of([1, 2, 3]);
        both.add(&of([100_000]));
        assert_eq!(
            (both.count(), both.max(), both.quantile(0.75)),
            (4, 100_000, 3)
        );
        assert!(both.quantile(1.0) > 96_000);
    }

    #[test]
    fn a_time_beyond_all_measure_is_the_longest() {
        assert_eq!(of([u64::MAX]).max(), LONGEST);
    }
}
