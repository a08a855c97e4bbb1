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
    /// A unix socket: its path, and the permissions that the path gets.
    Unix { path: PathBuf, mode: Option<u32> },
    /// A listening socket that the parent process opened: systemd, or another program that follows its protocol.
    Fd(usize),
    /// All such sockets with this name (`FileDescriptorName=`, systemd.socket(5)).
    FdName(String),
}

/// The first descriptor that a parent process passes on (sd_listen_fds(3)).
pub(crate) const FIRST_FD: usize = 3;

/// What stands between the path of a unix socket and its permissions.
const MODE: &str = ",mode=";

/// Parses permissions in octal, as for chmod(1).
fn parse_mode(text: &str) -> Result<u32, String> {
    let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) if is_octal => Ok(mode),
        _ => {
            Err("write the permissions in octal, such as unix:/run/standpipe.sock,mode=0660".into())
        }
    }
}

/// One or more [`Listen`] values, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listens(pub(crate) Vec<Listen>);

impl FromStr for Listens {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut values: Vec<String> = Vec::new();
        for part in text.split(',') {
            match values.last_mut() {
                // The permissions belong to the path before them.
                Some(path) if path.starts_with("unix:") && part.starts_with(&MODE[1..]) => {
                    path.push(',');
                    path.push_str(part);
                }
                _ => values.push(part.into()),
            }
        }
        let values: Result<_, String> = values.iter().map(|value| value.parse()).collect();
        values.map(Listens)
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "write 127.0.0.1:9000, [::1]:9000, localhost:9000, unix:/run/standpipe.sock, fd:3 or fd:NAME";
        if let Some(socket) = text.strip_prefix("unix:") {
            let (path, mode) = match socket.rsplit_once(MODE) {
                None => (socket, None),
                Some((path, mode)) => (path, Some(parse_mode(mode)?)),
            };
            if path.is_empty() {
                return Err(FORM.into());
            }
            let path = path.into();
            return Ok(Listen::Unix { path, mode });
        }
        match text.rsplit_once(':') {
            Some(("fd", name)) => match name.parse() {
                Ok(fd) if fd >= FIRST_FD => Ok(Listen::Fd(fd)),
                Ok(_) => Err(format!("inherited descriptors begin at fd:{FIRST_FD}")),
                // A name of only digits would be taken for a number, and systemd allows 255 characters.
                Err(_) if is_fd_name(name) => Ok(Listen::FdName(name.into())),
                Err(_) => Err(FORM.into()),
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
            Listen::Unix { path, mode: None } => write!(f, "unix:{}", path.display()),
            Listen::Unix {
                path,
                mode: Some(mode),
            } => write!(f, "unix:{}{MODE}{mode:04o}", path.display()),
            Listen::Fd(fd) => write!(f, "fd:{fd}"),
            Listen::FdName(name) => write!(f, "fd:{name}"),
        }
    }
}

/// Returns whether systemd can give a socket this name: it has at most 255 characters, all of them printable ASCII.
fn is_fd_name(name: &str) -> bool {
    let is_printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    matches!(name.len(), 1..=255) && name.bytes().all(is_printable)
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

/// Parses a switch: of a flag, an environment variable or a query parameter. An error text follows the name.
pub(crate) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

/// Parses the variable of `-v`: its number, or a switch.
pub(crate) fn verbosity(text: &str) -> Result<u8, String> {
    match (text.parse(), yes_or_no(text)) {
        (Ok(number), _) => Ok(number),
        (Err(_), Ok(is_verbose)) => Ok(u8::from(is_verbose)),
        (Err(_), Err(_)) => Err("must be 0, 1 or 2".into()),
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
        for name in ["web", "standpipe-admin.socket", "3x", "a b"] {
            let text = format!("fd:{name}");
            assert_eq!(text.parse(), Ok(Listen::FdName(name.into())));
            assert_eq!(Listen::FdName(name.into()).to_string(), text);
        }
        let long = format!("fd:{}", "x".repeat(256));
        for text in ["fd:2", "fd:", "fd:a:b", "fd:é", &long] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
        assert_eq!(
            "unix:/run/a:b.sock".parse(),
            Ok(Listen::Unix {
                path: "/run/a:b.sock".into(),
                mode: None
            })
        );
        for text in [
            "", ":", "9000", ":9000", "::1:9000", "[::1]", "a:b", "a:", "a:-1", "unix:", "/a:1",
        ] {
            let refusal = text.parse::<Listen>().expect_err(text);
            assert!(refusal.contains("127.0.0.1:9000"), "{text}: {refusal}");
        }
    }

    #[test]
    fn list_of_addresses_keeps_the_permissions_of_a_path() {
        let list = "127.0.0.1:1,unix:/a.sock,mode=0660,unix:/b.sock,fd:3";
        let unix = |path: &str, mode| Listen::Unix {
            path: path.into(),
            mode,
        };
        let expected = [
            Listen::Tcp("127.0.0.1:1".into()),
            unix("/a.sock", Some(0o660)),
            unix("/b.sock", None),
            Listen::Fd(3),
        ];
        let parsed: Listens = list.parse().expect("a list");
        assert_eq!(parsed.0, expected);
        let texts: Vec<_> = parsed.0.iter().map(ToString::to_string).collect();
        assert_eq!(texts.join(","), list);
    }

    #[test]
    fn permissions_are_octal() {
        for text in [
            "", "8", "660x", "0778", "66", "01777", "00660", "-660", "rw",
        ] {
            let refusal = format!("unix:/a.sock,mode={text}").parse::<Listen>();
            let refusal = refusal.expect_err(text);
            assert!(refusal.contains("mode=0660"), "{text}: {refusal}");
        }
        for list in ["mode=0660", "127.0.0.1:1,mode=0660", "unix:,mode=0660", ""] {
            assert!(list.parse::<Listens>().is_err(), "{list}");
        }
    }

    #[test]
    fn switch_has_four_words_for_each_value() {
        for (words, expected) in [
            (["true", "yes", "on", "1"], true),
            (["false", "no", "off", "0"], false),
        ] {
            for word in words {
                assert_eq!(yes_or_no(word), Ok(expected), "{word}");
                assert_eq!(yes_or_no(&word.to_uppercase()), Ok(expected), "{word}");
            }
        }
        for text in ["", "maybe", "2", "true ", "t"] {
            assert!(yes_or_no(text).is_err(), "{text}");
        }
        assert_eq!(verbosity("2"), Ok(2));
        assert_eq!((verbosity("yes"), verbosity("off")), (Ok(1), Ok(0)));
        assert!(verbosity("much").is_err());
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
