//! [`Utf8Check`]: checks a text that arrives in parts.

/// Checks that the parts of a text are valid UTF-8 together. A part may end inside a character (RFC 6455 §5.6).
#[derive(Debug, Default)]
pub(super) struct Utf8Check {
    /// The bytes of a character whose other bytes have not come yet.
    partial: [u8; 4],
    length: usize,
}

impl Utf8Check {
    /// Returns how many of the first bytes of `part` continue the text. The rest begins with a byte that cannot follow.
    pub(super) fn accept(&mut self, part: &[u8]) -> usize {
        let mut at = 0;
        while self.length > 0 && at < part.len() {
            self.partial[self.length] = part[at];
            match std::str::from_utf8(&self.partial[..=self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() => self.length += 1,
                Err(_) => return at,
            }
            at += 1;
        }
        let Err(error) = std::str::from_utf8(&part[at..]) else {
            return part.len();
        };
        let valid = at + error.valid_up_to();
        if error.error_len().is_some() {
            return valid;
        }
        let rest = &part[valid..];
        self.partial[..rest.len()].copy_from_slice(rest);
        self.length = rest.len();
        part.len()
    }

    /// Returns whether the text does not end inside a character.
    pub(super) fn is_complete(&self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_checked_across_all_splits() {
        let text = "a\u{e9}\u{20ac}\u{1f600}z".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut check = Utf8Check::default();
                for part in [&text[..first], &text[first..second], &text[second..]] {
                    assert_eq!(check.accept(part), part.len(), "{first} {second}");
                }
                assert!(check.is_complete());
                let mut cut = Utf8Check::default();
                cut.accept(&text[..first]);
                let ends_whole = std::str::from_utf8(&text[..first]).is_ok();
                assert_eq!(cut.is_complete(), ends_whole, "{first}");
            }
        }
    }

    #[test]
    fn invalid_byte_is_found_in_every_part() {
        // A lone continuation byte, an overlong form, a surrogate, and a character that is cut short.
        for invalid in [&b"\x80"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xe2\x82a"] {
            let text = [b"ok", invalid].concat();
            for split in 0..=text.len() {
                let mut check = Utf8Check::default();
                let parts = [&text[..split], &text[split..]];
                let accepted = parts.map(|part| check.accept(part) == part.len());
                assert!(accepted.contains(&false), "{invalid:?} split at {split}");
            }
        }
    }
}
