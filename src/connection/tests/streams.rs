//! A message that is read as a stream: its limits, its clocks, and what follows it.

use std::io::Read;
use std::time::Duration;

use super::*;
use crate::clock;
use crate::connection::deadlines::DeadlineCheck;
use crate::connection::read::message_reader::MessageReader;
use crate::error::RecvError;

fn config() -> Config {
    Config::default()
        .max_message(1000)
        .max_streamed_message(Some(100_000))
}

/// Begins to read a message as a stream.
#[track_caller]
fn begin(reader: &mut Reader) -> MessageReader<'_> {
    let begun = reader.begin_stream().expect("a message");
    let is_text = begun.expect("a message begins");
    MessageReader::new(reader, is_text)
}

fn message(first: u8, fragments: &[&[u8]]) -> Vec<u8> {
    let last = fragments.len() - 1;
    let frames = fragments.iter().enumerate().map(|(n, payload)| {
        let opcode = if n == 0 { first } else { 0 };
        let end = if n == last { 0x80 } else { 0 };
        from_client(opcode | end, payload)
    });
    frames.collect::<Vec<_>>().concat()
}

#[test]
fn stream_returns_a_message_above_the_limit_for_messages() {
    both_ways(|config_of_mode| {
        let config = config_of_mode
            .max_message(1000)
            .max_streamed_message(Some(100_000));
        let client = TestClient::new(config);
        let payload: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        let (a, b) = payload.split_at(70_001);
        client.socket.send(message(2, &[a, b"", b]));
        client.socket.send(from_client(0x81, b"next"));
        let mut reader = client.reader(&[]);
        let mut stream = begin(&mut reader);
        assert!(!stream.is_text());
        let mut read = Vec::new();
        // Buffers that are smaller and larger than the read buffer.
        for size in [1, 7, 5000, 20_000].into_iter().cycle() {
            let mut part = vec![0; size];
            match stream.read(&mut part).expect("the message is valid") {
                0 => break,
                bytes => read.extend_from_slice(&part[..bytes]),
            }
        }
        assert!(read == payload);
        assert_eq!(stream.read(&mut [0; 9]).expect("the end stays"), 0);
        assert_eq!(reader.recv().expect("a message"), Some(text("next")));
        client.end();
    });
}

#[test]
fn recv_refuses_what_only_a_stream_may_receive() {
    for (first, fragments) in [
        (2, &[&[0; 1001][..]][..]),
        (2, &[&[0; 600], &[0; 401]]),
        (1, &[&[b'x'; 20_000]]),
    ] {
        let client = TestClient::new(config());
        client.socket.send(from_client(0x81, b"first"));
        client.socket.send(message(first, fragments));
        let mut reader = client.reader(&[]);
        assert_eq!(reader.recv().expect("a message"), Some(text("first")));
        let refused = reader.recv();
        assert!(
            matches!(refused, Err(RecvError::Violation { code: 1009, .. })),
            "{refused:?}"
        );
        client.end();
    }
}

#[test]
fn stream_has_a_limit_of_its_own() {
    let client = TestClient::new(config());
    client
        .socket
        .send(message(2, &[&[0; 60_000], &[0; 40_001]]));
    let mut reader = client.reader(&[]);
    let mut stream = begin(&mut reader);
    let mut read = Vec::new();
    let error = stream.read_to_end(&mut read).expect_err("too large");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    let source = error.get_ref().and_then(|source| source.downcast_ref());
    assert!(matches!(
        source,
        Some(RecvError::Violation { code: 1009, .. })
    ));
    assert_eq!(read.len(), 60_000);
    client.end();
}

#[test]
fn control_frames_inside_a_stream_are_answered() {
    let client = TestClient::new(config());
    let frames = [
        from_client(0x01, b"a "),
        from_client(0x89, b"there?"),
        from_client(0x80, b"text"),
    ];
    client.socket.send(frames.concat());
    let mut reader = client.reader(&[]);
    let mut stream = begin(&mut reader);
    assert!(stream.is_text());
    let mut read = String::new();
    stream.read_to_string(&mut read).expect("a whole message");
    assert_eq!(read, "a text");
    client.socket.until_written(8);
    assert_eq!(client.frames(), [(0x8a, b"there?".to_vec())]);
    client.end();
}

#[test]
fn invalid_text_ends_a_stream_with_1007() {
    for fragments in [&[&b"ok \xff"[..]][..], &[b"\xf4", b"\x90"], &[b"\xce", b""]] {
        let client = TestClient::new(config());
        client.socket.send(message(1, fragments));
        let mut reader = client.reader(&[]);
        let error = begin(&mut reader).read_to_end(&mut Vec::new());
        let error = error.expect_err("invalid");
        let source = error.get_ref().and_then(|source| source.downcast_ref());
        assert!(
            matches!(source, Some(RecvError::Violation { code: 1007, .. })),
            "{fragments:x?}: {error:?}"
        );
        client.end();
    }
}

