//! `standpipe pub TOPIC [DATA|-]`: publishes over HTTP, with one request for each message.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use super::Failure;
use super::args::PublishArgs;
use super::client::for_each_line;
use super::terminal::printable;

/// The maximum number of bytes read of a response. The server's responses are one line of JSON or text.
const MAX_RESPONSE: u64 = 64 << 10;

/// Publishes, and prints the server's response to each message.
///
/// # Errors
/// When a message is not published. Later messages are then not sent.
pub(crate) fn run(args: &PublishArgs) -> Result<(), Failure> {
    let key = args.publish_key()?;
    match args.data.as_deref() {
        None | Some("-") => for_each_line(io::stdin(), |line| publish(args, key.as_deref(), &line)),
        Some(data) => publish(args, key.as_deref(), data),
    }
}

fn publish(args: &PublishArgs, secret: Option<&str>, data: &str) -> Result<(), Failure> {
    let path = format!("/publish/{}", escaped(&args.topic));
    let query = args
        .key
        .as_deref()
        .map_or(String::new(), |key| format!("?key={}", escaped(key)));
    let kind = if args.json {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    };
    let secret = secret.map_or(String::new(), |secret| {
        format!("Authorization: Bearer {secret}\r\n")
    });
    let head = format!(
        "POST {path}{query} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{secret}Connection: close\r\n\r\n",
        args.url.authority,
        data.len()
    );
    let mut tcp = args.url.dial()?;
    // Under the policy `block` the response is delayed while the topic makes its publishers wait.
    tcp.set_read_timeout(Some(args.timeout.0))?;
    tcp.write_all(&[head.as_bytes(), data.as_bytes()].concat())?;
    let mut response = Vec::new();
    tcp.take(MAX_RESPONSE).read_to_end(&mut response)?;
    let (status, body) = parse(&response).ok_or("the server sent no valid HTTP response")?;
    let body = printable(body.trim_end());
    if status != 202 {
        return Err(format!("not published: {status} {body}").into());
    }
    writeln!(io::stdout(), "{body}")?;
    Ok(())
}

/// Returns the status and the body of a response.
fn parse(bytes: &[u8]) -> Option<(u16, String)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => {
            let body = String::from_utf8_lossy(&bytes[head..]).into_owned();
            Some((response.code?, body))
        }
        _ => None,
    }
}

/// Returns the text percent-encoded, as a path segment or a query value.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
