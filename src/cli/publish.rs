//! `standpipe pub TOPIC [DATA|-]`: publishes over HTTP, with one request for each message, on a connection that is kept.

use std::io::{self, Write};

use super::Failure;
use super::args::PublishArgs;
use super::client::{Line, Lines};
use super::kept_connection::{KeptConnection, NoResponse};
use super::percent::escaped;
use super::refusal::first_line;
use super::stdout;
use super::terminal::printable;

/// How some of the server's texts begin, and this command's error too.
const NOT_PUBLISHED: &str = "not published: ";

/// How the answer of a port with TLS to a request without TLS begins.
const SPEAKS_HTTPS: &str = "This port speaks HTTPS";

/// Publishes, and prints the server's response to each message.
///
/// # Errors
/// When a message was not published. A line that only the server's limits or its own bytes exclude does not stop the
/// lines after it. Every other error does.
pub(crate) fn run(args: &PublishArgs) -> Result<(), Failure> {
    let secure = args.secure.secure(args.url.has_tls())?;
    let mut publisher = Publisher {
        args,
        key: args.publish_key()?,
        connection: KeptConnection::new(&args.url, secure, args.timeout),
    };
    match args.data.as_deref() {
        None | Some("-") => publisher.publish_lines(),
        Some(data) => match publisher.publish(data.as_bytes())? {
            Answer::Published(answer) => answer.print(""),
            Answer::Refused(reason) => Err(format!("not published: {reason}").into()),
        },
    }
}

/// The outcome for one message.
enum Answer {
    Published(Published),
    /// The server does not publish this message because of its content. It may publish others.
    Refused(String),
}

/// The server's answer to a message that it has published.
struct Published {
    body: String,
    /// The time limit of the policy `block` expired, and members were disconnected.
    timed_out: bool,
}

impl Published {
    /// Prints the answer. `prefix` names the line in the warning.
    fn print(&self, prefix: &str) -> Result<(), Failure> {
        if self.timed_out {
            writeln!(
                io::stderr(),
                "{prefix}published, but members were too slow and were disconnected"
            )?;
        }
        stdout::write(format!("{}\n", self.body).as_bytes())
    }
}

struct Publisher<'a> {
    args: &'a PublishArgs,
    key: Option<String>,
    connection: KeptConnection<'a>,
}

impl Publisher<'_> {
    fn publish_lines(&mut self) -> Result<(), Failure> {
        let (mut failed, mut number) = (0_usize, 0_usize);
        for line in Lines::new(io::stdin()) {
            let line = line.map_err(|error| format!("cannot read standard input: {error}"))?;
            number = line.number;
            if let Err(error) = self.publish_line(line, &mut failed) {
                if error.is::<stdout::Closed>() {
                    return Err(format!(
                        "standard output was closed; the lines after line {number} are not published"
                    )
                    .into());
                }
                return Err(format!(
                    "line {number}: {error}; the lines after it are not published"
                )
                .into());
            }
        }
        match failed {
            0 => Ok(()),
            _ => Err(format!("not published: {failed} of {number} lines").into()),
        }
    }

    /// Publishes a line. If only this line cannot be published, reports it and counts it in `failed`.
    fn publish_line(&mut self, line: Line, failed: &mut usize) -> Result<(), Failure> {
        let number = line.number;
        let bytes = match line.bytes {
            Ok(bytes) if self.args.binary => Ok(bytes),
            Ok(bytes) => Line::text(bytes).map(String::into_bytes).map_err(|error| {
                let hint = if self.args.json {
                    ""
                } else {
                    " (--binary publishes bytes)"
                };
                format!("{error}{hint}")
            }),
            Err(error) => Err(error),
        };
        let reason = match bytes {
            // A file of JSON lines often ends with a blank line, and a blank line has no value to publish.
            Ok(bytes) if self.args.json && bytes.trim_ascii().is_empty() => {
                writeln!(io::stderr(), "line {number} is blank: skipped")?;
                return Ok(());
            }
            Ok(bytes) => match self.publish(&bytes)? {
                Answer::Published(answer) => return answer.print(&format!("line {number}: ")),
                Answer::Refused(reason) => {
                    format!(
                        "line {number} ({} bytes): not published: {reason}",
                        bytes.len()
                    )
                }
            },
            Err(error) => format!("line {number} {error}: not published"),
        };
        *failed += 1;
        writeln!(io::stderr(), "{reason}")?;
        Ok(())
    }

    /// Publishes one message.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses every message.
    fn publish(&mut self, data: &[u8]) -> Result<Answer, Failure> {
        let request = [self.head(data.len()).as_bytes(), data].concat();
        let response = self.connection.exchange(&request);
        let response = response.map_err(|error| match error {
            NoResponse::NotSent(error) => format!("not published: {error}"),
            NoResponse::Unknown(reason) => {
                format!("no answer, so the message may be published or not: {reason}")
            }
        })?;
        let body = printable(String::from_utf8_lossy(&response.body).trim_end()).into_owned();
        match response.status {
            202 => Ok(Answer::Published(Published {
                body,
                timed_out: false,
            })),
            503 if response.is_json => Ok(Answer::Published(Published {
                body,
                timed_out: true,
            })),
            status => {
                let line = first_line(&response.body);
                let line = line.strip_prefix(NOT_PUBLISHED).unwrap_or(&line);
                let reason = format!("{status} {line}");
                match status {
                    // No message will be published there.
                    400 if line.starts_with(SPEAKS_HTTPS) => {
                        Err(format!("not published: {reason} (--url begins with http://)").into())
                    }
                    400 | 413 => Ok(Answer::Refused(reason)),
                    504 => Err("the message may be published or not (504)".into()),
                    401 => Err(format!("not published: {reason} (use --key-file)").into()),
                    _ => Err(format!("not published: {reason}").into()),
                }
            }
        }
    }

    fn head(&self, length: usize) -> String {
        let args = self.args;
        let path = args.url.path(&format!("/publish/{}", escaped(&args.topic)));
        let query = args
            .key
            .as_deref()
            .map_or(String::new(), |key| format!("?key={}", escaped(key)));
        let kind = if args.json {
            "application/json"
        } else if args.binary {
            "application/octet-stream"
        } else {
            "text/plain; charset=utf-8"
        };
        let key = self.key.as_deref().map_or(String::new(), |key| {
            format!("Authorization: Bearer {key}\r\n")
        });
        let host = &args.url.authority;
        // One message needs no connection after it.
        let close = match args.data.as_deref() {
            None | Some("-") => "",
            Some(_) => "Connection: close\r\n",
        };
        format!(
            "POST {path}{query} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
             {key}{close}\r\n"
        )
    }
}
