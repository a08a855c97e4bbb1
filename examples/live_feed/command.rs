//! [`Command`]: what a client may say, one JSON value in a text message.

use std::time::Duration;

use serde::Deserialize;
use standpipe::{Message, Policy};

/// What a slow reader may read, in KiB a second. Below 3 the server's `write_timeout` would reset it: it wants 64 KiB in
/// 30 s from whoever has a full socket.
const LINE: std::ops::RangeInclusive<u32> = 3..=10_000;

/// `"pause"`, or `{"policy":"drop-oldest"}`. Typed, and the kind outside: a parser that built a tree first would go as deep
/// as a client likes, on a stack of 256 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Command {
    /// The last of all symbols once more.
    Snapshot,
    /// What time it is here, and what waits here for whoever asks.
    Ping,
    /// What this slow reader has before it.
    Look(u64),
    /// What happens to quotes for the slow.
    Policy(Name),
    /// A reader in this program that reads so many KiB a second.
    Slow(u32),
    /// No more of this one.
    Remove(u64),
    /// No more quotes, until `resume`.
    Pause,
    Resume,
}

/// A policy by its name. What else it needs is said by [`Name::policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Name {
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
            Ok(Command::Slow(kib)) if !LINE.contains(&kib) => Err(format!(
                "a slow reader reads {} to {} KiB a second",
                LINE.start(),
                LINE.end()
            )),
            parsed => parsed.map_err(|error| error.to_string()),
        }
    }

    /// It changes what everybody gets, or costs this machine a thread: so it is for programs on this machine alone. Pages of
    /// other sites are refused by the server itself, by their `Origin`. Behind a proxy all clients come from its address:
    /// then these commands want a secret, or are left out.
    pub(crate) fn is_control(self) -> bool {
        !matches!(self, Command::Snapshot | Command::Ping)
    }
}

impl Name {
    pub(crate) fn policy(self) -> Policy {
        match self {
            Name::Conflate => Policy::Conflate,
            Name::DropNewest => Policy::DropNewest,
            Name::DropOldest => Policy::DropOldest,
            // The generator waits for the slowest, and all others with it. Who takes nothing at all for so long is cut, or
            // one stopped reader would hold everybody for the 30 s of `write_timeout`.
            Name::Block => Policy::Block {
                timeout: Some(Duration::from_secs(2)),
            },
            // Who has a whole queue behind it is cut with 4008, comes back, and begins with a snapshot.
            Name::Disconnect => Policy::Disconnect { soft: None },
        }
    }
}
