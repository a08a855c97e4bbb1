//! [`Secrets`]: tokens or keys, compared in constant time and never printed.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use standpipe::Request;
use subtle::{Choice, ConstantTimeEq};

/// The secrets of one file, one per line. `Debug` hides them.
pub(crate) struct Secrets {
    secrets: Vec<String>,
    /// The line of the file with the first secret. The first line of a file is 1.
    first_line: usize,
}

/// The prefix of a token sent as a subprotocol. Web pages use it, because they cannot set headers for a WebSocket.
pub(crate) const SUBPROTOCOL: &str = "bearer.";

/// The largest file that is read, in bytes. Otherwise the wrong path, such as a device, could exhaust the memory.
const MAX_FILE: u64 = 1 << 20;

/// Some editors begin a UTF-8 file with this character.
const BYTE_ORDER_MARK: char = '\u{feff}';

impl Secrets {
    /// Reads a file. Empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// When the file cannot be read, is not UTF-8, or has no secret. The text names the file.
    pub(crate) fn read(path: &Path) -> Result<Secrets, String> {
        Secrets::try_read(path).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn try_read(path: &Path) -> Result<Secrets, String> {
        let bytes = read_file(path)?;
        let text = String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text")?;
        Secrets::parse(&text)
            .ok_or_else(|| "the file has no secrets; write one per line".to_owned())
    }

    fn parse(text: &str) -> Option<Secrets> {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let lines = (1..).zip(text.lines().map(str::trim));
        let secrets: Vec<(usize, &str)> = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .collect();
        Some(Secrets {
            first_line: secrets.first()?.0,
            secrets: secrets.iter().map(|(_, line)| (*line).into()).collect(),
        })
    }

    /// Returns `secret` as the only secret.
    pub(crate) fn one(secret: String) -> Secrets {
        Secrets {
            secrets: vec![secret],
            first_line: 1,
        }
    }

    /// Returns the number of secrets.
    pub(crate) fn count(&self) -> usize {
        self.secrets.len()
    }

    /// Returns the number of the line in the file that has the first secret.
    pub(crate) fn first_line(&self) -> usize {
        self.first_line
    }

    /// Whether the request has a valid secret as `Authorization: Bearer …`.
    pub(crate) fn has_bearer(&self, request: &Request) -> bool {
        request
            .bearer_token()
            .is_some_and(|token| self.contains(token))
    }

    /// Whether the request has a valid secret as a bearer token, as the subprotocol `bearer.SECRET`, or as `?token=`.
    pub(crate) fn has_token(&self, request: &Request) -> bool {
        self.has_bearer_or_offers(request)
            || request
                .query("token")
                .is_some_and(|token| self.contains(token))
    }

    /// Whether the request has a valid secret as a bearer token or as a subprotocol. A query is not accepted here, because
    /// queries end up in logs.
    pub(crate) fn has_bearer_or_offers(&self, request: &Request) -> bool {
        let mut offered = request
            .subprotocols()
            .filter_map(|name| name.strip_prefix(SUBPROTOCOL));
        self.has_bearer(request) || offered.any(|token| self.contains(token))
    }

    /// Returns the first secret, for a client that this process starts itself.
    pub(crate) fn first(&self) -> Option<&str> {
        self.secrets.first().map(String::as_str)
    }

    /// Whether `secret` is one of these. The time that this takes depends only on lengths.
    fn contains(&self, secret: &str) -> bool {
        let mut found = Choice::from(0);
        for own in &self.secrets {
            found |= own.as_bytes().ct_eq(secret.as_bytes());
        }
        found.into()
    }
}

/// Reads a file of secrets.
///
/// # Errors
/// When the file cannot be read or is larger than 1 MiB.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(text)?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(text)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("the file is larger than {MAX_FILE} bytes"));
    }
    Ok(bytes)
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_secrets_match_and_debug_hides_them() {
        let secrets = Secrets::parse("first\nsecond").expect("the text has a secret");
        assert!(secrets.contains("second") && secrets.contains("first"));
        for wrong in ["", "firs", "firstx", "First", "firstsecond"] {
            assert!(!secrets.contains(wrong), "{wrong}");
        }
        assert!(!format!("{secrets:?}").contains("first"));
    }

    #[test]
    fn byte_order_mark_and_comments_are_skipped() {
        for (text, expected) in [
            ("\u{feff}first\nsecond\n", vec!["first", "second"]),
            (
                "# revoked on Monday:\n#old\n  # indented\nnew\r\n",
                vec!["new"],
            ),
            ("\u{feff}# only\n\n  a#b  \n", vec!["a#b"]),
        ] {
            let secrets = Secrets::parse(text).expect("the text has a secret");
            assert_eq!(secrets.secrets, expected, "{text:?}");
        }
        for text in ["", "\u{feff}", "\n \n", "#only\n# comments"] {
            assert!(Secrets::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn error_names_the_file() {
        for path in ["/nonexistent/secrets", "/dev/zero", "/tmp"] {
            let error = Secrets::read(Path::new(path)).expect_err(path);
            assert!(error.starts_with(path), "{error}");
        }
        let path = std::env::temp_dir().join(format!("standpipe-utf16-{}", std::process::id()));
        std::fs::write(&path, b"\xff\xfef\0i\0").expect("a file");
        let error = Secrets::read(&path).expect_err("UTF-16");
        std::fs::remove_file(&path).expect("the file is there");
        assert!(error.ends_with("the file is not UTF-8 text"), "{error}");
    }
}
