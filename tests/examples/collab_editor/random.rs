//! A random number generator (SplitMix64) that returns the same numbers for each seed on every machine.

use super::text::Text;

pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Returns a number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    /// Returns a position that does not split a surrogate pair.
    pub(super) fn position(&mut self, text: &Text) -> usize {
        let at = self.below(text.len() + 1);
        if text.can_split(at) { at } else { at - 1 }
    }
}
