//! [`Arrival`]: the listener on which a request arrived, as far as requests are judged by it.

/// What a listener tells about the requests that arrive on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrival {
    /// The name that the user of the library gave to the listener.
    pub(crate) tag: Option<String>,
    /// Whether the listener is a TCP listener that only this machine can reach. Such a listener checks `Host`, because a
    /// browser on this machine can reach it by any name that resolves to loopback. A browser cannot reach a unix socket.
    pub(crate) loopback_tcp: bool,
    /// Whether the allowed origins of the configuration do not apply.
    pub(crate) same_origin_only: bool,
}
