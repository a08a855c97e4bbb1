//! Who may ask: the rules on `Origin` and `Host`.
//!
//! A browser sends a page's requests with the user's cookies and from the user's network, to any server the page names.
//! It only says, in `Origin`, whose page it is (RFC 6454). A WebSocket server that does not look is open to every site
//! the user visits (RFC 6455 §10.2), and a server on loopback most of all: it thinks that nobody else can reach it.

use super::Request;
use super::authority::Authority;
use super::reply::{Refusal, refuse};
use crate::{Config, Error};

/// The rules by which every request is judged, made once.
#[derive(Debug)]
pub(crate) struct Rules {
    patterns: Vec<Pattern>,
    any_origin: bool,
    loopback_only: bool,
}

impl Rules {
    /// `loopback_only` says that no listener can be reached from another machine.
    ///
    /// # Errors
    /// [`Error::Origin`] names the first pattern that is none.
    pub(crate) fn new(config: &Config, loopback_only: bool) -> Result<Rules, Error> {
        let pattern =
            |text: &String| Pattern::parse(text).ok_or_else(|| Error::Origin(text.clone()));
        Ok(Rules {
            patterns: config
                .origin
                .iter()
                .map(pattern)
                .collect::<Result<_, _>>()?,
            any_origin: config.allow_any_origin,
            loopback_only,
        })
    }

    /// No listener can be reached from another machine.
    pub(crate) fn loopback_only(&self) -> bool {
        self.loopback_only
    }

    /// Lets `request` in or says what to answer: 421 for its `Host`, 403 for its `Origin`.
    pub(crate) fn judge(&self, request: &Request) -> Result<(), Refusal> {
        if !self.host_is_ours(request) {
            let (reply, _) = refuse(
                421,
                "this server listens on loopback: Host has to be a loopback name, or the host of an allowed origin",
            );
            return Err((
                reply,
                format!("Host {:?} is not this machine's", shown(request.host())),
            ));
        }
        if !self.origin_is_allowed(request) {
            let (reply, _) = refuse(403, "this Origin is not allowed here");
            return Err((
                reply,
                format!("Origin {:?} is not allowed", shown(request.origin())),
            ));
        }
        Ok(())
    }

    /// DNS rebinding: a page of evil.com whose name now means 127.0.0.1 is of the same origin as we are, to itself, to
    /// its browser and to [`same_origin`]. Only the name in `Host` gives it away.
    fn host_is_ours(&self, request: &Request) -> bool {
        let Some(host) = request.authority.as_ref().filter(|_| self.loopback_only) else {
            // HTTP/1.0 without Host: no browser does that.
            return true;
        };
        host.is_loopback()
            || self
                .patterns
                .iter()
                .any(|pattern| pattern.covers_host(host))
    }

    fn origin_is_allowed(&self, request: &Request) -> bool {
        // By the header, not by `origin()`: one that is not ASCII is refused, not overlooked.
        let Some(value) = request.headers.get(http::header::ORIGIN) else {
            return true;
        };
        if self.any_origin {
            return true;
        }
        let Some(origin) = value.to_str().ok().and_then(Origin::parse) else {
            return false;
        };
        let host = request.authority.as_ref();
        host.is_some_and(|host| same_origin(&origin, host))
            || self.patterns.iter().any(|pattern| pattern.matches(&origin))
    }
}

/// As much of a client's text as a log line needs: a head has room for 16 KiB of it.
fn shown(value: Option<&str>) -> &str {
    let value = value.unwrap_or("(not ASCII)");
    &value[..value.len().min(100)]
}

/// Whether a page of `origin` asks the host it came from. We cannot know whether the client reached us by TLS, since a
/// proxy may have ended it, so the scheme only tells which port is meant when none is written.
fn same_origin(origin: &Origin, host: &Authority) -> bool {
    is_web(&origin.scheme)
        && origin.authority.host == host.host
        && origin.authority.port_for(&origin.scheme) == host.port_for(&origin.scheme)
}

fn is_web(scheme: &str) -> bool {
    matches!(scheme, "http" | "https")
}

/// `scheme://host[:port]` and nothing more (RFC 6454 §6.2). `null` is none.
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

/// A scheme in lower case (RFC 3986 §3.1).
fn parse_scheme(text: &str) -> Option<String> {
    let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let valid = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(rest);
    valid.then(|| text.to_ascii_lowercase())
}

/// One of [`Config::origin`].
#[derive(Debug)]
struct Pattern {
    /// `None` is http or https.
    scheme: Option<String>,
    /// True for `*.host`: names below it, at any depth, and not itself.
    below: bool,
    authority: Authority,
}

impl Pattern {
    fn parse(text: &str) -> Option<Pattern> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(parse_scheme(scheme)?), rest),
            // Who writes "null" means the origin of sandboxed pages and files, which anybody can have.
            None if text.eq_ignore_ascii_case("null") => return None,
            None => (None, text),
        };
        let (below, rest) = match rest.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let authority = Authority::parse(rest)?;
        // Nothing is below an address.
        (!below || !authority.is_address()).then_some(Pattern {
            scheme,
            below,
            authority,
        })
    }

    /// A port that is not written is the scheme's own, in the pattern as in the origin.
    fn matches(&self, origin: &Origin) -> bool {
        let scheme = match &self.scheme {
            Some(scheme) => *scheme == origin.scheme,
            None => is_web(&origin.scheme),
        };
        let port =
            self.authority.port_for(&origin.scheme) == origin.authority.port_for(&origin.scheme);
        scheme && port && self.matches_host(&origin.authority)
    }

    /// Whether `Host` may be this pattern's: a reverse proxy on this machine passes the public name on. The port is the
    /// proxy's affair; and the "host" of a browser extension is no host.
    fn covers_host(&self, host: &Authority) -> bool {
        self.scheme.as_deref().is_none_or(is_web) && self.matches_host(host)
    }

    fn matches_host(&self, named: &Authority) -> bool {
        if !self.below {
            return named.host == self.authority.host;
        }
        // The dot is what keeps notexample.com out.
        let above = named.host.strip_suffix(&self.authority.host);
        above.is_some_and(|above| above.len() > 1 && above.ends_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_is_no_origin_is_named_in_the_error() {
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
            "null",
            "1http://a",
            "*.127.0.0.1",
            "*.[::1]",
            "a b",
            "https://a.com,https://b.com",
        ] {
            let config = Config::default().origin(vec!["https://good.com".into(), bad.into()]);
            let error = Rules::new(&config, false).map(|_| ());
            assert!(
                matches!(error, Err(Error::Origin(ref text)) if text == bad),
                "{bad:?}: {error:?}"
            );
        }
    }
}
