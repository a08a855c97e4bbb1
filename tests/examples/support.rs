//! Runs an example program as a child process: its output, its address, clients for it, and its end.
// Some tests use only a part of these helpers.
#![allow(dead_code)]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use socket2::{Domain, Socket, Type};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

/// Much longer than any step takes, even on a busy machine. A test that reaches it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A client of an example. Its reads and writes fail after [`DEADLINE`].
pub(crate) type Client = WebSocket<TcpStream>;

/// A running example. Dropping it kills the process.
pub(crate) struct Example {
    name: &'static str,
    child: Child,
    printed: Receiver<String>,
    /// The lines of its output that the test has read so far.
    pub(crate) output: Vec<String>,
}

/// Returns the path of an example, in the directory beside the one of this test program.
fn path_of(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let target = test.ancestors().nth(2).unwrap();
    target.join("examples").join(name)
}

impl Example {
    /// Starts an example with these arguments. Its standard input stays open until the example is dropped.
    #[track_caller]
    pub(crate) fn start(name: &'static str, arguments: &[&str]) -> Example {
        let path = path_of(name);
        let started = Command::new(&path)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = started.unwrap_or_else(|error| {
            panic!(
                "{}: {error}; build it with `cargo build --examples`",
                path.display()
            )
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (lines, printed) = unbounded();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        Example {
            name,
            child,
            printed,
            output: Vec::new(),
        }
    }

    /// Waits for a line that contains `what`, and returns it.
    #[track_caller]
    pub(crate) fn line(&mut self, what: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.printed.recv_deadline(deadline) {
                Ok(line) => self.output.push(line),
                Err(error) => panic!(
                    "{}: waited for a line with {what:?} ({error}); output so far:\n{}",
                    self.name,
                    self.output.join("\n")
                ),
            }
            match self.output.last() {
                Some(line) if line.contains(what) => return line.clone(),
                _ => {}
            }
        }
    }

    /// Waits for the line with `://ADDRESS/`, and returns the address.
    #[track_caller]
    pub(crate) fn address(&mut self) -> SocketAddr {
        let line = self.line("://");
        let (_, rest) = line.split_once("://").unwrap();
        let address = rest.split('/').next().unwrap();
        address
            .parse()
            .unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// Returns the names of its threads, sorted.
    #[track_caller]
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let mut names: Vec<String> = tasks
            // A thread may end between the listing of the directory and the reading of its name.
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .map(|name| name.trim_end().to_owned())
            .collect();
        names.sort();
        names
    }

    /// Writes a line to its standard input.
    #[track_caller]
    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin: &mut ChildStdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }

    /// Sends SIGINT, as Ctrl-C does.
    #[track_caller]
    pub(crate) fn interrupt(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", "INT", &pid]).status();
        assert!(sent.unwrap().success(), "SIGINT could not be sent");
    }

    /// Waits until the process has ended with exit code 0, and returns its whole output.
    #[track_caller]
    pub(crate) fn end(mut self) -> Vec<String> {
        let deadline = Instant::now() + DEADLINE;
        // The output ends when the process ends, so no poll is needed.
        loop {
            match self.printed.recv_deadline(deadline) {
                Ok(line) => self.output.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("waited for {} to end", self.name),
            }
        }
        let code = self.child.wait().unwrap().code();
        let output = std::mem::take(&mut self.output);
        assert_eq!(
            code,
            Some(0),
            "{} printed\n{}",
            self.name,
            output.join("\n")
        );
        output
    }

    /// Sends SIGINT, waits until the process has ended, and returns its last line: the report `drained n, lost m`.
    #[track_caller]
    pub(crate) fn report(self) -> String {
        self.interrupt();
        let output = self.end();
        let last = output.last().cloned().unwrap_or_default();
        assert!(
            last.starts_with("drained ") && last.contains(", lost "),
            "the last line is not a report:\n{}",
            output.join("\n")
        );
        last
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens a WebSocket.
#[track_caller]
pub(crate) fn connect(address: SocketAddr, path: &str) -> Client {
    let stream = TcpStream::connect(address).expect("the example listens");
    upgrade(stream, address, path)
}

/// Opens a WebSocket with a small receive buffer, so that the kernel holds little for a client that does not read.
#[track_caller]
pub(crate) fn connect_small(address: SocketAddr, path: &str) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let small = socket.set_recv_buffer_size(4 << 10);
    small.expect("the receive buffer can be set before connecting");
    socket
        .connect(&address.into())
        .expect("the example listens");
    upgrade(TcpStream::from(socket), address, path)
}

fn upgrade(stream: TcpStream, address: SocketAddr, path: &str) -> Client {
    try_upgrade(stream, address, path, &[]).expect("waited for the 101 of an example")
}

/// Opens a WebSocket with these headers, or returns the status that the server answers instead of 101.
#[track_caller]
pub(crate) fn try_connect(
    address: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<Client, u16> {
    let stream = TcpStream::connect(address).expect("the example listens");
    try_upgrade(stream, address, path, headers)
}

fn try_upgrade(
    stream: TcpStream,
    address: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<Client, u16> {
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&stream, Some(DEADLINE)).expect("the deadline is not zero");
    }
    let mut request = format!("ws://{address}{path}")
        .into_client_request()
        .expect("a valid URL");
    for (name, value) in headers {
        let value = value.parse().expect("a valid header");
        request.headers_mut().insert(*name, value);
    }
    match tungstenite::client(request, stream) {
        Ok((client, _)) => Ok(client),
        Err(HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
        Err(error) => panic!("waited for an answer of an example: {error}"),
    }
}

/// Sends a request as `curl` does, and returns the whole answer. `headers` are whole lines.
#[track_caller]
pub(crate) fn http(address: SocketAddr, line: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the example listens");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("the deadline is not zero");
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream
        .write_all(request.as_bytes())
        .expect("the example reads its requests");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("waited for the whole answer");
    answer
}

/// Waits until `holds` returns true, for a state of another process.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited until {what}");
        // This cannot be an event: files in /proc and the state of another process notify no thread.
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the next text message. Skips control frames, which tungstenite answers.
#[track_caller]
pub(crate) fn text(client: &mut Client) -> String {
    loop {
        match client.read().expect("waited for a text message") {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("waited for a text message, got {other:?}"),
        }
    }
}

/// Reads until a Close arrives, and returns its code. Messages that were queued before it are skipped.
#[track_caller]
pub(crate) fn close_code(client: &mut Client) -> u16 {
    loop {
        if let Message::Close(frame) = client.read().expect("waited for a Close") {
            // The next read sends the answer. It returns an error when the server has closed the connection.
            while client.read().is_ok() {}
            return frame.map_or(1005, |frame| frame.code.into());
        }
    }
}
