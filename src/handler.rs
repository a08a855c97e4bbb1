//! [`Handler`]: the part the user writes.

use std::error::Error;

use crate::connection::Connection;
use crate::http::{Reply, Request};

/// What happens to a request, and then to a client. A closure `Fn(&mut Connection) -> Result<(), _>` is one.
///
/// ```
/// use standpipe::{Connection, Handler, Reply, Request};
///
/// struct Rooms;
///
/// impl Handler for Rooms {
///     fn request(&self, request: &mut Request) -> Reply {
///         match request.segments() {
///             [room] if room == "lobby" => Reply::upgrade(),
///             [] => Reply::text(200, "this is a WebSocket server\n"),
///             _ => Reply::status(404),
///         }
///     }
///
///     fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///         while let Some(message) = conn.recv()? {
///             conn.send(message)?;
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Handler: Sync {
    /// Judges a request before the 101, and answers plain HTTP. By default every path is upgraded, without a
    /// subprotocol.
    ///
    /// Origin, Host and the form of the request have been judged before (see [`Config::origin`](crate::Config::origin)),
    /// the upgrade's own headers will be judged after. A panic is answered 500.
    ///
    /// # Blocking
    /// It runs on a thread at the client's door, which ends with the answer, under
    /// [`handshake_timeout`](crate::Config::handshake_timeout).
    fn request(&self, request: &mut Request) -> Reply {
        let _ = request;
        Reply::upgrade()
    }

    /// One client's life, on its reader thread. Returning `Ok` closes with 1000 after what is queued; an error or a
    /// panic closes with 1011, and costs this client alone.
    ///
    /// Control frames are answered inside [`Connection::recv`], so a handler keeps calling it.
    ///
    /// That thread's stack is 256 KiB, and a stack that overflows ends the process. What recurses as deep as a client
    /// likes (a JSON tree, in a build without optimization) is given a fixed shape, or its depth is looked at first.
    ///
    /// # Errors
    /// Whatever ended the client's life early; it is logged with the client's number.
    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>>;
}

impl<F> Handler for F
where
    F: Fn(&mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> + Sync,
{
    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        self(conn)
    }
}
