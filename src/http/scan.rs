//! Looks for the end of a head while its bytes arrive, and refuses at once what no later byte can mend.
//!
//! Each byte is looked at once, however the bytes are cut: the state below stands between two reads, so a head sent a
//! byte at a time costs what it costs in one piece, and meets the same verdict. A head that is parsed anew after each
//! read costs its square (CVE-2023-43669).

use super::reply::{Refusal, refuse};

/// Bytes of a whole head, its last CRLF included.
pub(super) const MAX_HEAD: usize = 16 << 10;
/// Bytes of a request line, its CRLF not included.
pub(super) const MAX_REQUEST_LINE: usize = 8 << 10;
/// Header lines.
pub(super) const MAX_HEADERS: usize = 64;

enum Place {
    /// Before the first byte of the request line; true when an empty line has gone by.
    Before(bool),
    RequestLine,
    Headers,
}

/// Where in a head the bytes seen so far have led.
pub(super) struct Scan {
    place: Place,
    /// Bytes looked at.
    at: usize,
    /// Where the line began that is being read.
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

    /// Looks at what is new in `bytes`, which holds everything read so far. Gives the head's length once it is whole.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(&byte) = bytes.get(self.at) {
            if self.at == MAX_HEAD {
                return Err(refuse(431, "the request head is longer than 16 KiB"));
            }
            self.at += 1;
            if self.after_cr {
                // A lone CR is a line end to some and a blank to others (RFC 9112 §2.2).
                if byte != b'\n' {
                    return Err(refuse(400, "a CR without its LF"));
                }
                self.after_cr = false;
                if self.line_end(&bytes[self.line..self.at - 2])? {
                    return Ok(Some(self.at));
                }
                self.line = self.at;
            } else {
                self.byte(byte)?;
            }
        }
        Ok(None)
    }

    /// One byte within a line.
    fn byte(&mut self, byte: u8) -> Result<(), Refusal> {
        match byte {
            b'\r' => {
                self.after_cr = true;
                return Ok(());
            }
            // RFC 9112 §2.2 lets a server take it for a line end. A proxy that does not then sees another request.
            b'\n' => return Err(refuse(400, "an LF without its CR")),
            b'\t' => {}
            0..0x20 | 0x7f => return Err(refuse(400, "a control byte in the request head")),
            _ => {}
        }
        let first = self.at - self.line == 1;
        match self.place {
            Place::Headers if first => {
                // obs-fold, or a blank before the first header (RFC 9112 §5.2 and §2.2).
                if matches!(byte, b' ' | b'\t') {
                    return Err(refuse(400, "a header line that begins with a blank"));
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

    /// A CRLF has ended `line`. True if it ended the head.
    fn line_end(&mut self, line: &[u8]) -> Result<bool, Refusal> {
        match self.place {
            // One empty line is forgiven to clients that end a body with a CRLF too many (RFC 9112 §2.2).
            Place::Before(false) => self.place = Place::Before(true),
            Place::Before(true) => return Err(refuse(400, "empty lines before the request line")),
            Place::RequestLine => {
                request_line(line)?;
                self.place = Place::Headers;
            }
            Place::Headers => return Ok(line.is_empty()),
        }
        Ok(false)
    }
}

/// Looks at a request line as soon as it is whole: who speaks another protocol may be waiting for our answer now.
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
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        // HTTP/2's preface comes here too (RFC 9113 §3.4).
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(refuse(505, "only HTTP/1.1 and HTTP/1.0 are spoken here"))
        }
        _ => Err(refuse(
            400,
            "the request line does not end in an HTTP version",
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
    fn the_end_of_a_head_is_found_and_what_follows_is_not_looked_at() {
        assert_eq!(verdict(b"GET / HTTP/1.1\r\n\r\n\x81\x00\n"), Ok(Some(18)));
        assert_eq!(verdict(b"GET / HTTP/1.1\r\n\r"), Ok(None));
    }

    #[test]
    fn hopeless_heads_are_refused_before_they_end() {
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
    fn a_head_at_its_limits_is_taken_and_one_more_is_not() {
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
