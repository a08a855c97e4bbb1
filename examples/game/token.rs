//! [`Token`]: who has it has the seat.

use std::{fmt, fs::File, io, io::Read};

/// 128 bits that nobody guesses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(u128);

impl Token {
    /// From the kernel's random numbers: a seeded generator of one's own could be followed by whoever has seen a few.
    pub(crate) fn new() -> io::Result<Token> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Token(u128::from_be_bytes(bytes)))
    }

    pub(crate) fn parse(text: &str) -> Option<Token> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u128::from_str_radix(text, 16).ok().map(Token))?
    }

    /// Some of its bits, where luck and no secret is wanted.
    pub(crate) fn luck(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
