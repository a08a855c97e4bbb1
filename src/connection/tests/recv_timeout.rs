//! `recv_timeout`: what it waits for, what it handles meanwhile, and what it costs the peer's deadlines.

use std::time::Duration;

use super::*;
use crate::clock;
use crate::connection::activity::Activity;
use crate::connection::deadlines::DeadlineCheck;
use crate::error::{RecvError, RecvTimeoutError};

const SHORT: Duration = Duration::from_millis(5);

fn times_out(reader: &mut Reader, timeout: Duration) {
    match reader.recv_timeout(timeout) {
        Err(RecvTimeoutError::Timeout) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn recv_timeout_returns_messages_and_continues_after_a_timeout() {
    let client = TestClient::new(Config::default());
    let mut reader = client.reader(&from_client(0x81, b"ahead"));
    let received = reader.recv_timeout(Duration::ZERO).expect("it has arrived");
    assert_eq!(received, Some(text("ahead")));
    times_out(&mut reader, Duration::ZERO);
    times_out(&mut reader, SHORT);
    client.socket.send(from_client(0x81, b"later"));
    let received = reader.recv_timeout(DEADLINE).expect("it has arrived");
    assert_eq!(received, Some(text("later")));
    times_out(&mut reader, SHORT);
    client.socket.hang_up();
    let ended = reader.recv_timeout(DEADLINE);
    assert!(
        matches!(ended, Err(RecvTimeoutError::Failed(RecvError::Gone))),
        "{ended:?}"
    );
    client.end();
}

#[test]
fn recv_timeout_answers_pings_and_a_close() {
    let client = TestClient::new(Config::default());
    let mut reader = client.reader(&[]);
    client.socket.send(from_client(0x89, b"there?"));
    times_out(&mut reader, SHORT);
    client.socket.until_written(8);
    assert_eq!(client.frames(), [(0x8a, b"there?".to_vec())]);
    client.socket.send(from_client(0x88, &[0x03, 0xe8]));
    let ended = reader.recv_timeout(DEADLINE).expect("a closing handshake");
    assert_eq!(ended, None);
    client.socket.until_written(12);
    client.end();
}

/// The rest of a message that has begun is waited for, so that no part of it is lost.
#[test]
fn message_that_has_begun_is_received_completely() {
    for size in [100, 100 << 10] {
        let client = TestClient::new(Config::default().max_message(1 << 20));
        let mut reader = client.reader(&[]);
        let frame = from_client(0x82, &vec![b'x'; size]);
        let (begin, rest) = frame.split_at(frame.len() / 2);
        client.socket.send(begin);
        let socket = Arc::clone(&client.socket);
        let rest = rest.to_vec();
        let peer = thread::spawn(move || {
            // The reader has taken the beginning, and waits longer than its timeout.
            socket.until("the beginning is read", |state| state.reads >= 2);
            socket.until_in_read();
            socket.send(rest);
        });
        let received = reader.recv_timeout(Duration::ZERO).expect("it has begun");
        assert_eq!(received.map(|message| message.len()), Some(size));
        peer.join().expect("the peer does not panic");
        client.end();
    }
}

#[test]
fn closed_connection_ends_the_loop() {
    let client = TestClient::new(Config::default());
    let mut reader = client.reader(&[]);
    times_out(&mut reader, SHORT);
    client.outbox.close(1000, "");
    let ended = reader.recv_timeout(SHORT).expect("we have closed");
    assert_eq!(ended, None);
    client.end();
}

/// A handler that waits for a second again and again must not keep a silent peer from being pinged.
#[test]
fn silence_over_several_calls_is_counted_together() {
    let interval = Duration::from_millis(50);
    let client = TestClient::new(Config::default().ping_interval(interval));
    let mut reader = client.reader(&[]);
    let begin = clock::now();
    while clock::now() < begin + 60 {
        times_out(&mut reader, SHORT);
    }
    // What the watchdog sees while the next call waits.
    let socket = Arc::clone(&client.socket);
    let shared = Arc::clone(&client.shared);
    let watchdog = thread::spawn(move || {
        socket.until_in_read();
        let due = shared.check_deadlines(clock::now());
        socket.send(from_client(0x81, b"end"));
        due
    });
    let received = reader.recv_timeout(DEADLINE).expect("a message");
    assert_eq!(received, Some(text("end")));
    let due = watchdog.join().expect("no panic");
    assert_eq!(due, DeadlineCheck::PingDue);
    // The byte ends the silence.
    times_out(&mut reader, Duration::ZERO);
    client.shared.reader.set(Activity::Reading);
    assert_eq!(
        client.shared.check_deadlines(clock::now()),
        DeadlineCheck::Met
    );
    client.end();
}
