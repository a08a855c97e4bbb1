//! Logs each message at the level *trace*: its direction, the connection's number, its kind, its length, and of a text
//! its beginning, escaped.
//!
//! No other level shows the content of a message. While the level is off, each function only reads an atomic. A text that
//! has a member `token` is not shown at any level, because a client may send its credentials so.

use std::str;

use crate::message::Message;

use super::write::direct_write::WriteNow;
use super::write::frame::{EncodedFrame, FrameBatch};
use crate::escape::escaped;

/// The target of these lines, so that `RUST_LOG` can select them.
const TARGET: &str = "standpipe::messages";

fn is_on() -> bool {
    log::log_enabled!(target: TARGET, log::Level::Trace)
}

/// Logs a message from the client.
pub(crate) fn received(number: u64, message: &Message) {
    if !is_on() {
        return;
    }
    match message {
        Message::Text(text) => log_text(number, "received", text),
        other => log_binary(number, "received", other.len()),
    }
}

/// Logs a message to the client, when it is taken from the queue.
pub(crate) fn sent(number: u64, frame: &EncodedFrame) {
    if !is_on() {
        return;
    }
    let payload = frame.payload();
    match str::from_utf8(&payload) {
        Ok(text) if frame.is_text() => log_text(number, "sent", text),
        _ => log_binary(number, "sent", payload.len()),
    }
}

/// Logs a message to the client whose last fragment is being queued.
pub(crate) fn sent_as_stream(number: u64, is_text: bool, bytes: u64) {
    let kind = if is_text { "text" } else { "binary" };
    log::trace!(target: TARGET, "#{number} sent {kind}, {bytes} bytes, as a stream");
}

/// Logs messages to the client that were written without being queued, or are in flight.
pub(crate) fn sent_directly(number: u64, batch: &FrameBatch, result: WriteNow) {
    if result != WriteNow::NotWritten && is_on() {
        batch.frames().iter().for_each(|frame| sent(number, frame));
    }
}

/// What may be the name of the member `token` in JSON. The second one is an escaped ASCII character, which may be a part of
/// that name.
const SECRET: [&str; 2] = ["\"token\"", "\\u00"];

fn log_text(number: u64, direction: &str, text: &str) {
    let bytes = text.len();
    if SECRET.iter().any(|secret| text.contains(secret)) {
        log::trace!(target: TARGET, "#{number} {direction} text, {bytes} bytes, not shown because it may have a token");
        return;
    }
    let text = escaped(text);
    log::trace!(target: TARGET, "#{number} {direction} text, {bytes} bytes: {text}");
}

fn log_binary(number: u64, direction: &str, bytes: usize) {
    log::trace!(target: TARGET, "#{number} {direction} binary, {bytes} bytes");
}
