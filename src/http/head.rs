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
use super::body::Framing;
use super::reply::{Refusal, Reply, refuse};
use super::request::list;
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

/// Reads one request head, which begins with the bytes `ahead`. Returns it with the bytes after it that have already
/// been read.
///
/// # Blocking
/// Waits for the client without a time limit. To enforce a deadline, another thread shuts the socket down. The result
/// is then [`HeadError::Gone`].
pub(crate) fn read_head(
    stream: &mut impl Read,
    ahead: Vec<u8>,
    peer: Peer,
) -> Result<(Request, Vec<u8>), HeadError> {
    let mut scan = Scan::new();
    let mut bytes = ahead;
    // On the heap, because stack pages that have been used stay resident until the thread ends.
    let mut chunk = vec![0; READ];
    loop {
        if let Some(end) = scan.advance(&bytes)? {
            let rest = bytes.split_off(end);
            return Ok((parse(&mut bytes, peer)?, rest));
        }
        read_more(stream, &mut chunk, &mut bytes)?;
    }
}

/// Reads into `chunk`, and appends what was read to `bytes`.
///
/// # Blocking
/// Until the peer sends something or its stream ends.
pub(super) fn read_more(
    stream: &mut impl Read,
    chunk: &mut [u8],
    bytes: &mut Vec<u8>,
) -> Result<(), HeadError> {
    loop {
        match stream.read(chunk) {
            Ok(0) => return Err(HeadError::Gone),
            Ok(count) => {
                bytes.extend_from_slice(&chunk[..count]);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(HeadError::Io(error)),
        }
    }
}

/// Parses a complete head.
fn parse(head: &mut [u8], peer: Peer) -> Result<Request, Refusal> {
    lower_version(head);
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
    let authority = host(version, &headers, &peer)?;
    let target = Target::parse(&method, target, authority.as_ref())?;
    let framing = framing(&method, version, &headers)?;
    let request = Request {
        method,
        version,
        target,
        has_allowed_origin: !headers.contains_key(header::ORIGIN),
        headers,
        authority,
        framing,
        peer,
        proxy: None,
        arrival: Default::default(),
        local_addr: None,
        #[cfg(feature = "tls")]
        tls: None,
        route: None,
        extensions: Extensions::new(),
        body: Mutex::default(),
    };
    // RFC 6455 §4.1 requires a GET. After the 101, the server reads frames, so it would read a body as a frame.
    if request.wants_upgrade() && !matches!(framing, Framing::None | Framing::Length(0)) {
        return Err(refuse(400, "an upgrade request must not have a body"));
    }
    Ok(request)
}

/// Replaces a version above HTTP/1.1, as in HTTP/1.2, by HTTP/1.1. httparse knows no other version.
fn lower_version(head: &mut [u8]) {
    // The request line may follow an empty line.
    let start = if head.starts_with(b"\r\n") { 2 } else { 0 };
    let end = head[start..].iter().position(|&byte| byte == b'\r');
    if let Some(minor) = end.and_then(|end| head[start..start + end].last_mut())
        && *minor > b'1'
    {
        *minor = b'1';
    }
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
fn host(version: Version, headers: &HeaderMap, peer: &Peer) -> Result<Option<Authority>, Refusal> {
    let Some(value) = headers.get(header::HOST) else {
        return match version {
            Version::HTTP_10 => Ok(None),
            _ => Err(refuse(400, "the Host header is missing")),
        };
    };
    let text = value.to_str().ok();
    match text.and_then(Authority::parse) {
        Some(host) => Ok(Some(host)),
        // A URL that names a unix socket contains no host. Clients of such a socket send an empty Host, or a path.
        None if *peer == Peer::Unix && text.is_some_and(is_reg_name) => Ok(None),
        None => Err(refuse(
            400,
            "the Host header is not of the form host[:port]",
        )),
    }
}

/// Returns whether `text` has only characters of a registered name, which may be empty (RFC 3986 §3.2.2).
fn is_reg_name(text: &str) -> bool {
    let sign = |byte: u8| b"-._~%!$&'()*+,;=:".contains(&byte);
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || sign(byte))
}

/// Returns how the length of the body is determined (RFC 9112 §6).
fn framing(method: &Method, version: Version, headers: &HeaderMap) -> Result<Framing, Refusal> {
    let framing = if headers.contains_key(header::TRANSFER_ENCODING) {
        if headers.contains_key(header::CONTENT_LENGTH) {
            // The best known form of request smuggling (RFC 9112 §6.3, item 3).
            return Err(refuse(400, "both Transfer-Encoding and Content-Length"));
        }
        if version == Version::HTTP_10 {
            // RFC 9112 §6.1: the framing is faulty.
            return Err(refuse(400, "Transfer-Encoding in an HTTP/1.0 request"));
        }
        check_codings(headers)?;
        Framing::Chunked
    } else {
        content_length(headers)?
    };
    let has_body = !matches!(framing, Framing::None | Framing::Length(0));
    if has_body && (method == Method::GET || method == Method::HEAD) {
        return Err(refuse(400, "a GET or HEAD request must not have a body"));
    }
    Ok(framing)
}

/// Checks that `chunked` is the only transfer coding.
fn check_codings(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = Vec::new();
    for line in headers.get_all(header::TRANSFER_ENCODING) {
        let line = line.to_str().unwrap_or("");
        codings.extend(list(line).map(str::to_ascii_lowercase));
    }
    let last = codings.pop();
    if last.as_deref() != Some("chunked") {
        // The length of the body cannot be determined (RFC 9112 §6.3, item 4).
        return Err(refuse(400, "the last Transfer-Encoding is not chunked"));
    }
    if codings.iter().any(|coding| coding.starts_with("chunked")) {
        return Err(refuse(400, "Transfer-Encoding names chunked twice"));
    }
    if !codings.is_empty() {
        // RFC 9112 §6.1.
        return Err(refuse(
            501,
            "the only supported Transfer-Encoding is chunked",
        ));
    }
    Ok(())
}

fn content_length(headers: &HeaderMap) -> Result<Framing, Refusal> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else {
        return Ok(Framing::None);
    };
    // Digits only: `parse` would accept "+5", and RFC 9110 §8.6 allows a server to read "5, 5" as 5.
    let digits = length
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let length = digits.and_then(|text| text.parse().ok());
    length
        .map(Framing::Length)
        .ok_or_else(|| refuse(400, "Content-Length is not a number"))
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
        let Err(HeadError::Refused(reply, _)) = read_head(&mut stream, Vec::new(), Peer::Unix)
        else {
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
        let (request, rest) = read_head(&mut stream, Vec::new(), Peer::Unix).expect("a request");
        assert_eq!((request.content_length(), rest), (Some(3), b"abc".to_vec()));
    }

    #[test]
    fn stream_that_ends_early_is_reported_as_gone() {
        for head in ["", "GET", "GET / HTTP/1.1\r\nHost: a\r\n"] {
            let result = read_head(&mut head.as_bytes(), Vec::new(), Peer::Unix);
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
        let result = read_head(&mut stream, Vec::new(), Peer::Unix);
        assert!(
            matches!(result, Err(HeadError::Io(e)) if e.kind() == io::ErrorKind::ConnectionReset)
        );
    }
}
