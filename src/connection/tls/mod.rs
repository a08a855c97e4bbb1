//! A connection with TLS (feature `tls`): its handshake, and its socket as a [`Transport`](super::socket::Transport).

pub(crate) mod handshake;
mod received;
mod sealed;
pub(crate) mod transport;
