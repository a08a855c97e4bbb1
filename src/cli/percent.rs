//! Percent-encoding of URLs (RFC 3986 §2.1).

use std::fmt::Write as _;

/// Percent-encodes what follows the scheme of a URL, as browsers do: spaces, letters beyond ASCII, and other bytes that a
/// path or query cannot contain. A `%` that begins an encoded byte stays as it is.
pub(crate) fn encoded(rest: &str) -> String {
    let path = rest.find(['/', '?']).unwrap_or(rest.len());
    let mut encoded = rest[..path].to_owned();
    // A request line begins with a path (RFC 9112 §3.2.1), also if the URL has none.
    if rest[path..].starts_with('?') {
        encoded.push('/');
    }
    for byte in rest[path..].bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%[]".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Returns the text percent-encoded, as a path segment or a query value.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
