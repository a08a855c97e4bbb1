//! A WebSocket server made of plain blocking threads: one reader and one writer for each client, joined by a bounded
//! queue. No async runtime; when a client is slow its queue fills, when the queue is full the sender waits, and when the
//! sender waits TCP makes *its* peer wait.
//!
//! ```text
//! client ─TCP─▶ acceptor ─▶ request head ─▶ split ─────────────── write half ────────────────┐
//!               (permit)     reader thread    │ read half                                     ▼
//!                            frames in ─▶ handler ─▶ outbox ─bounded crossbeam channel─▶ writer thread ─TCP─▶ client
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
//!     Ok(()) // return: 1000 after what is queued · error or panic: 1011
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The tour
//! - [`Server`] listens and serves; [`ServerHandle`] asks it to end; [`Config`] holds every limit and clock.
//! - [`Handler`] is what you write: [`run`](Handler::run) is one client's life as a plain loop, on its own thread, and
//!   [`request`](Handler::request) judges a request before the 101, with [`Request`] and [`Reply`].
//! - [`Connection`] is that client: [`recv`](Connection::recv) waits for it, [`send`](Connection::send) queues for it.
//! - [`Outbox`] sends to it from any other thread. *The verb is the policy*: [`send`](Outbox::send) waits,
//!   [`send_timeout`](Outbox::send_timeout) waits so long, [`try_send`](Outbox::try_send) never waits.
//! - [`Hub`] and [`Topic`] send to many, in one order, and cut who is too slow.
//! - [`Server::events`] gives the same as one channel, for a program that has a main loop already.
//! - [`guide`] says what happens when a client stops reading, which policy fits what, and how it is deployed.
//! - [`architecture`] says which threads there are, what each waits for, and who wakes it; [`protocol`] is what the
//!   binary's clients speak.
//! - [`benchmarks`] says how fast it is beside its peers, and where it is not the fastest.
//! - [`drills`] says what was tried against it, and with which result; [`security`] what is promised, what is left
//!   to a proxy, and which test holds it.
//!
//! # Blocking
//! Every method that waits says so under this heading: for what, and who wakes it. Nothing here waits for a peer without
//! a deadline.

#[doc = include_str!("GUIDE.md")]
pub mod guide {}

#[doc = include_str!("ARCHITECTURE.md")]
pub mod architecture {}

#[doc = include_str!("PROTOCOL.md")]
pub mod protocol {}

#[doc = include_str!("DRILLS.md")]
pub mod drills {}

#[doc = include_str!("SECURITY.md")]
pub mod security {}

#[doc = include_str!("BENCHMARKS.md")]
pub mod benchmarks {}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// In the order in which a message travels.

mod server;

mod http;

mod connection;

mod handler;

mod hub;

mod events;

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[allow(missing_docs, reason = "for the targets in `fuzz/` alone")]
pub mod fuzzing;

// What all of them use.

mod caught;
mod clock;
mod config;
mod error;
mod quoted;
mod rate;
mod sync;

pub use config::Config;
pub use connection::{Clock, CloseCause, Connection, MessageCounts, Outbox};
pub use error::{Error, RecvError, SendError, SendTimeoutError, TrySendError};
pub use events::{Event, Events};
pub use handler::Handler;
pub use http::{Peer, Reply, Request};
pub use hub::{
    Envelope, Hub, HubConfig, Policy, Publication, PublishError, PublishOutcome, SoftLimit,
    SubscribeOptions, Subscription, TooManyTopics, Topic, TopicCounts, TopicMessage, TopicSettings,
};
pub use rate::Rate;
pub use server::{
    ClientState, Listener, QueueState, Server, ServerHandle, ServerThread, ShutdownReport,
    ThreadState,
};
pub use tungstenite;
pub use tungstenite::Message;
