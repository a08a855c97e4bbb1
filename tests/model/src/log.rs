//! [`Log`]: what the tests check. It is not part of the protocol: its lock is a plain one, which loom does not see.

use std::sync::{Mutex, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Record>);

/// What has happened in one run. loom runs one thread at a time, so the entries are in the order of the events.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Messages that were accepted, queued or not.
    pub accepted: Vec<u8>,
    /// The bytes that the socket has accepted.
    pub written: Vec<u8>,
    /// Messages that were counted as delivered.
    pub delivered: Vec<u8>,
    /// Messages that were accepted and will not be sent.
    pub discarded: Vec<u8>,
    /// The counter of discarded messages.
    pub discarded_count: usize,
    /// Messages whose `send` has returned true.
    pub returned: Vec<u8>,
    /// Pairs of messages: the `send` of the first had returned when that of the second began.
    pub ordered: Vec<(u8, u8)>,
    /// The Close that will be sent: the last whose request has won.
    pub close: Option<u8>,
    /// The messages whose `send` had returned when `close` was requested.
    pub before_close: Vec<u8>,
    /// The pongs, in the order in which they were set.
    pub pongs: Vec<u8>,
    /// The writer has seen the end of the connection.
    pub writer_ended: bool,
}

impl Log {
    fn update<T>(&self, update: impl FnOnce(&mut Record) -> T) -> T {
        update(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn send_began(&self, message: u8) {
        self.update(|record| {
            let pairs = record.returned.iter().map(|&earlier| (earlier, message));
            record.ordered.extend(pairs);
        });
    }

    pub(crate) fn send_returned(&self, message: u8) {
        self.update(|record| record.returned.push(message));
    }

    pub(crate) fn accepted(&self, message: u8) {
        self.update(|record| record.accepted.push(message));
    }

    pub(crate) fn written(&self, bytes: &[u8]) {
        self.update(|record| record.written.extend(bytes));
    }

    pub(crate) fn delivered(&self, message: u8) {
        self.update(|record| record.delivered.push(message));
    }

    pub(crate) fn discarded(&self, message: u8) {
        self.update(|record| record.discarded.push(message));
    }

    pub(crate) fn close_requested(&self, close: u8) {
        self.update(|record| {
            record.close = Some(close);
            record.before_close = record.returned.clone();
        });
    }

    pub(crate) fn pong_set(&self, pong: u8) {
        self.update(|record| record.pongs.push(pong));
    }

    pub(crate) fn writer_ended(&self) {
        self.update(|record| record.writer_ended = true);
    }

    pub(crate) fn record(&self) -> Record {
        self.update(|record| record.clone())
    }
}
