//! The log lines about clients that this module disconnects, and about end callbacks that panic. At most one line of each
//! kind is logged in three seconds.
//!
//! The throttle belongs to the process and not to a server, because a connection knows no server. The watchdog of every
//! server logs the counts of the lines that were left out. At the levels *debug* and *trace*, every line is logged.

use std::fmt;

use log::Level;
use log::kv::Value;

use super::client_name::{CurrentName, TARGET, log_left_out};
use crate::clock;
use crate::line_throttle::LineThrottle;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Disconnected {
    /// A topic disconnected a slow consumer.
    SlowConsumer,
    /// A message that was sent as a stream was not finished.
    Unfinished,
    EndCallbackPanicked,
}

const ALL: [Disconnected; 3] = [
    Disconnected::SlowConsumer,
    Disconnected::Unfinished,
    Disconnected::EndCallbackPanicked,
];

static THROTTLE: LineThrottle<{ ALL.len() }> = LineThrottle::new();

impl Disconnected {
    fn level(self) -> Level {
        match self {
            Disconnected::SlowConsumer | Disconnected::Unfinished => Level::Warn,
            Disconnected::EndCallbackPanicked => Level::Error,
        }
    }

    /// Logs a line about a client, or counts it if a line of this kind was logged less than three seconds ago.
    pub(super) fn log(
        self,
        client: &CurrentName,
        fields: &[(&str, Value<'_>)],
        text: fmt::Arguments<'_>,
    ) {
        let left_out = if log::log_enabled!(target: TARGET, Level::Debug) {
            Some(0)
        } else {
            THROTTLE.admit(self as usize, clock::now())
        };
        if let Some(left_out) = left_out {
            let client = client.get();
            client.log_throttled(TARGET, self.level(), fields, left_out, text);
        }
    }
}

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Disconnected::SlowConsumer => "slow consumers disconnected",
            Disconnected::Unfinished => "clients closed because a message was not finished",
            Disconnected::EndCallbackPanicked => "end callbacks panicked",
        })
    }
}

/// Logs how many lines were left out, for the kinds whose last line is three seconds old. The watchdog calls this on every
/// tick.
pub(crate) fn log_due() {
    log_counts(THROTTLE.take_due(clock::now()));
}

/// Logs how many lines were left out and have not been reported. Called at the end of a shutdown.
pub(crate) fn log_rest() {
    log_counts(THROTTLE.take_rest());
}

/// The lines are written without the lock.
fn log_counts(counts: [u64; ALL.len()]) {
    let with_rest = ALL.into_iter().zip(counts);
    for (kind, left_out) in with_rest.filter(|(_, left_out)| *left_out > 0) {
        log_left_out(TARGET, kind.level(), &kind, left_out);
    }
}
