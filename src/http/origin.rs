//! [`Rules`]: the checks of `Origin` and `Host`.
//!
//! A browser sends the requests of a page to any server that the page names, with the user's cookies and from the
//! user's network. The only protection is the `Origin` header, which names the site of the page (RFC 6454). If a
//! WebSocket server does not check `Origin`, every site that the user visits can use the server (RFC 6455 §10.2). A
//! server on loopback needs the check most, because its operator assumes that only this machine can reach it.
//!
//! `Host` is checked for every request. `Origin` is checked where the request does something or opens a channel: for
//! upgrades and for unsafe methods. A plain GET of a foreign page is answered, because the browser does not show the
//! answer to that page (see `cors.rs`), and because a refusal would protect nothing: for an image, a script or a link,
//! the browser sends the same GET without `Origin`.

use http::Method;
use http::header::HeaderValue;

use super::Request;
use super::authority::Authority;
use super::cors::Cors;
use super::reply::{Refusal, refuse};
use crate::config::Config;
use crate::config_error::ConfigError;

/// The checks that every request must pass. They are prepared once, when the server is bound.
#[derive(Debug)]
pub(crate) struct Rules {
    patterns: Vec<Pattern>,
    any_origin: bool,
}

impl Rules {
    /// Prepares the checks.
    ///
    /// # Errors
    /// Names the first pattern that is not valid.
    pub(crate) fn new(config: &Config) -> Result<Rules, ConfigError> {
        let invalid = |text: &String| {
            let problem = format!(
                "invalid pattern {text:?}; valid are for example https://example.com, example.com:8080 and \
                 https://*.example.com"
            );
            ConfigError::new("origin", problem)
        };
        let pattern = |text: &String| Pattern::parse(text).ok_or_else(|| invalid(text));
        Ok(Rules {
            patterns: config
                .origin
                .iter()
                .map(pattern)
                .collect::<Result<_, _>>()?,
            any_origin: config.allow_any_origin,
        })
    }

    /// Checks `request`, and records in it whether its `Origin` is allowed. A refusal is 421 because of its `Host`, or 403
    /// because of its `Origin`.
    pub(crate) fn judge(&self, request: &mut Request) -> Result<(), Refusal> {
        if !self.host_is_ours(request) {
            let (reply, _) = refuse(
                421,
                "this listener is for this machine: Host must be a loopback name, or the host of an allowed origin",
            );
            return Err((
                reply,
                format!(
                    "Host {:?} is neither a loopback name nor the host of an allowed origin",
                    shown(request.host())
                ),
            ));
        }
        request.has_allowed_origin = self.origin_is_allowed(request);
        if !request.has_allowed_origin && needs_allowed_origin(request) {
            let (reply, _) = refuse(403, "this Origin is not allowed");
            return Err((
                reply,
                format!("Origin {:?} is not allowed", shown(request.origin())),
            ));
        }
        Ok(())
    }

    /// Returns whether the server accepts the `Host` of this request.
    ///
    /// This check protects a listener on loopback from DNS rebinding, and so a unix socket to which a port is forwarded. If the DNS server of evil.com answers 127.0.0.1, a
    /// page of evil.com can send requests to this server. Both the browser and [`same_origin`] then regard the page and
    /// the server as one origin. Only `Host` reveals the attack, because it contains `evil.com`.
    fn host_is_ours(&self, request: &Request) -> bool {
        // A listener on a unix socket accepts any Host, because it has no name, unless it is `same_origin_only`.
        if !request.arrival.loopback_host {
            return true;
        }
        let Some(host) = &request.authority else {
            // A request without Host is HTTP/1.0, which no browser sends.
            return true;
        };
        host.is_loopback()
            || self
                .patterns_for(request)
                .iter()
                .any(|pattern| pattern.covers_host(host))
    }

    /// Returns what the answer to a request, after [`judge`](Self::judge), says to a browser. Pages of the server's own
    /// origin need no permission, but get it too, except where only they are served.
    pub(crate) fn cors(&self, request: &Request) -> Cors {
        if request.arrival.same_origin_only {
            return Cors::default();
        }
        if self.any_origin {
            // Also without `Origin`: a cache may give this answer to a page, because it is the same for all.
            return Cors {
                allow: Some(HeaderValue::from_static("*")),
                varies: false,
            };
        }
        if self.patterns.is_empty() {
            return Cors::default();
        }
        let origin = request.headers.get(http::header::ORIGIN);
        Cors {
            allow: origin.filter(|_| request.has_allowed_origin).cloned(),
            varies: true,
        }
    }

