//! A server that must end before its test does.

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
use super::mode::{Plain, bind};
use super::{Answer, Failure};

/// A server on a free port. When it is dropped, it shuts down and joins all threads; the test fails if that hangs.
///
/// Create it before its clients. Rust drops in reverse order, so the clients are then closed before the shutdown.
pub(crate) struct TestServer {
    running: Option<ServerThread>,
    handle: ServerHandle,
    _plain: Plain,
}

impl TestServer {
    pub(crate) fn start(config: Config, handler: impl Handler + Send + 'static) -> TestServer {
        // The clients of a test are in the same process, so they need as many descriptors as the server.
        let _ = standpipe::raise_descriptor_limit();
        TestServer::of(bind("127.0.0.1:0", config).unwrap(), handler)
    }

    /// Starts a server without TLS, also if the tests run over TLS. The caller says why.
    pub(crate) fn plain(config: Config, handler: impl Handler + Send + 'static) -> TestServer {
        let _ = standpipe::raise_descriptor_limit();
        TestServer::plain_of(Server::bind("127.0.0.1:0", config).unwrap(), handler)
    }

    /// Starts this server, whose listeners have no TLS in any mode. The caller says why.
    pub(crate) fn plain_of(server: Server, handler: impl Handler + Send + 'static) -> TestServer {
        let plain = Plain::at(server.handle().local_addrs());
        let mut server = TestServer::of(server, handler);
        server._plain = plain;
        server
    }

    pub(crate) fn of(server: Server, handler: impl Handler + Send + 'static) -> TestServer {
        let running = server.spawn(handler).unwrap();
        let handle = running.handle();
        let running = Some(running);
        TestServer {
            running,
            handle,
            _plain: Plain::default(),
        }
    }

    /// Starts a server that sends every message back.
    pub(crate) fn echo(config: Config) -> TestServer {
        TestServer::start(config, echo)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.handle.local_addr().expect("a TCP address")
    }

    pub(crate) fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    /// Connects a client and completes its opening handshake.
    #[track_caller]
    pub(crate) fn connect(&self) -> TestClient {
        TestClient::connect(self.addr(), "/")
    }

    /// Returns the settings of a new client of this server.
    pub(crate) fn client(&self) -> Connect {
        Connect::to(self.addr())
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        super::get(self.addr(), path, "")
    }

    /// Waits until the server has ended, and returns its report.
    #[track_caller]
    pub(crate) fn report(mut self) -> ShutdownReport {
        self.join().expect("the server has not been joined before")
    }

    /// Returns the addresses of the clients.
    pub(crate) fn peers(&self) -> Vec<String> {
        let states = self.handle.client_states();
        let peers = states.iter().map(|client| client.peer.to_string());
        peers.collect()
    }

    /// Returns how many clients this clock or limit has disconnected.
    #[track_caller]
    pub(crate) fn disconnects(&self, by: &str) -> u64 {
        let disconnects = self.handle.disconnects();
        let found = disconnects.iter().find(|(each, _)| each.name() == by);
        found
            .unwrap_or_else(|| panic!("no {by} in {disconnects:?}"))
            .1
    }

    /// Shuts the server down and returns its report.
    #[track_caller]
    pub(crate) fn shut_down(self) -> ShutdownReport {
        self.handle.shutdown();
        self.report()
    }

    #[track_caller]
    fn join(&mut self) -> Option<ShutdownReport> {
        let running = self.running.take()?;
        let join = || running.join().unwrap();
        let what = "the server and all its threads to end";
        Some(within(30, what, join))
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.handle.shutdown();
        // A failed test has already reported its error, and its barriers may never be opened.
        if thread::panicking() {
            self.running.take().map(ServerThread::detach);
        } else {
            self.join();
        }
    }
}

/// A handler that sends every message back.
pub(crate) fn echo(conn: &mut Connection) -> Result<(), Failure> {
    while let Some(message) = conn.recv()? {
        conn.send(message)?;
    }
    Ok(())
}

/// Runs a test with early flush and without. Which thread writes must not change what is written.
pub(crate) fn with_both_flush_modes(test: impl Fn(Config)) {
    for early_flush in [true, false] {
        eprintln!("early_flush {early_flush}:");
        test(Config::default().early_flush(early_flush));
    }
}

/// Queues messages until the peer's window, the kernel's buffers and the outbox are full, and nothing moves any more.
/// The outbox is then full by bytes and by messages.
#[track_caller]
pub(crate) fn fill(outbox: &Outbox) {
    let deadline = Instant::now() + DEADLINE;
    // One refusal is not enough, because the kernel may still accept a part of what is queued.
    let still = Duration::from_millis(200);
    for size in [16 << 10, 1] {
        let message = Message::binary(vec![b'x'; size]);
        while outbox.send_timeout(message.clone(), still).is_ok() {
            assert!(
                Instant::now() < deadline,
                "waited for the outbox to stay full"
            );
        }
    }
}

/// Spawns a thread that waits in `send` for room in a full outbox, and returns when it waits. The thread returns the
/// result of `send`.
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
    // proc_pid_stat(5): the state follows the name, and S means that the thread waits.
    until("the sender waits or has returned", || {
        let stat = std::fs::read_to_string(&stat).unwrap_or_default();
        sender.is_finished() || stat.contains(") S ")
    });
    sender
}

/// Starts an echo server that also passes the outbox of every client to the test.
pub(crate) fn echo_with_outboxes(config: Config) -> (TestServer, Receiver<Outbox>) {
    let (outbox_sender, outboxes) = unbounded();
    let server = TestServer::start(config, move |conn: &mut Connection| {
        outbox_sender.send(conn.outbox()).unwrap();
        echo(conn)
    });
    (server, outboxes)
}

/// Checks that there was exactly this Close, nothing after it, and no reset.
#[track_caller]
pub(crate) fn assert_only_close(rest: &Rest, code: u16, reason: &str) {
    assert_eq!(rest.closes, [(code, reason.to_owned())]);
    assert_eq!(rest.after_close, 0, "{rest:?}");
    assert!(!rest.reset, "{rest:?}");
}
