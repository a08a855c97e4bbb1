//! What others have sent, made fit for a terminal: no control character of theirs reaches it.

use std::borrow::Cow;

/// The text, its control characters and marks of direction escaped. A tab stays; a line end does not: a message is a
/// line.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_dangerous(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Besides control characters, what turns the direction of a line around or ends it (Unicode's bidi and line
/// separators).
fn is_dangerous(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_escape_sequence_and_no_second_line_comes_through() {
        assert_eq!(shown("grüße, 世界\t🌍"), "grüße, 世界\t🌍");
        assert_eq!(
            shown("\u{1b}[2Jx\r\n\u{9b}31m"),
            "\\u{1b}[2Jx\\r\\n\\u{9b}31m"
        );
        assert_eq!(shown("\u{202e}evil"), "\\u{202e}evil");
    }
}
