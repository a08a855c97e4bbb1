//! The flags of the commands that connect to a server: `client`, `pub`, `top`, `bench`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::SecureArgs;
use crate::cli::secrets::Secrets;
use crate::cli::units::{Size, Time};
use crate::cli::url::{Base, Url};
use crate::cli::values::{bench_size, count, kernel_size, queue};
use crate::cli::{made_key, names};

/// The end of the help of `client`.
const CLIENT_HELP: &str = "\
Input: a line ends at LF, and a CR before it belongs to the message. The last line needs no LF. A line that is not UTF-8 is \
reported and not sent, except with --binary.

Output: a terminal shows control characters escaped, and the size of a binary message. A pipe or a file gets every byte \
as it was received, with LF after each text.

Exit codes: 0 clean end, or the reader of the output has ended. 1 runtime error, a line was not sent, or the server closed \
with a code other than 1000 and 1001. 2 wrong flag or value.";

/// The end of the help of `pub`.
const PUBLISH_HELP: &str = "\
Input: a line ends at LF, and a CR before it belongs to the message. The last line needs no LF. A line that cannot be \
published (it is not UTF-8, not JSON under --json, or too large for the server) is reported, and the lines after it are \
published. Every other error ends the command, and names the line.

Output: the server's answer to each message, as a line of JSON.

Exit codes: 0 everything is published, 1 something is not, 2 wrong flag or value.";

/// The flags of `client`.
#[derive(Args, Clone, Debug)]
#[command(after_help = CLIENT_HELP)]
pub(crate) struct ClientArgs {
    /// The WebSocket URL, such as ws://127.0.0.1:9000/ws/lobby or wss://example.com/ws/lobby, or unix:/run/hub.sock:/ws/lobby
    pub(crate) url: Url,

    /// Sends the lines of a file (-: of standard input), and then closes the connection. With --count, the connection
    /// stays open until that many messages have arrived [default: -; nothing with --count, --clients or a slow reader]
    #[arg(long, value_name = "FILE|-")]
    pub(crate) send: Option<PathBuf>,

    /// Keeps the connection open when the input ends, until the server closes it or --count is reached
    #[arg(long)]
    pub(crate) stay: bool,

    /// Sends each line as a binary message, so that it may contain any byte, instead of as a text
    #[arg(long)]
    pub(crate) binary: bool,

    /// Closes the connection after this many messages
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) count: Option<usize>,

    /// How many clients to run at the same time
    #[arg(long, value_name = "N", value_parser = clients, default_value_t = 1)]
    pub(crate) clients: usize,

    /// Acts as a slow consumer that reads this many bytes per second; 0 reads nothing
    #[arg(long, value_name = "BYTES_PER_S")]
    pub(crate) read_rate: Option<u64>,

    /// Reads this many messages and then nothing more
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) pause_after: Option<usize>,

    /// Size of the socket's receive buffer in the kernel, SO_RCVBUF [default: the kernel's default]
    #[arg(long, value_name = "BYTES", value_parser = kernel_size)]
    pub(crate) rcvbuf: Option<Size>,

    /// Offers this subprotocol [default: standpipe.v1 at /ws, otherwise none]
    #[arg(long, value_name = "NAME")]
    pub(crate) subprotocol: Option<String>,

    /// A file with a token, for a server that requires one
    #[arg(long, env = "STANDPIPE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) secure: SecureArgs,
}

/// The flags of `pub`.
#[derive(Args, Clone, Debug)]
#[command(after_help = PUBLISH_HELP)]
pub(crate) struct PublishArgs {
    /// The topic
    #[arg(value_parser = topic)]
    pub(crate) topic: String,

    /// The message. Without it, or with -, each line of standard input is published as a message
    pub(crate) data: Option<String>,

    /// The server, such as https://example.com or unix:/run/hub.sock
    #[arg(
        long,
        env = "STANDPIPE_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:9000"
    )]
    pub(crate) url: Base,

    /// The key; in a conflating topic the message replaces a pending one with the same key
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub(crate) key: Option<String>,

    /// Publishes the message as JSON, not as text. Blank lines are skipped
    #[arg(long)]
    pub(crate) json: bool,

    /// Publishes the message as bytes, not as text, so that a line may contain any byte
    #[arg(long, conflicts_with = "json")]
    pub(crate) binary: bool,

    /// A file with a key [default: the key of a server on this machine that has no key file]
    #[arg(
        long = "key-file",
        visible_alias = "publish-key-file",
        env = "STANDPIPE_KEY_FILE",
        value_name = "FILE"
    )]
    publish_key_file: Option<PathBuf>,

    /// How long an answer may take
    #[arg(long, value_name = "TIME", default_value = "90s")]
    pub(crate) timeout: Time,

    #[command(flatten)]
    pub(crate) secure: SecureArgs,
}

