//! [`read_head`] reads a request head from a stream, under limits (RFC 9112).
//!
//! [`Scan`] looks at the bytes as they arrive and finds the end of the head. Then httparse parses the whole head once.
//! The rest of this file refuses heads that two HTTP implementations could understand differently: a header that
//! determines the length, the target or the authentication of a request may appear only once.

use std::io::{self, Read};
use std::sync::Mutex;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Extensions, Method, Version};

use super::authority::Authority;
use super::reply::{Refusal, Reply, refuse};
use super::scan::{MAX_HEADERS, Scan};
use super::target::Target;
use super::{Peer, Request};

/// The size of one read, in bytes. Most heads have a few hundred bytes.
const READ: usize = 2 << 10;

/// The reason why [`read_head`] returned no request.
#[derive(Debug)]
pub(crate) enum HeadError {
    /// The stream ended before the head was complete. The client has disconnected, so nobody can be answered.
    Gone,
    /// Reading the socket failed.
    Io(io::Error),
    /// The head is refused: the answer for the client, and the reason for the log.
    Refused(Reply, String),
}

impl From<Refusal> for HeadError {
    fn from((reply, reason): Refusal) -> Self {
        HeadError::Refused(reply, reason)
    }
}

/// Reads one request head. Returns it with the bytes after it that have already been read.
///
/// # Blocking
/// Waits for the client without a time limit. To enforce a deadline, another thread shuts the socket down. The result
/// is then [`HeadError::Gone`].
pub(crate) fn read_head(
    stream: &mut impl Read,
    peer: Peer,
) -> Result<(Request, Vec<u8>), HeadError> {
    let mut scan = Scan::new();
    let mut bytes = Vec::new();
    // On the heap, because stack pages that have been used stay resident until the thread ends.
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

/// Parses a complete head.
fn parse(head: &[u8], peer: Peer) -> Result<Request, Refusal> {
    let not_http = || refuse(400, "the request head is not valid HTTP");
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

    for (name, reason) in ONCE {
        if headers.get_all(name).iter().count() > 1 {
            return Err(refuse(400, reason));
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
        arrival: Default::default(),
        extensions: Extensions::new(),
        body: Mutex::default(),
    };
    // RFC 6455 §4.1 requires a GET. After the 101, the server reads frames, so it would read a body as a frame.
    if request.wants_upgrade() && content_length.is_some_and(|length| length > 0) {
        return Err(refuse(400, "an upgrade request must not have a body"));
    }
    Ok(request)
}

/// Headers that may appear at most once. If there are two, one server might use the first and another the last.
const ONCE: [(HeaderName, &str); 6] = [
    (header::HOST, "more than one Host header"),
    (header::ORIGIN, "more than one Origin header"),
    (header::AUTHORIZATION, "more than one Authorization header"),
    (
        header::CONTENT_LENGTH,
        "more than one Content-Length header",
    ),
    (
        header::SEC_WEBSOCKET_KEY,
        "more than one Sec-WebSocket-Key header",
    ),
    (
        header::SEC_WEBSOCKET_VERSION,
        "more than one Sec-WebSocket-Version header",
    ),
];

/// Returns the header lines as a map. Values that may be secret are marked, so that `{:?}` of the map does not show
/// them.
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

/// Returns the `Host`, which every HTTP/1.1 request must have (RFC 9112 §3.2). HTTP/1.0 did not have it yet, and some
/// health checks still send HTTP/1.0 requests without it.
fn host(version: Version, headers: &HeaderMap) -> Result<Option<Authority>, Refusal> {
    let Some(value) = headers.get(header::HOST) else {
        return match version {
            Version::HTTP_10 => Ok(None),
            _ => Err(refuse(400, "the Host header is missing")),
        };
    };
    let host = value.to_str().ok().and_then(Authority::parse);
    host.map(Some)
        .ok_or_else(|| refuse(400, "the Host header is not of the form host[:port]"))
}

/// Returns the length of the body. `Content-Length` is the only framing that this server reads (RFC 9112 §6).
fn framing(method: &Method, version: Version, headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let length = headers.get(header::CONTENT_LENGTH);
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(if length.is_some() {
            // The best known form of request smuggling (RFC 9112 §6.3, item 3).
            refuse(400, "both Transfer-Encoding and Content-Length")
        } else if method == Method::POST && version == Version::HTTP_11 {
            refuse(
                411,
                "Content-Length is required; chunked bodies are not supported",
            )
        } else {
            refuse(400, "Transfer-Encoding is not allowed in this request")
        });
    }
    let Some(length) = length else {
        return Ok(None);
    };
    // Digits only: `parse` would accept "+5", and RFC 9110 §8.6 allows a server to read "5, 5" as 5.
    let digits = length
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let Some(length) = digits.and_then(|text| text.parse().ok()) else {
        return Err(refuse(400, "Content-Length is not a number"));
    };
    if length > 0 && (method == Method::GET || method == Method::HEAD) {
        return Err(refuse(400, "a GET or HEAD request must not have a body"));
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that repeats one header line forever, and counts the bytes that were read.
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
    fn endless_head_is_refused_soon_after_the_limit() {
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
    fn bytes_after_the_head_are_returned() {
        let mut stream = &b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"[..];
        let (request, rest) = read_head(&mut stream, Peer::Unix).expect("a request");
        assert_eq!((request.content_length(), rest), (Some(3), b"abc".to_vec()));
    }

    #[test]
    fn stream_that_ends_early_is_reported_as_gone() {
        for head in ["", "GET", "GET / HTTP/1.1\r\nHost: a\r\n"] {
            let result = read_head(&mut head.as_bytes(), Peer::Unix);
            assert!(matches!(result, Err(HeadError::Gone)), "{head}");
        }
    }

    #[test]
    fn only_a_failing_socket_is_an_error() {
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