    fn origin_is_allowed(&self, request: &Request) -> bool {
        // `origin()` would return `None` for an Origin that is not ASCII. Such a request must be refused.
        let Some(value) = request.headers.get(http::header::ORIGIN) else {
            return true;
        };
        if self.any_origin && !request.arrival.same_origin_only {
            return true;
        }
        let mut patterns = self.patterns_for(request).iter();
        if patterns.any(|pattern| pattern.is_opaque(value)) {
            return true;
        }
        let Some(origin) = value.to_str().ok().and_then(Origin::parse) else {
            return false;
        };
        let host = request.authority.as_ref();
        host.is_some_and(|host| same_origin(&origin, host, request.has_tls()))
            || self
                .patterns_for(request)
                .iter()
                .any(|pattern| pattern.matches(&origin))
    }

    /// Returns the patterns that apply to `request`: all or none.
    fn patterns_for(&self, request: &Request) -> &[Pattern] {
        if request.arrival.same_origin_only {
            &[]
        } else {
            &self.patterns
        }
    }
}

/// Returns whether `request` is refused unless its `Origin` is allowed: an upgrade, a request whose method is not safe
/// (RFC 9110 §9.2.1), and every request to a listener for one origin only.
fn needs_allowed_origin(request: &Request) -> bool {
    const SAFE: [Method; 4] = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE];
    request.arrival.same_origin_only || request.wants_upgrade() || !SAFE.contains(&request.method)
}

/// Origins without a host, which must be listed literally. Browsers send `null` for a page without an origin of its own:
/// a sandboxed frame, a page in a `data:` URL, and usually a file. Some send `file://` for a file.
const OPAQUE: [&str; 2] = ["null", "file://"];

/// Returns the first 100 bytes of `value`, for a log line. The whole value may have up to 16 KiB.
fn shown(value: Option<&str>) -> &str {
    let value = value.unwrap_or("(not ASCII)");
    &value[..value.len().min(100)]
}

/// Returns whether a page of `origin` sends its request to the host from which the page was loaded.
///
/// A request over TLS comes from a page of `https`. Without TLS, the scheme is used only to find the default port. It is not
/// compared then, because a proxy may have terminated TLS, so the server cannot know which scheme the client used.
fn same_origin(origin: &Origin, host: &Authority, has_tls: bool) -> bool {
    let is_possible = if has_tls {
        origin.scheme == "https"
    } else {
        is_web(&origin.scheme)
    };
    is_possible
        && origin.authority.host == host.host
        && origin.authority.port_for(&origin.scheme) == host.port_for(&origin.scheme)
}

fn is_web(scheme: &str) -> bool {
    matches!(scheme, "http" | "https")
}

/// An origin: `scheme://host[:port]` and nothing else (RFC 6454 §6.2). `null` is not an origin.
struct Origin {
    scheme: String,
    authority: Authority,
}

impl Origin {
    fn parse(text: &str) -> Option<Origin> {
        let (scheme, authority) = text.split_once("://")?;
        Some(Origin {
            scheme: parse_scheme(scheme)?,
            authority: Authority::parse(authority)?,
        })
    }
}

/// Returns the scheme `text` in lower case, or `None` if `text` is not a valid scheme (RFC 3986 §3.1).
fn parse_scheme(text: &str) -> Option<String> {
    let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let valid = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(rest);
    valid.then(|| text.to_ascii_lowercase())
}

/// One pattern of [`Config::origin`].
#[derive(Debug)]
enum Pattern {
    /// One of [`OPAQUE`].
    Opaque(&'static str),
    Web(WebPattern),
}

impl Pattern {
    fn parse(text: &str) -> Option<Pattern> {
        let opaque = OPAQUE.iter().find(|known| text.eq_ignore_ascii_case(known));
        match opaque {
            Some(opaque) => Some(Pattern::Opaque(opaque)),
            None => WebPattern::parse(text).map(Pattern::Web),
        }
    }

