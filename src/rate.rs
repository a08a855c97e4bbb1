//! [`Rate`]: so many a second, with bursts; and the bucket that measures it.

use std::fmt;
use std::str::FromStr;

/// So many events a second on average, and at most `burst` at once. Written `100/s`, or `100/s:200` with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events a second, at least 1.
    pub per_second: u32,
    /// Events at once, at least 1.
    pub burst: u32,
}

impl Rate {
    /// A rate whose burst is a second's worth.
    pub const fn per_second(per_second: u32) -> Rate {
        Rate {
            per_second,
            burst: per_second,
        }
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
        const FORM: &str = "a rate is 100/s, or 100/s:200 with a burst of 200";
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
        Ok(Rate {
            per_second,
            burst: burst.unwrap_or(per_second),
        })
    }
}

/// A bucket of tokens, filled at a rate. In thousandths, so that a millisecond adds whole ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    thousandths: u64,
    filled_at: u64,
}

impl Bucket {
    /// A full one, at the moment `now` in milliseconds.
    pub(crate) fn new(rate: Rate, now: u64) -> Bucket {
        Bucket {
            rate,
            thousandths: u64::from(rate.burst) * 1000,
            filled_at: now,
        }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: u64) -> bool {
        self.fill(now);
        let there = self.thousandths >= 1000;
        if there {
            self.thousandths -= 1000;
        }
        there
    }

    /// Nothing was taken for so long that it need not be remembered.
    pub(crate) fn is_full(&mut self, now: u64) -> bool {
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
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(
            Rate {
                per_second: 10,
                burst: 3,
            },
            1000,
        );
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, 1000), 3);
        assert_eq!(taken(&mut bucket, 1099), 0);
        assert_eq!(taken(&mut bucket, 1100), 1);
        assert_eq!(
            taken(&mut bucket, 900),
            0,
            "a clock that steps back gives nothing"
        );
        assert!(!bucket.is_full(1200));
        assert!(bucket.is_full(10_000));
        assert_eq!(
            taken(&mut bucket, 10_000),
            3,
            "no more than the burst is kept"
        );
    }

    #[test]
    fn a_rate_reads_as_it_is_written() {
        assert_eq!("100/s".parse(), Ok(Rate::per_second(100)));
        let rate = Rate {
            per_second: 5,
            burst: 20,
        };
        assert_eq!("5/s:20".parse(), Ok(rate));
        assert_eq!(rate.to_string().parse(), Ok(rate));
        for wrong in ["", "100", "0/s", "5/s:0", "5/m", "x/s", "5/s:x", "-1/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
