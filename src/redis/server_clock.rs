//! [`ServerClock`]: the time of the Redis server, as this hub estimates it.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::sync::lock;

/// A measurement that took longer than this replaces no other one, because its error may be as large.
const GOOD: Duration = Duration::from_millis(20);

/// How far the server's clock may be from this machine's before a warning is logged.
pub(super) const MAX_DIFFERENCE: Duration = Duration::from_secs(60);

/// How far above the server's time an id may be. A forged higher id would silence its topic.
const MAX_AHEAD_US: u64 = 60_000_000;

/// Before the first measurement, the time of this machine.
#[derive(Debug)]
pub(super) struct ServerClock {
    started: Instant,
    /// The time of this machine at the start, in microseconds since 1970. Later changes of its clock have no effect.
    started_us: u64,
    offset: Mutex<Offset>,
}

#[derive(Debug, Default)]
struct Offset {
    /// The server's time minus this machine's, in microseconds.
    micros: i64,
    /// How long the measurement took.
    took: Option<Duration>,
}

impl ServerClock {
    pub(super) fn new() -> ServerClock {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        ServerClock {
            started: Instant::now(),
            started_us: since.map_or(1, micros),
            offset: Mutex::default(),
        }
    }

    /// Returns the server's time now, in microseconds since 1970.
    pub(super) fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// Returns the server's time at a moment of this machine, in microseconds since 1970.
    pub(super) fn at(&self, moment: Instant) -> u64 {
        let offset = lock(&self.offset).micros;
        self.own(moment).saturating_add_signed(offset)
    }

    /// Returns the highest id that can be right now.
    pub(super) fn max_id(&self) -> u64 {
        self.now().saturating_add(MAX_AHEAD_US)
    }

    /// Returns this machine's time at a moment, in microseconds since 1970.
    fn own(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.started);
        self.started_us.saturating_add(micros(since))
    }

    /// Records that the server's time was `server` between `sent` and `received`. Returns the difference of the clocks.
    pub(super) fn measure(&self, server: u64, sent: Instant, received: Instant) -> Duration {
        let took = received.saturating_duration_since(sent);
        let own = self.own(sent + took / 2);
        let difference = i64::try_from(i128::from(server) - i128::from(own)).unwrap_or(0);
        let mut offset = lock(&self.offset);
        if offset.took.is_none_or(|before| took <= before.max(GOOD)) {
            *offset = Offset {
                micros: difference,
                took: Some(took),
            };
        }
        Duration::from_micros(difference.unsigned_abs())
    }

    /// Forgets the measurement, because another server may follow. Its value is used until there is a new one.
    pub(super) fn forget(&self) {
        lock(&self.offset).took = None;
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_measurement_replaces_no_good_one() {
        let clock = ServerClock::new();
        let now = Instant::now();
        let server = clock.own(now) + 5_000_000;
        clock.measure(server, now, now);
        assert_eq!(clock.at(now), server);
        clock.measure(server + 7_000_000, now, now + Duration::from_millis(300));
        assert_eq!(clock.at(now), server, "its error may be 300 ms");
        clock.forget();
        clock.measure(server + 7_000_000, now, now + Duration::from_millis(300));
        assert!(
            clock.at(now) > server,
            "it is the first one of a new server"
        );
    }
}
