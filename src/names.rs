//! Names that clients choose: for topics, keys and themselves. The program and the feature `redis` use the same rules.

/// The maximum number of bytes in a name.
const MAX: usize = 200;

/// Checks that `name` has 1 to 200 bytes and no control characters. `what` is its name in the error text.
pub(crate) fn check(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX {
        return Err(format!("{what} has 1 to {MAX} bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("{what} has no control characters"));
    }
    Ok(())
}
