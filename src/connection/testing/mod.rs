//! Test doubles, for the tests and for `fuzzing`: a socket that a test controls, and a client without a server.

pub(crate) mod client;
pub(crate) mod dice;
pub(crate) mod frames;
pub(crate) mod scripted_socket;
pub(crate) mod single_threaded;
#[cfg(feature = "tls")]
pub(crate) mod tls_peer;
