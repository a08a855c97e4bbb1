//! A server whose end is part of the test.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, unbounded};
use standpipe::{
    Config, Connection, Handler, Message, Outbox, Server, ServerHandle, ServerThread,
    ShutdownReport,
};

use super::client::{Rest, TestClient};
use super::connect::Connect;
use super::deadline::{DEADLINE, until, within};
use super::{Answer, Failure};

/// Listens on a free port; dropped, it shuts down and joins, and fails the test if that does not end.
///
/// Make it before its clients: they are then dropped, and gone, when its turn comes.
pub(crate) struct TestServer {
    running: Option<ServerThread>,
    handle: ServerHandle,
}

impl TestServer {
    pub(crate) fn start(config: Config, handler: impl Handler + Send + 'static) -> TestServer {
        TestServer::of(Server::bind("127.0.0.1:0", config).unwrap(), handler)
    }

    pub(crate) fn of(server: Server, handler: impl Handler + Send + 'static) -> TestServer {
        let running = server.spawn(handler).unwrap();
        let handle = running.handle();
        let running = Some(running);
        TestServer { running, handle }
    }

    /// Sends every message back.
    pub(crate) fn echo(config: Config) -> TestServer {
        TestServer::start(config, echo)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    pub(crate) fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    /// A client after its handshake.
    #[track_caller]
    pub(crate) fn connect(&self) -> TestClient {
        TestClient::connect(self.addr(), "/")
    }

    /// A client to be.
    pub(crate) fn client(&self) -> Connect {
        Connect::to(self.addr())
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        super::get(self.addr(), path, "")
    }

    /// Waits until it has ended, and gives its report.
    #[track_caller]
    pub(crate) fn report(mut self) -> ShutdownReport {
        self.join().expect("it has not ended yet")
    }

    /// Shuts it down and gives its report.
    #[track_caller]
    pub(crate) fn shut_down(self) -> ShutdownReport {
        self.handle.shutdown();
        self.report()
    }

    #[track_caller]
    fn join(&mut self) -> Option<ShutdownReport> {
        let running = self.running.take()?;
        let join = || running.join().unwrap();
        let what = "the server to end, with all its threads";
        Some(within(30, what, join))
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.handle.shutdown();
        // A test that has failed already says why, and its gates may never open.
        if !thread::panicking() {
            self.join();
        }
    }
}

/// The handler that sends every message back.
pub(crate) fn echo(conn: &mut Connection) -> Result<(), Failure> {
    while let Some(message) = conn.recv()? {
        conn.send(message)?;
    }
    Ok(())
}

/// Runs a test with early flush and without: who writes may not change what is written.
pub(crate) fn with_both_flush_modes(test: impl Fn(Config)) {
    for early_flush in [true, false] {
        eprintln!("early_flush {early_flush}:");
        test(Config::default().early_flush(early_flush));
    }
}

/// Queues messages until the peer's window, the kernel and the outbox are full, of bytes and of places, and nothing
/// moves any more.
#[track_caller]
pub(crate) fn fill(outbox: &Outbox) {
    let deadline = Instant::now() + DEADLINE;
    // Full once is not full for good: the kernel may still take some of it.
    let still = Duration::from_millis(200);
    for size in [16 << 10, 1] {
        let message = Message::binary(vec![b'x'; size]);
        while outbox.send_timeout(message.clone(), still).is_ok() {
            assert!(Instant::now() < deadline, "waited for a peer to be full");
        }
    }
}

/// A thread that waits in `send` for room in a full outbox; it gives what became of the message.
pub(crate) fn spawn_blocked_send(
    outbox: &Outbox,
    message: Message,
) -> JoinHandle<Result<(), standpipe::SendError>> {
    let outbox = outbox.clone();
    let (begins, begun) = bounded(1);
    let sender = thread::spawn(move || {
        begins
            .send(std::fs::read_link("/proc/thread-self"))
            .unwrap();
        outbox.send(message)
    });
    let thread = begun.recv().unwrap().unwrap();
    let stat = std::path::Path::new("/proc").join(thread).join("stat");
    // proc_pid_stat(5): the state stands behind the name, and S is a thread that waits.
    until("it waits, or need not", || {
        let stat = std::fs::read_to_string(&stat).unwrap_or_default();
        sender.is_finished() || stat.contains(") S ")
    });
    sender
}

/// A handler's outbox, handed out to the test; then an echo.
pub(crate) fn echo_with_outboxes(config: Config) -> (TestServer, Receiver<Outbox>) {
    let (give, take) = unbounded();
    let server = TestServer::start(config, move |conn: &mut Connection| {
        give.send(conn.outbox()).unwrap();
        echo(conn)
    });
    (server, take)
}

/// One Close, this one, nothing behind it, and a clean end.
#[track_caller]
pub(crate) fn assert_only_close(rest: &Rest, code: u16, reason: &str) {
    assert_eq!(rest.closes, [(code, reason.to_owned())]);
    assert_eq!(rest.after_close, 0, "{rest:?}");
    assert!(!rest.reset, "{rest:?}");
}
