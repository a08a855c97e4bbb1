//! The first bytes of every client: the server reads one request head, with size limits, and checks it before it
//! answers.
//!
//! 1. [`read_head`] reads a [`Request`] from the bytes, or refuses them.
//! 2. [`Rules::judge`] checks whether requests with this `Host` and `Origin` are allowed.
//! 3. The handler answers with a [`Reply`].
//! 4. [`accept`] turns a [`Reply::upgrade`] into the 101 response.
//!
//! This module waits only for the socket, without a time limit. The watchdog ends a client whose head takes too long.
//!
//! Every response except the 101 ends the connection, so the server never reads a second request from the same
//! connection. Request smuggling is therefore not possible: it needs two implementations that disagree about where one
//! request ends and the next one begins (RFC 9112 §11.2).

// From bytes to a request.
mod head;
mod scan;
mod target;

// The request, the address of its sender, and the listener on which it arrived.
mod arrival;
mod authority;
mod peer;
mod request;

// Which requests are allowed, and the answers.
mod origin;
mod reply;
mod upgrade;

#[cfg(test)]
mod tests;

pub(crate) use arrival::Arrival;
pub(crate) use head::{HeadError, read_head};
pub(crate) use origin::Rules;
pub use peer::Peer;
pub use reply::Reply;
pub(crate) use reply::unavailable;
pub(crate) use request::Body;
pub use request::Request;
pub(crate) use upgrade::{Accepted, accept};
