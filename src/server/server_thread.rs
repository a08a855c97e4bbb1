//! [`ServerThread`]: a server on its own thread, which ends with this value.

use std::thread::JoinHandle;

use super::handle::ServerHandle;
use super::own_thread;
use super::stats::ShutdownReport;
use crate::error::Error;

type Served = Result<ShutdownReport, Error>;

/// A server that runs on its own thread: the result of [`Server::spawn`](crate::Server::spawn).
///
/// Dropping this value shuts the server down, and waits until it has ended. [`shutdown`](Self::shutdown) does the same
/// and returns the report. [`detach`](Self::detach) leaves the server running.
///
/// ```
/// use standpipe::{Config, Connection, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::bind("127.0.0.1:0", Config::default())?;
/// let thread = server.spawn(|conn: &mut Connection| {
///     while let Some(message) = conn.recv()? {
///         conn.send(message)?;
///     }
///     Ok(())
/// })?;
/// assert_eq!(thread.handle().clients(), 0);
/// println!("{}", thread.shutdown()?); // drained 0, lost 0
/// # Ok(())
/// # }
/// ```
///
/// # Blocking
/// Dropping this value waits as [`Server::serve`](crate::Server::serve) does after a shutdown has begun. A handler that
/// does not return keeps it waiting. On a thread of the same server, for example in a handler, dropping this value only
/// begins the shutdown, because the thread would wait for itself.
#[must_use = "dropping this value ends the server; `detach` leaves it running"]
#[derive(Debug)]
pub struct ServerThread {
    /// `None` once the thread has been joined or detached.
    thread: Option<JoinHandle<Served>>,
    handle: ServerHandle,
}

impl ServerThread {
    pub(super) fn new(thread: JoinHandle<Served>, handle: ServerHandle) -> ServerThread {
        ServerThread {
            thread: Some(thread),
            handle,
        }
    }

    /// Returns a handle that monitors the server and shuts it down.
    ///
    /// ```
    /// # use standpipe::{Config, Connection, Server};
    /// let server = Server::bind("127.0.0.1:0", Config::default())?;
    /// let thread = server.spawn(|_: &mut Connection| Ok(()))?;
    /// println!("{} clients", thread.handle().clients());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Shuts the server down, waits until it has ended, and returns the report.
    ///
    /// ```
    /// # use standpipe::{Config, Connection, Server};
    /// let server = Server::bind("127.0.0.1:0", Config::default())?;
    /// let thread = server.spawn(|_: &mut Connection| Ok(()))?;
    /// let report = thread.shutdown()?;
    /// assert_eq!(report.lost, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    /// As [`Server::serve`](crate::Server::serve) after a shutdown has begun.
    ///
    /// # Errors
    /// As [`Server::serve`](crate::Server::serve).
    ///
    /// # Panics
    /// As [`join`](Self::join).
    pub fn shutdown(self) -> Result<ShutdownReport, Error> {
        self.handle.shutdown();
        self.join()
    }

    /// Waits until the server has ended. To end it, call [`ServerHandle::shutdown`] or [`ServerHandle::drain`].
    ///
    /// ```
    /// # use std::{thread, time::Duration};
    /// # use standpipe::{Config, Connection, Server};
    /// let server = Server::bind("127.0.0.1:0", Config::default())?;
    /// let thread = server.spawn(|_: &mut Connection| Ok(()))?;
    /// let handle = thread.handle();
    /// // Another thread decides when the server ends.
    /// thread::spawn(move || handle.drain(Duration::from_secs(30)));
    /// println!("{}", thread.join()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    /// As [`Server::serve`](crate::Server::serve).
    ///
    /// # Errors
    /// As [`Server::serve`](crate::Server::serve).
    ///
    /// # Panics
    /// Panics if the server's thread panicked, and on a thread of the same server, which would wait for itself.
    pub fn join(mut self) -> Result<ShutdownReport, Error> {
        self.wait()
    }

    /// Leaves the server running, and returns its handle. Nobody can join the server any more. It ends after
    /// [`ServerHandle::shutdown`], or with the process.
    ///
    /// ```
    /// # use standpipe::{Config, Connection, Server};
    /// /// Starts a server that runs until the process ends.
    /// fn start() -> Result<(), Box<dyn std::error::Error>> {
    ///     let server = Server::bind("127.0.0.1:0", Config::default())?;
    ///     server.spawn(|_: &mut Connection| Ok(()))?.detach();
    ///     Ok(())
    /// }
    /// # start().expect("the server starts");
    /// ```
    pub fn detach(mut self) -> ServerHandle {
        self.thread = None;
        self.handle()
    }

    /// Returns whether the current thread belongs to this server.
    pub(crate) fn is_own(&self) -> bool {
        own_thread::is_of(self.handle.server())
    }

    /// As [`join`](Self::join). Afterwards, dropping this value does nothing.
    pub(crate) fn wait(&mut self) -> Served {
        assert!(
            !self.is_own(),
            "a thread of a server cannot wait for the end of this server"
        );
        let thread = self.thread.take();
        match thread.expect("the thread has not been joined").join() {
            Ok(served) => served,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Begins the shutdown, because this value is being dropped. Returns whether the end of the server must be waited
    /// for.
    pub(crate) fn begin_end(&self) -> bool {
        if self.thread.is_none() {
            return false;
        }
        self.handle.shutdown();
        !self.is_own()
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        if !self.begin_end() {
            return;
        }
        // A panic here could end the process, because this value may be dropped by another panic.
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(_))) => {}
            Some(Ok(Err(error))) => log::error!("the server failed: {error}"),
            Some(Err(_)) => log::error!("the thread of the server panicked"),
        }
    }
}

/// Begins the shutdown of a server when this value is dropped, also by a panic.
pub(super) struct ShutdownOnDrop<'a>(pub(super) &'a ServerHandle);

impl Drop for ShutdownOnDrop<'_> {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}
