//! One client, from its first byte to the end of its threads.

pub(crate) mod handshake;
pub(crate) mod session;
#[cfg(test)]
mod tests;
