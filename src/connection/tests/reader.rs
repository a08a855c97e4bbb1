//! The read half under its guard, and what the reader answers.

use std::io::{ErrorKind, Read};

use super::*;
use crate::connection::read::read_half::ReadHalf;
use crate::connection::read::reader::End;
use crate::connection::shared::CloseCause;
use crate::connection::write::control_slot::{CloseMode, CloseReason};
use crate::error::RecvError;

type Received = Result<Option<Message>, RecvError>;

/// `recv` on a thread of its own.
fn recv(reader: Reader) -> (Reader, Received) {
    within("recv returns", move || {
        let mut reader = reader;
        let received = reader.recv();
        (reader, received)
    })
}

#[track_caller]
fn expect_text(reader: Reader, expected: &str) -> Reader {
    let (reader, received) = recv(reader);
    assert_eq!(received.expect("a message"), Some(text(expected)));
    reader
}

#[track_caller]
fn expect_refused(reader: Reader, expected: u16) -> Reader {
    match recv(reader) {
        (reader, Err(RecvError::Violation { code, .. })) if code == expected => {
            assert_eq!(reader.end(), Some(End::Violation));
            reader
        }
        (_, other) => panic!("{other:?}"),
    }
}

fn closes(guest: &FakeClient) -> Vec<Vec<u8>> {
    let frames = guest.frames().into_iter();
    frames
        .filter(|(first, _)| *first == 0x88)
        .map(|(_, payload)| payload)
        .collect()
}

