//! [`Scan`] looks for the end of a request head while its bytes arrive. It refuses an invalid head at the first byte that
//! makes it invalid.
//!
//! `Scan` keeps its state between two reads, so it looks at each byte only once, however the bytes are split. A head
//! that arrives byte by byte therefore costs the same as a head in one piece, and gets the same verdict. If a head were
//! parsed again after each read, the cost would grow with the square of its length (CVE-2023-43669).

use super::reply::{Refusal, refuse};

/// The limit for a whole head, in bytes, including its last CRLF.
pub(super) const MAX_HEAD: usize = 16 << 10;
/// The limit for the request line, in bytes, without its CRLF.
pub(super) const MAX_REQUEST_LINE: usize = 8 << 10;
/// The limit for the number of header lines.
pub(super) const MAX_HEADERS: usize = 64;

/// The first two bytes of a client that speaks TLS: the type of the record, and its major version (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;
const TLS_VERSION: u8 = 3;

const CONTROL_CHARACTER: &str = "the request head contains a control character";

enum Place {
    /// Before the first byte of the request line. The value is true after an empty line.
    Before(bool),
    RequestLine,
    Headers,
}

/// The state of the search: the part of the head that the last byte belongs to.
pub(super) struct Scan {
    place: Place,
    /// The number of bytes that have been looked at.
    at: usize,
    /// The offset at which the current line begins.
    line: usize,
    after_cr: bool,
    headers: usize,
}

impl Scan {
    pub(super) fn new() -> Scan {
        Scan {
            place: Place::Before(false),
            at: 0,
            line: 0,
            after_cr: false,
            headers: 0,
        }
    }

    /// Looks at the new bytes at the end of `bytes`, which holds everything read so far. Returns the length of the head
    /// once it is complete.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(&byte) = bytes.get(self.at) {
            if self.at == MAX_HEAD {
                return Err(refuse(431, "the request head is longer than 16 KiB"));
            }
            self.at += 1;
            if self.after_cr {
                // Some implementations read a lone CR as a line end, others as a space (RFC 9112 §2.2).
                if byte != b'\n' {
                    return Err(refuse(400, "a CR is not followed by an LF"));
                }
                self.after_cr = false;
                if self.line_end(&bytes[self.line..self.at - 2])? {
                    return Ok(Some(self.at));
                }
                self.line = self.at;
            } else if self.at <= 2 && bytes[0] == TLS_HANDSHAKE {
                // The second byte decides what the log says, so it is waited for.
                match (self.at, byte) {
                    (1, _) => {}
                    (_, TLS_VERSION) => {
                        return Err(refuse(400, "the client speaks TLS, and this port does not"));
                    }
                    _ => return Err(refuse(400, CONTROL_CHARACTER)),
                }
            } else {
                self.byte(byte)?;
            }
        }
        Ok(None)
    }

    /// Handles one byte within a line.
    fn byte(&mut self, byte: u8) -> Result<(), Refusal> {
        match byte {
            b'\r' => {
                self.after_cr = true;
                return Ok(());
            }
            // RFC 9112 §2.2 allows a server to accept a lone LF as a line end. But a proxy that does not accept a lone
            // LF would forward a head that it understands differently.
            b'\n' => return Err(refuse(400, "an LF is not preceded by a CR")),
            b'\t' => {}
            0..0x20 | 0x7f => {
                return Err(refuse(400, CONTROL_CHARACTER));
            }
            _ => {}
        }
        let first = self.at - self.line == 1;
        match self.place {
            Place::Headers if first => {
                // obs-fold, or white space before the first header (RFC 9112 §5.2 and §2.2).
                if matches!(byte, b' ' | b'\t') {
                    return Err(refuse(400, "a header line starts with white space"));
                }
                self.headers += 1;
                if self.headers > MAX_HEADERS {
                    return Err(refuse(431, "more than 64 header lines"));
                }
            }
            Place::Headers => {}
            Place::Before(_) | Place::RequestLine => {
                self.place = Place::RequestLine;
                if !matches!(byte, b' '..0x7f) {
                    return Err(refuse(400, "the request line is not plain ASCII"));
                }
                if self.at - self.line > MAX_REQUEST_LINE {
                    return Err(refuse(414, "the request line is longer than 8 KiB"));
                }
            }
        }
        Ok(())
    }

    /// Handles the CRLF after `line`. Returns true if it ended the head.
    fn line_end(&mut self, line: &[u8]) -> Result<bool, Refusal> {
        match self.place {
            // One empty line is accepted, because some clients send an extra CRLF after a body (RFC 9112 §2.2).
            Place::Before(false) => self.place = Place::Before(true),
            Place::Before(true) => {
                return Err(refuse(
                    400,
                    "more than one empty line before the request line",
                ));
            }
            Place::RequestLine => {
                request_line(line)?;
                self.place = Place::Headers;
            }
            Place::Headers => return Ok(line.is_empty()),
        }
        Ok(false)
    }
}

