//! A server whose end is part of the test.

use std::net::SocketAddr;

use standpipe::{Config, Connection, Handler, Report, Running, Server, ServerHandle};

use super::raw::{Connect, Raw};
use super::within::within;
use super::{Answer, Failure};

/// Listens on a free port; dropped, it shuts down and joins, and fails the test if that does not end.
///
/// Make it before its clients: they are then dropped, and gone, when its turn comes.
pub(crate) struct TestServer {
    running: Option<Running>,
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
    pub(crate) fn connect(&self) -> Raw {
        Raw::connect(self.addr(), "/")
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
    pub(crate) fn report(mut self) -> Report {
        self.join().expect("it has not ended yet")
    }

    /// Shuts it down and gives its report.
    #[track_caller]
    pub(crate) fn shut_down(self) -> Report {
        self.handle.shutdown();
        self.report()
    }

    #[track_caller]
    fn join(&mut self) -> Option<Report> {
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
        if !std::thread::panicking() {
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
pub(crate) fn both_ways(test: impl Fn(Config)) {
    for early_flush in [true, false] {
        eprintln!("early_flush {early_flush}:");
        test(Config::default().early_flush(early_flush));
    }
}
