//! [`Backoff`]: the pauses between attempts to connect.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// The first and the longest pause. Each pause is up to half longer or shorter at random.
const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(250);

pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Backoff {
        Backoff(FIRST)
    }

    /// Returns the pause after an attempt that failed. The next one is twice as long.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST);
        let random = RandomState::new().hash_one(Instant::now().elapsed()) % 1000;
        pause / 2 + pause.mul_f64(random as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let mut backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..20).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= FIRST * 3 / 2, "{pauses:?}");
        assert!(pauses[19] >= LONGEST / 2, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= LONGEST * 3 / 2));
    }
}
