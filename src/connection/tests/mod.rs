//! Tests of a client's queue, write path and reader, with a
//! [`ScriptedSocket`](super::testing::scripted_socket::ScriptedSocket) instead of a real socket.

mod backpressure;
mod blocked;
mod checkpoints;
mod control_frames;
mod end;
mod message_counts;
mod message_writer;
mod peer;
mod reader;
mod recv_timeout;
mod stream_ends;
mod streams;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_received;
#[cfg(feature = "tls")]
mod tls_records;
mod write_path;
mod written;

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::message::Message;

use super::CloseCause;
use super::queue::outbox::Outbox;
use super::queue::send_queue::{Admission, Wait};
use super::read::reader::Reader;
use super::testing::client::TestClient;
use super::testing::dice::Dice;
use super::testing::frames::{from_client, from_server};
use super::testing::scripted_socket::DEADLINE;
use super::write::close::{CloseMode, CloseReason};
use super::write::frame::EncodedFrame;
use crate::clock::Clock;
use crate::config::Config;

/// Runs a test with early flush and without it, because the written bytes must not depend on which thread writes them.
fn both_ways(test: impl Fn(Config)) {
    for early_flush in [true, false] {
        test(Config::default().early_flush(early_flush));
    }
}

/// Waits until the writer has ended without being told to.
fn join_writer(client: &mut TestClient) {
    if let Some(writer) = client.take_writer() {
        within("the writer ends", || writer.join()).expect("the writer does not panic");
    }
}

/// Queues a message without flushing.
fn push(client: &TestClient, message: &Message) {
    let frame = EncodedFrame::data(message);
    let pushed = client
        .shared
        .write
        .queue
        .push(frame, Wait::Never, client.shared.lifecycle());
    assert_eq!(pushed, Admission::Admitted);
}

/// Requests a Close as the application, in the given mode.
fn close(client: &TestClient, mode: CloseMode, code: u16, reason: &str) -> bool {
    let close = CloseReason::new(code, reason);
    client.shared.close(mode, close, application(code, reason))
}

fn application(code: u16, reason: &str) -> CloseCause {
    let reason = reason.to_owned();
    CloseCause::Application { code, reason }
}

/// Runs `work` on another thread and returns its result. Panics with `what` if it takes too long.
fn within<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    let worker = thread::spawn(move || {
        let _ = done.send(work());
    });
    match result.recv_timeout(DEADLINE) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("timed out waiting until {what}"),
        Err(RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("the thread sends a result or panics"),
        },
    }
}

/// Waits until `happened` returns true, by polling. For conditions that notify nobody.
fn until(what: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !happened() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        thread::yield_now();
    }
}

fn text(text: impl Into<String>) -> Message {
    Message::text(text.into())
}
