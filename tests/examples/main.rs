//! The examples, run as people run them: what they print, what they serve, and that Ctrl-C ends them with a report.
//!
//! Alone: `cargo build --examples && cargo test --test examples`; `cargo test` does both. A test waits for lines and messages,
//! never for time to pass.

// A test that meets an error it did not expect ends there.
#![allow(clippy::unwrap_used)]

mod support;

// The course, in reading order.
mod two_pumps;

mod broken;
mod chat;
mod collab_editor;
mod course;
mod echo;
mod game;
mod live_feed;
mod notifications;
