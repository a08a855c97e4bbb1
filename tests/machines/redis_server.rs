//! [`RedisServer`]: a Redis or Valkey server of a test, which ends with its test.
//!
//! Without `redis-server` the tests that need one are skipped. `STANDPIPE_REDIS_SERVER` names another program, such as
//! `valkey-server`.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio, id};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use redis::{Client, Connection, RedisResult, Value};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// How long a server may take to start, or to follow another one.
const START: Duration = Duration::from_secs(20);

/// The pause between two looks at a server that starts. It has no event that a test could wait for.
const PAUSE: Duration = Duration::from_millis(3);

/// How long a command may take.
const REPLY: Duration = Duration::from_secs(10);

/// The ports of the servers. They are below those that the kernel gives to clients, so that no client takes the port of a
/// server that is restarted.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The process may be killed and started again, always on the same port.
#[derive(Debug)]
pub(crate) struct RedisServer {
    program: String,
    args: Vec<String>,
    port: u16,
    tls_port: Option<u16>,
    directory: PathBuf,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts an empty server without persistence. Returns `None`, and prints that, if it is not installed.
    pub(crate) fn start() -> Option<RedisServer> {
        RedisServer::with_args(&[])
    }

    /// Starts a server that follows the one on `port`, and waits until it has copied its data.
    pub(crate) fn start_replica_of(port: u16) -> Option<RedisServer> {
        let replica = RedisServer::start()?;
        replica.follow(port);
        Some(replica)
    }

    /// Starts a server that also has a port for TLS, with the certificate of the tests for `localhost`.
    pub(crate) fn start_with_tls() -> Option<RedisServer> {
        let port = free_ports().next().expect("there are always more ports");
        let [certificate, key, authority] = ["server.pem", "server.key", "ca.pem"].map(key_file);
        let mut server = RedisServer::with_args(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &authority,
            "--tls-auth-clients",
            "no",
        ])?;
        server.tls_port = Some(port);
        Some(server)
    }

    /// Starts a server with further arguments, such as `--maxmemory 10mb`.
    pub(crate) fn with_args(args: &[&str]) -> Option<RedisServer> {
        let program = env::var("STANDPIPE_REDIS_SERVER").unwrap_or("redis-server".into());
        let mut server = RedisServer {
            program,
            args: args.iter().map(ToString::to_string).collect(),
            port: 0,
            tls_port: None,
            directory: PathBuf::new(),
            process: None,
        };
        for port in free_ports().take(5) {
            server.port = port;
            // The port is part of the name, so that two servers of a machine never share a directory.
            server.directory = env::temp_dir().join(format!("standpipe-redis-{}-{port}", id()));
            match server.run() {
                Ok(()) => return Some(server),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    skip(&server.program);
                    return None;
                }
                // Another process may have taken the port.
                Err(_) => server.kill(),
            }
        }
        panic!("{} does not start: {}", server.program, server.log());
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn tls_port(&self) -> u16 {
        self.tls_port.expect("it was started with TLS")
    }

    pub(crate) fn tls_url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.tls_port())
    }

    /// Ends the process without a chance to do anything (SIGKILL).
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the process is a child of the test");
            process.wait().expect("the process is a child of the test");
        }
        // What a replica has copied is a file, which the next start would load.
        let _ = fs::remove_dir_all(&self.directory);
    }

    /// Starts the server again on the same port, empty. Kills it first if it is running.
    pub(crate) fn restart(&mut self) {
        self.kill();
        if let Err(error) = self.run() {
            panic!(
                "{} does not start again: {error}: {}",
                self.program,
                self.log()
            );
        }
    }

    /// Stops the process (SIGSTOP). Its connections stay open, and the kernel goes on receiving for it. Returns when it
    /// has stopped.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid()), stopped).expect("the process is a child of the test");
    }

    /// Continues the process (SIGCONT).
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Makes it follow the server on `port`, as a replica that refuses writes. Waits until it has copied its data.
    pub(crate) fn follow(&self, port: u16) {
        self.command(&["REPLICAOF", "127.0.0.1", &port.to_string()]);
        let deadline = Instant::now() + START;
        while !self.info("replication").contains("master_link_status:up") {
            assert!(Instant::now() < deadline, "the replica waits for {port}");
            thread::sleep(PAUSE);
        }
    }

    /// Makes a replica a master.
    pub(crate) fn promote(&self) {
        self.command(&["REPLICAOF", "NO", "ONE"]);
    }

    /// Returns a section of `INFO`.
    pub(crate) fn info(&self, section: &str) -> String {
        redis::from_redis_value(self.command(&["INFO", section])).expect("INFO is text")
    }

    /// Runs a command on a connection of its own.
    pub(crate) fn command(&self, command: &[&str]) -> Value {
        let result = self.try_command(command);
        result.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// The same. The error is that of the server or of the connection.
    pub(crate) fn try_command(&self, command: &[&str]) -> RedisResult<Value> {
        let (name, args) = command.split_first().expect("a command has a name");
        redis::cmd(name).arg(args).query(&mut self.connection()?)
    }

    pub(crate) fn connection(&self) -> RedisResult<Connection> {
        let connection = Client::open(self.url())?.get_connection_with_timeout(REPLY)?;
        connection.set_read_timeout(Some(REPLY))?;
        connection.set_write_timeout(Some(REPLY))?;
        Ok(connection)
    }

    fn run(&mut self) -> io::Result<()> {
        let _ = fs::remove_dir_all(&self.directory);
        fs::create_dir_all(&self.directory)?;
        let process = Command::new(&self.program)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args([
                "--repl-diskless-sync-delay",
                "0",
                "--logfile",
                "log",
                "--dir",
            ])
            .arg(&self.directory)
            .args(&self.args)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process?);
        let deadline = Instant::now() + START;
        while !self.answers() {
            let process = self.process.as_mut().expect("the process was started");
            if let Some(status) = process.try_wait()? {
                return Err(io::Error::other(format!("it ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("it does not answer"));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Returns whether this process answers, and not one that has taken the port before it.
    fn answers(&self) -> bool {
        let own = format!("process_id:{}\r\n", self.pid().as_raw_nonzero());
        let info = || -> io::Result<bool> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(START))?;
            stream.write_all(b"INFO server\r\nQUIT\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.contains(&own))
        };
        info().unwrap_or(false)
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process is a child of the test");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.process.as_ref().expect("the server is running"))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or("it has no log".into())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

#[allow(
    clippy::print_stderr,
    reason = "whoever runs the test must see that it was skipped"
)]
fn skip(program: &str) {
    eprintln!("skipped, because {program} is not installed");
}

/// Returns the path of a key or certificate of the tests.
pub(crate) fn key_file(name: &str) -> String {
    format!("{}/tests/keys/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Returns ports that are free now. The first one differs from process to process, and from call to call.
fn free_ports() -> impl Iterator<Item = u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    let begin = id().wrapping_mul(7_919) % u32::from(count);
    std::iter::repeat_with(move || {
        let number = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = (begin + number) % u32::from(count);
        PORTS.start + u16::try_from(offset).expect("the remainder fits")
    })
    .filter(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}
