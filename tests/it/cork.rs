//! Messages that come together and go together. Held-back flushes: they are done before their thread waits for anything, and when the cork is pulled.

use crossbeam_channel::bounded;
use standpipe::{Config, Connection, Message};

use crate::support::{Frame, TestServer, op, with_both_flush_modes};

fn corked_echo(conn: &mut Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    conn.cork(true);
    while let Some(message) = conn.recv()? {
        conn.send(message)?;
    }
    Ok(())
}

/// Frames of numbered messages, as one piece.
fn together(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|n| Frame::new(op::TEXT, n.to_string()).bytes())
        .collect()
}

#[test]
fn what_came_together_is_answered_before_recv_waits() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(config, corked_echo);
        let mut client = server.connect();
        for count in [1, 16, 64, 500] {
            client.bytes(together(count));
            for n in 0..count {
                client.expect_text(&n.to_string());
            }
        }
        client.leave();
    });
}

#[test]
fn a_corked_sender_that_waits_for_room_has_sent_what_it_held_back() {
    // A queue of two: the third message waits for room, which comes only if the first two are on their way.
    let server = TestServer::start(Config::default().queue(2), corked_echo);
    let mut client = server.connect();
    client.bytes(together(300));
    for n in 0..300 {
        client.expect_text(&n.to_string());
    }
    client.leave();
}

#[test]
fn what_was_held_back_goes_out_when_the_cork_is_pulled_and_when_the_handler_returns() {
    with_both_flush_modes(|config| {
        let (go_on, wait) = bounded::<()>(0);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            conn.cork(true);
            conn.send(Message::text("held"))?;
            conn.cork(false);
            // In the user's code, which nobody wakes but the test.
            wait.recv()?;
            conn.cork(true);
            conn.send(Message::text("last"))?;
            Ok(())
        });
        let mut client = server.connect();
        client.expect_text("held");
        go_on.send(()).unwrap();
        client.expect_text("last");
        client.expect_close(1000);
    });
}

#[test]
fn what_came_before_a_close_or_a_fault_is_answered_before_it() {
    // With the writer alone an answer may still be queued when the Close throws it away.
    let server = TestServer::start(Config::default(), corked_echo);
    for (last, code) in [
        (Frame::new(op::CLOSE, [3, 232]).bytes(), 1000),
        (Frame::new(op::CONTINUATION, "of nothing").bytes(), 1002),
    ] {
        let mut client = server.connect();
        client.bytes([together(16), last].concat());
        for n in 0..16 {
            client.expect_text(&n.to_string());
        }
        client.expect_close(code);
    }
}

fn echo_together(conn: &mut Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    loop {
        let messages = conn.recv_all(64)?;
        assert!(messages.len() <= 64);
        if messages.is_empty() {
            return Ok(());
        }
        conn.send_all(messages)?;
    }
}

#[test]
fn what_is_received_together_and_sent_together_is_all_there_in_order_and_before_what_ends_it() {
    with_both_flush_modes(|config| {
        let early_flush = config.early_flush;
        let server = TestServer::start(config.queue(5), echo_together);
        for (last, code) in [
            (Frame::new(op::CLOSE, [3, 232]).bytes(), 1000),
            (Frame::new(op::CONTINUATION, "of nothing").bytes(), 1002),
        ] {
            let mut client = server.connect();
            for count in [1, 3, 64, 65, 500] {
                let ping = Frame::new(op::PING, "between").bytes();
                client.bytes([together(count), ping, together(count)].concat());
                for n in (0..count).chain(0..count) {
                    client.expect_text(&n.to_string());
                }
            }
            // With the writer alone an answer may still be queued when the Close throws it away.
            if early_flush {
                client.bytes([together(3), last].concat());
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
