//! Bytes to a request head, under limits (RFC 9112).
//!
//! [`Scan`] watches the bytes come and finds the end; httparse then reads the whole head, once; and what is left to
//! decide is where two readers of the same head could differ: every header that frames, routes or authenticates comes
//! once, or the request is refused.

use std::io::{self, Read};
use std::sync::Mutex;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Extensions, Method, Version};

use super::authority::Authority;
use super::reply::{Refusal, Reply, refuse};
use super::scan::{MAX_HEADERS, Scan};
use super::target::Target;
use super::{Peer, Request};

/// Bytes asked of the kernel at a time. Most heads have a few hundred.
const READ: usize = 2 << 10;

/// Why there is no request.
#[derive(Debug)]
pub(crate) enum HeadError {
    /// The client ended before its head did: nobody is left to answer.
    Gone,
    /// Reading the socket failed.
    Io(io::Error),
    /// Answer this, log that.
    Refused(Reply, String),
}

impl From<Refusal> for HeadError {
    fn from((reply, why): Refusal) -> Self {
        HeadError::Refused(reply, why)
    }
}

/// Reads one request head, and gives with it the bytes that came after it.
///
/// # Blocking
/// Waits for the client, without a clock of its own: who wants a deadline shuts the socket down, and this is
/// [`HeadError::Gone`].
pub(crate) fn read_head(
    stream: &mut impl Read,
    peer: Peer,
) -> Result<(Request, Vec<u8>), HeadError> {
    let mut scan = Scan::new();
    let mut bytes = Vec::new();
    // Not on the stack: what this touches of it stays with the client's thread for its whole life.
    let mut chunk = vec![0; READ];
    loop {
        let count = match stream.read(&mut chunk) {
            Ok(0) => return Err(HeadError::Gone),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(HeadError::Io(error)),
        };
        bytes.extend_from_slice(&chunk[..count]);
        if let Some(end) = scan.advance(&bytes)? {
            let rest = bytes.split_off(end);
            return Ok((parse(&bytes, peer)?, rest));
        }
    }
}

/// Reads a whole head.
fn parse(head: &[u8], peer: Peer) -> Result<Request, Refusal> {
    let not_http = || refuse(400, "the request head is not HTTP");
    let mut lines = vec![httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut lines);
    if !parsed.parse(head).is_ok_and(|status| status.is_complete()) {
        return Err(not_http());
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(not_http());
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| not_http())?;
    let version = if minor == 0 {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    };
    let headers = headers(parsed.headers).ok_or_else(not_http)?;

    for (name, why) in ONCE {
        if headers.get_all(name).iter().count() > 1 {
            return Err(refuse(400, why));
        }
    }
    let authority = host(version, &headers)?;
    let target = Target::parse(target, authority.as_ref())?;
    let content_length = framing(&method, version, &headers)?;
    let request = Request {
        method,
        version,
        target,
        headers,
        authority,
        content_length,
        peer,
        extensions: Extensions::new(),
        body: Mutex::default(),
    };
    // RFC 6455 §4.1 asks for a GET, and what follows the 101 are frames: a body would be read as one.
    if request.wants_upgrade() && content_length.is_some_and(|length| length > 0) {
        return Err(refuse(400, "an upgrade with a body"));
    }
    Ok(request)
}

/// Of these there is one or none. Who takes the first and who takes the last of two would see different requests.
const ONCE: [(HeaderName, &str); 6] = [
    (header::HOST, "more than one Host"),
    (header::ORIGIN, "more than one Origin"),
    (header::AUTHORIZATION, "more than one Authorization"),
    (header::CONTENT_LENGTH, "more than one Content-Length"),
    (header::SEC_WEBSOCKET_KEY, "more than one Sec-WebSocket-Key"),
    (
        header::SEC_WEBSOCKET_VERSION,
        "more than one Sec-WebSocket-Version",
    ),
];

