//! The request target: its path in segments, its query in pairs, each decoded exactly once.
//!
//! What routes a request and what a handler sees come from the same decoding, so there is no second spelling of a path
//! that one of them takes for another (CVE-2026-76183).

use super::authority::Authority;
use super::reply::{Refusal, refuse};

/// A target, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: String,
    pub(super) segments: Vec<String>,
    pub(super) query: Vec<(String, String)>,
}

impl Target {
    /// Reads `raw`, a request line's second word. `host` is the request's `Host`.
    pub(super) fn parse(raw: &str, host: Option<&Authority>) -> Result<Target, Refusal> {
        let raw = origin_form(raw, host)?;
        // A fragment is the client's own affair and is never sent (RFC 9110 §7.1); a backslash is a slash to some.
        if raw.bytes().any(|b| matches!(b, b'#' | b'\\')) {
            return Err(refuse(400, "a # or a backslash in the request target"));
        }
        let (path, query) = raw.split_once('?').unwrap_or((raw, ""));
        let path = if path.is_empty() { "/" } else { path };
        let segments = segments(path)?;
        let path = format!("/{}", segments.join("/"));
        let query = pairs(query)?;
        Ok(Target {
            path,
            segments,
            query,
        })
    }
}

/// What follows the authority, in `/path?query` or `http://host/path?query`. The other two forms of RFC 9112 §3.2 are
/// for proxies and `OPTIONS *`.
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
        return Err(refuse(400, "the request target is not a path"));
    };
    // RFC 9112 §3.2.2 lets the target win over Host. Then the rules on Host would judge a host that is not the one
    // meant, so the two have to agree.
    match host {
        Some(host)
            if host.host == named.host && host.port_for(&scheme) == named.port_for(&scheme) =>
        {
            Ok(path)
        }
        _ => Err(refuse(
            400,
            "the request target names another host than Host",
        )),
    }
}

/// Splits at the raw slashes, then decodes: a topic may have a slash in its name, written %2F, and stays one segment.
/// Decoding first would make two of it, and a rule for `/ws/a` would be asked about a topic `a/b`.
fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    let raw = path.strip_prefix('/').unwrap_or(path);
    if raw.is_empty() {
        return Ok(Vec::new());
    }
    let mut segments = Vec::new();
    let mut rest = raw.split('/').peekable();
    while let Some(segment) = rest.next() {
        // Some servers merge slashes. A last one is kept as an empty segment, which no route has.
        if segment.is_empty() && rest.peek().is_some() {
            return Err(refuse(400, "an empty segment in the path"));
        }
        let segment = decode(segment, false)?;
        if segment.chars().any(char::is_control) {
            return Err(refuse(400, "a control character in the path"));
        }
        // Also between slashes that were written %2F or %5C: `path` shows them as slashes, and somebody may open a file.
        if segment
            .split(['/', '\\'])
            .any(|part| matches!(part, "." | ".."))
        {
            return Err(refuse(400, "a . or .. in the path"));
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// `a=1&b` as pairs. Values are data, not names: they may hold any character.
fn pairs(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, true)?, decode(value, true)?))
        })
        .collect()
}

/// Decodes %XX once. In a query a plus is a blank, as forms write it; in a path it is a plus.
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
                        "a % without two hexadecimal digits in the request target",
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
        Target::parse(raw, host.as_ref()).map_err(|(reply, _)| reply.code())
    }

    #[test]
    fn an_encoded_slash_stays_inside_its_segment() {
        let target = target("/ws/a%2Fb/c%252F").expect("a target");
        assert_eq!(target.segments, ["ws", "a/b", "c%2F"]);
        assert_eq!(target.path, "/ws/a/b/c%2F");
    }

    #[test]
    fn the_root_has_no_segments_and_a_last_slash_is_an_empty_one() {
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
    fn a_query_is_decoded_once_and_a_plus_in_it_is_a_blank() {
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
    fn an_absolute_target_has_to_name_the_same_host() {
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
            Target::parse("http://example.com/", None).is_err(),
            "no Host to agree with"
        );
    }
}
