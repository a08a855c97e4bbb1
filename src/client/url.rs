//! [`Url`]: the address of a WebSocket endpoint (RFC 6455 §3).

use http::Uri;

use super::error::ConnectError;

/// The ports of `ws://` and `wss://` without a port.
const PORT: u16 = 80;
const TLS_PORT: u16 = 443;

/// A valid `ws://` or `wss://` URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// Whether the connection has TLS.
    pub(super) has_tls: bool,
    /// The host, without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// The value of the `Host` header.
    pub(super) authority: String,
    /// The path and the query.
    pub(super) target: String,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Url, ConnectError> {
        let invalid = |reason: &str| ConnectError::Url(reason.to_owned());
        let form = || invalid("a URL is written ws://host:port/path");
        let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
        let has_tls = scheme.eq_ignore_ascii_case("wss");
        if has_tls && cfg!(not(feature = "tls")) {
            return Err(ConnectError::NoTls);
        }
        if !has_tls && !scheme.eq_ignore_ascii_case("ws") {
            return Err(form());
        }
        if rest.contains('#') {
            return Err(invalid("it has no fragment; a # in a path is written %23"));
        }
        let uri: Uri = format!("ws://{rest}")
            .parse()
            .map_err(|error| ConnectError::Url(format!("{error}")))?;
        let authority = uri.authority().ok_or_else(form)?;
        if authority.as_str().contains('@') {
            return Err(invalid("a user in it would not be sent; use a header"));
        }
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host) {
            None | Some("" | ":") if has_tls => TLS_PORT,
            None | Some("" | ":") => PORT,
            Some(port) => port
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .ok_or_else(|| invalid("the port is not a number up to 65535"))?,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(form());
        }
        // A request line begins with a path (RFC 9112 §3.2.1), also if the URL has none.
        let target = match uri.path_and_query().map_or("", |target| target.as_str()) {
            target if target.starts_with('/') => target.to_owned(),
            query => format!("/{query}"),
        };
        Ok(Url {
            has_tls,
            host: host.to_owned(),
            port,
            authority: authority.as_str().trim_end_matches(':').to_owned(),
            target,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_url_are_found() {
        for (text, host, port, authority, target) in [
            ("ws://a", "a", 80, "a", "/"),
            ("WS://a:9/", "a", 9, "a:9", "/"),
            ("ws://a:/b?c=d", "a", 80, "a", "/b?c=d"),
            ("ws://a?c", "a", 80, "a", "/?c"),
            ("ws://[::1]:9001/x%20y", "::1", 9001, "[::1]:9001", "/x%20y"),
        ] {
            let url = Url::parse(text).expect(text);
            let found = (&*url.host, url.port, &*url.authority, &*url.target);
            assert_eq!(found, (host, port, authority, target), "{text}");
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for text in [
            "",
            "a",
            "ws://",
            "ws:///a",
            "http://a",
            "ws://a/#b",
            "ws://u@a/",
            "ws://a:70000/",
            "ws://a:x/",
            "ws://a/ b",
            "ws://a/\r\nb: c",
        ] {
            let error = Url::parse(text).expect_err(text);
            assert!(matches!(error, ConnectError::Url(_)), "{text}: {error}");
        }
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn wss_needs_the_feature() {
        let error = Url::parse("WSS://a").expect_err("it needs TLS");
        assert!(error.to_string().starts_with("wss:// needs TLS"), "{error}");
    }

    #[test]
    #[cfg(feature = "tls")]
    fn wss_has_a_port_of_its_own() {
        for (text, port) in [("wss://a", 443), ("WSS://a:/", 443), ("wss://a:80/", 80)] {
            let url = Url::parse(text).expect(text);
            assert_eq!((url.has_tls, url.port), (true, port), "{text}");
        }
        assert!(!Url::parse("ws://a:443").expect("a URL").has_tls);
    }
}
