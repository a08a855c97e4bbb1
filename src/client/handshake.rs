//! The client's opening handshake (RFC 6455 §4.1): writes the request, and reads and checks the answer.

use std::io::{self, Read, Write};
use std::time::Instant;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use super::error::ConnectError;
use super::socket::ClientSocket;
use super::stream::patience;
use crate::http1::{Chunked, Step};

/// The largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// The most header lines of an answer.
const MAX_HEADERS: usize = 128;

/// The largest part of a refusal's body that is kept, in bytes.
const MAX_BODY: usize = 64 << 10;

/// The contents of the request.
pub(super) struct Opening<'a> {
    pub(super) target: &'a str,
    pub(super) host: &'a str,
    pub(super) subprotocols: &'a [String],
    pub(super) headers: &'a HeaderMap,
}

/// The 101, and the bytes of frames that came with it.
pub(super) struct Opened {
    pub(super) response: Response<()>,
    pub(super) ahead: Vec<u8>,
}

/// Performs the handshake.
///
/// # Blocking
/// Waits for the server's answer, until `deadline` if there is one.
pub(super) fn open(
    socket: &mut ClientSocket,
    opening: &Opening<'_>,
    deadline: Option<Instant>,
) -> Result<Opened, ConnectError> {
    socket.limit_reads(deadline, 0);
    socket.limit_writes(Some(patience(deadline)));
    let key = generate_key();
    socket
        .write_all(request(opening, &key).as_slice())
        .and_then(|()| socket.flush())
        .map_err(ConnectError::of)?;
    let mut bytes = Vec::new();
    let response = loop {
        let end = read_head(socket, &mut bytes)?;
        let rest = bytes.split_off(end);
        let response = parse(&bytes)?;
        bytes = rest;
        let status = response.status();
        // Other interim responses say nothing about the handshake (RFC 9110 §15.2).
        if status == StatusCode::SWITCHING_PROTOCOLS || !status.is_informational() {
            break response;
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let body = read_body(socket, response.headers(), bytes);
        return Err(ConnectError::Refused(Box::new(response.map(|()| body))));
    }
    check(response.headers(), &key, opening.subprotocols)?;
    Ok(Opened {
        response,
        ahead: bytes,
    })
}

fn request(opening: &Opening<'_>, key: &str) -> Vec<u8> {
    let Opening { target, host, .. } = opening;
    let mut head = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
    )
    .into_bytes();
    if !opening.subprotocols.is_empty() {
        let offer = opening.subprotocols.join(", ");
        head.extend_from_slice(format!("Sec-WebSocket-Protocol: {offer}\r\n").as_bytes());
    }
    for (name, value) in opening.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Reads until `bytes` contains a whole head, and returns its length.
fn read_head(socket: &mut ClientSocket, bytes: &mut Vec<u8>) -> Result<usize, ConnectError> {
    const END: &[u8] = b"\r\n\r\n";
    let mut searched = 0;
    let mut chunk = vec![0; 4 << 10];
    loop {
        let found = bytes[searched..]
            .windows(END.len())
            .position(|at| at == END);
        if let Some(at) = found {
            return Ok(searched + at + END.len());
        }
        searched = bytes.len().saturating_sub(END.len() - 1);
        if bytes.len() > MAX_HEAD {
            return Err(ConnectError::Answer("its head is too large"));
        }
        match socket.read(&mut chunk).map_err(ConnectError::of)? {
            0 => return Err(ConnectError::Io(io::ErrorKind::UnexpectedEof.into())),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

fn parse(head: &[u8]) -> Result<Response<()>, ConnectError> {
    const INVALID: ConnectError = ConnectError::Answer("it is not HTTP");
    let mut lines = vec![httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut lines);
    if !parsed.parse(head).is_ok_and(|status| status.is_complete()) {
        return Err(INVALID);
    }
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let mut response = Response::new(());
    *response.status_mut() = status.ok_or(INVALID)?;
    for line in parsed.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| INVALID)?;
        let value = HeaderValue::from_bytes(line.value).map_err(|_| INVALID)?;
        response.headers_mut().append(name, value);
    }
    Ok(response)
}

/// Checks the headers of a 101, in the order of RFC 6455 §4.1.
fn check(headers: &HeaderMap, key: &str, offered: &[String]) -> Result<(), ConnectError> {
    if !has_token(headers, &header::UPGRADE, "websocket") {
        return Err(ConnectError::Answer("Upgrade is not websocket"));
    }
    if !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(ConnectError::Answer("Connection does not contain Upgrade"));
    }
    let accept = derive_accept_key(key.as_bytes());
    if headers
        .get(header::SEC_WEBSOCKET_ACCEPT)
        .is_none_or(|value| value.as_bytes() != accept.as_bytes())
    {
        return Err(ConnectError::Answer("Sec-WebSocket-Accept is wrong"));
    }
    if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(ConnectError::Answer("an extension was not offered"));
    }
    let mut selected = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let is_offered =
        |value: &HeaderValue| offered.iter().any(|one| one.as_bytes() == value.as_bytes());
    if !selected.next().is_none_or(is_offered) || selected.next().is_some() {
        return Err(ConnectError::Answer("the subprotocol was not offered"));
    }
    Ok(())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).into_iter();
    let mut items = lines.flat_map(|line| line.to_str().unwrap_or("").split(','));
    items.any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// Reads the body of a refusal, of which `bytes` have been read. An error or the time limit only makes it shorter.
fn read_body(socket: &mut ClientSocket, headers: &HeaderMap, mut bytes: Vec<u8>) -> Vec<u8> {
    let is_chunked = has_token(headers, &header::TRANSFER_ENCODING, "chunked");
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let limit = length.map_or(MAX_BODY, |length: usize| length.min(MAX_BODY));
    if is_chunked {
        return read_chunked(socket, bytes);
    }
    let missing = limit.saturating_sub(bytes.len()) as u64;
    let _ = socket.take(missing).read_to_end(&mut bytes);
    bytes.truncate(limit);
    bytes
}

fn read_chunked(socket: &mut ClientSocket, mut bytes: Vec<u8>) -> Vec<u8> {
    let (mut body, mut chunked) = (Vec::new(), Chunked::new());
    let mut used = 0;
    while body.len() < MAX_BODY {
        if used == bytes.len() {
            bytes.resize(4 << 10, 0);
            match socket.read(&mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(count) => bytes.truncate(count),
            }
            used = 0;
        }
        match chunked.advance(&bytes[used..]) {
            Ok((count, step)) => {
                used += count;
                match step {
                    Step::Data(data) => body.extend_from_slice(data),
                    Step::More => {}
                    Step::End => break,
                }
            }
            Err(_) => break,
        }
    }
    body.truncate(MAX_BODY);
    body
}