/// Checks a request line as soon as it is complete. A client of another protocol may be waiting for an answer already,
/// and would never send the end of a head.
fn request_line(line: &[u8]) -> Result<(), Refusal> {
    let mut words = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(refuse(400, "the request line is not METHOD TARGET VERSION"));
    };
    if method.is_empty() || target.is_empty() {
        return Err(refuse(400, "the request line is not METHOD TARGET VERSION"));
    }
    match version {
        // A higher minor version is processed as HTTP/1.1 (RFC 9110 §2.5).
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'] => Ok(()),
        // The connection preface of HTTP/2 (RFC 9113 §3.4) is refused here too.
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(refuse(505, "only HTTP/1 is supported"))
        }
        _ => Err(refuse(
            400,
            "the request line does not end with an HTTP version",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bytes: &[u8]) -> Result<Option<usize>, u16> {
        Scan::new()
            .advance(bytes)
            .map_err(|(reply, _)| reply.code())
    }

    #[test]
    fn bytes_after_the_end_are_not_examined() {
        assert_eq!(verdict(b"GET / HTTP/1.1\r\n\r\n\x81\x00\n"), Ok(Some(18)));
        assert_eq!(verdict(b"GET / HTTP/1.1\r\n\r"), Ok(None));
    }

    #[test]
    fn invalid_heads_are_refused_before_their_end() {
        for (bytes, code) in [
            (&b"GET / HTTP/1.1\n"[..], 400),
            (b"GET / HTTP/1.1\r\nHost: a\n", 400),
            (b"GET / HTTP/1.1\rH", 400),
            (b"\x16\x03\x01", 400),
            (b"SSH-2.0-OpenSSH_9.9\r\n", 400),
            (b"PRI * HTTP/2.0\r\n", 505),
            (b"\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nA: b\r\n ", 400),
        ] {
            assert_eq!(verdict(bytes), Err(code), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn tls_is_recognised_by_its_first_two_bytes() {
        let reason = |bytes: &[u8]| Scan::new().advance(bytes).map_err(|(_, reason)| reason);
        assert_eq!(reason(b"\x16"), Ok(None));
        let tls = reason(b"\x16\x03\x01\x02\x00").expect_err("TLS is no HTTP");
        assert_eq!(tls, "the client speaks TLS, and this port does not");
        let other = reason(b"\x16\x04").expect_err("a control character is no HTTP");
        assert_eq!(other, CONTROL_CHARACTER);
    }

    #[test]
    fn limits_of_a_head_are_exact() {
        let line = |n: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(n - 14));
        assert!(matches!(
            verdict(line(MAX_REQUEST_LINE).as_bytes()),
            Ok(Some(_))
        ));
        assert_eq!(verdict(line(MAX_REQUEST_LINE + 1).as_bytes()), Err(414));

        let headers = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(n));
        assert!(matches!(
            verdict(headers(MAX_HEADERS).as_bytes()),
            Ok(Some(_))
        ));
        assert_eq!(verdict(headers(MAX_HEADERS + 1).as_bytes()), Err(431));

        let head = |n: usize| format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(n - 23));
        assert_eq!(verdict(head(MAX_HEAD).as_bytes()), Ok(Some(MAX_HEAD)));
        assert_eq!(verdict(head(MAX_HEAD + 1).as_bytes()), Err(431));
    }
}
