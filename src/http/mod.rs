//! The first bytes of every client: a request head is read once, under limits, and judged before anything is answered.
//!
//! [`read_head`] makes a [`Request`] of the bytes or refuses them; [`Rules::judge`] asks whether this caller may ask at
//! all; the handler answers with a [`Reply`]; [`accept`] turns its yes into the 101. Nothing here waits for anything but
//! the socket, and nothing here has a clock: the watchdog ends a head that takes too long.
//!
//! Every answer but the 101 ends the connection. So no second request is ever read from the same bytes, and where one
//! request ends and the next begins is a question that nobody can be fooled about (RFC 9112 §11.2).

// The server that calls all this is being written beside it.

// Bytes become a request.
mod head;
mod scan;
mod target;

// What a request is, and who sent it.
mod authority;
mod peer;
mod request;

// Who may ask, and what is answered.
mod origin;
mod reply;
mod upgrade;

#[cfg(test)]
mod tests;

pub(crate) use head::{HeadError, read_head};
pub(crate) use origin::Rules;
pub use peer::Peer;
pub use reply::Reply;
pub(crate) use reply::unavailable;
pub(crate) use request::Body;
pub use request::Request;
pub(crate) use upgrade::{Accepted, accept};
