//! Logs each message at the level *trace*: the name of its client, its direction, its kind, its length, and of a text its
//! beginning, escaped.
//!
//! No other level shows the content of a message. While the level is off, each function only reads an atomic. A text that
//! has a member `token` is not shown at any level, because a client may send its credentials so.

use std::{fmt, str};

use log::Level;

use crate::message::Message;

use super::client_name::CurrentName;
use super::write::direct_write::WriteNow;
use super::write::frame::{EncodedFrame, FrameBatch};
use crate::escape::escaped;

/// The target of these lines, so that `RUST_LOG` can select them.
const TARGET: &str = "standpipe::messages";

fn is_on() -> bool {
    log::log_enabled!(target: TARGET, log::Level::Trace)
}

/// Logs a message from the client.
pub(crate) fn received(name: &CurrentName, message: &Message) {
    if !is_on() {
        return;
    }
    match message {
        Message::Text(text) => log_text(name, "received", text),
        other => log_binary(name, "received", other.len()),
    }
}

/// Logs a message to the client, when it is taken from the queue.
pub(crate) fn sent(name: &CurrentName, frame: &EncodedFrame) {
    if !is_on() {
        return;
    }
    let payload = frame.payload();
    match str::from_utf8(&payload) {
        Ok(text) if frame.is_text() => log_text(name, "sent", text),
        _ => log_binary(name, "sent", payload.len()),
    }
}

/// Logs a message to the client whose last fragment is being queued.
pub(crate) fn sent_as_stream(name: &CurrentName, is_text: bool, bytes: u64) {
    let kind = if is_text { "text" } else { "binary" };
    if is_on() {
        log(
            name,
            format_args!("sent {kind}, {bytes} bytes, as a stream"),
        );
    }
}

/// Logs messages to the client that were written without being queued, or are in flight.
pub(crate) fn sent_directly(name: &CurrentName, batch: &FrameBatch, result: WriteNow) {
    if result != WriteNow::NotWritten && is_on() {
        batch.frames().iter().for_each(|frame| sent(name, frame));
    }
}

/// Texts that may stand for the name of the member `token` in JSON. The second one begins an escaped ASCII character, which
/// may be a part of that name.
const SECRET: [&str; 2] = ["\"token\"", "\\u00"];

fn log_text(name: &CurrentName, direction: &str, text: &str) {
    let bytes = text.len();
    if SECRET.iter().any(|secret| text.contains(secret)) {
        let why = "not shown because it may have a token";
        log(name, format_args!("{direction} text, {bytes} bytes, {why}"));
        return;
    }
    let text = escaped(text);
    log(
        name,
        format_args!("{direction} text, {bytes} bytes: {text}"),
    );
}

fn log_binary(name: &CurrentName, direction: &str, bytes: usize) {
    log(name, format_args!("{direction} binary, {bytes} bytes"));
}

fn log(name: &CurrentName, text: fmt::Arguments<'_>) {
    name.get().log(TARGET, Level::Trace, &[], text);
}