    fn is_opaque(&self, origin: &HeaderValue) -> bool {
        matches!(self, Pattern::Opaque(opaque) if origin == opaque)
    }

    fn matches(&self, origin: &Origin) -> bool {
        matches!(self, Pattern::Web(pattern) if pattern.matches(origin))
    }

    fn covers_host(&self, host: &Authority) -> bool {
        matches!(self, Pattern::Web(pattern) if pattern.covers_host(host))
    }
}

/// A pattern with a host.
#[derive(Debug)]
struct WebPattern {
    /// `None` means http or https.
    scheme: Option<String>,
    /// True for `*.host`, which matches subdomains of `host` at any depth, but not `host`.
    subdomains: bool,
    authority: Authority,
}

impl WebPattern {
    fn parse(text: &str) -> Option<WebPattern> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(parse_scheme(scheme)?), rest),
            None => (None, text),
        };
        let (subdomains, rest) = match rest.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let authority = Authority::parse(rest)?;
        // An IP address has no subdomains.
        (!subdomains || !authority.is_address()).then_some(WebPattern {
            scheme,
            subdomains,
            authority,
        })
    }

    /// Returns whether `origin` matches. Without a port, the pattern and the origin mean the default port of the scheme.
    fn matches(&self, origin: &Origin) -> bool {
        let scheme = match &self.scheme {
            Some(scheme) => *scheme == origin.scheme,
            None => is_web(&origin.scheme),
        };
        let port =
            self.authority.port_for(&origin.scheme) == origin.authority.port_for(&origin.scheme);
        scheme && port && self.matches_host(&origin.authority)
    }

    /// Returns whether `host` is a host that this pattern allows. A reverse proxy on this machine may forward the
    /// public name in `Host`. The port is not compared, because the proxy may listen on another one. A pattern with a
    /// scheme other than http or https, as for browser extensions, contains no host name, so it allows no `Host`.
    fn covers_host(&self, host: &Authority) -> bool {
        self.scheme.as_deref().is_none_or(is_web) && self.matches_host(host)
    }

    fn matches_host(&self, named: &Authority) -> bool {
        if !self.subdomains {
            return named.host == self.authority.host;
        }
        // Without the check for the dot, notexample.com would match *.example.com.
        let above = named.host.strip_suffix(&self.authority.host);
        above.is_some_and(|above| above.len() > 1 && above.ends_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_of_http_has_another_origin_than_tls() {
        for (origin, host, without, with) in [
            ("https://a.example", "a.example", true, true),
            ("https://a.example", "a.example:443", true, true),
            ("https://a.example:443", "a.example", true, true),
            ("https://a.example:9000", "a.example:9000", true, true),
            ("https://a.example", "a.example:80", false, false),
            ("http://a.example", "a.example", true, false),
            ("http://a.example:9000", "a.example:9000", true, false),
            ("http://a.example:443", "a.example", false, false),
            ("wss://a.example", "a.example", false, false),
        ] {
            let parsed = Origin::parse(origin).expect("an origin");
            let named = Authority::parse(host).expect("a host");
            for (has_tls, expected) in [(false, without), (true, with)] {
                let is_same = same_origin(&parsed, &named, has_tls);
                assert_eq!(is_same, expected, "{origin} to {host}, TLS: {has_tls}");
            }
        }
    }

    #[test]
    fn error_names_the_invalid_pattern() {
        for bad in [
            "",
            "*",
            "*.",
            "https://",
            "https://*",
            "https://example.com/",
            "https://example.com/x",
            "https://u@example.com",
            "ex*mple.com",
            "*.*.com",
            "example.com:*",
            "example.com:99999",
            "https//example.com",
            "file:///",
            "1http://a",
            "*.127.0.0.1",
            "*.[::1]",
            "a b",
            "https://a.com,https://b.com",
        ] {
            let config = Config::default().origin(vec!["https://good.com".into(), bad.into()]);
            let error = Rules::new(&config).map(|_| ());
            assert!(
                matches!(error, Err(ref error) if error.to_string().contains(&format!("{bad:?}"))),
                "{bad:?}: {error:?}"
            );
        }
    }
}
