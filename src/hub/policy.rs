//! [`Policy`]: what a topic does with a message for a slow member, and [`DropReason`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::duration_text::parse_duration;

/// What happens to a message for a *slow* member: its queue is full, and its socket refuses bytes.
///
/// If only the queue is full, the delay is ours. Then the publisher flushes the queue or waits for it. A policy applies
/// only when no member got room for 100 ms.
///
/// As text, a policy is `block`, `block:50ms`, `drop-newest`, `drop-oldest`, `conflate`, `disconnect` or
/// `disconnect:80%:10s`. `Display` writes what `FromStr` reads. Times are written `50ms`, `10s`, `1.5s`, `2m` or `1h`.
///
/// ```
/// use std::time::Duration;
/// use standpipe::{Policy, SoftLimit};
///
/// let policy: Policy = "disconnect:80%:10s".parse()?;
/// let soft = SoftLimit::new(80, Duration::from_secs(10));
/// assert_eq!(policy, Policy::Disconnect { soft: Some(soft) });
/// assert_eq!(policy.to_string(), "disconnect:80%:10s");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// The publisher waits until the member has room. Other publishers of this topic wait for it.
    ///
    /// On a hub that shares its topics with others, the publisher waits for members of its own hub: before it publishes,
    /// until each has room for its messages and at most half of its queue is pending. A member on another hub is treated
    /// as under [`Disconnect`](Self::Disconnect).
    Block {
        /// How long one publish may wait in all. Members that still have no room then are disconnected with 4008. `None`:
        /// until the member has room or its [`write_timeout`](crate::Config::write_timeout) ends it.
        timeout: Option<Duration>,
    },
    /// The new message is dropped. For what must be seen from its beginning: a first burst, samples.
    DropNewest,
    /// The oldest pending message of this topic is dropped. For a feed in which the newest messages matter.
    DropOldest,
    /// The new message replaces the newest pending message with the same key, or else the oldest. Messages without a key
    /// share one key. A slow member receives the latest message of every key, and no gap notices.
    Conflate,
    /// The member is disconnected with 4008. For what must arrive completely: the client subscribes again with
    /// [`since`](super::SubscribeOptions::since), if the topic has a history.
    Disconnect {
        /// Also disconnects a member whose queue stays above a limit. `None`: only when its queue is full.
        soft: Option<SoftLimit>,
    },
}

/// A limit that a member's queue may exceed for some time.
///
/// ```
/// use std::time::Duration;
/// use standpipe::{Policy, SoftLimit, TopicSettings};
///
/// // Also disconnects a member whose queue was more than 80 % full for 10 s.
/// let soft = SoftLimit::new(80, Duration::from_secs(10));
/// let settings = TopicSettings::default().policy(Policy::Disconnect { soft: Some(soft) });
/// # drop(settings);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftLimit {
    pub(super) percent: u8,
    pub(super) duration: Duration,
}

impl SoftLimit {
    /// Returns a limit of `percent` of [`TopicSettings::queue`](super::TopicSettings::queue), from 1 to 100, above which
    /// a member's queue may be for `duration`.
    ///
    /// # Panics
    /// Panics if `percent` is not from 1 to 100. For a value that a user has written, parse a [`Policy`] instead.
    ///
    /// ```
    /// use std::time::Duration;
    /// use standpipe::{Policy, SoftLimit, TopicSettings};
    ///
    /// let soft = SoftLimit::new(80, Duration::from_secs(10));
    /// let settings = TopicSettings::default().policy(Policy::Disconnect { soft: Some(soft) });
    /// # let _ = settings;
    /// ```
    #[track_caller]
    #[must_use]
    pub const fn new(percent: u8, duration: Duration) -> SoftLimit {
        assert!(
            percent >= 1 && percent <= 100,
            "the percentage of a soft limit must be from 1 to 100"
        );
        SoftLimit { percent, duration }
    }

    /// Returns the limit in percent of the topic's queue.
    ///
    /// ```
    /// # use standpipe::SoftLimit;
    /// # use std::time::Duration;
    /// assert_eq!(SoftLimit::new(80, Duration::from_secs(10)).percent(), 80);
    /// ```
    pub fn percent(self) -> u8 {
        self.percent
    }

