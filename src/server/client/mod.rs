//! One client, from its first byte to the end of its threads: the opening handshake, then the session.

pub(crate) mod handshake;
mod response;
pub(crate) mod session;
#[cfg(test)]
mod tests;
