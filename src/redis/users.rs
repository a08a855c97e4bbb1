//! [`UserDisconnect`]: a user that is disconnected on all hubs, as bytes in a channel. [`DisconnectCallback`]: what a hub
//! does then.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::malformed::Malformed;
use super::record::VERSION;
use super::unread::{Unread, put_varint, utf8};
use crate::names;
use crate::panic::catch_panic;
use crate::sync::lock;

/// The first byte of a payload.
const DISCONNECT: u8 = b'U';

/// The most bytes of a reason (RFC 6455 §5.5).
pub(super) const MAX_REASON: usize = 123;

/// The callback of a hub for a user whom another hub disconnects.
pub(super) type Callback = Arc<dyn Fn(&str, u16, &str) + Send + Sync>;

/// The callback of the program, if there is one.
#[derive(Default)]
pub(super) struct DisconnectCallback(Mutex<Option<Callback>>);

/// A user to disconnect, with the code and the reason of the Close.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UserDisconnect<'a> {
    /// The hub that sent it.
    pub(super) node: u64,
    pub(super) user: &'a str,
    pub(super) code: u16,
    pub(super) reason: &'a str,
}

impl DisconnectCallback {
    pub(super) fn set(&self, callback: Option<Callback>) {
        let before = std::mem::replace(&mut *lock(&self.0), callback);
        // Dropped without the lock, because it may hold a server.
        drop(before);
    }

    /// Calls the callback, and stops its panic.
    pub(super) fn call(&self, message: &UserDisconnect<'_>) {
        let callback = lock(&self.0).clone();
        if let Some(callback) = callback {
            catch_panic(|| callback(message.user, message.code, message.reason));
        }
    }
}

impl fmt::Debug for DisconnectCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DisconnectCallback")
    }
}

impl<'a> UserDisconnect<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut payload = vec![DISCONNECT, VERSION];
        payload.extend(self.node.to_be_bytes());
        put_varint(&mut payload, self.code.into());
        put_varint(&mut payload, self.reason.len() as u64);
        payload.extend(self.reason.as_bytes());
        payload.extend(self.user.as_bytes());
        payload
    }

    /// Reads a payload, which anybody who can reach the server can have written.
    pub(super) fn parse(payload: &'a [u8]) -> Result<UserDisconnect<'a>, Malformed> {
        let mut rest = Unread(payload);
        if rest.byte()? != DISCONNECT {
            return Err(Malformed::UnknownPayload);
        }
        let version = rest.byte()?;
        if version != VERSION {
            return Err(Malformed::UnknownVersion(version));
        }
        let node = rest.node()?;
        let code = u16::try_from(rest.varint()?).map_err(|_| Malformed::Number)?;
        let size = rest.varint()?;
        if size > MAX_REASON as u64 {
            return Err(Malformed::TooLarge {
                size: usize::try_from(size).unwrap_or(usize::MAX),
                max: MAX_REASON,
            });
        }
        let reason = utf8(rest.take(size)?)?;
        let user = utf8(rest.0)?;
        names::check("a user", user).map_err(Malformed::Name)?;
        Ok(UserDisconnect {
            node,
            user,
            code,
            reason,
        })
    }
}

/// Checks what must hold for every input, as for records.
///
/// # Panics
/// If a message changes when it is written and read again.
#[cfg(any(test, fuzzing))]
pub(super) fn check_invariants(data: &[u8]) {
    match UserDisconnect::parse(data) {
        // A number may have been written with more bytes than it needs, so the bytes may differ.
        Ok(message) => assert_eq!(UserDisconnect::parse(&message.encode()), Ok(message)),
        Err(reason) => drop(reason.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_disconnect_is_read_as_it_was_written() {
        let message = UserDisconnect {
            node: u64::MAX,
            user: "ann é",
            code: 4999,
            reason: &"r".repeat(MAX_REASON),
        };
        let payload = message.encode();
        assert_eq!(UserDisconnect::parse(&payload), Ok(message));
        for end in 0..=payload.len() {
            check_invariants(&payload[..end]);
        }
        for end in 0..payload.len() - "ann é".len() + 1 {
            assert!(UserDisconnect::parse(&payload[..end]).is_err(), "{end}");
        }
        let with = |user: &str, reason: &str| {
            let message = UserDisconnect {
                node: 1,
                user,
                code: 4000,
                reason,
            };
            UserDisconnect::parse(&message.encode()).is_ok()
        };
        assert!(with("u", ""));
        assert!(!with("", "") && !with("a\n", "") && !with(&"u".repeat(201), ""));
        assert!(!with("u", &"r".repeat(124)));
        for (byte, wrong) in [(0, b'J'), (1, 2)] {
            let mut payload = payload.clone();
            payload[byte] = wrong;
            assert!(UserDisconnect::parse(&payload).is_err());
        }
    }
}
