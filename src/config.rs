//! [`Config`]: every limit and every clock, each with its unit, its default and what moves when it moves.

use std::time::Duration;

use crate::rate::Rate;

/// Writes the struct, its defaults and a chained setter for each field from one list, so that the three cannot differ.
macro_rules! config {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr;)*) => {
        /// Every limit and every clock of a server. The fields are the binary's flags with `_` for `-`.
        ///
        /// ```
        /// use std::time::Duration;
        /// let config = standpipe::Config::default().queue(16).write_timeout(Duration::from_secs(10));
        /// assert_eq!(config.queue, 16);
        /// ```
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub struct Config {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Config { $($name: $default,)* }
            }
        }

        impl Config {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](Self#structfield.", stringify!($name), ").")]
                #[must_use]
                pub fn $name(mut self, value: $type) -> Self {
                    self.$name = value;
                    self
                }
            )*
        }
    };
}

config! {
    /// Clients held at once; one more is answered `503` with `Retry-After`. Default `None`: computed from what the
    /// kernel lets this process have, see [`Server`](crate::Server).
    max_clients: Option<usize> = None;
    /// Clients one address may have at once; IPv6 is counted by /64. Default `None`: no limit, which is right behind a
    /// proxy. One more is answered `503`.
    max_clients_per_ip: Option<usize> = None;
    /// Connections one address may open. Default `None`. One more is answered `503` unread.
    connect_rate: Option<Rate> = None;
    /// Text and binary messages one client may send. Default `None`; beyond: 1008. A slow handler makes a client wait
    /// without this; it is for those that must not.
    rate: Option<Rate> = None;
    /// Messages an outbox holds. Default 64. More rides out longer bursts and hides a slow peer longer.
    queue: usize = 64;
    /// Bytes an outbox holds, frame headers included. Default 1 MiB. A message larger than all of it goes alone.
    queue_bytes: usize = 1 << 20;
    /// How long a socket that has refused bytes may take for the next 64 KiB, or for the rest of what is queued, before
    /// the client is reset. Default 30 s: so the slowest reader that is served takes about 2 KiB/s.
    write_timeout: Duration = Duration::from_secs(30);
    /// From `accept` to the end of the request head and its answer, in all. Default 10 s.
    handshake_timeout: Duration = Duration::from_secs(10);
    /// From our Close to the peer's answer, and from a Close *now* to its last byte. Default 5 s; then a reset.
    close_timeout: Duration = Duration::from_secs(5);
    /// For the whole of a shutdown: what is queued, 1001, and every peer's answer. Default 5 s; then resets.
    shutdown_timeout: Duration = Duration::from_secs(5);
    /// From the first byte of a message to its last, while we wait for it. Default 30 s; then a reset.
    message_timeout: Duration = Duration::from_secs(30);
    /// A ping goes out when nothing has come for so long. Default 20 s.
    ping_interval: Duration = Duration::from_secs(20);
    /// A peer is dead when nothing at all has come for so long after a ping. Default 20 s.
    ping_timeout: Duration = Duration::from_secs(20);
    /// Bytes of payload of the largest message, and of the largest frame, that is taken. Default 64 KiB; beyond: 1009.
    max_message: usize = 64 << 10;
    /// Frames a message may come in, empty ones too. Default 1024; beyond: 1008.
    max_fragments: usize = 1024;
    /// Bytes a reader asks the kernel for at a time. Default 8 KiB. While reads fill it, it asks for more, up to
    /// 256 KiB; an idle client's reader has room for 1 KiB only.
    read_buffer: usize = 8 << 10;
    /// `SO_RCVBUF` in bytes. Default `None`: the kernel's own, which adjusts itself.
    rcvbuf: Option<usize> = None;
    /// `SO_SNDBUF` in bytes. Default `None`: the kernel's own, which adjusts itself.
    sndbuf: Option<usize> = None;
    /// `TCP_NOTSENT_LOWAT` in bytes: what the kernel takes before the peer's window has room for it. Default 128 KiB.
    /// Less shows a slow peer sooner; the kernel's own default hides some 4 MiB of it.
    unsent: usize = 128 << 10;
    /// Whether a thread that has queued a message writes it itself, as far as the socket takes it at once. Default
    /// true. With false the writer thread alone writes, and each message wakes it: the plain two-thread picture.
    early_flush: bool = true;
    /// Origins let in besides the request's own: `https://example.com`, `example.com:8080`, `https://*.example.com`.
    /// Default none. The hosts named here are also accepted in `Host` when the server listens on loopback only.
    origin: Vec<String> = Vec::new();
    /// Lets every `Origin` in. Default false.
    allow_any_origin: bool = false;
}
