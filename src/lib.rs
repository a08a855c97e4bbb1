//! A publish/subscribe hub for WebSocket clients, and the library that it is made of: plain blocking threads, no async.
//!
//! Each client has a reader thread, a writer thread and a bounded queue. A client that stops reading fills its own
//! queue and nothing else: you choose whether the sender then waits, gets the message back, or a topic's [`Policy`]
//! decides. Every wait for a client has a deadline.
//!
//! ```text
//! client ──▶ acceptor ──▶ handshake thread ──▶ reader thread ──▶ handler ─┬─▶ outbox of this client
//!            accepts      reads the request,   reads messages    your code └─▶ topic ─▶ outbox of each member
//!            connections  answers it
//!
//! outbox ─┬─ fast path: written to the socket by the thread that sends ─────▶ client
//!         └─ otherwise: queue ──▶ writer thread ────────────────────────────▶ client
//! ```
//!
//! An echo server:
//!
//! ```no_run
//! use standpipe::{Config, Connection, Server};
//!
//! let server = Server::bind("127.0.0.1:9001", Config::default())?;
//! server.serve(|conn: &mut Connection| {
//!     while let Some(message) = conn.recv()? {
//!         conn.send(message)?;
//!     }
//!     Ok(()) // Closes with 1000 after what is queued. An error or a panic closes with 1011.
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Tour
//! - [`Server`] listens and serves. [`ServerHandle`] drains it, shuts it down and shows its state. [`Config`] has every
//!   limit and timeout, and [`Limits`] those of one connection.
//! - [`Handler`] is what you write. [`run`](Handler::run) is a loop over the messages of one client, on its own thread.
//!   [`request`](Handler::request) accepts or refuses a request before the upgrade, with [`Request`] and [`Reply`].
//! - [`Connection`] is one client: [`recv`](Connection::recv) waits for a message from it, [`send`](Connection::send)
//!   queues one for it. [`recv_timeout`](Connection::recv_timeout) waits up to a limit,
//!   [`try_recv`](Connection::try_recv) never waits, and [`ready`](Connection::ready) stands in `select!` beside other
//!   channels. [`Watch`] does so for any socket.
//! - [`Outbox`] sends to that client from any other thread. [`send`](Outbox::send) waits,
//!   [`send_timeout`](Outbox::send_timeout) waits up to a time limit, [`try_send`](Outbox::try_send) never waits. A
//!   [`Receipt`] tells what became of one message, and [`wait_written`](Outbox::wait_written) waits until all messages
//!   are written. A [`MessageWriter`] sends a message of any size as a stream.
//! - [`Hub`] and [`Topic`] send to many clients, in the same order to all of them. A [`Policy`] decides what happens
//!   when a member is slow.
//! - [`Roster`] has people by name, each with several connections.
//! - [`Listener::channel`] takes connections that an existing server has accepted.
//! - [`Listener::tls`] serves `wss://`, with a [`TlsConfig`] that can be replaced while the server runs. [`Request::tls`]
//!   shows a handler the certificate of its client.
//! - [`Reply`] is also what a page needs: HTML, JSON, files, redirects and each [`Cookie`]. [`Reply::from_try`] lets a
//!   handler use `?`.
//! - [`Server::events`] delivers the events of all clients on one channel, for a program that has a main loop.
//!
//! # Documents
//! - [`guide`]: a first server, a first topic, slow clients, policies, what each thread waits for, panics, deployment,
//!   sizing.
//! - [`mod@reference`]: the paths, flags and exit codes of the `standpipe` program. [`protocol`]: what its clients send
//!   and receive.
//! - [`conformance`]: each requirement of the HTTP and WebSocket RFCs on a request, and its test.
//! - [`architecture`]: every thread, what it waits for, and what wakes it.
//! - [`security`]: what the server promises, which test checks each promise, and what is left to a proxy.
//! - [`drills`]: fault tests against the server, and their results. [`benchmarks`]: its speed compared with other
//!   servers.
//!
//! # Features
//! - `client` adds [`Client`], a small blocking client. It needs no further dependency.
//! - [`redis`](mod@redis) shares the topics of a hub with other machines. It needs the crates `redis` and `serde_json`.
//! - [`testing`] adds tools for the tests of a program, and enables `client`.
//! - `tls` adds [`Listener::tls`] and [`TlsConfig`], and lets clients connect to `wss://`. It needs the crates `rustls`,
//!   with the provider `ring`, and `rustls-native-certs`.
//! - `cli` is for the `standpipe` program. A program that uses the library sets `default-features = false`.
//!
//! # Blocking
//! The documentation of every method that waits has a section with this name. It says what the method waits for and
//! what wakes it. No method waits for a client without a deadline.

// The modules are left out elsewhere, so that this is the only error.
#[cfg(not(unix))]
compile_error!(
    "standpipe runs on Unix only: it uses unix sockets, poll(2) and file permissions. \
    On Windows, build it in the Windows Subsystem for Linux."
);

#[doc = include_str!("GUIDE.md")]
pub mod guide {}

#[doc = include_str!("REFERENCE.md")]
pub mod reference {}

#[doc = include_str!("ARCHITECTURE.md")]
pub mod architecture {}

#[doc = include_str!("PROTOCOL.md")]
pub mod protocol {}

#[doc = include_str!("HTTP.md")]
pub mod conformance {}

#[doc = include_str!("DRILLS.md")]
pub mod drills {}

#[doc = include_str!("SECURITY.md")]
pub mod security {}

