//! [`Streamed`]: a message that is read in parts, or whose rest is discarded. [`Utf8Check`]: checks a text in parts.

use super::violation::{NOT_UTF8, Violation};

/// A message in progress that is not collected in memory.
#[derive(Debug)]
pub(super) struct Streamed {
    pub(super) is_text: bool,
    /// The part that an earlier call had collected, before the message was read as a stream.
    collected: Vec<u8>,
    /// How many bytes of `collected` have been taken.
    taken: usize,
    /// How many bytes of the current frame's payload are missing.
    left: usize,
    mask: [u8; 4],
    /// Whether the current frame is the last one.
    is_final: bool,
    /// The payload bytes of the message's frames so far, including the part that is missing.
    announced: usize,
    utf8: Utf8Check,
}

impl Streamed {
    /// Returns a message of which `collected` has been received, and no frame is in progress.
    pub(super) fn new(is_text: bool, collected: Vec<u8>) -> Streamed {
        Streamed {
            is_text,
            announced: collected.len(),
            collected,
            taken: 0,
            left: 0,
            mask: [0; 4],
            is_final: false,
            utf8: Utf8Check::default(),
        }
    }

    /// Begins the next frame. Returns false if the message is then larger than `limit`.
    pub(super) fn begin_frame(
        &mut self,
        length: usize,
        mask: [u8; 4],
        is_final: bool,
        limit: usize,
    ) -> bool {
        self.announced = self.announced.saturating_add(length);
        (self.left, self.mask, self.is_final) = (length, mask, is_final);
        self.announced <= limit
    }

    /// Returns how many bytes of the current frame are missing.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Returns whether the whole payload has been taken.
    pub(super) fn is_complete(&self) -> bool {
        self.is_final && self.left == 0 && !self.has_collected()
    }

    /// Returns whether a part is left that was collected before.
    pub(super) fn has_collected(&self) -> bool {
        self.taken < self.collected.len()
    }

    /// Copies a part that was collected before. Returns its length.
    pub(super) fn take_collected(&mut self, out: &mut [u8]) -> Result<usize, Violation> {
        let rest = &self.collected[self.taken..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        if !self.has_collected() {
            (self.collected, self.taken) = (Vec::new(), 0);
        }
        self.check(&out[..count])?;
        Ok(count)
    }

    /// Removes the mask of the next payload bytes of the current frame, and checks them.
    pub(super) fn accept(&mut self, payload: &mut [u8]) -> Result<(), Violation> {
        unmask(payload, self.mask);
        self.skip(payload.len());
        self.check(payload)
    }

    /// Discards payload bytes of the current frame.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.left -= bytes;
        self.mask.rotate_left(bytes % 4);
    }

    /// Discards what was collected before. The rest of the text is not checked any more, because it is discarded too.
    pub(super) fn discard(&mut self) {
        (self.collected, self.taken, self.is_text) = (Vec::new(), 0, false);
    }

    /// Checks that a text does not end inside a character.
    pub(super) fn end(&self) -> Result<(), Violation> {
        match self.is_text && self.utf8.is_inside() {
            true => Err(NOT_UTF8),
            false => Ok(()),
        }
    }

    fn check(&mut self, payload: &[u8]) -> Result<(), Violation> {
        if self.is_text && !self.utf8.check(payload) {
            return Err(NOT_UTF8);
        }
        Ok(())
    }
}

/// Checks a text that arrives in parts. A part may end inside a character.
#[derive(Debug, Default)]
struct Utf8Check {
    /// The beginning of a character. Its first `have` bytes have arrived.
    character: [u8; 4],
    have: usize,
}

impl Utf8Check {
    /// Checks the next bytes. Returns false if they are invalid.
    fn check(&mut self, mut bytes: &[u8]) -> bool {
        while self.have > 0 {
            let [first, rest @ ..] = bytes else {
                return true;
            };
            self.character[self.have] = *first;
            self.have += 1;
            bytes = rest;
            match std::str::from_utf8(&self.character[..self.have]) {
                Ok(_) => self.have = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => true,
            Err(error) if error.error_len().is_none() => {
                let begun = &bytes[error.valid_up_to()..];
                self.character[..begun.len()].copy_from_slice(begun);
                self.have = begun.len();
                true
            }
            Err(_) => false,
        }
    }

    /// Returns whether the bytes so far end inside a character.
    fn is_inside(&self) -> bool {
        self.have > 0
    }
}

/// Removes the mask (RFC 6455 §5.3), eight bytes at a time.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = payload.chunks_exact_mut(8);
    for bytes in &mut words {
        let value = u64::from_ne_bytes((&*bytes).try_into().expect("eight bytes"));
        bytes.copy_from_slice(&(value ^ word).to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_8_check_in_parts_agrees_with_the_standard_library() {
        let texts: [&[u8]; 8] = [
            "aé世🚰z".as_bytes(),
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xc0\x80",
            b"ok\xff",
            b"\xe4\xb8",
            b"\x80",
            b"",
        ];
        for text in texts {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let mut check = Utf8Check::default();
                    let parts = [&text[..first], &text[first..second], &text[second..]];
                    let is_valid = parts.iter().all(|part| check.check(part)) && !check.is_inside();
                    assert_eq!(is_valid, std::str::from_utf8(text).is_ok(), "{parts:x?}");
                }
            }
        }
    }
}
