//! [`Token`]: the secret with which a player gets its seat back.

use std::{fmt, fs::File, io, io::Read};

/// 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(u128);

impl Token {
    /// Creates a token from the kernel's random numbers. The output of a simple generator could be predicted from a few
    /// earlier tokens.
    pub(crate) fn new() -> io::Result<Token> {
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Token(u128::from_be_bytes(bytes)))
    }

    pub(crate) fn parse(text: &str) -> Option<Token> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u128::from_str_radix(text, 16).ok().map(Token))?
    }

    /// Returns 64 of the bits as a seed for random numbers that need not be secret.
    pub(crate) fn seed(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
