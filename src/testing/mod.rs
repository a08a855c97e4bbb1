//! Tools for the tests of a program: a request without a socket, and a server that ends with its test. They need the
//! feature `testing`, which a program enables in its `[dev-dependencies]`:
//!
//! ```toml
//! [dev-dependencies]
//! standpipe = { version = "0.1", default-features = false, features = ["testing"] }
//! ```
//!
//! - [`request`] makes a [`Request`](crate::Request), so that a test calls [`Handler::request`](crate::Handler::request)
//!   as a function. [`Reply`](crate::Reply) can be looked at.
//! - [`TestServer`] runs a whole handler: the opening handshake, [`opening`](crate::Handler::opening),
//!   [`run`](crate::Handler::run) and the closing handshake. Its clients are connected without a network.
//!
//! ```
//! use standpipe::testing::{self, TestServer};
//! use standpipe::{Connection, Handler, Message, Reply, Request};
//!
//! struct Greeter;
//!
//! impl Handler for Greeter {
//!     fn request(&self, request: &mut Request) -> Reply {
//!         match request.header("authorization") {
//!             Some("Bearer 8c1f") => Reply::upgrade(),
//!             _ => Reply::text(401, "a token is required\n"),
//!         }
//!     }
//!
//!     fn run(&self, conn: &mut Connection) -> standpipe::HandlerResult {
//!         while let Some(message) = conn.recv()? {
//!             conn.send(format!("hello {}", message.to_text()?))?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! // A request without a socket.
//! let reply = Greeter.request(&mut testing::request("/ws").build());
//! assert_eq!(reply.code(), 401);
//!
//! // The whole handler.
//! let server = TestServer::start(Greeter);
//! let mut client = server.client("/ws").header("Authorization", "Bearer 8c1f").connect()?;
//! client.send("ann")?;
//! assert_eq!(client.recv()?, Some(Message::text("hello ann")));
//! client.close(1000, "")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod request;
mod server;
mod watched;

pub use request::{RequestBuilder, request};
pub use server::TestServer;
