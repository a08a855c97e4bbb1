//! [`Notice`]: the body of `POST /publish`. An invalid body is answered with the reason.

use std::time::Duration;

use serde::Deserialize;

/// Largest body, in bytes. More than the largest notice needs, because JSON may escape characters.
pub(crate) const BODY: usize = 8 << 10;
/// Longest name of a user, in characters.
const NAME: usize = 32;
/// Longest text, in bytes. The memory bound in `desk.rs` depends on it.
const TEXT: usize = 1000;
/// Longest dedupe id, in characters.
const KEY: usize = 64;
/// How long a notice waits to be read, in seconds: the default, and also the maximum.
const DAY: u64 = 24 * 60 * 60;

/// The body of the request. Each field has a type, because parsing into a `Value` recurses for each bracket. serde_json
/// allows 128 levels, which need more than the 256 KiB stack of this thread in a build without optimization.
#[derive(Deserialize)]
// Otherwise a misspelt `urgent` would be ignored silently.
#[serde(deny_unknown_fields)]
struct Body {
    user: String,
    text: String,
    id: Option<String>,
    #[serde(default)]
    urgent: bool,
    ttl: Option<u64>,
}

/// One notification, before it has an id.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) user: String,
    pub(crate) text: String,
    /// The dedupe id, chosen by the publisher. A POST whose answer was lost can be sent again with the same id without
    /// creating a second notification.
    pub(crate) key: Option<String>,
    pub(crate) urgent: bool,
    /// How long it is kept unread.
    pub(crate) ttl: Duration,
}

impl Notice {
    /// Reads `{"user":"ann","text":"build failed","id":"ci-812","urgent":true,"ttl":3600}`; the last three are
    /// optional.
    pub(crate) fn parse(body: &[u8]) -> Result<Notice, String> {
        // serde would accept a JSON list for a struct too.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err("the body must be one JSON object".into());
        }
        let Body {
            user,
            text,
            id,
            urgent,
            ttl,
        } = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if !is_name(&user) {
            return Err(format!("`user` must be {NAMES}"));
        }
        if text.trim().is_empty() || text.len() > TEXT {
            return Err(format!("`text` must have 1 to {TEXT} bytes"));
        }
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return Err("`text` must not have control characters other than line feeds".into());
        }
        if let Some(id) = &id
            && !(1..=KEY).contains(&id.chars().count())
        {
            return Err(format!("`id` must have 1 to {KEY} characters"));
        }
        let ttl = ttl.unwrap_or(DAY);
        if !(1..=DAY).contains(&ttl) {
            return Err(format!("`ttl` must be 1 to {DAY} seconds"));
        }
        Ok(Notice {
            user,
            text,
            key: id,
            urgent,
            ttl: Duration::from_secs(ttl),
        })
    }
}

/// Describes the names that [`is_name`] accepts.
pub(crate) const NAMES: &str = "a name of 1 to 32 letters, digits and the characters - _ . @";

/// Returns whether this is a valid name. Names are used in URLs, in printed lines and in topics, and must look the same
/// in each of them.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME).contains(&name.chars().count())
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "-_.@".contains(c))
}
