//! One HTTP exchange, on a connection of its own.

use std::io::{Read, Write};
use std::net::SocketAddr;

use super::connect::Connect;
use super::stream::Stream;

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// Parses a response from all its bytes.
    #[track_caller]
    pub(crate) fn parse(bytes: &[u8]) -> Answer {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no complete response in {text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap();
        let status = status
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("no status line: {status:?}"));
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Answer {
            status,
            headers,
            body: body.to_owned(),
        }
    }

    /// Returns the values of the headers with this name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let headers = self.headers.iter();
        let with_name = headers.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        with_name.map(|(_, value)| &**value).collect()
    }

    /// Returns the value of the only header with this name.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| &**value);
        assert!(values.next().is_none(), "{name} twice in {self:?}");
        value
    }
}

/// Sends `request` unchanged, and reads the response: to the end of the stream if the server ends the connection, and
/// otherwise as long as `Content-Length` says. A reset fails the test.
#[track_caller]
pub(crate) fn http(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let stream = Stream::connect(address).expect("the server accepts the connection");
    exchange(&stream, request.as_ref())
}

#[track_caller]
pub(super) fn exchange(mut stream: &Stream, request: &[u8]) -> Answer {
    stream.write_all(request).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    while !is_complete(&bytes, request.starts_with(b"HEAD ")) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) => {
                let read = String::from_utf8_lossy(&bytes);
                panic!("waited for the end of the response, got {error} after {read:?}");
            }
        }
    }
    Answer::parse(&bytes)
}

/// Returns whether `bytes` are a whole response that keeps the connection.
fn is_complete(bytes: &[u8], head_only: bool) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let answer = Answer::parse(bytes);
    let length = match answer.header("Content-Length") {
        Some(length) if !head_only => length.parse().unwrap(),
        _ => 0,
    };
    answer.header("Connection") == Some("keep-alive") && bytes.len() - end - 4 >= length
}

/// Sends `GET path` with the lines in `headers`, each of which ends with CRLF.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    http(address, request)
}

/// As [`get`], in clear text also to a server that expects TLS.
#[track_caller]
pub(crate) fn get_in_clear(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    Connect::to(address).in_clear().http(request)
}

/// Sends `POST path` with this body and the lines in `headers`, each of which ends with CRLF.
#[track_caller]
pub(crate) fn post(
    address: SocketAddr,
    path: &str,
    headers: &str,
    body: impl AsRef<[u8]>,
) -> Answer {
    let body = body.as_ref();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n"
    );
    http(address, [head.as_bytes(), body].concat())
}
