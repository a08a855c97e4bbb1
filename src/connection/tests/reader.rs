//! The read half with its header check, and the answers of the reader.

use std::io::ErrorKind;

use super::*;
use crate::connection::read::read_half::ReadHalf;
use crate::connection::read::reader::ReadEnd;
use crate::connection::read::violation::{ReadError, protocol};
use crate::connection::socket::Transport;
use crate::error::RecvError;

type Received = Result<Option<Message>, RecvError>;

/// Calls `recv` on another thread, with a time limit.
fn recv(reader: Reader) -> (Reader, Received) {
    within("recv returns", move || {
        let mut reader = reader;
        let received = reader.recv();
        (reader, received)
    })
}

/// Calls `recv` on a thread of its own, and returns when it is blocked in the socket.
fn blocked_recv(client: &TestClient) -> JoinHandle<Received> {
    let mut reader = client.reader(&[]);
    let waiting = thread::spawn(move || reader.recv());
    client.socket.until_in_read();
    waiting
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
            assert_eq!(reader.ended(), Some(ReadEnd::Violation));
            reader
        }
        (_, other) => panic!("{other:?}"),
    }
}

fn closes(client: &TestClient) -> Vec<Vec<u8>> {
    let frames = client.frames().into_iter();
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
fn found_violation_is_returned_without_reading() {
    let client = TestClient::new(Config::default());
    let transport: Arc<dyn Transport> = client.socket.clone();
    let mut half = ReadHalf::new(transport, Arc::clone(&client.shared), Vec::new());
    let good = from_client(0x81, b"good");
    client.socket.send([&good, UNMASKED].concat());
    within("the good bytes and the violation are read", move || {
        let mut buffer = [0; 100];
        let read = half.read(&mut buffer).expect("the good bytes come first");
        assert_eq!(buffer[..read], good);
        for _ in 0..2 {
            // The socket has nothing more, so reading from it would block.
            match half.read(&mut buffer) {
                Err(ReadError::Violation(found)) => {
                    assert_eq!(found, protocol("frame is not masked"))
                }
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(client.socket.with_state(|state| state.reads), 1);
    client.end();
}

#[test]
fn messages_before_a_violation_are_returned_first() {
    both_ways(|config| {
        for cut in [usize::MAX, 1, 3] {
            let mut client = TestClient::new(config.clone());
            let stream = [
                from_client(0x81, b"one"),
                from_client(0x81, b"two"),
                UNMASKED.to_vec(),
            ]
            .concat();
            for bytes in stream.chunks(cut) {
                client.socket.send(bytes);
            }
            let reader = expect_text(client.reader(&[]), "one");
            let reader = expect_text(reader, "two");
            let reader = expect_refused(reader, 1002);
            // After a violation nothing more is read.
            client.socket.send(from_client(0x81, b"three"));
            let (_, received) = recv(reader);
            assert!(matches!(received, Ok(None)));
            join_writer(&mut client);
            assert_eq!(closes(&client), [close_body(1002, "frame is not masked")]);
            client.end();
        }
    });
}

#[test]
fn bytes_after_the_request_are_checked() {
    let client = TestClient::new(Config::default().read_buffer(64));
    let many: Vec<u8> = (0..50).flat_map(|_| from_client(0x81, b"ahead")).collect();
    let late = from_client(0x81, b"late");
    // The first half of the last frame arrived with the request, and the second half is in the socket.
    let mut reader = client.reader(&[&many, &late[..7]].concat());
    client.socket.send(&late[7..]);
    for _ in 0..50 {
        reader = expect_text(reader, "ahead");
    }
    assert_eq!(client.socket.with_state(|state| state.reads), 0);
    let reader = expect_text(reader, "late");
    drop(reader);
    let reader = client.reader(UNMASKED);
    expect_refused(reader, 1002);
    client.end();
}

#[test]
fn interrupted_read_is_repeated() {
    let client = TestClient::new(Config::default());
    client.socket.fail_read(ErrorKind::Interrupted);
    client.socket.fail_read(ErrorKind::Interrupted);
    client.socket.send(from_client(0x81, b"hello"));
    expect_text(client.reader(&[]), "hello");
    client.end();
}

#[test]
fn violations_are_answered_with_their_code() {
    let violations: [(&str, Vec<u8>, u16); 5] = [
        ("no mask", UNMASKED.to_vec(), 1002),
        ("not UTF-8", from_client(0x81, b"\xff\xfe"), 1007),
        ("too big", from_client(0x82, &[0; 101]), 1009),
        ("too many fragments", from_client(0x01, b"").repeat(1), 1008),
        ("a Close of one byte", from_client(0x88, b"x"), 1002),
    ];
    both_ways(|config| {
        for (what, mut bytes, code) in violations.clone() {
            let mut client = TestClient::new(config.clone().max_message(100).max_fragments(3));
            if code == 1008 {
                bytes.extend(from_client(0x00, b"").repeat(3));
            }
            client.socket.send(bytes);
            expect_refused(client.reader(&[]), code);
            join_writer(&mut client);
            let closes = closes(&client);
            assert_eq!(closes.len(), 1, "{what}");
            assert_eq!(closes[0][..2], code.to_be_bytes(), "{what}");
            client.end();
        }
    });
}

#[test]
fn a_ping_inside_a_message_is_answered() {
    both_ways(|config| {
        let client = TestClient::new(config);
        client.socket.send(
            [
                from_client(0x01, b"a "),
                from_client(0x89, b"are you there"),
                from_client(0x80, b"message"),
            ]
            .concat(),
        );
        expect_text(client.reader(&[]), "a message");
        client.socket.until_written(2 + 13);
        assert_eq!(client.frames(), [(0x8a, b"are you there".to_vec())]);
        client.end();
    });
}

#[test]
fn recv_ends_once_our_close_is_requested() {
    both_ways(|config| {
        // The Close is requested before `recv` is called.
        let client = TestClient::new(config.clone());
        client.socket.send(from_client(0x81, b"discarded"));
        client.outbox.close(1000, "");
        let (_, received) = recv(client.reader(&[]));
        assert!(matches!(received, Ok(None)));
        assert_eq!(client.socket.with_state(|state| state.reads), 0);
        client.end();

        // The Close is requested while `recv` waits. A message that arrives later is discarded (RFC 6455 §1.4).
        let client = TestClient::new(config);
        let waiting = blocked_recv(&client);
        client.outbox.close(1000, "");
        client.socket.send(from_client(0x81, b"discarded"));
        let received = within("recv returns", || waiting.join());
        assert!(matches!(
            received.expect("the thread does not panic"),
            Ok(None)
        ));
        client.end();
    });
}

#[test]
fn the_peers_close_is_answered_once() {
    both_ways(|config| {
        for (body, code, reason) in [
            (close_body(1000, "bye"), 1000, "bye"),
            (close_body(4321, ""), 4321, ""),
            (Vec::new(), 1005, ""),
        ] {
            let mut client = TestClient::new(config.clone());
            let close = from_client(0x88, &body);
            client.socket.send([&close[..], &close, UNMASKED].concat());
            let (mut reader, received) = recv(client.reader(&[]));
            assert!(matches!(received, Ok(None)));
            reader.discard();
            assert_eq!(reader.ended(), Some(ReadEnd::Closed));
            join_writer(&mut client);
            assert_eq!(closes(&client), [body]);
            let reason = reason.to_owned();
            assert_eq!(
                client.shared.lifecycle().cause(),
                Some(CloseCause::Peer { code, reason })
            );
            client.end();
        }
    });
}

#[test]
fn the_answer_to_our_close_is_not_answered() {
    both_ways(|config| {
        let mut client = TestClient::new(config);
        let mut reader = client.reader(&[]);
        client.outbox.close(1000, "ours");
        join_writer(&mut client);
        client
            .socket
            .send(from_client(0x88, &close_body(1000, "ours")));
        let reader = within("the answer is read", move || {
            reader.discard();
            reader
        });
        assert_eq!(reader.ended(), Some(ReadEnd::Closed));
        assert_eq!(closes(&client), [close_body(1000, "ours")]);
        let ours = application(1000, "ours");
        assert_eq!(client.shared.lifecycle().cause(), Some(ours));
        client.end();
    });
}

#[test]
fn stream_end_is_an_error_only_before_our_close() {
    both_ways(|config| {
        let client = TestClient::new(config.clone());
        client.socket.hang_up();
        let (reader, received) = recv(client.reader(&[]));
        assert!(matches!(received, Err(RecvError::Gone)), "{received:?}");
        assert_eq!(reader.ended(), Some(ReadEnd::Gone));
        assert_eq!(client.shared.lifecycle().cause(), Some(CloseCause::Gone));
        client.end();

        for mode in [CloseMode::AfterQueue, CloseMode::Immediate] {
            let client = TestClient::new(config.clone());
            let waiting = blocked_recv(&client);
            close(&client, mode, 1001, "");
            client.socket.hang_up();
            let received = within("recv returns", || waiting.join());
            assert!(matches!(
                received.expect("the thread does not panic"),
                Ok(None)
            ));
            client.end();
        }
    });
}

#[test]
fn recv_says_which_clock_expired() {
    let client = TestClient::new(Config::default());
    let waiting = blocked_recv(&client);
    client.shared.terminate(CloseCause::TimedOut(Clock::Ping));
    let received = within("recv returns", || waiting.join()).expect("the thread does not panic");
    assert!(matches!(received, Err(RecvError::TimedOut(Clock::Ping))));
    assert!(client.socket.with_state(|state| state.was_reset));
    client.end();

    let client = TestClient::new(Config::default());
    let waiting = blocked_recv(&client);
    client.outbox.terminate();
    let received = within("recv returns", || waiting.join()).expect("the thread does not panic");
    assert!(matches!(received, Ok(None)));
    assert_eq!(
        client.shared.lifecycle().cause(),
        Some(CloseCause::Terminated)
    );
    client.end();
}
