//! Messages that arrive together: `recv_all` returns them in one call, and `send_all` answers them in one call.

use standpipe::Connection;

use crate::support::{Failure, Frame, TestServer, op, with_both_flush_modes};

/// The largest batch that [`echo_batches`] receives.
const BATCH: usize = 64;

/// A handler that sends each batch of messages back as a batch.
fn echo_batches(conn: &mut Connection) -> Result<(), Failure> {
    loop {
        let messages = conn.recv_all(BATCH)?;
        if messages.is_empty() {
            return Ok(());
        }
        assert!(messages.len() <= BATCH, "{} messages", messages.len());
        conn.send_all(messages)?;
    }
}

/// Returns the frames of `count` numbered messages, for one write.
fn numbered(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|n| Frame::new(op::TEXT, n.to_string()).bytes())
        .collect()
}

#[test]
fn batches_of_all_sizes_come_back_in_order() {
    with_both_flush_modes(|config| {
        // A batch may be larger than the queue.
        let server = TestServer::start(config.queue(5), echo_batches);
        let mut client = server.connect();
        for count in [1, 3, BATCH, BATCH + 1, 500] {
            let ping = Frame::new(op::PING, "between").bytes();
            client.bytes([numbered(count), ping, numbered(count)].concat());
            for n in (0..count).chain(0..count) {
                client.expect_text(&n.to_string());
            }
        }
        client.leave();
    });
}

#[test]
fn batch_before_a_close_or_violation_is_answered_first() {
    with_both_flush_modes(|config| {
        let early_flush = config.early_flush;
        let server = TestServer::start(config.queue(5), echo_batches);
        for (last, code) in [
            (Frame::close(1000, ""), 1000),
            (Frame::new(op::CONTINUATION, "without a start"), 1002),
        ] {
            let mut client = server.connect();
            // Without early flush, the answers may still be queued when the Close discards the queue.
            let count = if early_flush { 3 } else { 0 };
            client.bytes([numbered(count), last.bytes()].concat());
            for n in 0..count {
                client.expect_text(&n.to_string());
            }
            client.expect_close(code);
        }
    });
}
