//! The log lines of the program about what a connected client may not do. At most one line of each kind is logged in three
//! seconds, because a client can connect again immediately.

use std::fmt;
use std::sync::OnceLock;
use std::time::Instant;

use log::Level;
use standpipe::Connection;

use super::line_throttle::LineThrottle;
use super::tokens::Identity;

/// The library logs what clients do with the same target.
const TARGET: &str = "standpipe::clients";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Forbidden {
    /// A message, without the right to publish to its topic.
    Publish,
    /// A subscription in JSON mode, without the right to it.
    Subscribe,
    /// A newer token that is not valid.
    Token,
}

const ALL: [Forbidden; 3] = [Forbidden::Publish, Forbidden::Subscribe, Forbidden::Token];

static THROTTLE: LineThrottle<{ ALL.len() }> = LineThrottle::new();

impl Forbidden {
    /// Logs a line about the client, or counts it if a line of this kind was logged less than three seconds ago. With `-v`,
    /// every line is logged. `why` contains no text from the client.
    pub(crate) fn log(self, conn: &Connection, why: &dyn fmt::Display) {
        let left_out = if log::log_enabled!(target: TARGET, Level::Debug) {
            Some(0)
        } else {
            THROTTLE.admit(self as usize, now())
        };
        let Some(left_out) = left_out else {
            return;
        };
        let (client, address) = (conn.number(), conn.peer());
        let identity = Identity::of(conn.request());
        let user = identity.user().map(|user| &**user);
        let name = match user {
            // Names have no control characters, but may have characters that change the direction of text.
            Some(user) => format!("#{client} {address} ({})", super::terminal::printable(user)),
            None => format!("#{client} {address}"),
        };
        let more = match left_out {
            0 => String::new(),
            more => format!("; left out: {more} of this kind"),
        };
        log::info!(target: TARGET, client, address:%, user; "{name} {self}: {why}{more}");
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Forbidden::Publish => "publish refused",
            Forbidden::Subscribe => "subscription refused",
            Forbidden::Token => "token refused",
        })
    }
}

/// Logs how many lines were left out, for the kinds whose last line is three seconds old. The server calls this regularly.
pub(crate) fn log_due() {
    log_counts(THROTTLE.take_due(now()));
}

/// Logs how many lines were left out and have not been reported. Called when the server has ended.
pub(crate) fn log_rest() {
    log_counts(THROTTLE.take_rest());
}

fn log_counts(counts: [u64; ALL.len()]) {
    let with_rest = ALL.into_iter().zip(counts);
    for (kind, left_out) in with_rest.filter(|(_, left_out)| *left_out > 0) {
        log::info!(target: TARGET, left_out; "{kind}: left out: {left_out} of this kind");
    }
}

/// Returns the milliseconds since the first call, and one more, because 0 stands for no line.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let passed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX - 1) + 1
}
