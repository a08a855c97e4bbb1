//! `standpipe pub TOPIC [DATA|-]`: publishes over HTTP, a request a message, for each has an answer of its own.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use super::Failure;
use super::args::PublishArgs;
use super::client::lines;
use super::terminal::shown;

/// An answer is a line of JSON or of text; more is not for us.
const ANSWER: u64 = 64 << 10;

/// Publishes, and prints the server's answer to each message.
///
/// # Errors
/// With the first that is not taken.
pub(crate) fn run(args: &PublishArgs) -> Result<(), Failure> {
    let key = args.publish_key()?;
    match args.data.as_deref() {
        None | Some("-") => lines(io::stdin(), |line| publish(args, key.as_deref(), &line)),
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
    // Under `block` the answer takes as long as the topic makes its publishers wait.
    tcp.set_read_timeout(Some(args.timeout.0))?;
    tcp.write_all(&[head.as_bytes(), data.as_bytes()].concat())?;
    let mut answer = Vec::new();
    tcp.take(ANSWER).read_to_end(&mut answer)?;
    let (status, body) = parse(&answer).ok_or("this is no answer of HTTP")?;
    let body = shown(body.trim_end());
    if status != 202 {
        return Err(format!("not published: {status} {body}").into());
    }
    writeln!(io::stdout(), "{body}")?;
    Ok(())
}

/// Its status and its body.
fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(answer) {
        Ok(httparse::Status::Complete(head)) => {
            let body = String::from_utf8_lossy(&answer[head..]).into_owned();
            Some((response.code?, body))
        }
        _ => None,
    }
}

/// As a segment of a path, or a value in a query.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // A string takes everything.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
