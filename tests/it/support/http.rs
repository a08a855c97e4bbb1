//! One plain HTTP exchange. The response is read to the end of the connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::deadline::DEADLINE;

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// Parses the only response of a connection from all its bytes.
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

/// Sends `request` unchanged, and reads the response to the end of the stream. A reset fails the test.
#[track_caller]
pub(crate) fn http(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_ref()).unwrap();
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        let read = String::from_utf8_lossy(&bytes);
        panic!("waited for the end of the response, got {error} after {read:?}");
    }
    Answer::parse(&bytes)
}

/// Sends `GET path` with the lines in `headers`, each of which ends with CRLF.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    http(address, request)
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
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    http(address, [head.as_bytes(), body].concat())
}
