//! [`printable`]: makes text from other machines safe to print, so that it cannot send control characters to the terminal.

use std::borrow::Cow;

/// Returns the text with its control characters and direction marks escaped. Tabs are kept. Line ends are escaped,
/// because each message is printed on one line.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// True for control characters except tab, and for Unicode's bidirectional controls and its line and paragraph
/// separators.
pub(crate) fn is_unsafe(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_direction_marks_are_escaped() {
        assert_eq!(printable("grüße, 世界\t🌍"), "grüße, 世界\t🌍");
        assert_eq!(
            printable("\u{1b}[2Jx\r\n\u{9b}31m"),
            "\\u{1b}[2Jx\\r\\n\\u{9b}31m"
        );
        assert_eq!(printable("\u{202e}evil"), "\\u{202e}evil");
    }
}
