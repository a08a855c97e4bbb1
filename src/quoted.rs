//! [`quoted`]: text that a client chose, on its way into a line of the log.

use std::fmt;

/// Characters shown; more says only that somebody wanted to fill the log.
const SHOWN: usize = 200;

/// Shows `text` with everything escaped that could end a line or speak to a terminal, cut to 200 characters.
pub(crate) fn quoted(text: &str) -> Quoted<'_> {
    Quoted(text)
}

pub(crate) struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.char_indices().nth(SHOWN).map(|(at, _)| at);
        for c in self.0[..end.unwrap_or(self.0.len())].chars() {
            match c {
                // `escape_debug` lets these through; they turn the reading direction round.
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
    fn client_text_cannot_end_a_line_or_speak_to_a_terminal() {
        let shown = quoted("a\r\nb\x1b[2J\0\u{202e}é\"").to_string();
        assert_eq!(shown, "a\\r\\nb\\u{1b}[2J\\0\\u{202e}é\"");
        assert!(!shown.chars().any(char::is_control));
    }

    #[test]
    fn long_text_is_cut() {
        let shown = quoted(&"x".repeat(1000)).to_string();
        assert_eq!(shown.chars().count(), SHOWN + 1);
    }
}
