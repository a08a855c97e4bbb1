//! [`Peer`]: the address of a client.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The address of a client.
///
/// ```
/// use standpipe::Peer;
///
/// fn name(peer: &Peer) -> String {
///     match peer {
///         Peer::Unix => "a program on this machine".into(),
///         other => format!("{other}"),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// The IP address and port of a TCP client. The port is 0 if a [trusted proxy](crate::Config::trusted_proxies) has
    /// named the client without it. The text of such a peer is the address alone.
    Tcp(SocketAddr),
    /// A client of a Unix socket. Such a client has no address.
    Unix,
}

impl Peer {
    /// Returns whether the client runs on this machine. This is always true for a client of a Unix socket.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) -> standpipe::Reply {
    /// use standpipe::Reply;
    ///
    /// if request.peer().is_loopback() { Reply::upgrade() } else { Reply::status(403) }
    /// # }
    /// ```
    pub fn is_loopback(&self) -> bool {
        // A listener on [::] gets 127.0.0.1 as ::ffff:127.0.0.1, for which `IpAddr::is_loopback` returns false.
        self.ip().is_none_or(|ip| ip.to_canonical().is_loopback())
    }

    /// Returns the IP address, if the client has one.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) {
    /// match request.peer().ip() {
    ///     Some(ip) => println!("a client on {ip}"),
    ///     None => println!("a client on a Unix socket"),
    /// }
    /// # }
    /// ```
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
            Peer::Tcp(address) if address.port() == 0 => address.ip().fmt(f),
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix => f.pad("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognized_in_every_notation() {
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
    fn peer_is_displayed_as_its_address() {
        let tcp = Peer::Tcp("127.0.0.1:5123".parse().expect("an address"));
        assert_eq!(tcp.to_string(), "127.0.0.1:5123");
        let without_port = Peer::Tcp("[2001:db8::1]:0".parse().expect("an address"));
        assert_eq!(without_port.to_string(), "2001:db8::1");
        assert_eq!(Peer::Unix.to_string(), "unix");
    }
}
