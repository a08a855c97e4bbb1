//! [`Url`] and [`Base`]: the address of a server, and connecting to it. All client commands use them.

use std::fmt;
use std::str::FromStr;

use super::Failure;
use super::dial::{Address, Remote};
use super::made_key::is_loopback;
use super::percent::{encoded, escaped};
use super::secure::Secure;
use super::stream::Stream;

/// The URL of a WebSocket endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) uri: http::Uri,
    remote: Remote,
}

/// The URL of a server. Its path is empty, or the prefix under which a proxy shows the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// The value of the `Host` header.
    pub(crate) authority: String,
    remote: Remote,
    /// The path without a slash at its end.
    prefix: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        const FORM: &str = "write ws://127.0.0.1:9000/echo";
        let (uri, remote) = parse(text, &["ws"]).map_err(|error| format!("{error}: {FORM}"))?;
        Ok(Url { uri, remote })
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
        let (uri, remote) =
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
            remote,
            prefix,
        })
    }
}

/// The beginning of the address of a unix socket.
const UNIX: &str = "unix:";

/// Returns the URL and its server. Refuses a URL with a part that the commands would not send. `schemes` are those without
/// TLS.
fn parse(text: &str, schemes: &[&str]) -> Result<(http::Uri, Remote), String> {
    if let Some(rest) = text.strip_prefix(UNIX) {
        return parse_unix(rest, schemes[0]);
    }
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| format!("a URL begins with {}://", schemes[0]))?;
    let scheme = scheme.to_ascii_lowercase();
    let has_tls = scheme
        .strip_suffix('s')
        .is_some_and(|plain| schemes.contains(&plain));
    if has_tls && cfg!(not(feature = "tls")) {
        return Err("this program was built without TLS".into());
    }
    if !has_tls && !schemes.contains(&&*scheme) {
        return Err(format!(
            "the scheme is {0} or {0}s, not {scheme}",
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
        None | Some("") if has_tls => 443,
        None | Some("") => 80,
        Some(port) => port
            .parse::<u16>()
            .map_err(|_| format!("a port is a number up to {}", u16::MAX))?,
    };
    let remote = Remote {
        address: Address::Tcp(format!("{host}:{port}")),
        tls_host: has_tls.then(|| host.to_owned()),
    };
    Ok((uri, remote))
}

/// Parses what follows `unix:`: the path of the socket, and after `:/` the path of the request, as nginx writes it.
fn parse_unix(rest: &str, scheme: &str) -> Result<(http::Uri, Remote), String> {
    let (socket, path) = match rest.find(":/") {
        Some(at) => rest.split_at(at),
        None => (rest, ":/"),
    };
    if socket.is_empty() {
        return Err("the path of the socket is missing".into());
    }
    let url = format!("{scheme}://localhost{}", &path[1..]);
    let (uri, _) = parse(&url, &[scheme])?;
    let remote = Remote {
        address: Address::Unix(socket.into()),
        tls_host: None,
    };
    Ok((uri, remote))
}

/// Returns the text of a URL without its user, query and fragment, which may contain a secret. Other text stays as it is.
pub(crate) fn without_secrets(text: &str) -> String {
    let shown = |rest: &str| rest.find(['?', '#']).unwrap_or(rest.len());
    if text.starts_with(UNIX) && shown(text) < text.len() {
        return format!("{}…", &text[..shown(text)]);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let shown = shown(rest);
    let path = rest[..shown].find('/').unwrap_or(shown);
    let host = rest[..path].rfind('@').map_or(0, |at| at + 1);
    let cut = if shown < rest.len() { "…" } else { "" };
    let user = if host > 0 { "…@" } else { "" };
    format!("{scheme}://{user}{}{cut}", &rest[host..shown])
}

/// Omits the query, which may contain a token. Otherwise the token would end up in log files.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.uri.path();
        match (&self.remote.address, &self.remote.tls_host) {
            (Address::Unix(socket), _) => write!(f, "{UNIX}{}:{path}", socket.display()),
            (Address::Tcp(address), None) => write!(f, "ws://{address}{path}"),
            (Address::Tcp(address), Some(_)) => write!(f, "wss://{address}{path}"),
        }
    }
}

impl Url {
    pub(crate) fn has_tls(&self) -> bool {
        self.remote.tls_host.is_some()
    }

    /// As [`Remote::dial`].
    pub(crate) fn dial(&self, secure: &Secure, rcvbuf: Option<usize>) -> Result<Stream, Failure> {
        self.remote.dial(secure, rcvbuf)
    }
}

impl Base {
    pub(crate) fn has_tls(&self) -> bool {
        self.remote.tls_host.is_some()
    }

    /// As [`Remote::dial`].
    pub(crate) fn dial(&self, secure: &Secure) -> Result<Stream, Failure> {
        self.remote.dial(secure, None)
    }

