//! Addresses as a client on this machine can use them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Returns an address at which this machine reaches a listener: loopback for one that listens on every address.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
