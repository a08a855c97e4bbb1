//! The server, seen from outside: real sockets, real threads, and the binary itself.
//!
//! Tests wait for events, never for time to pass; whatever could hang has a deadline that names what it waited for. The
//! name of a test is the sentence that would be false if it failed.

// A test that meets an error it did not expect ends there.
#![allow(clippy::unwrap_used)]
// Shown only when a test fails.
#![allow(clippy::print_stderr)]

mod support;

mod backpressure;
mod batches;
mod hub;
mod slow_consumer;

// What each policy promises, who is on many topics, and what a topic remembers.
mod history;
mod lanes;
mod message_counts;
mod order;
mod owed;
mod policies;
mod presence;

// In the order of a client's life.
mod handshake;

mod echo;

mod close;
mod ended;
mod events;
mod faults;

mod report;
mod shutdown;

// All of it as people run it.
#[cfg(feature = "cli")]
mod binary;
#[cfg(feature = "cli")]
mod binary_bench;
#[cfg(feature = "cli")]
mod binary_client;
#[cfg(feature = "cli")]
mod dashboard;
#[cfg(feature = "cli")]
mod json;
#[cfg(feature = "cli")]
mod metrics;
#[cfg(feature = "cli")]
mod publish;
#[cfg(feature = "cli")]
mod secrets;

// What it must survive, and every way in which threads could wait for each other for ever.
mod threats;

mod cycles;
