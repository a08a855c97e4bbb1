//! [`HubProcess`]: the program `standpipe` as a process, which ends with its test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{DEADLINE, until};

#[derive(Debug)]
pub(crate) struct HubProcess {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
    log_reader: Option<JoinHandle<()>>,
}

/// The status and the body of an HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl HubProcess {
    /// Starts a hub on a free port, and waits until it listens.
    #[track_caller]
    pub(crate) fn start(redis: &str, flags: &[&str]) -> HubProcess {
        // A shell ignores SIGINT in what it starts in the background, and a child inherits that.
        let mut command = Command::new("/usr/bin/env");
        command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_standpipe")]);
        command.args(["--listen", "127.0.0.1:0", "--admin-open"]);
        command.args(["--queue-bytes", "64MiB", "--redis", redis]);
        command.args(flags).env_clear().stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be started");
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        let log = Arc::new(Mutex::new(String::new()));
        let lines = Arc::clone(&log);
        let log_reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = lines.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        // Made before the first wait, because its end kills the process.
        let mut hub = HubProcess {
            child,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            log,
            log_reader: Some(log_reader),
        };
        // The binary prints a few lines after this one. They fit into the pipe.
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        let _ = stdout.read_line(&mut line);
        let address = line
            .strip_prefix("standpipe listening on http://")
            .and_then(|rest| rest.trim_end().strip_suffix("/"))
            .and_then(|address| address.parse().ok());
        let Some(address) = address else {
            panic!(
                "the hub printed {line:?} instead of its address; its log:\n{}",
                hub.log()
            );
        };
        hub.address = address;
        std::thread::spawn(move || {
            // So that the binary never waits for a full pipe. Ends with the process.
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        });
        hub
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request(&format!("GET {path}"), "")
    }

    /// Sends a request, and returns the answer. Status 0 if the connection broke or there was no answer.
    pub(crate) fn request(&self, method_and_path: &str, body: &str) -> Answer {
        self.request_with(method_and_path, "", body)
    }

    /// Like [`request`](Self::request), with more headers, each of which ends with CRLF.
    pub(crate) fn request_with(&self, method_and_path: &str, headers: &str, body: &str) -> Answer {
        let exchange = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.address, DEADLINE)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            let head = format!(
                "{method_and_path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: text/plain\r\n\
                 Content-Length: {}\r\n{headers}\r\n{body}",
                self.address,
                body.len()
            );
            stream.write_all(head.as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        let text = exchange().unwrap_or_default();
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        Answer {
            status: status.unwrap_or(0),
            body: body.unwrap_or_default(),
        }
    }

    /// Returns the sum of a figure over its labels, or `None` if /metrics does not have it.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        let body = self.get("/metrics").body;
        let lines = body.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        let values: Vec<f64> = lines
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    pub(crate) fn is_up(&self) -> bool {
        self.figure("standpipe_redis_up") == Some(1.0)
    }

    #[track_caller]
    pub(crate) fn wait_until_up(&self) {
        until("the hub is connected to redis", DEADLINE, || self.is_up());
    }

    /// Ends the process without a chance to do anything (SIGKILL).
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.log_reader.take() {
            let _ = reader.join();
        }
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("the process is a child of the test");
    }

    /// Waits until the process has ended by itself. Returns its status and the time since the call.
    #[track_caller]
    pub(crate) fn wait_for_end(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let mut status = None;
        until("the hub has ended", limit, || {
            status = self
                .child
                .try_wait()
                .expect("the process is a child of the test");
            status.is_some()
        });
        (
            status.expect("the loop ends with a status"),
            began.elapsed(),
        )
    }

    /// Returns whether the process is running.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