    /// Returns how long a member's queue may be above the limit.
    ///
    /// ```
    /// # use standpipe::SoftLimit;
    /// # use std::time::Duration;
    /// assert_eq!(SoftLimit::new(80, Duration::from_secs(10)).duration().as_secs(), 10);
    /// ```
    pub fn duration(self) -> Duration {
        self.duration
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        DropReason::from(*self).fmt(f)?;
        match self {
            Policy::Block {
                timeout: Some(timeout),
            } => write!(f, ":{timeout:?}"),
            Policy::Disconnect { soft: Some(soft) } => {
                write!(f, ":{}%:{:?}", soft.percent, soft.duration)
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Policy, String> {
        const FORM: &str = "a policy is block, block:50ms, drop-newest, drop-oldest, conflate, disconnect, \
                            or disconnect:80%:10s";
        let (name, rest) = match text.split_once(':') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        let time = |text| parse_duration(text).map_err(|error| format!("{error}: {FORM}"));
        match (name, rest) {
            ("block", None) => Ok(Policy::Block { timeout: None }),
            ("block", Some(timeout)) => Ok(Policy::Block {
                timeout: Some(time(timeout)?),
            }),
            ("drop-newest", None) => Ok(Policy::DropNewest),
            ("drop-oldest", None) => Ok(Policy::DropOldest),
            ("conflate", None) => Ok(Policy::Conflate),
            ("disconnect", None) => Ok(Policy::Disconnect { soft: None }),
            ("disconnect", Some(soft)) => {
                let (percent, duration) = soft.split_once("%:").ok_or(FORM)?;
                let Some(percent @ 1..=100) = percent.parse().ok() else {
                    return Err(format!("a soft limit is from 1% to 100%: {FORM}"));
                };
                let soft = SoftLimit::new(percent, time(duration)?);
                Ok(Policy::Disconnect { soft: Some(soft) })
            }
            _ => Err(FORM.into()),
        }
    }
}

/// Which policy dropped a message: see [`TopicCounts::dropped_by`](super::TopicCounts::dropped_by).
///
/// ```
/// use standpipe::{DropReason, Policy};
///
/// assert_eq!(DropReason::from(Policy::Block { timeout: None }), DropReason::Block);
/// assert_eq!(DropReason::DropOldest.to_string(), "drop-oldest");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// [`Policy::Block`]: the member had no room when the time was over, and was disconnected.
    Block,
    /// [`Policy::DropNewest`].
    DropNewest,
    /// [`Policy::DropOldest`].
    DropOldest,
    /// [`Policy::Conflate`]: a newer message replaced it.
    Conflate,
    /// [`Policy::Disconnect`]: the message for which the member was disconnected.
    Disconnect,
}

impl DropReason {
    /// All reasons. A later version may add to them.
    ///
    /// ```
    /// # use standpipe::{DropReason, Hub};
    /// let counts = Hub::default().topic("news")?.counts();
    /// for reason in DropReason::ALL {
    ///     println!("dropped by {reason}: {}", counts.dropped_by(*reason));
    /// }
    /// # Ok::<(), standpipe::TooManyTopics>(())
    /// ```
    pub const ALL: &'static [DropReason] = &[
        DropReason::Block,
        DropReason::DropNewest,
        DropReason::DropOldest,
        DropReason::Conflate,
        DropReason::Disconnect,
    ];

    /// Returns its place in [`ALL`](Self::ALL).
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

impl From<Policy> for DropReason {
    fn from(policy: Policy) -> DropReason {
        match policy {
            Policy::Block { .. } => DropReason::Block,
            Policy::DropNewest => DropReason::DropNewest,
            Policy::DropOldest => DropReason::DropOldest,
            Policy::Conflate => DropReason::Conflate,
            Policy::Disconnect { .. } => DropReason::Disconnect,
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DropReason::Block => "block",
            DropReason::DropNewest => "drop-newest",
            DropReason::DropOldest => "drop-oldest",
            DropReason::Conflate => "conflate",
            DropReason::Disconnect => "disconnect",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn policy_is_parsed_as_it_is_displayed() {
        for text in [
            "block",
            "block:50ms",
            "block:0ns",
            "block:1.5s",
            "drop-newest",
            "drop-oldest",
            "conflate",
            "disconnect",
            "disconnect:80%:10s",
        ] {
            let policy = text.parse::<Policy>();
            assert_eq!(policy.map(|policy| policy.to_string()), Ok(text.to_owned()));
        }
        let minutes = "block:2m".parse();
        let timeout = Some(Duration::from_secs(120));
        assert_eq!(minutes, Ok(Policy::Block { timeout }));
    }

    /// Random durations and percentages, with all numbers of decimals.
    #[test]
    fn every_policy_survives_its_text() {
        let random = RandomState::new();
        for n in 0..20_000_u64 {
            let bits = random.hash_one(n);
            let secs = random.hash_one(bits) >> (bits % 64);
            let nanos = (bits >> 8) % 1_000_000_000;
            // Rounded, so that there are few decimals too.
            let nanos = nanos - nanos % 10_u64.pow((bits % 10) as u32);
            let duration = Duration::new(secs, nanos as u32);
            let soft = SoftLimit::new(1 + (bits % 100) as u8, duration);
            for policy in [
                Policy::Block {
                    timeout: Some(duration),
                },
                Policy::Disconnect { soft: Some(soft) },
            ] {
                assert_eq!(policy.to_string().parse(), Ok(policy), "{policy}");
            }
        }
    }

    #[test]
    fn wrong_policy_is_answered_with_the_correct_form() {
        for (wrong, expected) in [
            ("", "a policy is block"),
            ("Block", "a policy is block"),
            ("block:", "a time is a number with a unit"),
            ("block:5", "a time needs a unit: 5s, 5ms, 5m or 5h"),
            ("conflate:1s", "a policy is block"),
            ("disconnect:80:1s", "a policy is block"),
            ("disconnect:0%:1s", "from 1% to 100%"),
            ("disconnect:101%:1s", "from 1% to 100%"),
            ("disconnect:300%:1s", "from 1% to 100%"),
            ("disconnect:80%:soon", "a time is a number with a unit"),
        ] {
            let refusal = wrong.parse::<Policy>().expect_err(wrong);
            assert!(refusal.contains(expected), "{wrong}: {refusal}");
            assert!(refusal.ends_with("or disconnect:80%:10s"), "{refusal}");
        }
    }

    #[test]
    fn soft_limit_is_a_percentage() {
        for wrong in [0, 101, 200] {
            let limit = std::panic::catch_unwind(|| SoftLimit::new(wrong, Duration::ZERO));
            assert!(limit.is_err(), "{wrong}");
        }
        assert_eq!(SoftLimit::new(100, Duration::ZERO).percent(), 100);
    }

    #[test]
    fn drop_reasons_are_in_order() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }
}
