//! [`Config`]: the limits and time limits of a server, each with its unit, its default and its trade-off.

use std::time::Duration;

use crate::config_error::{ConfigError, check_size, check_time};
use crate::rate::Rate;
use crate::trusted_proxy::TrustedProxy;

/// The most messages of a queue. Its slots are allocated when its client connects, so a typing error could exhaust the
/// memory.
pub(crate) const MAX_QUEUE: usize = 1 << 20;

/// The largest read buffer.
const MAX_READ_BUFFER: usize = 64 << 20;

/// The bounds of the stack of a handler. The library itself needs less than the lower one.
const STACKS: std::ops::RangeInclusive<usize> = 64 << 10..=1 << 30;

/// Generates the struct, its defaults and a chained setter for each field from one list, so that the three always agree.
/// The second value is the one in the example of the setter.
macro_rules! config {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr, such as $example:expr;)*) => {
        /// The limits and time limits of a server.
        ///
        /// The binary has a flag for each field, with `-` instead of `_`. The limits of topics are in
        /// [`HubConfig`](crate::HubConfig). Some limits are fixed, such as 16 KiB for a request head; `SECURITY.md`
        /// lists them.
        ///
        /// [`Server::bind`](crate::Server::bind) refuses values with which no client could be served, with a
        /// [`ConfigError`] that names the field:
        ///
        /// - a size, or a number of messages, fragments or clients, of 0;
        /// - a time limit below 1 ms, except `shutdown_timeout`, `drain_delay` and `close_spread`, which may be 0;
        /// - a `queue` above 1,048,576, also that of a topic of an attached hub, a `read_buffer` above 64 MiB, a `handler_stack` below 64 KiB or above 1 GiB;
        /// - an `origin` that is no valid pattern.
        ///
        /// ```
        /// use std::time::Duration;
        /// let config = standpipe::Config::default().queue(16).write_timeout(Duration::from_secs(10));
        /// assert_eq!(config.queue, 16);
        /// ```
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Config {
            $($(#[$doc])* pub $name: $type,)*
            /// The largest queue of a topic of the hubs that are attached with [`hub`](Self::hub).
            pub(crate) topic_queue: usize,
        }

        impl Default for Config {
            fn default() -> Self {
                Config { $($name: $default,)* topic_queue: 0 }
            }
        }

        impl Config {
            $(
                #[doc = concat!(
                    "Sets [`", stringify!($name), "`](Self#structfield.", stringify!($name), ").\n\n```\n",
                    "# #[allow(unused_imports)] use {std::time::Duration, standpipe::Rate};\n",
                    "let config = standpipe::Config::default().", stringify!($name), "(", stringify!($example),
                    ");\n# drop(config);\n```"
                )]
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
    /// The maximum number of clients at the same time. Default `None`: computed from the limits that the kernel sets
    /// for this process, see [`Server`](crate::Server). Each further client gets a 503 with `Retry-After`. If a higher
    /// value is configured than the computed one, the computed one is used.
    max_clients: Option<usize> = None, such as Some(500);
    /// The maximum number of clients of one address at the same time. The IPv6 addresses of one /64 network count as
    /// one address. Default `None`: no limit. Behind a proxy, name it in `trusted_proxies`, or leave this unset:
    /// otherwise, all clients have the address of the proxy. Each further client gets a 503.
    max_clients_per_ip: Option<usize> = None, such as Some(20);
    /// The rate at which one address may open connections. Default `None`: no limit. Each further connection gets a 503
    /// before its request is read. Behind a proxy, as for `max_clients_per_ip`. Each request that a trusted proxy forwards
    /// counts as a connection of its client, because one connection of the proxy carries the requests of several clients.
    connect_rate: Option<Rate> = None, such as Some(Rate::per_second(5));
    /// The rate at which one client may send text and binary messages. Default `None`: no limit. A client that exceeds
    /// the rate is closed with 1008. Without a limit, a client that sends faster than its handler works is slowed down
    /// by TCP, which is enough for most servers.
    rate: Option<Rate> = None, such as Some(Rate::per_second(100));
    /// The capacity of an outbox in messages, unless a topic of an [attached hub](Self::hub) needs more. Default 64. A
    /// larger queue absorbs longer bursts, but a
    /// slow peer is noticed later.
    queue: usize = 64, such as 256;
    /// The capacity of an outbox in bytes, including frame headers. Default 1 MiB. A larger queue absorbs longer bursts
    /// and costs up to that much memory for each slow client. A message larger than the capacity is accepted when the
    /// outbox is empty.
    queue_bytes: usize = 1 << 20, such as 4 << 20;
    /// The time in which a socket that has refused bytes must accept the next 64 KiB, or everything that is queued.
    /// Otherwise the client is reset. Default 30 s, so a client must read at least about 2 KiB/s. This also applies to an
    /// HTTP answer. A longer time serves slower readers, but keeps the queues of dead peers in memory longer.
    write_timeout: Duration = Duration::from_secs(30), such as Duration::from_secs(10);
    /// The time from `accept`, or from the first byte of a further request on the same connection, until the 101 has been
    /// written or another answer begins. Default 10 s. It does not run while the body of a request is read. After the
    /// time, the client is reset. A connection may be idle between two requests for as long as this, but for at most 10
    /// s. A longer time helps clients on slow networks, but a client that sends nothing occupies a handshake slot
    /// longer.
    handshake_timeout: Duration = Duration::from_secs(10), such as Duration::from_secs(5);
    /// The time from the moment when the server's Close has been written until the peer's Close arrives. After a
    /// violation, a failed handler, or for a slow consumer, the time begins earlier: when the server decides to close.
    /// Afterwards the client is reset. Default 5 s. A longer time gives slow peers a clean close, but a peer that never
    /// answers keeps its threads longer.
    close_timeout: Duration = Duration::from_secs(5), such as Duration::from_secs(2);
    /// The time for the end of a shutdown, from the moment when the last client has been told to close: the queued
    /// messages, a Close with 1001 and the answers of all peers. Clients that have not finished by then are reset. Default
    /// 5 s. A longer time delivers more messages to slow peers, but the process takes longer to end.
    shutdown_timeout: Duration = Duration::from_secs(5), such as Duration::from_secs(20);
    /// The time for which the server still accepts and serves clients after a shutdown has begun. Default 0. A load
    /// balancer that asks [`is_shutting_down`](crate::ServerHandle::is_shutting_down), which is `/readyz` of the binary,
    /// needs time to notice the shutdown: at least the interval of its checks, times the number of failures that it
    /// requires. With a shorter time, it sends clients to a server that refuses them.
    drain_delay: Duration = Duration::ZERO, such as Duration::from_secs(15);
    /// The time over which a shutdown spreads the Closes of the clients evenly. Default 0: all clients are closed
    /// immediately. A longer time avoids that all clients reconnect at the same moment, but the process takes longer to
    /// end.
    close_spread: Duration = Duration::ZERO, such as Duration::from_secs(30);
    /// The time from the first byte of a message to its last one. Only the time during which the reader waits for the
    /// peer counts. Afterwards the client is reset. Default 30 s. The body of a request has this time for each 64 KiB,
    /// or for the rest of it. A longer time allows large messages on slow networks, but lets a client occupy memory
    /// with incomplete messages. A [`MessageWriter`](crate::MessageWriter) whose bytes have all been written must be given
    /// more within this time. Otherwise, the client is closed with 1011.
    message_timeout: Duration = Duration::from_secs(30), such as Duration::from_secs(60);
    /// The time without any byte from the peer after which the server sends a ping. Default 20 s. A shorter time finds
    /// dead peers earlier, but costs more traffic on idle connections. A client that is not silent is pinged about as
    /// often, only to measure its [`round_trip`](crate::Outbox::round_trip).
    ping_interval: Duration = Duration::from_secs(20), such as Duration::from_secs(10);
    /// The time without any byte from the peer after a ping, after which the client is reset. Default 20 s. A shorter time
    /// finds dead peers earlier, but also resets live ones on bad networks.
    ping_timeout: Duration = Duration::from_secs(20), such as Duration::from_secs(5);
    /// The maximum payload of a message, and of a single frame, in bytes. Default 64 KiB. A client that exceeds the
    /// limit is closed with 1009. Each client may need about twice this much memory.
    max_message: usize = 64 << 10, such as 1 << 20;
    /// The maximum payload in bytes of a message that the handler reads as a stream, with
    /// [`Connection::recv_stream`](crate::Connection::recv_stream). Default `None`: as `max_message`. The limit may be
    /// larger than `max_message`, because a stream needs no more memory than a read buffer. A handler that receives such
    /// a message as a whole closes the client with 1009. The binary reads no streams, and has no flag for this limit.
    max_streamed_message: Option<usize> = None, such as Some(1 << 30);
    /// The maximum number of frames in one message, including empty ones. Default 1024. A client that exceeds the limit
    /// is closed with 1008. Each frame costs processor time even if it is empty.
    max_fragments: usize = 1024, such as 64;
    /// The size of a read from the socket in bytes. Default 8 KiB. A larger size needs fewer system calls and more
    /// memory. While reads fill the buffer, it grows up to 256 KiB. While a client is idle, its buffer has at most 1
    /// KiB.
    read_buffer: usize = 8 << 10, such as 64 << 10;
    /// The stack in bytes of the threads that run the handler: the reader of each client, and the thread that reads its
    /// request, which has at least 128 KiB with TLS. Default 256 KiB. A stack overflow ends the process. Only the pages
    /// that have been touched use memory, but the whole stack counts as address space, and so it may lower the
    /// connection limit of a process with `ulimit -v`.
    handler_stack: usize = 256 << 10, such as 1 << 20;
    /// `SO_RCVBUF` in bytes. Default `None`: the kernel chooses the size and adjusts it. A small size slows a client that
    /// sends too fast sooner, but limits its throughput on networks with a long round trip.
    rcvbuf: Option<usize> = None, such as Some(64 << 10);
    /// `SO_SNDBUF` in bytes. Default `None`: the kernel chooses the size and adjusts it. A small size shows a slow peer
    /// sooner, but limits its throughput on networks with a long round trip.
    sndbuf: Option<usize> = None, such as Some(64 << 10);
    /// `TCP_NOTSENT_LOWAT` in bytes: how much unsent data the kernel buffers for a peer whose receive window is full.
    /// Default 128 KiB. A smaller value shows a slow peer sooner, but needs more wake-ups of the writer. With the
    /// kernel's default, the kernel would buffer about 4 MiB for a slow peer before the server noticed it.
    unsent: usize = 128 << 10, such as 16 << 10;
    /// Whether the thread that sends a message also writes it to the socket, as far as the socket accepts it without
    /// blocking. Default true. With false, only the writer thread writes, and each message wakes it. That is easier to
    /// follow in a trace, but slower.
    early_flush: bool = true, such as false;
    /// Patterns of origins that are allowed in addition to the server's own: `https://example.com`, `example.com:8080`,
    /// `https://*.example.com`. Default: none. A TCP listener on loopback also accepts the hosts of these patterns in
    /// `Host`. Every page of an allowed origin can connect on behalf of its visitors, and can read the
    /// answers of HTTP requests: the server adds the CORS headers and answers preflights. `null` and `file://` allow
    /// pages without a host, such as files. Every site can send `null`.
    ///
    /// Pages of other origins get 403 for an upgrade, and for each method but GET, HEAD, OPTIONS and TRACE. See
    /// [`Request::has_allowed_origin`](crate::Request::has_allowed_origin) for the rest.
    origin: Vec<String> = Vec::new(), such as vec!["https://example.com".into()];
    /// Whether every `Origin` is allowed. Default false. With true, every web site can connect on behalf of its
    /// visitors, and can read the answers of HTTP requests.
    allow_any_origin: bool = false, such as true;
    /// The proxies that may say where a client comes from. Default: none, so every client has the address of its TCP
    /// connection.
    ///
    /// For a connection from one of these, the client is the right-most address of `X-Forwarded-For` or `Forwarded`
    /// (RFC 7239) that is not such a proxy, or the address in the PROXY header of a
    /// [`Listener::proxy_protocol`](crate::Listener::proxy_protocol). [`Request::peer`](crate::Request::peer), the log and
    /// the limits per address then use it. `Host`, `Origin` and everything else is judged as without a proxy.
    ///
    /// Name only proxies that add the address of their peer to each request. Let them remove the header that they do not
    /// set, because a client could write it: a request in which both headers name different clients gets a 400. If a
    /// proxy names no client, its own address counts. A loopback address is believed only of a proxy on this machine, so
    /// [`Peer::is_loopback`](crate::Peer::is_loopback) is false for the clients of other machines. It is still true for
    /// those of a proxy on this machine that names no client.
    trusted_proxies: Vec<TrustedProxy> = Vec::new(), such as vec!["10.0.0.0/8".parse().expect("a network")];
}

impl Config {
    /// Returns the capacity of an outbox in messages.
    pub(crate) fn queue_capacity(&self) -> usize {
        self.queue.max(self.topic_queue)
    }

    /// Checks every field except `origin`, which the rules for requests check.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let none = usize::MAX;
        // Socket options are a C int.
        let kernel = i32::MAX as usize;
        check_size("max_clients", self.max_clients.unwrap_or(1), 1, none)?;
        let per_ip = self.max_clients_per_ip.unwrap_or(1);
        check_size("max_clients_per_ip", per_ip, 1, none)?;
        check_size("queue", self.queue, 1, MAX_QUEUE)?;
        check_size("hub", self.topic_queue, 0, MAX_QUEUE)?;
        check_size("queue_bytes", self.queue_bytes, 1, none)?;
        check_time("write_timeout", self.write_timeout)?;
        check_time("handshake_timeout", self.handshake_timeout)?;
        check_time("close_timeout", self.close_timeout)?;
        check_time("message_timeout", self.message_timeout)?;
        check_time("ping_interval", self.ping_interval)?;
        check_time("ping_timeout", self.ping_timeout)?;
        check_size("max_message", self.max_message, 1, none)?;
        let streamed = self.max_streamed_message.unwrap_or(1);
        check_size("max_streamed_message", streamed, 1, none)?;
        check_size("max_fragments", self.max_fragments, 1, none)?;
        check_size("read_buffer", self.read_buffer, 1, MAX_READ_BUFFER)?;
        let stack = self.handler_stack;
        check_size("handler_stack", stack, *STACKS.start(), *STACKS.end())?;
        check_size("rcvbuf", self.rcvbuf.unwrap_or(1), 1, kernel)?;
        check_size("sndbuf", self.sndbuf.unwrap_or(1), 1, kernel)?;
        check_size("unsent", self.unsent, 1, kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_values_are_refused_by_name() {
        let zero = Duration::ZERO;
        let config = Config::default;
        for (field, config) in [
            ("max_clients", config().max_clients(Some(0))),
            ("max_clients_per_ip", config().max_clients_per_ip(Some(0))),
            ("queue", config().queue(0)),
            ("queue", config().queue(usize::MAX)),
            ("queue_bytes", config().queue_bytes(0)),
            ("write_timeout", config().write_timeout(zero)),
            ("handshake_timeout", config().handshake_timeout(zero)),
            ("close_timeout", config().close_timeout(zero)),
            ("message_timeout", config().message_timeout(zero)),
            ("ping_interval", config().ping_interval(zero)),
            (
                "ping_timeout",
                config().ping_timeout(Duration::from_micros(999)),
            ),
            ("max_message", config().max_message(0)),
            (
                "max_streamed_message",
                config().max_streamed_message(Some(0)),
            ),
            ("max_fragments", config().max_fragments(0)),
            ("read_buffer", config().read_buffer(0)),
            ("read_buffer", config().read_buffer(usize::MAX)),
            ("handler_stack", config().handler_stack(4096)),
            ("handler_stack", config().handler_stack(usize::MAX)),
            ("rcvbuf", config().rcvbuf(Some(0))),
            ("sndbuf", config().sndbuf(Some(usize::MAX))),
            ("unsent", config().unsent(0)),
        ] {
            let refused = config.check().expect_err(field);
            assert_eq!(refused.field(), field, "{refused}");
        }
        let ending = config().shutdown_timeout(zero).drain_delay(zero);
        assert_eq!(ending.close_spread(zero).check(), Ok(()));
    }
}
