//! [`Url`] and [`Base`]: the address of a server, and connecting to it. All client commands use them.

use std::fmt::{self, Write as _};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
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

/// The URL of a server. Its path is empty, or the prefix under which a proxy shows the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// The value of the `Host` header.
    pub(crate) authority: String,
    address: String,
    /// The path without a slash at its end.
    prefix: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        const FORM: &str = "write ws://127.0.0.1:9000/echo";
        let (uri, address) = parse(text, &["ws"]).map_err(|error| format!("{error}: {FORM}"))?;
        Ok(Url { uri, address })
    }
}

impl FromStr for Base {
    type Err = String;

    fn from_str(text: &str) -> Result<Base, String> {
        const FORM: &str = "write http://127.0.0.1:9000";
        // The start of a server prints such a URL. Every user of a machine can see the arguments of its processes.
        if text.contains("#key=") {
            return Err(format!(
                "leave out #key=…, because the key of a server on this machine is found, and --key-file has any other: {FORM}"
            ));
        }
        let (uri, address) =
            parse(text, &["http", "ws"]).map_err(|error| format!("{error}: {FORM}"))?;
        if uri.query().is_some() {
            return Err(format!("the URL of a server has no query: {FORM}"));
        }
        let authority = uri
            .authority()
            .map_or(String::new(), |authority| authority.as_str().to_owned());
        let path = uri.path().trim_end_matches('/');
        // The start of the server prints the address of its dashboard, which is also the address of the server.
        let prefix = path.strip_suffix("/dashboard").unwrap_or(path).to_owned();
        Ok(Base {
            authority,
            address,
            prefix,
        })
    }
}

/// Returns the URL and its `HOST:PORT`. Refuses a URL with a part that the commands would not send.
fn parse(text: &str, schemes: &[&str]) -> Result<(http::Uri, String), String> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| format!("a URL begins with {}://", schemes[0]))?;
    let scheme = scheme.to_ascii_lowercase();
    if matches!(&*scheme, "wss" | "https") {
        return Err("TLS is not supported".into());
    }
    if !schemes.contains(&&*scheme) {
        return Err(format!(
            "the scheme is {}, not {scheme}",
            schemes.join(" or ")
        ));
    }
    // RFC 6455 §3 allows no fragment. Without this check, `/ws/#general` would be the topic with the empty name.
    if rest.contains('#') {
        return Err("a URL has no fragment, and a # in a path is written %23".into());
    }
    let uri: http::Uri = format!("{scheme}://{}", encoded(rest))
        .parse()
        .map_err(|error| format!("{error}"))?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err(
            "a user in the URL would not be sent, so use a file with a token or key".into(),
        );
    }
    let host = uri.host().unwrap_or_default();
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    let port = match authority
        .strip_prefix(host)
        .and_then(|port| port.strip_prefix(':'))
    {
        None | Some("") => 80,
        Some(port) => port
            .parse::<u16>()
            .map_err(|_| format!("a port is a number up to {}", u16::MAX))?,
    };
    let address = format!("{host}:{port}");
    Ok((uri, address))
}

/// Percent-encodes spaces, letters beyond ASCII, and other bytes that a path or query cannot contain, as browsers do.
/// What is encoded already stays as it is.
fn encoded(rest: &str) -> String {
    let path = rest.find(['/', '?']).unwrap_or(rest.len());
    let mut encoded = rest[..path].to_owned();
    // A request line begins with a path (RFC 9112 §3.2.1), also if the URL has none.
    if rest[path..].starts_with('?') {
        encoded.push('/');
    }
    for byte in rest[path..].bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%[]".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Returns the text of a URL without its user, query and fragment, which may contain a secret. Other text stays as it is.
pub(crate) fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let shown = rest.find(['?', '#']).unwrap_or(rest.len());
    let path = rest[..shown].find('/').unwrap_or(shown);
    let host = rest[..path].rfind('@').map_or(0, |at| at + 1);
    let cut = if shown < rest.len() { "…" } else { "" };
    let user = if host > 0 { "…@" } else { "" };
    format!("{scheme}://{user}{}{cut}", &rest[host..shown])
}

