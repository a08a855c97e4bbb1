//! [`Spawned`]: the binary in a process of its own, whose memory, descriptors, CPU time and log a test can inspect.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::bounded;

use crate::binary::open_admin;
use crate::support::{
    Answer, Connect, DEADLINE, Plain, Process, TestClient, announced, command_with_signals, get,
    secure_command, until,
};

/// What the process has written to one stream so far.
type Output = Arc<Mutex<Vec<u8>>>;

/// A running `standpipe` process. Dropping the value kills it.
pub(crate) struct Spawned {
    child: Child,
    address: SocketAddr,
    _plain: Plain,
    out: Output,
    log: Output,
    /// Standard error, kept open and unread.
    unread: Option<ChildStderr>,
}

/// Returns the command, which listens on a free port. Its environment is empty, so that no variable changes a test.
pub(crate) fn standpipe(flags: &[&str]) -> Command {
    with_limits("true", flags)
}

/// Like [`standpipe`], but started from a shell that has run the command `limits`.
pub(crate) fn with_limits(limits: &str, flags: &[&str]) -> Command {
    let mut command = command_with_signals("/bin/sh");
    command
        .args(["-c", &format!("{limits} && exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_standpipe"));
    if !flags.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
        command.args(open_admin(flags));
    }
    command.args(flags).env_clear();
    secure_command(&mut command);
    command
}

impl Spawned {
    #[track_caller]
    pub(crate) fn start(flags: &[&str]) -> Spawned {
        Spawned::of(standpipe(flags))
    }

    /// Like [`start`](Self::start), with log level `trace`.
    #[track_caller]
    pub(crate) fn tracing(flags: &[&str]) -> Spawned {
        let mut command = standpipe(flags);
        command.env("RUST_LOG", "trace");
        Spawned::of(command)
    }

    #[track_caller]
    pub(crate) fn of(command: Command) -> Spawned {
        let mut spawned = Spawned::unread(command);
        let stderr = spawned.unread.take().unwrap();
        collect(stderr, Arc::clone(&spawned.log));
        spawned
    }

    /// Starts the process with a pipe as standard error that is never read.
    #[track_caller]
    pub(crate) fn unread(mut command: Command) -> Spawned {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, first) = bounded(1);
        let out = Output::default();
        let kept = Arc::clone(&out);
        thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = sender.send(line);
            collect(stdout, kept);
        });
        let first = first.recv_timeout(DEADLINE);
        let first = first.expect("standpipe did not print its address in time");
        let (address, plain) = announced(&first);
        Spawned {
            unread: child.stderr.take(),
            child,
            address,
            _plain: plain,
            out,
            log: Output::default(),
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn process(&self) -> Process {
        Process::of(self.pid())
    }

    #[track_caller]
    pub(crate) fn connect(&self, path: &str) -> TestClient {
        TestClient::connect(self.address, path)
    }

    pub(crate) fn client(&self, path: &str) -> Connect {
        Connect::to(self.address).path(path)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        get(self.address, path, "")
    }

    /// Returns every client as `/debug/clients` shows it.
    #[track_caller]
    pub(crate) fn clients(&self) -> Vec<serde_json::Value> {
        let answer = self.get("/debug/clients");
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8(self.log.lock().unwrap().clone()).unwrap()
    }

    /// Returns the output of the process after the line with its address.
    pub(crate) fn printed(&self) -> String {
        String::from_utf8(self.out.lock().unwrap().clone()).unwrap()
    }

    /// Sends these signals, one directly after the other.
    #[track_caller]
    pub(crate) fn signal(&self, names: &[&str]) {
        let kills: Vec<String> = names
            .iter()
            .map(|name| format!("kill -s {name} {}", self.pid()))
            .collect();
        let sent = Command::new("/bin/sh")
            .args(["-c", &kills.join(" && ")])
            .status();
        assert!(sent.unwrap().success(), "{names:?} could not be sent");
    }

    /// Waits for the process to exit and returns its status.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let mut ended = None;
        until("standpipe has exited", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Returns a field of `/proc/PID/status` in KiB, for example `VmRSS` or `VmHWM`.
    #[track_caller]
    pub(crate) fn kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        let value = value.and_then(|rest| rest.strip_prefix(':')?.trim().strip_suffix(" kB"));
        value.unwrap().parse().unwrap()
    }

    /// Returns the CPU time that the process has used, in hundredths of a second.
    #[track_caller]
    pub(crate) fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The process name may contain anything, but it ends at the last bracket. utime and stime are the 14th and 15th
        // field.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let field = |at: usize| fields.split(' ').nth(at).unwrap().parse::<u64>().unwrap();
        field(11) + field(12)
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the log:\n{}", self.log());
        }
        // An error means that the process has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut stream: impl Read + Send + 'static, output: Output) {
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut chunk) {
            output.lock().unwrap().extend_from_slice(&chunk[..read]);
        }
    });
}
