//! [`KeptConnection`]: requests to a server, one after the other, on one connection for as long as the server keeps it.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use super::secure::{Secure, explain};
use super::stream::Stream;
use super::units::Time;
use super::url::Base;

/// The maximum number of bytes read of a response. The server's responses are one line of JSON or text.
const MAX_RESPONSE: usize = 64 << 10;

/// How long a connection without a request is used again. The server ends it after 10 s, and a request that it has not
/// read then would have no answer.
const MAX_IDLE: Duration = Duration::from_secs(8);

/// A server, and the connection to it, if there is one.
pub(super) struct KeptConnection<'a> {
    base: &'a Base,
    secure: Secure,
    timeout: Time,
    /// The connection, and when it was used last.
    idle: Option<(Stream, Instant)>,
}

/// The response to a request.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) is_json: bool,
    pub(super) body: Vec<u8>,
}

/// Why there is no response. The texts say why.
pub(super) enum NoResponse {
    /// The request was not sent.
    NotSent(String),
    /// The server may have carried it out.
    Unknown(String),
}

/// A response as far as it has arrived.
enum Progress {
    Incomplete,
    /// The response, and whether the server keeps the connection.
    Complete(Response, bool),
    Invalid,
}

impl<'a> KeptConnection<'a> {
    pub(super) fn new(base: &'a Base, secure: Secure, timeout: Time) -> KeptConnection<'a> {
        KeptConnection {
            base,
            secure,
            timeout,
            idle: None,
        }
    }

    /// Sends a request, and receives the response.
    ///
    /// # Blocking
    /// Waits for each part of the response, up to the timeout.
    pub(super) fn exchange(&mut self, request: &[u8]) -> Result<Response, NoResponse> {
        let idle = self.idle.take();
        let mut stream = match idle.and_then(|(stream, used)| usable(stream, used)) {
            Some(stream) => stream,
            None => self.connect().map_err(NoResponse::NotSent)?,
        };
        // A server that refuses a large message answers before it has received all of it, and the rest cannot be sent.
        let sent = stream.write_all(request);
        let mut bytes = Vec::new();
        let received = receive(&mut stream, &mut bytes);
        let reason = match (sent, received) {
            (sent, Ok(Some((response, is_kept)))) => {
                self.idle = (is_kept && sent.is_ok()).then(|| (stream, Instant::now()));
                return Ok(response);
            }
            (Err(error), _) if error.kind() == ErrorKind::WouldBlock => {
                "the server does not read it".into()
            }
            (_, Err(error)) if error.kind() == ErrorKind::WouldBlock => {
                format!("nothing came for {}", self.timeout)
            }
            (Err(error), _) | (_, Err(error)) => {
                explain(&error).unwrap_or_else(|| error.to_string())
            }
            _ if bytes.is_empty() => "the server closed the connection".into(),
            _ => "this is no HTTP response".into(),
        };
        Err(NoResponse::Unknown(reason))
    }

    fn connect(&self) -> Result<Stream, String> {
        let stream = self.base.dial(&self.secure);
        let stream = stream.map_err(|error| error.to_string())?;
        // Under the policy `block` the response is delayed while the topic makes its publishers wait.
        stream
            .set_read_timeout(Some(self.timeout.0))
            .map_err(|error| error.to_string())?;
        Ok(stream)
    }
}

/// Returns a connection that was used at `used`, unless the server has ended it, or may end it now.
fn usable(stream: Stream, used: Instant) -> Option<Stream> {
    // The server sends nothing without a request.
    (used.elapsed() <= MAX_IDLE && stream.is_quiet()).then_some(stream)
}

/// Receives a response into `bytes`. Returns `None` if the stream ends before, or if it is no response.
fn receive(stream: &mut Stream, bytes: &mut Vec<u8>) -> io::Result<Option<(Response, bool)>> {
    let mut buffer = [0; 4096];
    while bytes.len() < MAX_RESPONSE {
        let count = match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        bytes.extend_from_slice(&buffer[..count]);
        match parse(bytes, count == 0) {
            Progress::Complete(response, is_kept) => return Ok(Some((response, is_kept))),
            Progress::Incomplete if count > 0 => {}
            _ => break,
        }
    }
    Ok(None)
}

/// Reads what has arrived. A response without a length ends with the stream.
fn parse(bytes: &[u8], is_end: bool) -> Progress {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Progress::Incomplete,
        Err(_) => return Progress::Invalid,
    };
    let header = |name: &str| {
        let mut headers = response.headers.iter();
        let found = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let Some(status) = response.code else {
        return Progress::Invalid;
    };
    let length: Option<usize> = header("content-length").and_then(|text| text.parse().ok());
    let body = &bytes[head..];
    let body = match length {
        Some(length) if body.len() >= length => &body[..length],
        _ if is_end => body,
        _ => return Progress::Incomplete,
    };
    let is_json = header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let is_closed = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let is_kept =
        !is_end && !is_closed && response.version == Some(1) && head + body.len() == bytes.len();
    let response = Response {
        status,
        is_json,
        body: body.into(),
    };
    Progress::Complete(response, is_kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the status, the body, and whether the connection is kept.
    fn read(bytes: &str, is_end: bool) -> Option<(u16, String, bool)> {
        match parse(bytes.as_bytes(), is_end) {
            Progress::Complete(response, is_kept) => {
                let body = String::from_utf8_lossy(&response.body).into_owned();
                Some((response.status, body, is_kept))
            }
            Progress::Incomplete | Progress::Invalid => None,
        }
    }

    #[test]
    fn response_is_complete_with_its_length_or_the_end() {
        let whole = "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end], false), None, "{end}");
        }
        assert_eq!(read(whole, false), Some((202, "{}".into(), true)));
        // Bytes after the response were not asked for.
        assert_eq!(
            read(&format!("{whole}x"), false),
            Some((202, "{}".into(), false))
        );
        assert_eq!(read(whole, true), Some((202, "{}".into(), false)));
        for (head, is_kept) in [
            ("HTTP/1.1 202 A\r\nConnection: Close\r\n", false),
            ("HTTP/1.0 202 A\r\n", false),
            ("HTTP/1.1 202 A\r\nConnection: keep-alive\r\n", true),
        ] {
            let text = format!("{head}Content-Length: 2\r\n\r\n{{}}");
            assert_eq!(
                read(&text, false),
                Some((202, "{}".into(), is_kept)),
                "{text}"
            );
        }
        let without = "HTTP/1.1 503 Busy\r\n\r\nbusy";
        assert_eq!(read(without, false), None);
        assert_eq!(read(without, true), Some((503, "busy".into(), false)));
        assert_eq!(read("SSH-2.0\r\n\r\n", true), None);
    }
}
