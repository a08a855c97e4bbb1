//! `POST /clients/N/disconnect` and `POST /users/U/disconnect`.

use serde::{Deserialize, Serialize};
use standpipe::{Reply, Request, ServerHandle};

use super::one_line;
use crate::cli::envelope::to_json;
use crate::cli::links::Links;
use crate::cli::names;
use crate::cli::replies::{bad_request, busy};

/// The most bytes of a body.
const MAX_BODY: usize = 4096;

/// The most bytes of a reason: a control frame has 125 bytes, and 2 of them are the code (RFC 6455 §5.5).
const MAX_REASON: usize = 123;

/// The close code if the body has none. It is the general one for a server that ends a connection for a reason of its own
/// (RFC 6455 §7.4.1).
const CODE: u16 = 1008;

/// The reason if the body has none.
const REASON: &str = "disconnected by the operator";

/// Disconnects clients.
pub(crate) struct Disconnector {
    handle: ServerHandle,
    links: Option<Links>,
}

/// The Close that the clients get.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Close {
    pub(crate) code: Option<u16>,
    pub(crate) reason: Option<String>,
}

impl Close {
    /// Returns the code and the reason, or their defaults.
    ///
    /// # Errors
    /// When one of them is not allowed.
    pub(crate) fn checked(self) -> Result<(u16, String), String> {
        if self.code.is_some_and(|code| !(4000..=4999).contains(&code)) {
            return Err("code must be from 4000 to 4999".into());
        }
        let reason = self.reason.unwrap_or_else(|| REASON.into());
        if reason.len() > MAX_REASON {
            return Err(format!("reason has at most {MAX_REASON} bytes"));
        }
        Ok((self.code.unwrap_or(CODE), reason))
    }
}

#[derive(Serialize)]
struct Answer {
    /// How many connections are being closed.
    disconnected: usize,
}

impl Disconnector {
    pub(crate) fn new(handle: ServerHandle, links: Option<Links>) -> Disconnector {
        Disconnector { handle, links }
    }

    /// Also disconnects the users that other hubs disconnect, from now on.
    pub(crate) fn follow(&self) {
        if let Some(links) = &self.links {
            links.follow_disconnects(self.handle.clone());
        }
    }

    /// Whether other hubs are told.
    pub(crate) fn has_links(&self) -> bool {
        self.links.is_some()
    }

    /// Disconnects the client with the number in the path. The messages that are queued for it are discarded,
    /// so that a client that does not read ends too.
    pub(crate) fn client(&self, request: &mut Request, number: &str) -> Result<Reply, Reply> {
        let number = client_number(number)?;
        let (code, reason) = read_close(request)?;
        let client = self.handle.client(number);
        let client = client.filter(standpipe::Outbox::is_open);
        if let Some(outbox) = &client {
            outbox.close_now(code, &reason);
        }
        Ok(answer(usize::from(client.is_some())))
    }

    /// Disconnects all clients of a user, on all hubs. The answer counts those of this hub.
    ///
    /// # Blocking
    /// With links up to `--redis-timeout`.
    pub(crate) fn user(&self, request: &mut Request, user: &str) -> Result<Reply, Reply> {
        names::check("a user", user).map_err(bad_request)?;
        let (code, reason) = read_close(request)?;
        let disconnected = self.disconnect_user(user, code, &reason).map_err(busy)?;
        Ok(answer(disconnected))
    }

    /// Disconnects all clients of a user, on all hubs, and returns how many this hub had.
    ///
    /// # Blocking
    /// With links up to `--redis-timeout`.
    ///
    /// # Errors
    /// When the other hubs may not know. The clients of this hub are disconnected all the same.
    pub(crate) fn disconnect_user(
        &self,
        user: &str,
        code: u16,
        reason: &str,
    ) -> Result<usize, String> {
        let disconnected = self.handle.disconnect_user(user, code, reason);
        if let Some(links) = &self.links {
            links.disconnect_user(user, code, reason).map_err(|error| {
                format!(
                    "{disconnected} clients of this hub are disconnected, but the other hubs may not know: {error}"
                )
            })?;
        }
        Ok(disconnected)
    }
}

fn answer(disconnected: usize) -> Reply {
    Reply::json(202, to_json(&Answer { disconnected }))
}

/// Returns the number of a client, which is written in digits as in the log.
fn client_number(text: &str) -> Result<u64, Reply> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_number { text.parse().ok() } else { None };
    number.ok_or_else(|| bad_request("a client is a number, as in GET /debug/clients"))
}

/// Reads the body, which may be empty or absent.
fn read_close(request: &mut Request) -> Result<(u16, String), Reply> {
    let body = match request.read_body(MAX_BODY) {
        Ok(body) => body,
        // There is no body.
        Err(refusal) if refusal.code() == 411 => Vec::new(),
        Err(refusal) => return Err(refusal),
    };
    parse_close(&body).map_err(bad_request)
}

fn parse_close(body: &[u8]) -> Result<(u16, String), String> {
    if body.is_empty() {
        return Close::default().checked();
    }
    let close: Close =
        serde_json::from_slice(body).map_err(|error| format!("the body: {}", one_line(&error)))?;
    close.checked()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_in_a_body_is_optional_and_checked() {
        let default = (1008, String::from(REASON));
        let max = "r".repeat(MAX_REASON);
        for (body, expected) in [
            ("", default.clone()),
            ("{}", default.clone()),
            (r#"{"code":null,"reason":null}"#, default),
            (r#"{"code":4000}"#, (4000, REASON.into())),
            (r#"{"code":4999,"reason":""}"#, (4999, String::new())),
            (&format!(r#"{{"reason":"{max}"}}"#), (1008, max.clone())),
        ] {
            assert_eq!(parse_close(body.as_bytes()), Ok(expected), "{body}");
        }
        for body in [
            r#"{"code":3999}"#,
            r#"{"code":5000}"#,
            r#"{"code":"4000"}"#,
            r#"{"code":4000.5}"#,
            r#"{"reason":1}"#,
            r#"{"cause":"x"}"#,
            &format!(r#"{{"reason":"é{max}"}}"#),
            "[]",
            "{",
            "4000",
            "\u{feff}{}",
        ] {
            assert!(parse_close(body.as_bytes()).is_err(), "{body}");
        }
        assert!(parse_close(b"{\"reason\":\"\xff\"}").is_err());
    }

    #[test]
    fn client_number_is_written_in_digits() {
        assert_eq!(client_number("7").ok(), Some(7));
        assert_eq!(client_number(&u64::MAX.to_string()).ok(), Some(u64::MAX));
        for wrong in ["", "+7", "-7", "7 ", "x", "7.0", "18446744073709551616"] {
            assert!(client_number(wrong).is_err(), "{wrong}");
        }
    }
}
