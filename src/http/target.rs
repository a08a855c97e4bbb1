//! [`Target`]: the path of a request in segments and its query in pairs, each decoded exactly once.
//!
//! Routing and the handler use the same decoded segments. Otherwise, routing and the handler could understand the same
//! path differently (CVE-2026-76183).

use http::Method;

use super::authority::Authority;
use super::reply::{Refusal, refuse};

/// The parts of a request target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Whether the target is `*`: the request is about the server, not about a path.
    pub(super) is_asterisk: bool,
    pub(super) path: String,
    pub(super) segments: Vec<String>,
    pub(super) query: Vec<(String, String)>,
}

impl Target {
    /// Parses `raw`, the second word of a request line. `host` is the `Host` of the request.
    pub(super) fn parse(
        method: &Method,
        raw: &str,
        host: Option<&Authority>,
    ) -> Result<Target, Refusal> {
        if method == Method::CONNECT {
            // RFC 9110 §9.3.6: only a proxy connects to other hosts.
            return Err(refuse(501, "CONNECT is not supported"));
        }
        if raw == "*" && method == Method::OPTIONS {
            return Ok(Target::asterisk());
        }
        let raw = origin_form(raw, host)?;
        // A client never sends a fragment (RFC 9110 §7.1). A backslash is refused because some implementations read it
        // as a slash.
        if raw.bytes().any(|b| matches!(b, b'#' | b'\\')) {
            return Err(refuse(
                400,
                "the request target contains a # or a backslash",
            ));
        }
        let (path, query) = raw.split_once('?').unwrap_or((raw, ""));
        let path = if path.is_empty() { "/" } else { path };
        let segments = segments(path)?;
        let path = format!("/{}", segments.join("/"));
        let query = pairs(query)?;
        Ok(Target {
            is_asterisk: false,
            path,
            segments,
            query,
        })
    }

    /// Returns the target of `OPTIONS *` (RFC 9112 §3.2.4).
    fn asterisk() -> Target {
        Target {
            is_asterisk: true,
            path: "*".into(),
            segments: Vec::new(),
            query: Vec::new(),
        }
    }
}

/// Returns the path and query of `/path?query` or `http://host/path?query`. The other two forms of RFC 9112 §3.2 are
/// for `CONNECT` and for `OPTIONS *`.
fn origin_form<'a>(raw: &'a str, host: Option<&Authority>) -> Result<&'a str, Refusal> {
    if raw.starts_with('/') {
        return Ok(raw);
    }
    let absolute = || {
        let (scheme, rest) = raw.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let authority = Authority::parse(authority)?;
        matches!(&*scheme, "http" | "https").then_some((scheme, authority, path))
    };
    let Some((scheme, named, path)) = absolute() else {
        return Err(refuse(
            400,
            "the request target is neither a path nor an http URL",
        ));
    };
    // By RFC 9112 §3.2.2 the host in the target takes precedence over Host. The rules in `origin.rs` check Host only, so
    // the two must be equal. Otherwise the rules would check a different host than the one that is used.
    match host {
        Some(host)
            if host.host == named.host && host.port_for(&scheme) == named.port_for(&scheme) =>
        {
            Ok(path)
        }
        _ => Err(refuse(
            400,
            "the request target and the Host header name different hosts",
        )),
    }
}

/// Splits the path at its raw slashes and then decodes each segment, so that a topic name with a slash, written `%2F`,
/// stays one segment. Decoding first would split it in two, and a rule for `/ws/a` would apply to the topic `a/b`.
fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    let raw = path.strip_prefix('/').unwrap_or(path);
    if raw.is_empty() {
        return Ok(Vec::new());
    }
    let mut segments = Vec::new();
    let mut rest = raw.split('/').peekable();
    while let Some(segment) = rest.next() {
        // Some servers merge adjacent slashes, so an empty segment is refused. An empty segment at the end of the path
        // is kept. It is harmless, because no route has an empty segment.
        if segment.is_empty() && rest.peek().is_some() {
            return Err(refuse(400, "the path contains an empty segment"));
        }
        let segment = decode(segment, false)?;
        if segment.chars().any(char::is_control) {
            return Err(refuse(400, "the path contains a control character"));
        }
        // Encoded slashes and backslashes (%2F and %5C) are separators in this check too, because `path` returns them
        // decoded, and a handler may open a file with that name.
        if segment
            .split(['/', '\\'])
            .any(|part| matches!(part, "." | ".."))
        {
            return Err(refuse(400, "the path contains a . or .. segment"));
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// Returns the pairs of a query such as `a=1&b`. Unlike path segments, names and values may contain any character.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, true)?, decode(value, true)?))
        })
        .collect()
}

/// Decodes `%XX` once. With `plus`, `+` becomes a space, because HTML forms write spaces this way in a query. In a
/// path, `+` is kept.
fn decode(text: &str, plus: bool) -> Result<String, Refusal> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = (bytes.next().and_then(hex), bytes.next().and_then(hex));
                let (Some(high), Some(low)) = digits else {
                    return Err(refuse(
                        400,
                        "a % in the request target is not followed by two hexadecimal digits",
                    ));
                };
                high << 4 | low
            }
            b'+' if plus => b' ',
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| refuse(400, "the request target is not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(raw: &str) -> Result<Target, u16> {
        let host = Authority::parse("example.com");
        Target::parse(&Method::GET, raw, host.as_ref()).map_err(|(reply, _)| reply.code())
    }

    #[test]
    fn encoded_slash_stays_inside_its_segment() {
        let target = target("/ws/a%2Fb/c%252F").expect("a target");
        assert_eq!(target.segments, ["ws", "a/b", "c%2F"]);
        assert_eq!(target.path, "/ws/a/b/c%2F");
    }

    #[test]
    fn final_slash_adds_an_empty_segment() {
        assert_eq!(
            target("/").map(|t| (t.path, t.segments)),
            Ok(("/".into(), vec![]))
        );
        assert_eq!(
            target("/ws/").map(|t| t.segments),
            Ok(vec!["ws".into(), String::new()])
        );
        assert_eq!(target("/ws/").map(|t| t.path), Ok("/ws/".into()));
    }

    #[test]
    fn query_is_decoded_once_and_plus_is_a_space() {
        let target =
            target("/a+b?name=J%C3%BCrgen+M&a&b=&&c=1=2&name=x&%2B=%2525").expect("a target");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(target.path, "/a+b");
        assert_eq!(
            target.query,
            [
                pair("name", "Jürgen M"),
                pair("a", ""),
                pair("b", ""),
                pair("c", "1=2"),
                pair("name", "x"),
                pair("+", "%25"),
            ]
        );
    }

    #[test]
    fn absolute_target_must_name_the_same_host() {
        for same in [
            "http://example.com/x",
            "HTTP://EXAMPLE.com:80/x",
            "https://example.com/x",
        ] {
            assert_eq!(target(same).map(|t| t.path), Ok("/x".into()), "{same}");
        }
        assert_eq!(
            target("http://example.com?q").map(|t| t.path),
            Ok("/".into())
        );
        for other in [
            "http://evil.com/x",
            "http://example.com:81/x",
            "http://u@example.com/x",
            "ws://example.com/x",
            "http:///x",
            "//example.com/x",
            "example.com:80",
            "*",
            "example.com/x",
        ] {
            assert_eq!(target(other), Err(400), "{other}");
        }
        assert!(
            Target::parse(&Method::GET, "http://example.com/", None).is_err(),
            "there is no Host to compare with"
        );
    }
}
