//! Runs the example programs as a user would: their output, their pages and sockets, and the report after Ctrl-C.
//!
//! To run only these: `cargo build --examples && cargo test --test examples`; `cargo test` does both. A test waits for
//! lines and messages, never for time to pass.

// An unexpected error ends a test.
#![allow(clippy::unwrap_used)]

mod support;

// The course, in reading order.
mod two_pumps;

mod broken;
mod chat;
mod collab_editor;
mod course;
mod echo;
mod embed;
mod game;
mod live_feed;
mod notifications;
#[cfg(feature = "tls")]
mod tls;
