//! [`Interval`]: log lines that a fault could repeat without end.

use std::time::{Duration, Instant};

/// The shortest time between two log lines of one kind.
const SHORTEST: Duration = Duration::from_secs(60);

/// When a log line of one kind was written last.
#[derive(Debug, Default)]
pub(super) struct Interval(Option<Instant>);

impl Interval {
    /// Returns whether the line may be written. Then the next one may be written after a minute.
    pub(super) fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let is_over = self.0.is_none_or(|before| now >= before + SHORTEST);
        if is_over {
            self.0 = Some(now);
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_line_within_a_minute_is_not_written() {
        let mut interval = Interval::default();
        assert!(interval.is_over());
        assert!(!interval.is_over());
        let mut old = Interval(Instant::now().checked_sub(SHORTEST));
        assert!(old.is_over());
    }
}
