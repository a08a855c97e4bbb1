//! [`Backoff`]: the pauses before a command is started again.

use std::time::Duration;

/// The first and the longest pause.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// After a run of this length, the next pause is the first one again.
const LONG_RUN: Duration = Duration::from_secs(10);

pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Backoff {
        Backoff(FIRST)
    }

    /// Returns the pause after a run that took `ran`. The next one is twice as long.
    pub(super) fn pause(&mut self, ran: Duration) -> Duration {
        if ran >= LONG_RUN {
            self.0 = FIRST;
        }
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_begin_anew_after_a_long_run() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..20).map(|_| backoff.pause(Duration::ZERO)).collect();
        assert_eq!(pauses[..3], [FIRST, FIRST * 2, FIRST * 4]);
        assert_eq!(pauses[19], LONGEST);
        assert_eq!(backoff.pause(LONG_RUN), FIRST);
        assert_eq!(backoff.pause(Duration::ZERO), FIRST * 2);
    }
}
