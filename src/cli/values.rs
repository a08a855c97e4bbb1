//! What a flag's value must be, where a number or a word is not enough. A refusal says the right form.

use std::path::PathBuf;
use std::str::FromStr;

use super::bench::STAMP;
use super::units::Size;

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// `ADDR:PORT` as it was written. A name is looked up when it is bound.
    Tcp(String),
    /// The path of a unix socket.
    Unix(PathBuf),
    /// A listening socket that whoever started us has opened: systemd, or another that speaks its protocol.
    Fd(usize),
}

/// Sockets that are passed on begin here (sd_listen_fds(3)).
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
                _ => Err(format!(
                    "descriptors that are passed on begin at fd:{FIRST_FD}"
                )),
            },
            // Only an address in brackets may hold a colon, and a family's name is no host.
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
                        Err(format!("a port is at most {}: {FORM}", u16::MAX))
                    }
                    _ => Err(FORM.into()),
                }
            }
            _ => Err(FORM.into()),
        }
    }
}

/// A number of things, at least one.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(count) => Ok(count),
        Err(_) => Err("a count is a whole number like 1024".into()),
    }
}

/// The slots of a queue are taken from memory when its client arrives, so a slip of the finger must not have it all.
pub(crate) fn queue(text: &str) -> Result<usize, String> {
    const MOST: usize = 1 << 20;
    match count(text)? {
        queue if queue > MOST => Err(format!(
            "must be at most {MOST}: every client has so many slots"
        )),
        queue => Ok(queue),
    }
}

/// Socket options are a C `int`.
pub(crate) fn kernel_size(text: &str) -> Result<Size, String> {
    const MOST: usize = i32::MAX as usize;
    match text.parse()? {
        Size(bytes) if bytes > MOST => Err(format!(
            "must be at most {MOST}: the kernel counts it in an int"
        )),
        size => Ok(size),
    }
}

/// A benchmark's message begins with the time at which it was sent.
pub(crate) fn bench_size(text: &str) -> Result<Size, String> {
    match text.parse()? {
        Size(bytes) if bytes < STAMP => Err(format!(
            "must be at least {STAMP}: a message carries its time"
        )),
        size => Ok(size),
    }
}

/// A switch. The environment says `1` where a command line says `true`.
pub(crate) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("write true or false".into()),
    }
}

/// Refuses what can be no origin (a path, a list, a space); the library judges the rest when it is bound.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let host = text.split_once("://").map_or(text, |(_, host)| host);
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
    fn an_address_is_a_host_and_a_port_or_a_unix_path() {
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
    fn a_pattern_is_an_origin_without_a_path() {
        for text in [
            "https://example.com",
            "example.com:8080",
            "https://*.example.com",
            "http://[::1]:9000",
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
