//! [`Url`] and [`Base`]: the address of a server, and connecting to it. All client commands use them.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::Failure;

/// The timeout for connecting, and for each read and write of the opening handshake.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// The URL of a WebSocket endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) uri: http::Uri,
    /// `HOST:PORT`, to be resolved.
    address: String,
}

/// The URL of a server, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// The value of the `Host` header.
    pub(crate) authority: String,
    address: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        const FORM: &str = "write ws://127.0.0.1:9000/echo";
        let (uri, address) = parse(text, &["ws"], FORM)?;
        Ok(Url { uri, address })
    }
}

impl FromStr for Base {
    type Err = String;

    fn from_str(text: &str) -> Result<Base, String> {
        const FORM: &str = "write http://127.0.0.1:9000";
        let (uri, address) = parse(text, &["http", "ws"], FORM)?;
        let authority = uri.authority().map_or(String::new(), |authority| {
            let whole = authority.as_str();
            whole
                .rsplit_once('@')
                .map_or(whole, |(_, host)| host)
                .to_owned()
        });
        Ok(Base { authority, address })
    }
}

fn parse(text: &str, schemes: &[&str], form: &str) -> Result<(http::Uri, String), String> {
    let uri: http::Uri = text.parse().map_err(|error| format!("{error}: {form}"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some(scheme), Some(host)) if schemes.contains(&scheme) && !host.is_empty() => {
            let address = format!("{host}:{}", uri.port_u16().unwrap_or(80));
            Ok((uri, address))
        }
        (Some("wss" | "https"), _) => Err(format!("TLS is not supported: {form}")),
        _ => Err(form.into()),
    }
}

/// Omits the user and the query, which may contain tokens. Otherwise the tokens would end up in log files.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}{}", self.address, self.uri.path())
    }
}

impl Url {
    pub(crate) fn dial(&self, rcvbuf: Option<usize>) -> Result<TcpStream, Failure> {
        dial(&self.address, rcvbuf)
    }
}

impl Base {
    pub(crate) fn dial(&self) -> Result<TcpStream, Failure> {
        dial(&self.address, None)
    }

    /// Returns the URL of the WebSocket endpoint at `path` of this server.
    pub(crate) fn socket(&self, path: &str) -> Result<Url, Failure> {
        let uri = format!("ws://{}{path}", self.authority).parse()?;
        let address = self.address.clone();
        Ok(Url { uri, address })
    }
}

fn dial(address: &str, rcvbuf: Option<usize>) -> Result<TcpStream, Failure> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for resolved in address.to_socket_addrs()? {
        match connect(resolved, rcvbuf) {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(format!("cannot connect to {address}: {last}").into())
}

/// Connects to an address within [`TIMEOUT`]. The same timeout applies to each read and write of the socket, until the
/// caller changes it.
pub(crate) fn connect(address: SocketAddr, rcvbuf: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if let Some(bytes) = rcvbuf {
        // Set before connecting, because the first segment already announces the receive window.
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.connect_timeout(&address.into(), TIMEOUT)?;
    let tcp = TcpStream::from(socket);
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(TIMEOUT))?;
    tcp.set_write_timeout(Some(TIMEOUT))?;
    Ok(tcp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn websocket_url_needs_scheme_ws_and_a_host() {
        let url: Url = "ws://localhost:9000/ws/lobby?echo=false"
            .parse()
            .expect("a valid URL");
        assert_eq!(url.address, "localhost:9000");
        let url: Url = "ws://[::1]/".parse().expect("a valid URL");
        assert_eq!(url.address, "[::1]:80");
        for text in [
            "",
            "localhost",
            "http://a/",
            "wss://a/",
            "ws://",
            "ws:///echo",
        ] {
            let error = text.parse::<Url>().expect_err(text);
            assert!(
                error.contains("ws://127.0.0.1:9000/echo"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn server_url_is_http_or_ws_with_any_path() {
        for text in ["http://a:9000", "ws://a:9000/ws/x", "http://me@a:9000/"] {
            let base: Base = text.parse().expect(text);
            assert_eq!(base.authority, "a:9000", "{text}");
            let live = base.socket("/dashboard/live").expect("a path");
            assert_eq!(live.uri.to_string(), "ws://a:9000/dashboard/live");
        }
        for text in ["https://a/", "a:9000", ""] {
            assert!(text.parse::<Base>().is_err(), "{text}");
        }
    }
}
