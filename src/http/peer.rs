//! [`Peer`]: where a client comes from.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A client's address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP client.
    Tcp(SocketAddr),
    /// A client of a unix socket, which has no address of its own.
    Unix,
}

impl Peer {
    /// Whether the client runs on this machine. A unix socket's always does.
    pub fn is_loopback(&self) -> bool {
        // A listener on [::] sees 127.0.0.1 as ::ffff:127.0.0.1, which std does not call loopback.
        self.ip().is_none_or(|ip| ip.to_canonical().is_loopback())
    }

    /// The IP address, if the client has one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.pad("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_in_each_of_its_spellings() {
        let peer = |text: &str| Peer::Tcp(text.parse().expect("an address"));
        for near in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(peer(near).is_loopback(), "{near}");
        }
        for far in [
            "10.0.0.1:1",
            "0.0.0.0:1",
            "[::]:1",
            "[::ffff:10.0.0.1]:1",
            "[fe80::1]:1",
        ] {
            assert!(!peer(far).is_loopback(), "{far}");
        }
        assert!(Peer::Unix.is_loopback());
        assert_eq!(Peer::Unix.ip(), None);
    }

    #[test]
    fn a_peer_is_shown_as_its_address() {
        let tcp = Peer::Tcp("127.0.0.1:5123".parse().expect("an address"));
        assert_eq!(tcp.to_string(), "127.0.0.1:5123");
        assert_eq!(Peer::Unix.to_string(), "unix");
    }
}
