//! [`Url`]: where a server is, and a connection to it. For every command that is a client.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::Failure;

/// For a connection, its handshake, and a socket that takes nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Where a WebSocket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) uri: http::Uri,
    /// `HOST:PORT`, to be looked up.
    address: String,
}

/// Where a server is, whatever stands at which path of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// As it is named in `Host`.
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
        (Some("wss" | "https"), _) => Err(format!("TLS is not spoken here: {form}")),
        _ => Err(form.into()),
    }
}

/// Without user and query, where people write tokens: what is shown ends up in somebody's log.
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

    /// The WebSocket at a path of it.
    pub(crate) fn socket(&self, path: &str) -> Result<Url, Failure> {
        let uri = format!("ws://{}{path}", self.authority).parse()?;
        let address = self.address.clone();
        Ok(Url { uri, address })
    }
}

fn dial(address: &str, rcvbuf: Option<usize>) -> Result<TcpStream, Failure> {
    let mut why = io::Error::from(io::ErrorKind::NotFound);
    for resolved in address.to_socket_addrs()? {
        match connect(resolved, rcvbuf) {
            Ok(tcp) => return Ok(tcp),
            Err(error) => why = error,
        }
    }
    Err(format!("cannot connect to {address}: {why}").into())
}

/// Connects to an address, within [`PATIENCE`]; each later read and write has that time, too, until somebody says
/// otherwise.
pub(crate) fn connect(address: SocketAddr, rcvbuf: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if let Some(bytes) = rcvbuf {
        // Before connecting, for the first window is told with the first segment.
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.connect_timeout(&address.into(), PATIENCE)?;
    let tcp = TcpStream::from(socket);
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    Ok(tcp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_ws_with_a_host() {
        let url: Url = "ws://localhost:9000/ws/lobby?echo=false"
            .parse()
            .expect("right");
        assert_eq!(url.address, "localhost:9000");
        let url: Url = "ws://[::1]/".parse().expect("right");
        assert_eq!(url.address, "[::1]:80");
        for text in [
            "",
            "localhost",
            "http://a/",
            "wss://a/",
            "ws://",
            "ws:///echo",
        ] {
            let refusal = text.parse::<Url>().expect_err(text);
            assert!(
                refusal.contains("ws://127.0.0.1:9000/echo"),
                "{text}: {refusal}"
            );
        }
    }

    #[test]
    fn a_server_is_http_or_ws_and_its_paths_do_not_matter() {
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
