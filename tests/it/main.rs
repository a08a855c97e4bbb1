//! The server, seen from outside: real sockets, real threads, and the binary itself.
//!
//! Tests wait for events, never for time to pass. Every wait has a deadline that names what it waited for. The name of
//! a test is a sentence that would be false if the test failed.

// A test that meets an unexpected error ends there.
#![allow(clippy::unwrap_used)]
// The output is shown only when a test fails.
#![allow(clippy::print_stderr)]

mod support;

// The library: back-pressure and the hub.
mod backpressure;
mod hub;
mod slow_consumer;

// What each policy promises, members of many topics, and what a topic keeps.
mod history;
mod message_counts;
mod message_order;
mod overflow;
mod pending_messages;
mod people;
mod pings;
mod policies;
mod presence;
mod set_topics;

// In the order of a client's life.
#[cfg(feature = "client")]
mod client;
mod handed;
mod handshake;
mod lateness;
mod listeners;
mod log_lines;
mod opening;
mod proxies;
#[cfg(feature = "tls")]
mod tls;

mod cookies;
mod http_answers;
mod http_bodies;
mod http_cors;
mod http_deadlines;
mod http_keep_alive;
mod replies;

mod batches;
mod echo;
mod ends;
mod stream_writing;
mod written;

mod close;
mod connection_end;
mod connection_limits;
mod events;
mod guide;
mod peer_gone;
mod receive;
mod statistics;
mod violations;

mod drain;
mod grace;
mod leaks;
mod scope;
mod shutdown;
mod shutdown_report;
mod unix_sockets;

// The binary, as people run it.
#[cfg(feature = "cli")]
mod admin;
#[cfg(feature = "cli")]
mod admin_publish;
#[cfg(feature = "cli")]
mod admin_requests;
#[cfg(feature = "cli")]
mod binary;
#[cfg(feature = "cli")]
mod binary_bench;
#[cfg(feature = "cli")]
mod binary_client;
#[cfg(feature = "cli")]
mod binary_environment;
#[cfg(feature = "cli")]
mod binary_input;
#[cfg(feature = "cli")]
mod binary_output;
#[cfg(feature = "cli")]
mod config_file;
#[cfg(feature = "cli")]
mod config_reload;
#[cfg(feature = "cli")]
mod dashboard;
#[cfg(feature = "cli")]
mod exec;
#[cfg(feature = "cli")]
mod http_raw;
#[cfg(feature = "cli")]
mod json;
#[cfg(feature = "cli")]
mod json_values;
#[cfg(feature = "cli")]
mod manuals;
#[cfg(feature = "cli")]
mod metrics;
#[cfg(feature = "cli")]
mod openapi;
#[cfg(feature = "cli")]
mod protocol;
#[cfg(feature = "cli")]
mod publish;
#[cfg(all(feature = "cli", feature = "redis"))]
mod redis;
#[cfg(feature = "cli")]
mod resume;
#[cfg(feature = "cli")]
mod secrets;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod systemd;
#[cfg(all(feature = "cli", feature = "tls"))]
mod tls_serve;
#[cfg(feature = "cli")]
mod tokens;
#[cfg(feature = "cli")]
mod topic_rules;

// TLS on the side of the clients.
#[cfg(all(feature = "client", feature = "tls"))]
mod tls_client;
#[cfg(all(feature = "cli", feature = "client", feature = "tls"))]
mod tls_commands;

// The threats that the server must survive, and every cycle in which threads could wait for each other forever.
mod threats;

// The tools for the tests of other programs.
#[cfg(feature = "testing")]
mod testing;

// The tools of these tests.
mod test_mode;

mod cycles;
