//! [`Rate`]: a number of events per second, with bursts. [`Bucket`] enforces it.

use std::fmt;
use std::str::FromStr;

/// A limit for events: a number per second on average, and a number that may happen at the same time, the *burst*. Both
/// are at least 1.
///
/// As text, a rate is `100/s`, or `100/s:200` with a burst of 200.
///
/// ```
/// use standpipe::Rate;
/// let rate: Rate = "5/s:20".parse()?;
/// assert_eq!(rate, Rate::per_second(5).burst(20));
/// assert_eq!("100/s".parse(), Ok(Rate::per_second(100)));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u32,
    burst: u32,
}

impl Rate {
    /// Returns a rate whose burst equals `per_second`.
    ///
    /// # Panics
    /// Panics if `per_second` is 0. For a value that a user has written, parse a `Rate` instead.
    ///
    /// ```
    /// # use standpipe::{Config, Rate};
    /// let config = Config::default().rate(Some(Rate::per_second(100)));
    /// # let _ = config;
    /// ```
    #[track_caller]
    #[must_use]
    pub const fn per_second(per_second: u32) -> Rate {
        assert!(per_second > 0, "a rate must be at least 1 per second");
        Rate {
            per_second,
            burst: per_second,
        }
    }

    /// Sets the burst.
    ///
    /// # Panics
    /// Panics if `burst` is 0.
    ///
    /// ```
    /// # use standpipe::{Config, Rate};
    /// let config = Config::default().connect_rate(Some(Rate::per_second(5).burst(20)));
    /// # let _ = config;
    /// ```
    #[track_caller]
    #[must_use]
    pub const fn burst(mut self, burst: u32) -> Rate {
        assert!(burst > 0, "the burst of a rate must be at least 1");
        self.burst = burst;
        self
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s:{}", self.per_second, self.burst)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        const FORM: &str = "a rate is written 100/s, or 100/s:200 with a burst of 200";
        let number = |text: &str| match text.parse::<u32>() {
            Ok(0) => Err("must be at least 1".to_owned()),
            Ok(number) => Ok(number),
            Err(_) => Err(FORM.to_owned()),
        };
        let (rate, burst) = match text.split_once(':') {
            Some((rate, burst)) => (rate, Some(number(burst)?)),
            None => (text, None),
        };
        let per_second = number(rate.strip_suffix("/s").ok_or(FORM)?)?;
        Ok(Rate::per_second(per_second).burst(burst.unwrap_or(per_second)))
    }
}

/// A token bucket that is filled at a rate. The bucket counts thousandths of a token, so that each millisecond adds a
/// whole number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    thousandths: u64,
    filled_at: u64,
}

impl Bucket {
    /// Returns a full bucket. `now` is in milliseconds, here and in the other methods.
    pub(crate) fn new(rate: Rate, now: u64) -> Bucket {
        Bucket {
            rate,
            thousandths: u64::from(rate.burst) * 1000,
            filled_at: now,
        }
    }

    /// Takes one token. Returns false if there is none.
    pub(crate) fn take(&mut self, now: u64) -> bool {
        self.fill(now);
        let available = self.thousandths >= 1000;
        if available {
            self.thousandths -= 1000;
        }
        available
    }

    /// Fills the bucket up to `now`, and returns whether it is full. A full bucket need not be stored, because it
    /// equals a new one.
    pub(crate) fn refill(&mut self, now: u64) -> bool {
        self.fill(now);
        self.thousandths == self.full()
    }

    fn full(&self) -> u64 {
        u64::from(self.rate.burst) * 1000
    }

    fn fill(&mut self, now: u64) {
        let passed = now.saturating_sub(self.filled_at);
        let more = passed.saturating_mul(u64::from(self.rate.per_second));
        self.thousandths = self.thousandths.saturating_add(more).min(self.full());
        self.filled_at = now.max(self.filled_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_allows_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(Rate::per_second(10).burst(3), 1000);
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, 1000), 3);
        assert_eq!(taken(&mut bucket, 1099), 0);
        assert_eq!(taken(&mut bucket, 1100), 1);
        assert_eq!(
            taken(&mut bucket, 900),
            0,
            "a clock that steps back adds no tokens"
        );
        assert!(!bucket.refill(1200));
        assert!(bucket.refill(10_000));
        assert_eq!(
            taken(&mut bucket, 10_000),
            3,
            "no more than the burst is kept"
        );
    }

    #[test]
    fn rate_and_burst_are_at_least_one() {
        let wrong: [fn() -> Rate; 2] = [|| Rate::per_second(0), || Rate::per_second(1).burst(0)];
        for rate in wrong {
            assert!(std::panic::catch_unwind(rate).is_err());
        }
    }

    #[test]
    fn rate_is_parsed_as_it_is_displayed() {
        assert_eq!("100/s".parse(), Ok(Rate::per_second(100)));
        let rate = Rate::per_second(5).burst(20);
        assert_eq!("5/s:20".parse(), Ok(rate));
        assert_eq!(rate.to_string().parse(), Ok(rate));
        for wrong in ["", "100", "0/s", "5/s:0", "5/m", "x/s", "5/s:x", "-1/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