/// The flags of `top`.
#[derive(Args, Clone, Debug)]
pub(crate) struct TopArgs {
    /// The server, such as http://127.0.0.1:9000, https://example.com or unix:/run/hub.sock
    #[arg(env = "STANDPIPE_URL", default_value = "http://127.0.0.1:9000")]
    pub(crate) url: Base,

    /// Prints one table and exits
    #[arg(long)]
    pub(crate) once: bool,

    /// A file with a key [default: the key of a server on this machine that has no key file]
    #[arg(long, env = "STANDPIPE_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) secure: SecureArgs,
}

/// The flags of `bench`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// The WebSocket URL, such as ws://127.0.0.1:9000/echo, or /ws/TOPIC for a fan-out
    pub(crate) url: Url,

    /// What the clients do
    #[arg(long, value_enum, default_value_t = Kind::Echo)]
    pub(crate) kind: Kind,

    /// How many clients run at the same time, each on a thread of its own
    #[arg(long, value_name = "N", value_parser = count, default_value_t = 10)]
    pub(crate) clients: usize,

    /// Size of a message
    #[arg(long, value_name = "B", value_parser = bench_size, default_value = "64")]
    pub(crate) size: Size,

    /// Messages in flight: per client in an echo, in total in a fan-out
    #[arg(long, value_name = "N", value_parser = queue, default_value_t = 1)]
    pub(crate) window: usize,

    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub(crate) time: Time,

    #[command(flatten)]
    pub(crate) secure: SecureArgs,
}

/// What the clients of a benchmark do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Each client sends messages and waits for them to come back
    Echo,
    /// One client sends, and all clients receive, including the sender
    Fanout,
    /// The clients stay connected and do nothing
    Idle,
}

/// Returns the first secret of a file. Secrets are read from files because every user of a machine can see the arguments
/// of its processes.
fn secret(path: Option<&Path>) -> Result<Option<String>, String> {
    let secrets = path.map(Secrets::read).transpose()?;
    Ok(secrets.and_then(|secrets| secrets.first().map(str::to_owned)))
}

impl ClientArgs {
    /// Rejects flags that cannot go together.
    pub(super) fn check(&self) -> Result<(), String> {
        let reads_input = self
            .send
            .as_ref()
            .is_some_and(|name| name.as_os_str() == "-");
        if self.clients > 1 && reads_input {
            return Err("standard input has only one reader, so --send - needs --clients 1".into());
        }
        Ok(())
    }

    pub(crate) fn token(&self) -> Result<Option<String>, String> {
        secret(self.token_file.as_deref())
    }
}

impl PublishArgs {
    pub(crate) fn publish_key(&self) -> Result<Option<String>, String> {
        let key = secret(self.publish_key_file.as_deref())?;
        Ok(key.or_else(|| made_key::find(&self.url.key_name()?)))
    }
}

impl TopArgs {
    pub(crate) fn key(&self) -> Result<Option<String>, String> {
        let key = secret(self.key_file.as_deref())?;
        Ok(key.or_else(|| made_key::find(&self.url.key_name()?)))
    }
}

/// Parses a topic that will stand in the path of a request.
fn topic(text: &str) -> Result<String, String> {
    names::check("a topic", text)?;
    if text.split('/').any(|part| matches!(part, "." | "..")) {
        return Err("no part of a topic between slashes may be . or ..".into());
    }
    Ok(text.to_owned())
}

/// Parses the key of a message.
fn key(text: &str) -> Result<String, String> {
    names::check("a key", text).map(|()| text.to_owned())
}

/// Parses `--clients`. The number is limited because each client needs two threads of this machine.
fn clients(text: &str) -> Result<usize, String> {
    const MAX: usize = 10_000;
    match count(text)? {
        clients if clients > MAX => Err(format!(
            "must be at most {MAX}, because each client has two threads"
        )),
        clients => Ok(clients),
    }
}