#[test]
fn rest_of_a_dropped_stream_is_discarded() {
    let client = TestClient::new(config());
    let mut reader = client.reader(&[]);
    for taken in [0, 1, 600, 50_000] {
        client.socket.send(message(2, &[&[1; 600], &[2; 90_000]]));
        client.socket.send(from_client(0x81, b"next"));
        let mut stream = begin(&mut reader);
        stream.read_exact(&mut vec![0; taken]).expect("a part");
        assert_eq!(reader.recv().expect("a message"), Some(text("next")));
        // The same, with a second stream behind the first one.
        client.socket.send(message(2, &[&[1; 600], &[2; 90_000]]));
        client.socket.send(from_client(0x81, b"next"));
        let mut stream = begin(&mut reader);
        stream.read_exact(&mut vec![0; taken]).expect("a part");
        let mut next = String::new();
        let mut stream = begin(&mut reader);
        stream.read_to_string(&mut next).expect("a whole message");
        assert_eq!(next, "next");
    }
    client.end();
}

/// A receive gave up inside a message, which the handler then reads as a stream.
#[test]
fn stream_continues_a_message_that_a_receive_has_begun() {
    let payload: Vec<u8> = (0..9999_u32).map(|n| (n % 251) as u8).collect();
    let config = Config::default().read_buffer(1000).max_message(1 << 20);
    let whole = message(
        2,
        &[&payload[..5000], &payload[5000..5010], &payload[5010..]],
    );
    for begun in [1, 3, 100, 2500, 5010, 5020, 8000] {
        let client = TestClient::new(config.clone());
        let mut reader = client.reader(&[]);
        let (now, later) = whole.split_at(begun);
        client.socket.send(now);
        let received = reader.recv_deadline(Instant::now());
        assert!(matches!(received, Err(None)), "{received:?}");
        client.socket.send(later);
        let mut read = Vec::new();
        let mut stream = begin(&mut reader);
        stream.read_to_end(&mut read).expect("a whole message");
        assert!(read == payload, "{begun} bytes had arrived");
        client.end();
    }
}

#[test]
fn stream_that_breaks_off_is_an_error() {
    let client = TestClient::new(config());
    client.socket.send(from_client(0x01, b"half"));
    client.socket.hang_up();
    let mut reader = client.reader(&[]);
    let mut read = Vec::new();
    let gone = begin(&mut reader).read_to_end(&mut read);
    let gone = gone.expect_err("the message is incomplete");
    assert_eq!(gone.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(read, b"half");
    client.end();

    let client = TestClient::new(config());
    client.socket.send(from_client(0x01, b"half"));
    client.socket.send(from_client(0x88, &[0x03, 0xe8]));
    let mut reader = client.reader(&[]);
    let closed = begin(&mut reader).read_to_end(&mut Vec::new());
    let closed = closed.expect_err("the message is incomplete");
    assert_eq!(closed.kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(matches!(reader.recv(), Ok(None)));
    client.end();
}

/// A message of any size must make progress, and is not timed as a whole.
#[test]
fn message_clock_restarts_with_each_64_kib_of_a_stream() {
    const HALF: usize = 32 << 10;
    let config = Config::default()
        .max_streamed_message(Some(1 << 20))
        .message_timeout(Duration::from_millis(100));
    let client = TestClient::new(config);
    let mut reader = client.reader(&[]);
    let frame = from_client(0x82, &[0; 2 * HALF + 1000]);
    let (begin, rest) = frame.split_at(14 + 500);
    client.socket.send(begin);
    let reading = thread::spawn(move || begin_and_read(&mut reader));
    let is_late = || {
        let check = client.shared.check_deadlines(clock::now());
        check == DeadlineCheck::Passed(Clock::Message)
    };
    let read = || {
        until("the bytes are read", || !client.socket.has_input());
        client.socket.until_in_read();
    };
    until("the message clock passes", is_late);
    client.socket.send(&rest[..HALF]);
    read();
    assert!(is_late(), "32 KiB are not enough");
    client.socket.send(&rest[HALF..2 * HALF]);
    read();
    assert!(!is_late(), "64 KiB have arrived");
    until("the message clock passes again", is_late);
    client.socket.send(&rest[2 * HALF..]);
    let read = within("the message is read", || reading.join());
    assert_eq!(read.expect("no panic"), 2 * HALF + 1000);
    client.end();
}

fn begin_and_read(reader: &mut Reader) -> usize {
    let mut read = Vec::new();
    begin(reader)
        .read_to_end(&mut read)
        .expect("a whole message")
}