/// Omits the query, which may contain a token. Otherwise the token would end up in log files.
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

    /// Returns the path as a request to this server has it, with the prefix.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// Returns the URL of the WebSocket endpoint at `path` of this server.
    pub(crate) fn socket(&self, path: &str) -> Result<Url, Failure> {
        let uri = format!("ws://{}{}", self.authority, self.path(path)).parse()?;
        let address = self.address.clone();
        Ok(Url { uri, address })
    }
}

/// Connects to the first address of the name that accepts.
fn dial(address: &str, rcvbuf: Option<usize>) -> Result<TcpStream, Failure> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for resolved in resolve(address)? {
        match connect(resolved, rcvbuf) {
            Ok(tcp) => return Ok(tcp),
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
        for (text, address, path) in [
            (
                "ws://localhost:9000/ws/lobby?echo=false",
                "localhost:9000",
                "/ws/lobby?echo=false",
            ),
            ("ws://[::1]/", "[::1]:80", "/"),
            ("ws://[::1]:9000/a", "[::1]:9000", "/a"),
            ("WS://a:1/x", "a:1", "/x"),
            ("ws://a:/x", "a:80", "/x"),
            ("ws://a?x=1", "a:80", "/?x=1"),
            (
                "ws://a/ws/a b/ü?name=é%2F",
                "a:80",
                "/ws/a%20b/%C3%BC?name=%C3%A9%2F",
            ),
            ("ws://a/{\"|^`\\<>}", "a:80", "/%7B%22%7C%5E%60%5C%3C%3E%7D"),
        ] {
            let url: Url = text.parse().expect(text);
            let sent = url.uri.path_and_query().map(|path| path.as_str());
            assert_eq!((&*url.address, sent), (address, Some(path)), "{text}");
        }
        for (text, reason) in [
            ("", "begins with ws://"),
            ("localhost", "begins with ws://"),
            ("127.0.0.1:9000/echo", "begins with ws://"),
            ("http://a/", "the scheme is ws, not http"),
            ("wss://a/", "TLS is not supported"),
            ("https://a/", "TLS is not supported"),
            ("ws://", ""),
            ("ws:///echo", ""),
            ("ws://a:65536/", "a port is a number up to 65535"),
            ("ws://a:x/", ""),
            ("ws://a/ws/#general", "%23"),
            ("ws://me:secret@a/", "a file with a token"),
        ] {
            let error = text.parse::<Url>().expect_err(text);
            let says = error.contains(reason) && !error.contains("secret");
            assert!(
                says && error.ends_with("write ws://127.0.0.1:9000/echo"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn url_is_shown_without_its_secrets() {
        for (text, shown) in [
            ("ws://me:secret@a:1/x?token=secret", "ws://…@a:1/x…"),
            ("http://a/dashboard#key=secret", "http://a/dashboard…"),
            ("ws://a/me@home", "ws://a/me@home"),
            ("a:secret@b", "a:secret@b"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }

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

    #[test]
    fn server_url_may_have_the_prefix_of_a_proxy() {
        for (text, sent) in [
            ("http://a:9000", "ws://a:9000/dashboard/live"),
            ("ws://a:9000/", "ws://a:9000/dashboard/live"),
            ("http://a:9000/hub/", "ws://a:9000/hub/dashboard/live"),
            ("http://a:9000/dashboard", "ws://a:9000/dashboard/live"),
        ] {
            let base: Base = text.parse().expect(text);
            assert_eq!(base.authority, "a:9000", "{text}");
            let live = base.socket("/dashboard/live").expect("a path");
            assert_eq!(live.uri.to_string(), sent, "{text}");
        }
        for text in [
            "https://a/",
            "a:9000",
            "",
            "http://a/?token=x",
            "http://me@a/",
            "http://a/#x",
            "http://a/dashboard#key=secret",
        ] {
            let error = text.parse::<Base>().expect_err(text);
            assert!(
                error.ends_with("write http://127.0.0.1:9000"),
                "{text}: {error}"
            );
        }
    }
}
