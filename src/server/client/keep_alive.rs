//! Whether a connection is kept for another request after an answer, and its limits (RFC 9112 §9.3).

use std::time::Duration;

use http::Method;

use crate::config::Config;
use crate::http1::{Body, Reply, Request};

/// The number of requests that one connection may carry. The limit ends the connections of clients that never disconnect,
/// so that a load balancer can move them.
pub(super) const MAX_REQUESTS: usize = 100;

/// How long a connection may be idle between two requests.
const IDLE: Duration = Duration::from_secs(10);

/// The number of bytes of a body that nobody has read, up to which they are discarded. Beyond it, ending the connection
/// costs less.
const MAX_UNREAD: u64 = 64 << 10;

/// The methods whose requests keep the connection. After an unknown method, the server cannot know whether the client
/// understands the end of the response in the same way.
const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// Returns how long a connection may be idle. A server that gives its clients less time for a request gives them no more
/// time between two requests.
pub(super) fn idle_time(config: &Config) -> Duration {
    IDLE.min(config.handshake_timeout)
}

/// Returns whether another request may follow this one, which is answered by `reply` and whose body is `body`.
///
/// After an upgrade that was refused, the client may already be sending frames, which must not be read as a request.
pub(super) fn is_possible(request: &Request, reply: &Reply, body: &Body) -> bool {
    request.allows_keep_alive()
        && METHODS.contains(request.method())
        && !request.headers().contains_key(http::header::UPGRADE)
        && reply.code() != 426
        && body.unread().is_some_and(|unread| unread <= MAX_UNREAD)
}
