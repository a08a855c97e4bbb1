//! [`Unread`]: the bytes of a payload that have not been read yet.

use std::str;

use super::malformed::Malformed;

/// The most digits of a number.
const MAX_DIGITS: usize = 20;

/// Every method removes what it returns. Nothing is allocated.
#[derive(Clone, Copy)]
pub(super) struct Unread<'a>(pub(super) &'a [u8]);

impl<'a> Unread<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(first)
    }

    pub(super) fn take(&mut self, size: u64) -> Result<&'a [u8], Malformed> {
        let size = usize::try_from(size).map_err(|_| Malformed::Truncated)?;
        let (taken, rest) = self.0.split_at_checked(size).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Returns the number of a hub, which has 8 bytes.
    pub(super) fn node(&mut self) -> Result<u64, Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*bytes))
    }

    /// Returns a number that [`put_varint`] has written.
    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if bits << shift >> shift != bits {
                return Err(Malformed::Number);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed::Number)
    }

    /// Returns a decimal number, and removes the space after it.
    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let within = &self.0[..self.0.len().min(MAX_DIGITS + 1)];
        let Some(end) = within.iter().position(|&byte| byte == b' ') else {
            return Err(if self.0.len() > MAX_DIGITS {
                Malformed::Number
            } else {
                Malformed::Truncated
            });
        };
        let digits = &self.0[..end];
        self.0 = &self.0[end + 1..];
        number(digits)
    }
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8)
}

/// Returns a number in decimal. Only digits are allowed, no sign.
pub(super) fn number(digits: &[u8]) -> Result<u64, Malformed> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::Number);
    }
    utf8(digits)?.parse().map_err(|_| Malformed::Number)
}

/// Appends a number in LEB128: seven bits per byte, the lowest first.
pub(super) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
