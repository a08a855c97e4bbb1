//! The flags of the commands that are clients: `client`, `pub`, `top`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::secrets::Secrets;
use crate::cli::units::{Size, Time};
use crate::cli::url::{Base, Url};
use crate::cli::values::{count, kernel_size};

/// The flags of `client`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClientArgs {
    /// The WebSocket, such as ws://127.0.0.1:9000/ws/lobby
    pub(crate) url: Url,

    /// Sends the lines of a file, or of standard input: -, and says goodbye, unless it waits for --count messages
    /// [default: what is typed; nothing with --count, --clients or a slow reader]
    #[arg(long, value_name = "FILE|-")]
    pub(crate) send: Option<PathBuf>,

    /// Leaves after so many messages
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) count: Option<usize>,

    /// So many at once
    #[arg(long, value_name = "N", value_parser = clients, default_value_t = 1)]
    pub(crate) clients: usize,

    /// A slow consumer: reads no more than so many bytes a second; 0 reads nothing
    #[arg(long, value_name = "BYTES_PER_S")]
    pub(crate) read_rate: Option<u64>,

    /// Reads so many messages and then nothing
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) pause_after: Option<usize>,

    /// The kernel's buffer for what is not read, SO_RCVBUF [default: the kernel's own]
    #[arg(long, value_name = "BYTES", value_parser = kernel_size)]
    pub(crate) rcvbuf: Option<Size>,

    /// Offers this subprotocol [default: standpipe.v1 at /ws, else none]
    #[arg(long, value_name = "NAME")]
    pub(crate) subprotocol: Option<String>,

    /// A file with a token, where the server asks for one
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The flags of `pub`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PublishArgs {
    /// The topic
    pub(crate) topic: String,

    /// The message; - or nothing publishes standard input, a message a line
    pub(crate) data: Option<String>,

    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9000")]
    pub(crate) url: Base,

    /// What a conflating topic replaces it by
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,

    /// It is JSON, and not a text
    #[arg(long)]
    pub(crate) json: bool,

    /// A file with a key, where the server asks for one
    #[arg(long, value_name = "FILE")]
    publish_key_file: Option<PathBuf>,

    /// How long an answer may take
    #[arg(long, value_name = "TIME", default_value = "90s")]
    pub(crate) timeout: Time,
}

/// The flags of `top`.
#[derive(Args, Clone, Debug)]
pub(crate) struct TopArgs {
    /// The server, such as http://127.0.0.1:9000
    #[arg(default_value = "http://127.0.0.1:9000")]
    pub(crate) url: Base,

    /// Prints one table, and ends
    #[arg(long)]
    pub(crate) once: bool,

    /// A file with a key, where the server asks for one
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// The first secret of a file. In a file, for the arguments of a process are everybody's to read.
fn secret(path: Option<&Path>) -> Result<Option<String>, String> {
    let secrets = path.map(Secrets::read).transpose()?;
    Ok(secrets.and_then(|secrets| secrets.first().map(str::to_owned)))
}

impl ClientArgs {
    pub(crate) fn token(&self) -> Result<Option<String>, String> {
        secret(self.token_file.as_deref())
    }
}

impl PublishArgs {
    pub(crate) fn publish_key(&self) -> Result<Option<String>, String> {
        secret(self.publish_key_file.as_deref())
    }
}

impl TopArgs {
    pub(crate) fn key(&self) -> Result<Option<String>, String> {
        secret(self.key_file.as_deref())
    }
}

/// Each is two threads of this machine's.
fn clients(text: &str) -> Result<usize, String> {
    const MOST: usize = 10_000;
    match count(text)? {
        clients if clients > MOST => Err(format!("must be at most {MOST}: each has two threads")),
        clients => Ok(clients),
    }
}