#[doc = include_str!("BENCHMARKS.md")]
pub mod benchmarks {}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// One connection; what the user supplies; requests; topics; the server that ties them together.
#[cfg(unix)]
mod connection;
#[cfg(unix)]
mod handler;
// The crate `http` is re-exported under its own name.
#[cfg(unix)]
#[path = "http/mod.rs"]
mod http1;
#[cfg(unix)]
mod hub;
// People by name, each with several connections.
#[cfg(unix)]
mod roster;
#[cfg(unix)]
mod server;

// TLS for listeners.
#[cfg(unix)]
mod tls;

// A client, for programs that talk to a server, and for tests.
#[cfg(all(unix, feature = "client"))]
mod client;
#[cfg(all(unix, feature = "redis"))]
pub mod redis;
#[cfg(all(unix, feature = "testing"))]
pub mod testing;

// The events of all clients on one channel, for a program that has a main loop.
#[cfg(unix)]
mod events;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[allow(missing_docs, reason = "only the targets in `fuzz/` use it")]
#[cfg(unix)]
pub mod fuzzing;

// Used by all of the modules above.
#[cfg(unix)]
mod clock;
#[cfg(unix)]
mod config;
#[cfg(unix)]
mod config_error;
#[cfg(unix)]
mod durations;
#[cfg(unix)]
mod error;
#[cfg(unix)]
mod escape;
#[cfg(unix)]
mod limits;
#[cfg(unix)]
mod line_throttle;
#[cfg(unix)]
mod message;
#[cfg(all(unix, feature = "redis"))]
mod names;
#[cfg(all(unix, feature = "redis"))]
mod nesting;
#[cfg(unix)]
mod panic;
#[cfg(unix)]
mod rate;
#[cfg(unix)]
mod sweep;
#[cfg(unix)]
mod sync;
#[cfg(unix)]
mod trusted_proxy;
#[cfg(unix)]
mod watch;

/// Methods and headers, as in the signatures of [`Request`] and [`Reply`].
///
/// ```
/// use standpipe::{Reply, http::header};
///
/// let reply = Reply::text(200, "ok\n").header(header::CACHE_CONTROL, "no-store");
/// ```
#[cfg(unix)]
pub use ::http;
#[cfg(all(unix, feature = "tls"))]
pub use ::rustls;
#[cfg(unix)]
pub use bytes::Bytes;
#[cfg(all(unix, feature = "client"))]
pub use client::{Client, ClientBuilder, ConnectError};
#[cfg(unix)]
pub use clock::Clock;
#[cfg(unix)]
pub use config::Config;
#[cfg(unix)]
pub use config_error::ConfigError;
#[cfg(unix)]
pub use connection::{
    Activity, CloseCause, Connection, Fate, MessageCounts, MessageReader, MessageWriter, Messages,
    Outbox, PeerClose, Receipt, TooManyCallbacks,
};
/// The channels in the signatures of this crate, such as [`Events::receiver`], and `select!` for them.
///
/// ```
/// use std::time::Duration;
/// use standpipe::Events;
/// use standpipe::crossbeam_channel::{select, tick};
///
/// fn count(events: &Events) -> usize {
///     let seconds = tick(Duration::from_secs(1));
///     let mut count = 0;
///     loop {
///         select! {
///             recv(events.receiver()) -> event => match event {
///                 Ok(_) => count += 1,
///                 Err(_) => return count, // The server has ended.
///             },
///             recv(seconds) -> _ => println!("{count} events"),
///         }
///     }
/// }
/// ```
#[cfg(unix)]
pub use crossbeam_channel;
#[cfg(unix)]
pub use durations::Durations;
#[cfg(unix)]
pub use error::{
    Error, RecvError, RecvTimeoutError, SendAllError, SendError, SendTimeoutError, TryRecvError,
    TrySendError, WaitWrittenError,
};
#[cfg(unix)]
pub use events::{Event, Events};
#[cfg(unix)]
pub use handler::{Handler, HandlerResult};
#[cfg(unix)]
pub use http1::{Cookie, Form, Peer, Reply, Request, SameSite};
#[cfg(unix)]
pub use hub::{
    ClearHistoryError, DropReason, Envelope, Gap, Hub, HubConfig, HubStatistics, Policy,
    Publication, PublishError, PublishOutcome, SoftLimit, SubscribeError, SubscribeOptions,
    Subscription, TooManyTopics, Topic, TopicCounts, TopicMessage, TopicSettings,
};
#[cfg(unix)]
pub use limits::Limits;
#[cfg(unix)]
pub use message::{Message, Text};
#[cfg(unix)]
pub use rate::Rate;
#[cfg(unix)]
pub use roster::{Roster, RosterEntry, RosterFull, RosterOutcome};
#[cfg(unix)]
pub use server::{
    ClientState, ConnectionSender, Disconnect, HandOverError, HandOverReason, Listener, QueueState,
    Refused, RequestCount, Server, ServerHandle, ServerStatistics, ServerThread, ShutdownReport,
    ThreadState, TickCallback, TlsCounts, TlsFailure, raise_descriptor_limit,
};
#[cfg(unix)]
pub use tls::TlsVersion;
#[cfg(all(unix, feature = "tls"))]
pub use tls::{TlsConfig, TlsConfigError, TlsInfo};
#[cfg(unix)]
pub use trusted_proxy::TrustedProxy;
#[cfg(unix)]
pub use tungstenite;
#[cfg(unix)]
pub use watch::{Interest, Watch};
