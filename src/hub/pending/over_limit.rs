//! [`OverLimit`]: since when a member has been over its soft limit.

use crate::clock;
use crate::hub::policy::SoftLimit;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OverLimit {
    /// In milliseconds as [`clock::now`] counts. 0: the member is not over the limit.
    since: u64,
}

impl OverLimit {
    /// Starts or stops the timer: `used` of `capacity` messages are pending at `now`. Returns whether the member has been
    /// over the limit for too long.
    pub(super) fn update(
        &mut self,
        (used, capacity): (usize, usize),
        limit: SoftLimit,
        now: u64,
    ) -> bool {
        if used * 100 <= capacity * usize::from(limit.percent) {
            self.since = 0;
        } else if self.since == 0 {
            self.since = now;
        }
        self.since != 0 && now - self.since >= clock::millis(limit.duration)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMIT: SoftLimit = SoftLimit {
        percent: 80,
        duration: Duration::from_millis(100),
    };

    #[test]
    fn limit_is_exceeded_after_its_duration() {
        let mut over = OverLimit::default();
        assert!(!over.update((9, 10), LIMIT, 1000));
        assert!(!over.update((10, 10), LIMIT, 1099));
        assert!(over.update((9, 10), LIMIT, 1100));
    }

    #[test]
    fn timer_starts_again_after_the_queue_was_under_the_limit() {
        let mut over = OverLimit::default();
        assert!(!over.update((9, 10), LIMIT, 1000));
        assert!(!over.update((8, 10), LIMIT, 1050), "80 % is not over");
        assert!(!over.update((9, 10), LIMIT, 1090));
        assert!(!over.update((9, 10), LIMIT, 1189));
        assert!(over.update((9, 10), LIMIT, 1190));
    }
}
