//! [`escaped`] makes text that a client chose safe to write into a log line.

use std::fmt;

/// The number of characters shown. A client could fill the log with longer texts.
const SHOWN: usize = 200;

/// Returns `text` for display, with line breaks and terminal control characters escaped, truncated to 200 characters.
pub(crate) fn escaped(text: &str) -> Escaped<'_> {
    Escaped(text)
}

pub(crate) struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.char_indices().nth(SHOWN).map(|(at, _)| at);
        for c in self.0[..end.unwrap_or(self.0.len())].chars() {
            match c {
                // `escape_debug` does not escape these. They change the direction in which the text after them is
                // displayed.
                '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    write!(f, "{}", c.escape_unicode())?;
                }
                '\'' | '"' => write!(f, "{c}")?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        if end.is_some() {
            f.write_str("…")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let shown = escaped("a\r\nb\x1b[2J\0\u{202e}é\"").to_string();
        assert_eq!(shown, "a\\r\\nb\\u{1b}[2J\\0\\u{202e}é\"");
        assert!(!shown.chars().any(char::is_control));
    }

    #[test]
    fn long_text_is_truncated() {
        let shown = escaped(&"x".repeat(1000)).to_string();
        assert_eq!(shown.chars().count(), SHOWN + 1);
    }
}