    /// Returns the path as a request to this server has it, with the prefix.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// Returns the URL of the WebSocket endpoint at `path` of this server.
    pub(crate) fn socket(&self, path: &str) -> Result<Url, Failure> {
        let scheme = if self.has_tls() { "wss" } else { "ws" };
        let uri = format!("{scheme}://{}{}", self.authority, self.path(path)).parse()?;
        let remote = self.remote.clone();
        Ok(Url { uri, remote })
    }

    /// Returns the name of the file in which a server at this address stores its key, if the server is on this machine.
    pub(crate) fn key_name(&self) -> Option<String> {
        match &self.remote.address {
            Address::Unix(path) => {
                let path = std::path::absolute(path).ok()?;
                Some(escaped(&path.to_string_lossy()))
            }
            Address::Tcp(address) => {
                let (host, port) = address.rsplit_once(':')?;
                is_loopback(host).then(|| port.to_owned())
            }
        }
    }
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
            let found = (url.remote.address.to_string(), sent);
            assert_eq!(found, (address.into(), Some(path)), "{text}");
        }
        for (text, reason) in [
            ("", "begins with ws://"),
            ("localhost", "begins with ws://"),
            ("127.0.0.1:9000/echo", "begins with ws://"),
            ("http://a/", "the scheme is ws or wss, not http"),
            ("https://a/", "the scheme is ws or wss, not https"),
            ("unix:", "the path of the socket is missing"),
            ("unix::/ws", "the path of the socket is missing"),
            ("unix:/a.sock:/ws#b", "%23"),
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
    #[cfg(feature = "tls")]
    fn tls_urls_have_a_port_and_a_name() {
        for (text, address, host) in [
            ("wss://a/x", "a:443", "a"),
            ("WSS://[::1]/x", "[::1]:443", "[::1]"),
            ("wss://a:80/x", "a:80", "a"),
        ] {
            let url: Url = text.parse().expect(text);
            let found = (
                url.remote.address.to_string(),
                url.remote.tls_host.as_deref(),
            );
            assert_eq!(found, (address.into(), Some(host)), "{text}");
            assert_eq!(url.to_string(), format!("wss://{address}/x"));
        }
        let base: Base = "https://a:9000/hub".parse().expect("a URL");
        let live = base.socket("/dashboard/live").expect("a path");
        assert_eq!(live.uri.to_string(), "wss://a:9000/hub/dashboard/live");
        assert!(base.has_tls() && live.has_tls());
    }

    #[test]
    fn unix_socket_may_be_followed_by_a_path() {
        for (text, socket, path) in [
            ("unix:/run/a.sock", "/run/a.sock", "/"),
            ("unix:/run/a:b.sock:/ws/x?y=z", "/run/a:b.sock", "/ws/x?y=z"),
            ("unix:a.sock:/", "a.sock", "/"),
        ] {
            let url: Url = text.parse().expect(text);
            assert_eq!(url.remote.address, Address::Unix(socket.into()), "{text}");
            assert_eq!(url.uri.to_string(), format!("ws://localhost{path}"));
            assert!(!url.has_tls());
        }
        let url: Url = "unix:/a.sock:/ws?token=x".parse().expect("a URL");
        assert_eq!(url.to_string(), "unix:/a.sock:/ws");
        let base: Base = "unix:/a.sock:/hub/".parse().expect("a URL");
        assert_eq!(base.path("/publish/x"), "/hub/publish/x");
        assert_eq!(base.authority, "localhost");
    }

    #[test]
    fn only_a_server_on_this_machine_has_a_key_file() {
        for (text, name) in [
            ("http://127.0.0.1:9000", Some("9000")),
            ("http://localhost", Some("80")),
            ("http://[::1]:1", Some("1")),
            ("unix:/run/a.sock", Some("%2Frun%2Fa.sock")),
            ("http://a:9000", None),
        ] {
            let base: Base = text.parse().expect(text);
            assert_eq!(base.key_name().as_deref(), name, "{text}");
        }
        #[cfg(feature = "tls")]
        {
            let base: Base = "https://localhost".parse().expect("a URL");
            assert_eq!(base.key_name().as_deref(), Some("443"));
        }
    }

    #[test]
    fn url_is_shown_without_its_secrets() {
        for (text, shown) in [
            ("ws://me:secret@a:1/x?token=secret", "ws://…@a:1/x…"),
            ("http://a/dashboard#key=secret", "http://a/dashboard…"),
            ("ws://a/me@home", "ws://a/me@home"),
            ("unix:/a.sock:/x?token=secret", "unix:/a.sock:/x…"),
            ("unix:/a.sock", "unix:/a.sock"),
            ("a:secret@b", "a:secret@b"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
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
            "ftp://a/",
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