/// Lines to a map. Values that are secrets are marked, so that `{:?}` of the map does not show them.
fn headers(lines: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        let mut value = HeaderValue::from_bytes(line.value).ok()?;
        value.set_sensitive(matches!(
            name,
            header::AUTHORIZATION
                | header::PROXY_AUTHORIZATION
                | header::COOKIE
                | header::SEC_WEBSOCKET_PROTOCOL
        ));
        headers.append(name, value);
    }
    Some(headers)
}

/// Exactly one `Host` (RFC 9112 §3.2), which HTTP/1.0 did not know yet: health checks still come without.
fn host(version: Version, headers: &HeaderMap) -> Result<Option<Authority>, Refusal> {
    let Some(value) = headers.get(header::HOST) else {
        return match version {
            Version::HTTP_10 => Ok(None),
            _ => Err(refuse(400, "no Host")),
        };
    };
    let host = value.to_str().ok().and_then(Authority::parse);
    host.map(Some)
        .ok_or_else(|| refuse(400, "Host is not host[:port]"))
}

/// How long the body is. Lengths are the one framing we read (RFC 9112 §6).
fn framing(method: &Method, version: Version, headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let length = headers.get(header::CONTENT_LENGTH);
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(if length.is_some() {
            // The classic of smuggling (RFC 9112 §6.3, item 3).
            refuse(400, "both Transfer-Encoding and Content-Length")
        } else if method == Method::POST && version == Version::HTTP_11 {
            refuse(411, "a Content-Length is needed, chunks are not read here")
        } else {
            refuse(400, "Transfer-Encoding where there is no body")
        });
    }
    let Some(length) = length else {
        return Ok(None);
    };
    // Digits only: `parse` takes "+5", and RFC 9110 §8.6 would let "5, 5" be one five.
    let digits = length
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let Some(length) = digits.and_then(|text| text.parse().ok()) else {
        return Err(refuse(400, "Content-Length is not a number"));
    };
    if length > 0 && (method == Method::GET || method == Method::HEAD) {
        return Err(refuse(400, "a GET or HEAD with a body"));
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the same line forever, and counts what was taken.
    struct Endless(usize);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            for byte in &mut *buffer {
                *byte = b"X-Long: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef012345678\r\n"
                    [self.0 % 304];
                self.0 += 1;
            }
            Ok(buffer.len())
        }
    }

    #[test]
    fn an_endless_head_is_refused_after_its_limit_and_one_read() {
        let mut endless = Endless(0);
        let mut stream = (&b"GET / HTTP/1.1\r\nHost: a\r\n"[..]).chain(&mut endless);
        let Err(HeadError::Refused(reply, _)) = read_head(&mut stream, Peer::Unix) else {
            panic!("an endless head was read");
        };
        assert_eq!(reply.code(), 431);
        assert!(
            endless.0 <= super::super::scan::MAX_HEAD + READ,
            "{} bytes read",
            endless.0
        );
    }

    #[test]
    fn the_bytes_after_the_head_are_given_back() {
        let mut stream = &b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"[..];
        let (request, rest) = read_head(&mut stream, Peer::Unix).expect("a request");
        assert_eq!((request.content_length(), rest), (Some(3), b"abc".to_vec()));
    }

    #[test]
    fn a_client_that_leaves_early_is_gone() {
        for head in ["", "GET", "GET / HTTP/1.1\r\nHost: a\r\n"] {
            let result = read_head(&mut head.as_bytes(), Peer::Unix);
            assert!(matches!(result, Err(HeadError::Gone)), "{head}");
        }
    }

    #[test]
    fn a_failing_socket_is_an_error_and_an_interruption_is_not() {
        struct Fails(Option<io::ErrorKind>);
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(self
                    .0
                    .take()
                    .unwrap_or(io::ErrorKind::ConnectionReset)
                    .into())
            }
        }
        let mut stream = Fails(Some(io::ErrorKind::Interrupted));
        let result = read_head(&mut stream, Peer::Unix);
        assert!(
            matches!(result, Err(HeadError::Io(e)) if e.kind() == io::ErrorKind::ConnectionReset)
        );
    }
}
