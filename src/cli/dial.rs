//! [`Remote`]: the server that a command connects to, and connecting to it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::Failure;
use super::secure::Secure;
use super::stream::Stream;

/// The timeout for connecting, for the TLS handshake, and for each read and write of the opening handshake.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `HOST:PORT`, to be resolved.
    Tcp(String),
    Unix(PathBuf),
}

/// A server, by its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) address: Address,
    /// The host that a certificate has to name, if the connection has TLS.
    pub(crate) tls_host: Option<String>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => f.write_str(address),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Remote {
    /// Connects, and runs the TLS handshake if the URL asks for one. The result is ready for the request.
    ///
    /// # Blocking
    /// Waits for the resolver, and up to [`TIMEOUT`] for each address and for the TLS handshake.
    pub(crate) fn dial(&self, secure: &Secure, rcvbuf: Option<usize>) -> Result<Stream, Failure> {
        let socket = match &self.address {
            Address::Tcp(address) => first(address, rcvbuf)?,
            Address::Unix(path) => SockAddr::unix(path)
                .and_then(|address| connect(&address, rcvbuf))
                .map_err(|error| format!("cannot connect to {}: {error}", self.address))?,
        };
        let tls = self.tls_host.as_deref();
        let tls = tls.map(|host| secure.handshake(&socket, host, TIMEOUT));
        let tls = tls
            .transpose()
            .map_err(|error| format!("no connection to {}: {error}", self.address))?;
        Ok(Stream::new(socket, tls))
    }
}

/// Connects to the first address of the name that accepts.
fn first(address: &str, rcvbuf: Option<usize>) -> Result<Socket, Failure> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for resolved in resolve(address)? {
        match connect(&resolved.into(), rcvbuf) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(format!("cannot connect to {address}: {last}").into())
}

/// Returns the addresses of `HOST:PORT`. `localhost` always has one of each family, as a listener on `localhost` may have,
/// also if this machine's `/etc/hosts` names only one.
fn resolve(address: &str) -> Result<Vec<SocketAddr>, String> {
    let resolved = address
        .to_socket_addrs()
        .map_err(|error| format!("cannot resolve {address}: {error}"))?;
    let mut resolved: Vec<SocketAddr> = resolved.collect();
    let port = resolved.first().map(SocketAddr::port);
    if let (Some(("localhost", _)), Some(port)) = (address.rsplit_once(':'), port) {
        for ip in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            let loopback = SocketAddr::new(ip, port);
            if !resolved.contains(&loopback) {
                resolved.push(loopback);
            }
        }
    }
    Ok(resolved)
}

/// Connects to an address within [`TIMEOUT`]. The same timeout applies to each read and write of the socket, until the
/// caller changes it.
pub(crate) fn connect(address: &SockAddr, rcvbuf: Option<usize>) -> io::Result<Socket> {
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    if let Some(bytes) = rcvbuf {
        // Set before connecting, because the first segment already announces the receive window.
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    if address.domain() == Domain::UNIX {
        // Waits only for room in the backlog, as long as a write may wait.
        socket.connect(address)?;
    } else {
        socket.connect_timeout(address, TIMEOUT)?;
        socket.set_tcp_nodelay(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_has_an_address_of_each_family() {
        let mut addresses = resolve("localhost:9000").expect("localhost is always known");
        addresses.sort();
        let both = ["127.0.0.1:9000", "[::1]:9000"].map(|text| text.parse().expect("an address"));
        for address in both {
            assert!(addresses.contains(&address), "{addresses:?}");
        }
        assert_eq!(
            resolve("127.0.0.1:1").map(|addresses| addresses.len()),
            Ok(1)
        );
        assert!(resolve("no host:1").is_err());
    }
}
