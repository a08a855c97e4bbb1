//! [`Gaps`]: which ids a member has received, and which it will never receive.

/// The ids `first` to `last`, which a member will never receive.
pub(crate) type Gap = (u64, u64);

/// Gap notices are not queued. A gap is found when the message after it is taken out, so adjacent gaps are one gap, they
/// need no room, and none of them can be dropped.
///
/// `told_up_to` never exceeds `offered_up_to`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    /// The last id that was sent to the member, or that was in a gap it was told about.
    pub(super) told_up_to: u64,
    /// The last id that was offered to the member: queued, or dropped by the policy.
    pub(super) offered_up_to: u64,
}

impl Gaps {
    pub(super) fn offer(&mut self, id: u64) {
        self.offered_up_to = self.offered_up_to.max(id);
    }

    /// Marks `id` as sent. Returns the gap before it.
    pub(super) fn advance_to(&mut self, id: u64) -> Option<Gap> {
        let gap = (self.told_up_to + 1, id.saturating_sub(1));
        self.skip_to(id);
        (gap.0 <= gap.1).then_some(gap)
    }

    /// Marks `id` as sent, and the missing ids before it as no gap.
    pub(super) fn skip_to(&mut self, id: u64) {
        self.told_up_to = self.told_up_to.max(id);
    }

    /// Returns the gap at the end, when no message is pending, and marks it as told.
    pub(super) fn take_trailing(&mut self) -> Option<Gap> {
        let gap = (self.told_up_to + 1, self.offered_up_to);
        self.told_up_to = self.told_up_to.max(self.offered_up_to);
        (gap.0 <= gap.1).then_some(gap)
    }

    /// Returns whether ids after `last_pending` were offered and dropped. No message will follow to report that gap.
    pub(super) fn has_trailing(&self, last_pending: Option<u64>) -> bool {
        self.offered_up_to > last_pending.unwrap_or(0).max(self.told_up_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up_to(id: u64) -> Gaps {
        Gaps {
            told_up_to: id,
            offered_up_to: id,
        }
    }

    #[test]
    fn consecutive_ids_have_no_gap() {
        let mut gaps = up_to(7);
        for id in 8..12 {
            gaps.offer(id);
            assert_eq!(gaps.advance_to(id), None);
        }
        assert_eq!(gaps, up_to(11));
        assert_eq!(gaps.take_trailing(), None);
    }

    #[test]
    fn missing_ids_form_one_gap() {
        let mut gaps = up_to(7);
        (8..=12).for_each(|id| gaps.offer(id));
        assert_eq!(gaps.advance_to(11), Some((8, 10)));
        assert!(gaps.has_trailing(None));
        assert!(!gaps.has_trailing(Some(12)));
        assert_eq!(gaps.take_trailing(), Some((12, 12)));
        assert_eq!(gaps, up_to(12));
        assert!(!gaps.has_trailing(None));
    }

    #[test]
    fn skipped_ids_are_no_gap() {
        let mut gaps = up_to(7);
        (8..=12).for_each(|id| gaps.offer(id));
        gaps.skip_to(11);
        gaps.skip_to(9);
        assert_eq!(gaps.advance_to(12), None);
    }
}