fn close_body(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// A text frame that is not masked.
const UNMASKED: &[u8] = b"\x81\x01x";

#[test]
fn a_pending_verdict_is_looked_at_before_the_socket() {
    let guest = FakeClient::new(Config::default());
    let transport: Arc<dyn Transport> = guest.gate.clone();
    let mut half = ReadHalf::new(transport, Arc::clone(&guest.client), Vec::new());
    let good = from_client(0x81, b"good");
    guest.gate.send([&good, UNMASKED].concat());
    within("the good bytes and the fault are read", move || {
        let mut buffer = [0; 100];
        let read = half.read(&mut buffer).expect("the good bytes come first");
        assert_eq!(buffer[..read], good);
        for _ in 0..2 {
            // The socket has nothing more, so asking it would be waiting.
            let error = half.read(&mut buffer).expect_err("then the fault");
            assert_eq!(error.to_string(), "1002: frame is not masked");
        }
    });
    assert_eq!(guest.gate.look(|inside| inside.reads), 1);
    guest.end();
}

#[test]
fn good_frames_before_a_fault_are_delivered_and_then_the_fault() {
    both_ways(|config| {
        for cut in [usize::MAX, 1, 3] {
            let mut guest = FakeClient::new(config.clone());
            let stream = [
                from_client(0x81, b"one"),
                from_client(0x81, b"two"),
                UNMASKED.to_vec(),
            ]
            .concat();
            for bytes in stream.chunks(cut) {
                guest.gate.send(bytes);
            }
            let reader = expect_text(guest.reader(&[]), "one");
            let reader = expect_text(reader, "two");
            let reader = expect_refused(reader, 1002);
            // After a fault tungstenite is never asked again.
            guest.gate.send(from_client(0x81, b"three"));
            let (_, received) = recv(reader);
            assert!(matches!(received, Ok(None)));
            guest.join_writer();
            assert_eq!(closes(&guest), [close_body(1002, "frame is not masked")]);
            guest.end();
        }
    });
}

#[test]
fn bytes_that_came_with_the_request_pass_the_guard_like_all_others() {
    let guest = FakeClient::new(Config::default().read_buffer(64));
    let many: Vec<u8> = (0..50).flat_map(|_| from_client(0x81, b"ahead")).collect();
    let late = from_client(0x81, b"late");
    // The last frame is half ahead, half in the socket.
    let mut reader = guest.reader(&[&many, &late[..7]].concat());
    guest.gate.send(&late[7..]);
    for _ in 0..50 {
        reader = expect_text(reader, "ahead");
    }
    assert_eq!(guest.gate.look(|inside| inside.reads), 0);
    let reader = expect_text(reader, "late");
    drop(reader);
    let reader = guest.reader(UNMASKED);
    expect_refused(reader, 1002);
    guest.end();
}

#[test]
fn an_interrupted_read_is_tried_again() {
    let guest = FakeClient::new(Config::default());
    guest.gate.fail_read(ErrorKind::Interrupted);
    guest.gate.fail_read(ErrorKind::Interrupted);
    guest.gate.send(from_client(0x81, b"hello"));
    expect_text(guest.reader(&[]), "hello");
    guest.end();
}

#[test]
fn faults_are_answered_with_their_code() {
    let faults: [(&str, Vec<u8>, u16); 5] = [
        ("no mask", UNMASKED.to_vec(), 1002),
        ("not UTF-8", from_client(0x81, b"\xff\xfe"), 1007),
        ("too big", from_client(0x82, &[0; 101]), 1009),
        ("too many fragments", from_client(0x01, b"").repeat(1), 1008),
        ("a Close of one byte", from_client(0x88, b"x"), 1002),
    ];
    both_ways(|config| {
        for (what, mut bytes, code) in faults.clone() {
            let mut guest = FakeClient::new(config.clone().max_message(100).max_fragments(3));
            if code == 1008 {
                bytes.extend(from_client(0x00, b"").repeat(3));
            }
            guest.gate.send(bytes);
            expect_refused(guest.reader(&[]), code);
            guest.join_writer();
            let closes = closes(&guest);
            assert_eq!(closes.len(), 1, "{what}");
            assert_eq!(closes[0][..2], code.to_be_bytes(), "{what}");
            guest.end();
        }
    });
}

#[test]
fn a_ping_is_answered_between_messages() {
    both_ways(|config| {
        let guest = FakeClient::new(config);
        guest.gate.send(
            [
                from_client(0x01, b"a "),
                from_client(0x89, b"are you there"),
                from_client(0x80, b"message"),
            ]
            .concat(),
        );
        expect_text(guest.reader(&[]), "a message");
        guest.gate.until_written(2 + 13);
        assert_eq!(guest.frames(), [(0x8a, b"are you there".to_vec())]);
        guest.end();
    });
}

#[test]
fn recv_is_at_its_end_once_our_close_is_posted() {
    both_ways(|config| {
        // Before it is called.
        let guest = FakeClient::new(config.clone());
        guest.gate.send(from_client(0x81, b"discarded"));
        guest.outbox.close(1000, "");
        let (_, received) = recv(guest.reader(&[]));
        assert!(matches!(received, Ok(None)));
        assert_eq!(guest.gate.look(|inside| inside.reads), 0);
        guest.end();

        // While it waits: what comes is discarded (RFC 6455 §1.4).
        let guest = FakeClient::new(config);
        let mut reader = guest.reader(&[]);
        let waiting = thread::spawn(move || reader.recv());
        guest.gate.until_in_read();
        guest.outbox.close(1000, "");
        guest.gate.send(from_client(0x81, b"discarded"));
        let received = within("recv returns", || waiting.join());
        assert!(matches!(received.expect("it does not panic"), Ok(None)));
        guest.end();
    });
}

#[test]
fn the_peers_close_is_answered_once_with_its_code_and_reason() {
    both_ways(|config| {
        for (body, code, reason) in [
            (close_body(1000, "bye"), 1000, "bye"),
            (close_body(4321, ""), 4321, ""),
            (Vec::new(), 1005, ""),
        ] {
            let mut guest = FakeClient::new(config.clone());
            let close = from_client(0x88, &body);
            guest.gate.send([&close[..], &close, UNMASKED].concat());
            let (mut reader, received) = recv(guest.reader(&[]));
            assert!(matches!(received, Ok(None)));
            reader.discard();
            assert_eq!(reader.end(), Some(End::Closed));
            guest.join_writer();
            assert_eq!(closes(&guest), [body]);
            let reason = reason.to_owned();
            assert_eq!(guest.client.why(), Some(CloseCause::Peer { code, reason }));
            guest.end();
        }
    });
}

#[test]
fn the_peers_answer_to_our_close_is_not_answered_again() {
    both_ways(|config| {
        let mut guest = FakeClient::new(config);
        let mut reader = guest.reader(&[]);
        guest.outbox.close(1000, "ours");
        guest.join_writer();
        guest
            .gate
            .send(from_client(0x88, &close_body(1000, "ours")));
        let reader = within("the answer is read", move || {
            reader.discard();
            reader
        });
        assert_eq!(reader.end(), Some(End::Closed));
        assert_eq!(closes(&guest), [close_body(1000, "ours")]);
        let ours = CloseCause::Server {
            code: 1000,
            reason: "ours".into(),
        };
        assert_eq!(guest.client.why(), Some(ours));
        guest.end();
    });
}

#[test]
fn the_end_of_the_stream_is_an_error_before_our_close_and_none_after() {
    both_ways(|config| {
        let guest = FakeClient::new(config.clone());
        guest.gate.hang_up();
        let (reader, received) = recv(guest.reader(&[]));
        assert!(matches!(received, Err(RecvError::Gone)), "{received:?}");
        assert_eq!(reader.end(), Some(End::Gone));
        assert_eq!(guest.client.why(), Some(CloseCause::Gone));
        guest.end();

        for when in [CloseMode::AfterQueue, CloseMode::Immediate] {
            let guest = FakeClient::new(config.clone());
            let mut reader = guest.reader(&[]);
            let waiting = thread::spawn(move || reader.recv());
            guest.gate.until_in_read();
            guest.client.close(when, CloseReason::new(1001, ""));
            guest.gate.hang_up();
            let received = within("recv returns", || waiting.join());
            assert!(matches!(received.expect("it does not panic"), Ok(None)));
            guest.end();
        }
    });
}

#[test]
fn a_reset_by_a_clock_says_which_and_terminate_is_no_error() {
    let guest = FakeClient::new(Config::default());
    let mut reader = guest.reader(&[]);
    let waiting = thread::spawn(move || reader.recv());
    guest.gate.until_in_read();
    guest.client.reset(CloseCause::TimedOut("ping_timeout"));
    let received = within("recv returns", || waiting.join()).expect("it does not panic");
    assert!(matches!(received, Err(RecvError::TimedOut("ping_timeout"))));
    assert!(guest.gate.look(|inside| inside.was_reset));
    guest.end();

    let guest = FakeClient::new(Config::default());
    let mut reader = guest.reader(&[]);
    let waiting = thread::spawn(move || reader.recv());
    guest.gate.until_in_read();
    guest.outbox.terminate();
    let received = within("recv returns", || waiting.join()).expect("it does not panic");
    assert!(matches!(received, Ok(None)));
    assert_eq!(guest.client.why(), Some(CloseCause::Terminated));
    guest.end();
}
