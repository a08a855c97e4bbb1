//! Messages that arrive together: `recv_all` returns them together and `send_all` writes them together.

use standpipe::Connection;

use crate::support::{Frame, TestServer, both_ways, op};

/// The most messages that the handler takes in one call.
const MOST: usize = 64;

fn echo_batches(conn: &mut Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    loop {
        let messages = conn.recv_all(MOST)?;
        assert!(messages.len() <= MOST);
        if messages.is_empty() {
            return Ok(());
        }
        conn.send_all(messages)?;
    }
}

/// The frames of `count` numbered messages, to be sent in one write.
fn numbered(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|n| Frame::new(op::TEXT, n.to_string()).bytes())
        .collect()
}

#[test]
fn batches_are_answered_in_order_and_before_the_close() {
    both_ways(|config| {
        let early_flush = config.early_flush;
        let server = TestServer::start(config.queue(5), echo_batches);
        for (last, code) in [
            (Frame::new(op::CLOSE, [3, 232]).bytes(), 1000),
            (Frame::new(op::CONTINUATION, "of nothing").bytes(), 1002),
        ] {
            let mut client = server.connect();
            for count in [1, 3, 64, 65, 500] {
                let ping = Frame::new(op::PING, "between").bytes();
                client.bytes([numbered(count), ping, numbered(count)].concat());
                for n in (0..count).chain(0..count) {
                    client.expect_text(&n.to_string());
                }
            }
            // Without early flush, answers may still be queued when the Close discards the queue.
            if early_flush {
                client.bytes([numbered(3), last].concat());
                for n in 0..3 {
                    client.expect_text(&n.to_string());
                }
            } else {
                client.bytes(last);
            }
            client.expect_close(code);
        }
    });
}
