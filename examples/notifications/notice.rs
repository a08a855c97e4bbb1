//! [`Notice`]: what a backend asks for in `POST /publish`. Whatever is not as it should be is answered with the reason.

use std::time::Duration;

use serde::Deserialize;

/// Bytes of a body. Twice what the largest notice needs, for those who escape every character.
pub(crate) const BODY: usize = 8 << 10;
/// Characters of a user's name.
const NAME: usize = 32;
/// Bytes of the text. Also what the memory for all users is reckoned with: see `desk.rs`.
const TEXT: usize = 1000;
/// Characters of a dedupe id.
const KEY: usize = 64;
/// How long a notice waits to be read, where the publisher does not say; and the longest that may be said.
const DAY: u64 = 24 * 60 * 60;

/// The body as it comes. With a type for each field, as a `Value` is built by a call for each bracket: this thread's stack is
/// 256 KiB, and a build without optimization needs more for the 128 that are let through.
#[derive(Deserialize)]
// A misspelt `urgent` would be lost unseen.
#[serde(deny_unknown_fields)]
struct Body {
    user: String,
    text: String,
    id: Option<String>,
    #[serde(default)]
    urgent: bool,
    ttl: Option<u64>,
}

/// One notification, before it has a number.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) user: String,
    pub(crate) text: String,
    /// The publisher's own id: a POST whose answer was lost is sent again with it, and is not doubled.
    pub(crate) key: Option<String>,
    pub(crate) urgent: bool,
    /// After this it is of no use to anybody.
    pub(crate) ttl: Duration,
}

impl Notice {
    /// Reads `{"user":"ann","text":"build failed","id":"ci-812","urgent":true,"ttl":3600}`; the last three are optional.
    pub(crate) fn parse(body: &[u8]) -> Result<Notice, String> {
        // Serde takes a list for a struct, too.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err("the body is one JSON object".into());
        }
        let Body {
            user,
            text,
            id,
            urgent,
            ttl,
        } = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if !is_name(&user) {
            return Err(format!("`user` is {NAMES}"));
        }
        if text.trim().is_empty() || text.len() > TEXT {
            return Err(format!("`text` has 1 to {TEXT} bytes"));
        }
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return Err("`text` has no control characters but line ends".into());
        }
        if let Some(id) = &id {
            if !(1..=KEY).contains(&id.chars().count()) {
                return Err(format!("`id` has 1 to {KEY} characters"));
            }
        }
        let ttl = ttl.unwrap_or(DAY);
        if !(1..=DAY).contains(&ttl) {
            return Err(format!("`ttl` is 1 to {DAY} seconds"));
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

/// What [`is_name`] lets in, in words.
pub(crate) const NAMES: &str = "a name of 1 to 32 letters, digits and any of - _ . @";

/// A name goes into a URL, a line of output and a topic, and must look the same in each.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME).contains(&name.chars().count())
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "-_.@".contains(c))
}
