//! Values of flags that need more checks than a number or a word. An error text shows the correct form.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::units::Size;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// `ADDR:PORT` as it was written. A host name is resolved when the listener is bound.
    Tcp(String),
    /// The path of a unix socket.
    Unix(PathBuf),
    /// A listening socket that the parent process opened: systemd, or another program that follows its protocol.
    Fd(usize),
}

/// The first descriptor that a parent process passes on (sd_listen_fds(3)).
pub(crate) const FIRST_FD: usize = 3;

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str =
            "write 127.0.0.1:9000, [::1]:9000, localhost:9000, unix:/run/standpipe.sock or fd:3";
        match text.rsplit_once(':') {
            _ if text.starts_with("unix:") && text.len() > "unix:".len() => {
                Ok(Listen::Unix(text["unix:".len()..].into()))
            }
            Some(("fd", number)) => match number.parse() {
                Ok(fd) if fd >= FIRST_FD => Ok(Listen::Fd(fd)),
                _ => Err(format!("inherited descriptors begin at fd:{FIRST_FD}")),
            },
            // Only an address in brackets may contain a colon, and `unix` and `fd` are not host names.
            Some((host, port))
                if !matches!(host, "" | "unix" | "fd") && !host.contains(['/', ' ']) =>
            {
                let bracketed = host.starts_with('[') && host.ends_with(']');
                match port.parse::<u16>() {
                    Ok(_) if bracketed || !host.contains([':', '[', ']']) => {
                        Ok(Listen::Tcp(text.into()))
                    }
                    Err(_)
                        if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
                    {
                        Err(format!("a port must be at most {}: {FORM}", u16::MAX))
                    }
                    _ => Err(FORM.into()),
                }
            }
            _ => Err(FORM.into()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => f.write_str(address),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
            Listen::Fd(fd) => write!(f, "fd:{fd}"),
        }
    }
}

/// Parses a number that must be at least one.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(count) => Ok(count),
        Err(_) => Err("must be a whole number like 1024".into()),
    }
}

/// Parses the size of a queue. It is limited because a queue's slots are allocated when its client connects. Otherwise a
/// typing error could exhaust the memory.
pub(crate) fn queue(text: &str) -> Result<usize, String> {
    const MAX: usize = 1 << 20;
    match count(text)? {
        queue if queue > MAX => Err(format!(
            "must be at most {MAX}, because every client gets that many slots"
        )),
        queue => Ok(queue),
    }
}

/// Parses the size of a kernel buffer. It is limited because socket options are a C `int`.
pub(crate) fn kernel_size(text: &str) -> Result<Size, String> {
    const MAX: usize = i32::MAX as usize;
    match text.parse()? {
        Size(bytes) if bytes > MAX => Err(format!(
            "must be at most {MAX}, because socket options are a C int"
        )),
        size => Ok(size),
    }
}

/// The size of the timestamp at the beginning of a benchmark's message, in bytes.
pub(crate) const STAMP: usize = size_of::<u64>();

/// Parses the size of a benchmark's messages.
pub(crate) fn bench_size(text: &str) -> Result<Size, String> {
    match text.parse()? {
        Size(bytes) if bytes < STAMP => Err(format!(
            "must be at least {STAMP}, because a message contains the time at which it was sent"
        )),
        size => Ok(size),
    }
}

/// Parses a switch. Environment variables often hold `1` for true.
pub(crate) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

/// Rejects what cannot be an origin, such as a path, a list or a space. The library checks the rest when the server is
/// bound.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let host = text.split_once("://").map_or(text, |(_, host)| host);
    if text == "file://" {
        return Ok(text.into());
    }
    if host.is_empty()
        || host.contains(['/', '?', '#', '@'])
        || text.contains(|c: char| c.is_whitespace())
    {
        return Err(
            "write https://example.com, example.com:8080 or https://*.example.com, without a path"
                .into(),
        );
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_a_host_with_a_port_or_a_unix_path_or_a_descriptor() {
        for text in [
            "127.0.0.1:0",
            "0.0.0.0:65535",
            "[::1]:9000",
            "[::]:80",
            "localhost:9000",
            "host.example:1",
        ] {
            assert_eq!(text.parse(), Ok(Listen::Tcp(text.into())));
        }
        assert_eq!("fd:3".parse(), Ok(Listen::Fd(3)));
        for text in ["fd:2", "fd:x", "fd:"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
        assert_eq!(
            "unix:/run/a:b.sock".parse(),
            Ok(Listen::Unix("/run/a:b.sock".into()))
        );
        for text in [
            "", ":", "9000", ":9000", "::1:9000", "[::1]", "a:b", "a:", "a:-1", "unix:", "/a:1",
        ] {
            let refusal = text.parse::<Listen>().expect_err(text);
            assert!(refusal.contains("127.0.0.1:9000"), "{text}: {refusal}");
        }
    }

    #[test]
    fn origin_pattern_has_no_path() {
        for text in [
            "https://example.com",
            "example.com:8080",
            "https://*.example.com",
            "http://[::1]:9000",
            "null",
            "file://",
        ] {
            assert_eq!(origin(text), Ok(text.into()));
        }
        for text in [
            "",
            "https://",
            "https://example.com/",
            "a b",
            "https://me@example.com",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
