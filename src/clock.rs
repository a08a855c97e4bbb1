//! Times and deadlines as milliseconds in a `u64`, so that threads can share them with the watchdog in atomics.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Returns the current time: the milliseconds since the first call in this process, plus 1. In an atomic, 0 means *not
/// set*.
pub(crate) fn now() -> u64 {
    let ms = START.elapsed().as_millis();
    u64::try_from(ms).map_or(u64::MAX, |ms| ms.saturating_add(1))
}

/// Returns the current time in microseconds, counted as for [`now`]. The result is never 0.
pub(crate) fn micros() -> u64 {
    let micros = START.elapsed().as_micros();
    u64::try_from(micros).map_or(u64::MAX, |micros| micros.saturating_add(1))
}

/// Returns the time `duration` from now. The result is never 0.
pub(crate) fn after(duration: Duration) -> u64 {
    now().saturating_add(millis(duration))
}

/// Returns a duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A deadline of a connection. [`Display`](fmt::Display) shows the name of its field in [`Config`](crate::Config).
///
/// ```
/// use standpipe::{Clock, RecvError};
///
/// assert_eq!(Clock::Ping.name(), "ping_timeout");
/// assert_eq!(RecvError::TimedOut(Clock::Write).to_string(), "timed out (write_timeout)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clock {
    /// The opening handshake, or the head of another request, took longer than
    /// [`handshake_timeout`](crate::Config::handshake_timeout).
    Handshake,
    /// A message, or 64 KiB of a request's body, took longer than
    /// [`message_timeout`](crate::Config::message_timeout).
    Message,
    /// No byte followed a ping within [`ping_timeout`](crate::Config::ping_timeout).
    Ping,
    /// The peer did not accept enough bytes within [`write_timeout`](crate::Config::write_timeout).
    Write,
    /// The closing handshake took longer than [`close_timeout`](crate::Config::close_timeout).
    Close,
    /// The client had not ended when [`shutdown_timeout`](crate::Config::shutdown_timeout) was over.
    Shutdown,
}

impl Clock {
    /// Returns the name of the clock's field in [`Config`](crate::Config).
    ///
    /// ```
    /// assert_eq!(standpipe::Clock::Ping.name(), "ping_timeout");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Clock::Handshake => "handshake_timeout",
            Clock::Message => "message_timeout",
            Clock::Ping => "ping_timeout",
            Clock::Write => "write_timeout",
            Clock::Close => "close_timeout",
            Clock::Shutdown => "shutdown_timeout",
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
