//! The first bytes of every client: the server reads one request head, with size limits, and checks it before it
//! answers.
//!
//! 1. [`read_head`] reads a [`Request`] from the bytes, or refuses them.
//! 2. [`Rules::judge`] checks whether a request with this `Host` and `Origin` is allowed.
//! 3. The handler reads the [`Body`], and answers with a [`Reply`].
//! 4. [`accept`] turns a [`Reply::upgrade`] into the 101 response.
//!
//! This module waits only for the socket, without a time limit. The watchdog ends a client that takes too long.
//!
//! A connection may carry several requests. Request smuggling needs two implementations that disagree about where one
//! request ends and the next one begins (RFC 9112 §11.2). So a head or a body that could be understood differently is
//! refused, and the refusal ends the connection: bytes after it are never read as a request. `HTTP.md` lists each
//! requirement of the RFCs with its test.

// From bytes to a request.
mod body;
mod chunked;
mod head;
mod proxy_header;
mod scan;
mod target;

// The request, the address of its sender, and the listener on which it arrived.
mod arrival;
mod authority;
mod credentials;
mod form;
mod forwarded;
mod peer;
mod query;
mod request;
mod request_body;

// Which requests are allowed, and the answers.
mod content;
mod cookie;
mod cors;
mod date;
mod failure;
mod inspect;
mod origin;
mod redirect;
mod reply;
mod response;
mod serialize;
mod upgrade;
mod upgrade_options;

#[cfg(test)]
mod tests;

pub(crate) use arrival::Arrival;
pub(crate) use body::{Body, Wire};
#[cfg(feature = "client")]
pub(crate) use chunked::{Chunked, Step};
pub(crate) use content::{Content, Stream};
pub use cookie::{Cookie, SameSite};
pub(crate) use cors::Cors;
pub use form::Form;
pub(crate) use forwarded::{client_of, is_plausible, is_trusted};
pub(crate) use head::{HeadError, read_head};
pub(crate) use origin::Rules;
pub use peer::Peer;
pub(crate) use proxy_header::{ProxyHeader, read_proxy_header};
pub use reply::Reply;
pub(crate) use reply::unavailable;
pub use request::Request;
pub(crate) use response::After;
pub(crate) use upgrade::{Accepted, accept};
