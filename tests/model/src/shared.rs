//! `shared.rs`, and how `queue/outbox.rs` and `write/writer.rs` use the write path.

use crate::fragments::STREAM;
use crate::write_path::{WriteNow, WritePath};
use crate::{CloseMode, Mutant, Record};

/// `shared.rs`.
impl WritePath {
    /// Requests a Close, refuses further messages, and starts writing. Returns whether this Close will be sent.
    pub fn close(&self, mode: CloseMode) -> bool {
        let wins = self.lifecycle.request_close(mode, &self.log);
        self.stop_accepting();
        if wins {
            self.request_attention();
            self.flush();
        }
        wins
    }

    /// Gives up the connection. The reader and the watchdog call it.
    pub fn give_up(&self) {
        if !self.lifecycle.is_finished() {
            self.finish();
        }
        self.writer.notify();
    }

    /// Ends everything that the connection still has. The reader calls it at the end.
    pub fn tear_down(&self) {
        self.give_up();
        self.close_slot();
        self.queue.drain(self);
    }

    /// Lets a pong overtake the queue.
    pub fn send_pong(&self, pong: u8) {
        self.store_pong(pong);
        self.flush();
    }

    /// Lets a control frame overtake the queue, and leaves it to the writer. In the product this is a ping, which takes
    /// the same way as a pong otherwise.
    pub fn send_ping(&self, ping: u8) {
        self.store_pong(ping);
        self.writer.notify();
    }

    fn store_pong(&self, pong: u8) {
        if self.is(Mutant::AttentionSetBeforeStoring) {
            self.request_attention();
            return self.control.set_pong(pong, &self.log);
        }
        self.control.set_pong(pong, &self.log);
        self.request_attention();
    }
}

/// `queue/outbox.rs`.
impl WritePath {
    /// Writes `message`, or queues it and flushes. Returns false if the queue is closed.
    pub fn send(&self, message: u8) -> bool {
        self.log.send_began(message);
        if self.try_write_now(message) != WriteNow::NotWritten {
            self.log.send_returned(message);
            return true;
        }
        let pushed = self.queue.push(message, self);
        // Also when the queue has refused the message: while this thread held the write half for the direct write, another
        // thread may have left its work to it.
        if pushed || !self.is(Mutant::RefusedSenderDoesNotFlush) {
            self.flush();
        }
        if pushed {
            self.log.send_returned(message);
        }
        pushed
    }

    /// Queues `message`. The caller has to flush.
    pub fn enqueue(&self, message: u8) -> bool {
        self.queue.push(message, self)
    }
}

/// `queue/message_writer.rs` and `queue/fragments.rs`.
impl WritePath {
    /// Begins the stream.
    pub fn begin_stream(&self) {
        self.queue.place(STREAM);
        self.flush();
    }

    /// Queues a fragment. `b'>'` is the last one.
    pub fn push_fragment(&self, fragment: u8) {
        self.fragments.push(fragment, self);
    }

    pub(crate) fn notify_stream(&self) {
        if !self.is(Mutant::FragmentWithoutAttention) {
            self.request_attention();
        }
        self.flush();
    }
}

/// `write/writer.rs`.
impl WritePath {
    /// The writer's thread.
    pub fn run(&self) {
        while self.writer.wait() {
            if !self.write_until_idle() {
                return self.log.writer_ended();
            }
        }
    }
}

/// For the tests.
impl WritePath {
    /// Lets the writer end when it has done what it was notified of. No other thread may notify it afterwards.
    pub fn let_writer_end(&self) {
        self.writer.end();
    }

    /// Returns what has happened so far.
    pub fn record(&self) -> Record {
        let discarded_count = self.queue.counts();
        Record {
            discarded_count,
            ..self.log.record()
        }
    }
}
