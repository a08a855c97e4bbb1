//! The targets `proxy_header` and `forwarded`: what a proxy says about its client, and what a client adds to it.

use std::io::Read;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::Choices;
use super::head::SmallReads;
use crate::http1::{self, HeadError, Peer};
use crate::trusted_proxy::TrustedProxy;

/// The maximum number of bytes that may be read: the longest header plus one read, rounded up.
const MOST: usize = 5 << 10;

/// Reads a PROXY header in one piece, and again in small pieces whose size is the first byte of the input. The outcomes
/// must be equal, no byte after the header may be lost, and the number of bytes read must be limited.
pub fn proxy_header(data: &[u8]) {
    let mut choices = Choices(data);
    let read_size = 1 + usize::from(choices.byte());
    let whole = outcome(choices.0, usize::MAX);
    let pieces = outcome(choices.0, read_size);
    assert_eq!(whole, pieces, "{read_size} bytes in each read");
}

/// Returns the result, and what follows the header.
fn outcome(bytes: &[u8], read_size: usize) -> (String, Vec<u8>) {
    let mut stream = SmallReads::new(bytes, read_size);
    let read = http1::read_proxy_header(&mut stream, Vec::new());
    assert!(stream.read <= MOST, "{} bytes were read", stream.read);
    match read {
        Ok((header, mut rest)) => {
            let mut stream = stream.chain(std::io::empty());
            // Reading from memory fails only if it is interrupted, which `read_to_end` ignores.
            let _ = stream.read_to_end(&mut rest);
            assert!(bytes.ends_with(&rest));
            (format!("{header:?}"), rest)
        }
        Err(HeadError::Refused(reply, reason)) => {
            (format!("{} {reason}", reply.code()), Vec::new())
        }
        Err(HeadError::Gone) => ("gone".to_owned(), Vec::new()),
        Err(HeadError::Io(error)) => (error.to_string(), Vec::new()),
    }
}

/// Puts the lines of the input into forwarding headers, and lets a trusted proxy add the address of its client. The client
/// must be that one, whatever stands before it. The first byte decides how the proxy does this.
pub fn forwarded(data: &[u8]) {
    let mut choices = Choices(data);
    let how = choices.byte();
    let (name, added): (_, &[u8]) = match how % 4 {
        0 => (header::FORWARDED, b"for=192.0.2.1"),
        1 => (header::FORWARDED, b"for=\"192.0.2.1:80\";proto=https"),
        2 => (HeaderName::from_static("x-forwarded-for"), b"192.0.2.1"),
        _ => (
            HeaderName::from_static("x-forwarded-for"),
            b"192.0.2.1:80, 10.0.0.9",
        ),
    };
    let mut lines: Vec<Vec<u8>> = choices
        .0
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    match lines.last_mut() {
        Some(last) if how & 4 == 0 => *last = [last, &b", "[..], added].concat(),
        _ => lines.push(added.to_vec()),
    }
    let mut headers = HeaderMap::new();
    for line in lines {
        let Ok(value) = HeaderValue::from_bytes(&line) else {
            return;
        };
        headers.append(name.clone(), value);
    }
    let proxy = Peer::Tcp(([10, 0, 0, 1], 1).into());
    let trusted: TrustedProxy = "10.0.0.0/8".parse().expect("this is a network");
    if let Ok(client) = http1::client_of(&headers, &proxy, &[trusted]) {
        let ip = client.and_then(|client| client.ip());
        assert_eq!(ip, Some([192, 0, 2, 1].into()));
    } else {
        assert_eq!(name, header::FORWARDED, "X-Forwarded-For is never invalid");
    }
}
