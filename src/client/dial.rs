//! Connects a socket: to each address of a name in turn, or to a unix socket.

use std::io;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::error::ConnectError;

/// Connects to the first address of `host` that accepts. Each address gets an equal part of the time that is left, so
/// one that never answers cannot use the time of the others.
///
/// # Blocking
/// Waits for the resolver of the system, whose time limit is its own, and then for at most `limit`.
pub(super) fn tcp(host: &str, port: u16, limit: Duration) -> Result<Socket, ConnectError> {
    let unresolved = |source| ConnectError::Resolve {
        host: host.to_owned(),
        source,
    };
    let addresses: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(unresolved)?
        .collect();
    let begin = Instant::now();
    let mut failed = unresolved(io::Error::new(
        io::ErrorKind::NotFound,
        "the name has no address",
    ));
    for (count, address) in (1..=addresses.len()).rev().zip(&addresses) {
        let left = limit.saturating_sub(begin.elapsed());
        let part = left / u32::try_from(count).unwrap_or(u32::MAX);
        match connect(&SockAddr::from(*address), part) {
            Ok(socket) => {
                // Nagle's algorithm would delay small messages. The connection works without the option.
                let _ = socket.set_tcp_nodelay(true);
                return Ok(socket);
            }
            Err(source) => {
                failed = ConnectError::Dial {
                    address: address.to_string(),
                    source,
                };
            }
        }
    }
    Err(failed)
}

/// Connects to the unix socket at `path`.
///
/// # Blocking
/// As [`tcp`], without the resolver.
pub(super) fn unix(path: &Path, limit: Duration) -> Result<Socket, ConnectError> {
    SockAddr::unix(path)
        .and_then(|address| connect(&address, limit))
        .map_err(|source| ConnectError::Dial {
            address: path.display().to_string(),
            source,
        })
}

fn connect(address: &SockAddr, limit: Duration) -> io::Result<Socket> {
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    if address.domain() == Domain::UNIX {
        // Connecting to a unix socket waits only for room in its backlog.
        socket.set_nonblocking(true)?;
        socket.connect(address)?;
    } else {
        socket.connect_timeout(address, limit)?;
    }
    Ok(socket)
}
