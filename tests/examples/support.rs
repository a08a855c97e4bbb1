//! An example program as a child: its lines, its address, clients for it, and its end.
// Not every tool has a user in every state of the suite.
#![allow(dead_code)]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use socket2::{Domain, Socket, Type};
use tungstenite::{Message, WebSocket};

/// Far beyond what anything here takes, on a machine that does much else: meeting it means hanging.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A client of an example. Its reads end at [`DEADLINE`].
pub(crate) type Client = WebSocket<TcpStream>;

/// An example that runs. Dropped, it is killed.
pub(crate) struct Example {
    name: &'static str,
    child: Child,
    printed: Receiver<String>,
    /// What it has printed up to where the test has read.
    pub(crate) said: Vec<String>,
}

/// Where `cargo test` puts an example: beside the directory of this test.
fn path_of(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let target = test.ancestors().nth(2).unwrap();
    target.join("examples").join(name)
}

impl Example {
    /// Starts an example with these arguments. Its standard input stays open.
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
                "{}: {error}; `cargo build --examples` makes it",
                path.display()
            )
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (print, printed) = unbounded();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = print.send(line);
            }
        });
        Example {
            name,
            child,
            printed,
            said: Vec::new(),
        }
    }

    /// Waits for a line that contains `what`, and gives it.
    #[track_caller]
    pub(crate) fn line(&mut self, what: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.printed.recv_deadline(deadline) {
                Ok(line) => self.said.push(line),
                Err(error) => panic!(
                    "{}: waited for a line with {what:?} ({error}); it said\n{}",
                    self.name,
                    self.said.join("\n")
                ),
            }
            match self.said.last() {
                Some(line) if line.contains(what) => return line.clone(),
                _ => {}
            }
        }
    }

    /// Waits for the line with `://ADDRESS/`, and gives the address.
    #[track_caller]
    pub(crate) fn address(&mut self) -> SocketAddr {
        let line = self.line("://");
        let (_, rest) = line.split_once("://").unwrap();
        let address = rest.split('/').next().unwrap();
        address
            .parse()
            .unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// Types a line into it.
    #[track_caller]
    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin: &mut ChildStdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }

    /// Presses Ctrl-C.
    #[track_caller]
    pub(crate) fn interrupt(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", "INT", &pid]).status();
        assert!(sent.unwrap().success(), "SIGINT could not be sent");
    }

    /// Waits for its end, which must be exit code 0, and gives all that it said.
    #[track_caller]
    pub(crate) fn end(mut self) -> Vec<String> {
        let deadline = Instant::now() + DEADLINE;
        // Its output ends with it, and that is an event.
        loop {
            match self.printed.recv_deadline(deadline) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("waited for {} to end", self.name),
            }
        }
        let code = self.child.wait().unwrap().code();
        let said = std::mem::take(&mut self.said);
        assert_eq!(code, Some(0), "{} said\n{}", self.name, said.join("\n"));
        said
    }

    /// Presses Ctrl-C, waits for its end, and gives its last line, which must be the report: `drained n, lost m`.
    #[track_caller]
    pub(crate) fn report(self) -> String {
        self.interrupt();
        let said = self.end();
        let last = said.last().cloned().unwrap_or_default();
        assert!(
            last.starts_with("drained ") && last.contains(", lost "),
            "its last line is no report:\n{}",
            said.join("\n")
        );
        last
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens a WebSocket.
#[track_caller]
pub(crate) fn connect(address: SocketAddr, path: &str) -> Client {
    let stream = TcpStream::connect(address).expect("somebody listens");
    upgrade(stream, address, path)
}

/// Opens a WebSocket whose window is so small that the kernel hides little of it when the test does not read.
#[track_caller]
pub(crate) fn connect_small(address: SocketAddr, path: &str) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let small = socket.set_recv_buffer_size(4 << 10);
    small.expect("before it connects its window is ours to choose");
    socket.connect(&address.into()).expect("somebody listens");
    upgrade(TcpStream::from(socket), address, path)
}

fn upgrade(stream: TcpStream, address: SocketAddr, path: &str) -> Client {
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&stream, Some(DEADLINE)).expect("a deadline that is not zero");
    }
    let (client, _) = tungstenite::client(format!("ws://{address}{path}"), stream)
        .expect("waited for the 101 of an example");
    client
}

/// The next text message; control frames are answered and passed over.
#[track_caller]
pub(crate) fn text(client: &mut Client) -> String {
    loop {
        match client.read().expect("waited for a text message") {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("waited for a text message, and {other:?} came"),
        }
    }
}

/// Reads on until a Close comes, and gives its code: whatever was queued comes before it.
#[track_caller]
pub(crate) fn close_code(client: &mut Client) -> u16 {
    loop {
        if let Message::Close(frame) = client.read().expect("waited for a Close") {
            // The answer goes out with the next read, which ends where the server closes.
            while client.read().is_ok() {}
            return frame.map_or(1005, |frame| frame.code.into());
        }
    }
}
