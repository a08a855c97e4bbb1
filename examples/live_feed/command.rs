//! [`Command`]: a command from a client, as one JSON value in a text message.

use std::time::Duration;

use serde::Deserialize;
use standpipe::{Message, Policy};

/// Permitted rates of a slow reader, in KiB per second.
///
/// Below 3, the server's `write_timeout` would reset the connection. It requires that a client with a full socket takes
/// 64 KiB in 30 s.
const RATES: std::ops::RangeInclusive<u32> = 3..=10_000;

/// For example `"pause"` or `{"policy":"drop-oldest"}`.
///
/// Commands are parsed directly into this externally tagged enum. A parser that first built a tree would recurse as
/// deep as the client's JSON is nested, on a stack of 256 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Command {
    /// Asks for a new snapshot of all symbols.
    Snapshot,
    /// Asks for the server's time and the length of the client's own queue.
    Ping,
    /// Asks for the prices that the slow reader with this number shows.
    Look(u64),
    /// Sets the policy of the quotes.
    Policy(PolicyName),
    /// Starts a slow reader in this program, with this rate in KiB per second.
    Slow(u32),
    /// Stops the slow reader with this number.
    Remove(u64),
    /// Stops the generator until `Resume`.
    Pause,
    Resume,
}

/// The name of a policy. [`PolicyName::policy`] adds the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PolicyName {
    Conflate,
    DropNewest,
    DropOldest,
    Block,
    Disconnect,
}

impl Command {
    pub(crate) fn parse(message: &Message) -> Result<Command, String> {
        let Message::Text(text) = message else {
            return Err("a command is text".into());
        };
        match serde_json::from_str(text) {
            Ok(Command::Slow(kib)) if !RATES.contains(&kib) => Err(format!(
                "a slow reader reads {} to {} KiB per second",
                RATES.start(),
                RATES.end()
            )),
            parsed => parsed.map_err(|error| error.to_string()),
        }
    }

    /// Returns whether the command is reserved for clients on this machine.
    ///
    /// Such a command affects all readers or starts a thread here. The server rejects pages of other sites by their
    /// `Origin`. Behind a proxy all clients have the proxy's address, so these commands would need a secret there, or
    /// should be removed.
    pub(crate) fn is_control(self) -> bool {
        !matches!(self, Command::Snapshot | Command::Ping)
    }
}

impl PolicyName {
    pub(crate) fn policy(self) -> Policy {
        match self {
            PolicyName::Conflate => Policy::Conflate,
            PolicyName::DropNewest => Policy::DropNewest,
            PolicyName::DropOldest => Policy::DropOldest,
            // The generator waits for the slowest reader, and so do all other readers. A reader that takes nothing for
            // two seconds is disconnected. Otherwise one stopped reader would block everybody until `write_timeout`,
            // for 30 s.
            PolicyName::Block => Policy::Block {
                timeout: Some(Duration::from_secs(2)),
            },
            // A reader with a full queue is disconnected with 4008. It reconnects and starts with a snapshot.
            PolicyName::Disconnect => Policy::Disconnect { soft: None },
        }
    }
}
