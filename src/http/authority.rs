//! [`Authority`]: the `host[:port]` in `Host`, in `Origin` and in absolute request targets.
//!
//! All three use the same parser. If two parsers differed, one part of the server could allow a host that another part
//! refuses.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A host in its normalized spelling, and its port if one was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// In lower case. An IPv6 address is in brackets and in its shortest form.
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl Authority {
    /// Parses `host[:port]` and nothing else: no user, path, spaces, escapes or empty port.
    pub(super) fn parse(text: &str) -> Option<Authority> {
        let (host, after) = if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) = rest.split_once(']')?;
            let address: Ipv6Addr = inside.parse().ok()?;
            (format!("[{address}]"), after)
        } else {
            let (host, after) = text.split_at(text.find(':').unwrap_or(text.len()));
            (name(host)?, after)
        };
        let port = match after {
            "" => None,
            after => Some(port(after.strip_prefix(':')?)?),
        };
        Some(Authority { host, port })
    }

    /// Returns the port, or the default port of `scheme` if none was written.
    pub(super) fn port_for(&self, scheme: &str) -> Option<u16> {
        self.port.or_else(|| default_port(scheme))
    }

    /// Returns whether the host is an IP address, not a name.
    pub(super) fn is_address(&self) -> bool {
        self.host.starts_with('[') || self.host.parse::<Ipv4Addr>().is_ok()
    }

    /// Returns whether the host always means this machine, whatever a DNS server answers.
    pub(super) fn is_loopback(&self) -> bool {
        // A name below .localhost is never looked up in DNS (RFC 6761 §6.3).
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.host == "[::1]"
            || self
                .host
                .parse::<Ipv4Addr>()
                .is_ok_and(|ip| ip.is_loopback())
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Returns the host name `text` in lower case, or `None` if `text` is not a valid host name. One dot may follow it, as
/// in a fully qualified name. The dot is kept, so `a.` and `a` are different hosts.
fn name(text: &str) -> Option<String> {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    labels
        .split('.')
        .all(label)
        .then(|| text.to_ascii_lowercase())
}

fn port(text: &str) -> Option<u16> {
    // Digits only, because `u16::from_str` would accept "+80".
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_is_normalized() {
        for (text, host, port) in [
            ("Example.COM", "example.com", None),
            ("a_b-c.d:8080", "a_b-c.d", Some(8080)),
            ("127.0.0.1:9000", "127.0.0.1", Some(9000)),
            ("[0:0::1]:80", "[::1]", Some(80)),
            ("[2001:DB8::1]", "[2001:db8::1]", None),
            ("host.", "host.", None),
        ] {
            let host = host.to_owned();
            assert_eq!(
                Authority::parse(text),
                Some(Authority { host, port }),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_but_host_and_port_is_rejected() {
        for text in [
            "",
            ":80",
            "a:",
            "a:+80",
            "a:80:80",
            "a:65536",
            "a:8o",
            "u@a",
            "a/b",
            "a b",
            " a",
            "a,b",
            "a%41",
            "a..b",
            ".a",
            ".",
            "[::1",
            "::1",
            "[::1]x",
            "[fe80::1%25eth0]",
            "[1.2.3.4]",
            "ä.de",
            "a?b",
            "a#b",
            "a\\b",
            "*.a",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }
}
