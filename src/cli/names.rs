//! Names that clients choose: topics, keys, and themselves.

/// A name has 1 to so many bytes.
const MOST: usize = 200;

/// 1 to 200 bytes of UTF-8 without control characters, or what is wrong with it.
pub(crate) fn check(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MOST {
        return Err(format!("{what} has 1 to {MOST} bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("{what} has no control characters"));
    }
    Ok(())
}
