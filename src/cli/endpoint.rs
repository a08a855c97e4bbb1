//! [`Endpoint`]: where a listener of the server can be reached, and from where.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use standpipe::Listener;

use super::address::reachable;
use super::percent::escaped;
use super::values::Listen;

/// The tag of the listeners that serve the admin paths.
pub(crate) const ADMIN: &str = "admin";

/// A listener that is bound.
pub(crate) struct Endpoint {
    /// The flag that the listener was bound for.
    listen: Listen,
    /// The address, if it is a TCP listener.
    address: Option<SocketAddr>,
    pub(crate) is_admin: bool,
    /// Whether only a proxy can use the listener, because each connection begins with a PROXY header.
    pub(crate) has_proxy_header: bool,
    /// Whether the listener speaks TLS. A unix socket never does.
    has_tls: bool,
}

impl Endpoint {
    pub(crate) fn new(
        listen: &Listen,
        listener: &Listener,
        is_admin: bool,
        has_proxy_header: bool,
    ) -> Endpoint {
        Endpoint {
            listen: listen.clone(),
            address: listener.local_addr(),
            is_admin,
            has_proxy_header,
            has_tls: false,
        }
    }

    /// Says whether the TCP listeners of the server speak TLS.
    pub(crate) fn tls(mut self, has_tls: bool) -> Endpoint {
        self.has_tls = has_tls && self.address.is_some();
        self
    }

    /// Returns where a listener will be reached, before it is bound. A descriptor, and a name without an address, tell
    /// nothing yet.
    pub(crate) fn expected(
        listen: &Listen,
        is_admin: bool,
        has_proxy_header: bool,
    ) -> Vec<Endpoint> {
        let addresses = match listen {
            Listen::Tcp(address) => match address.to_socket_addrs() {
                Ok(addresses) => addresses.map(Some).collect(),
                Err(_) => Vec::new(),
            },
            Listen::Unix { .. } => vec![None],
            _ => Vec::new(),
        };
        let endpoint = |address| Endpoint {
            listen: listen.clone(),
            address,
            is_admin,
            has_proxy_header,
            has_tls: false,
        };
        addresses.into_iter().map(endpoint).collect()
    }

    /// Returns the address of a TCP listener, as a client on this machine can use it.
    pub(crate) fn tcp(&self) -> Option<SocketAddr> {
        self.address.map(reachable)
    }

    /// Returns the absolute path of a unix socket that this process has bound.
    pub(crate) fn unix(&self) -> Option<PathBuf> {
        match &self.listen {
            Listen::Unix { path, .. } => Some(absolute(path)),
            _ => None,
        }
    }

    /// Returns the scheme of the listener's pages: `https`, or `http` without TLS.
    pub(crate) fn http(&self) -> &'static str {
        if self.has_tls { "https" } else { "http" }
    }

    /// Returns the scheme of the listener's WebSockets: `wss`, or `ws` without TLS.
    pub(crate) fn ws(&self) -> &'static str {
        if self.has_tls { "wss" } else { "ws" }
    }

    /// Returns the listener as its operator is shown it.
    pub(crate) fn shown(&self) -> String {
        let tls = if self.has_tls { " (TLS)" } else { "" };
        format!("{self}{tls}")
    }

    /// Whether this is a TCP listener that only this machine can reach.
    pub(crate) fn is_loopback_tcp(&self) -> bool {
        self.address
            .is_some_and(|address| address.ip().to_canonical().is_loopback())
    }

    /// Whether other machines may reach this listener.
    pub(crate) fn is_remote(&self) -> bool {
        self.address.is_some() && !self.is_loopback_tcp()
    }

    /// Returns the name of the file for this listener's key: the port, or the path of the unix socket, percent-encoded.
    pub(crate) fn key_name(&self) -> String {
        match (self.address, self.unix()) {
            (Some(address), _) => address.port().to_string(),
            (None, Some(path)) => escaped(&path.to_string_lossy()),
            (None, None) => escaped(&self.to_string().replace(':', "-")),
        }
    }
}

/// Returns the absolute form of a path, so that it is valid in another working directory.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, &self.listen) {
            (Some(address), _) => write!(f, "{address}"),
            // Without the permissions of the path.
            (None, Listen::Unix { path, .. }) => write!(f, "unix:{}", path.display()),
            (None, listen) => write!(f, "{listen}"),
        }
    }
}
