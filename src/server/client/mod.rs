//! One client: its opening handshake and then its session, up to the end of its threads.

mod client_address;
pub(crate) mod end_log;
pub(crate) mod handshake;
mod keep_alive;
pub(crate) mod registered;
mod response;
pub(crate) mod session;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
pub(super) mod tls;
mod wire;
mod write;
