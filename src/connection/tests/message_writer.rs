//! Messages that are sent as streams: their fragments, and what waits behind them.

use std::io::{ErrorKind, Write};

use super::*;
use crate::connection::queue::message_writer::MessageWriter;
use crate::connection::queue::tracked::Fate;

pub(super) const TEXT_BEGINS: u8 = 0x01;
const BINARY_BEGINS: u8 = 0x02;
const CONTINUES: u8 = 0x00;
const ENDS: u8 = 0x80;
pub(super) const TEXT: u8 = 0x81;
pub(super) const CLOSE: u8 = 0x88;
const PONG: u8 = 0x8a;

/// The largest fragment with the default configuration.
pub(super) const FRAGMENT: usize = 64 << 10;

pub(super) fn text_stream(client: &TestClient) -> MessageWriter {
    let stream = client.outbox.send_text_stream();
    stream.expect("the connection is open")
}

/// Writes a fragment with these bytes.
pub(super) fn write(stream: &mut MessageWriter, bytes: &str) {
    stream.write_all(bytes.as_bytes()).expect("it is a text");
    stream.flush().expect("the connection is open");
}

pub(super) fn first_bytes(client: &TestClient) -> Vec<u8> {
    client.frames().iter().map(|(first, _)| *first).collect()
}

fn numbers(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

#[test]
fn small_stream_is_one_frame() {
    both_ways(|config| {
        for payload in ["", "abc"] {
            let client = TestClient::new(config.clone());
            let mut stream = text_stream(&client);
            stream.write_all(payload.as_bytes()).expect("it is a text");
            assert!(client.frames().is_empty(), "the bytes are collected");
            stream.finish().expect("the connection is open");
            client.socket.until_written(2 + payload.len());
            assert_eq!(client.frames(), [(TEXT, payload.as_bytes().to_vec())]);
            assert_eq!(client.end().delivered, 1);
        }
    });
}

#[test]
fn large_stream_is_sent_in_fragments() {
    both_ways(|config| {
        for (at_once, accepted) in [
            (7_000, usize::MAX),
            (1 << 20, 30_000),
            (FRAGMENT, 1_000_000),
        ] {
            let client = TestClient::new(config.clone());
            client.socket.accept_per_call(accepted);
            let payload = numbers(3 * FRAGMENT + 5);
            let mut stream = client.outbox.send_binary_stream().expect("it is open");
            for part in payload.chunks(at_once) {
                stream.write_all(part).expect("the connection is open");
            }
            stream.finish().expect("the connection is open");
            let all = payload.len() + 3 * 10 + 2;
            client.socket.until_written(all);
            let frames = client.frames();
            let firsts: Vec<u8> = frames.iter().map(|(first, _)| *first).collect();
            assert_eq!(firsts, [BINARY_BEGINS, CONTINUES, CONTINUES, ENDS]);
            let sent: Vec<u8> = frames.into_iter().flat_map(|(_, part)| part).collect();
            assert!(sent == payload, "the bytes are the same");
            assert_eq!(client.end().delivered, 1);
        }
    });
}

/// A fast peer needs no writer, and no thread is woken for each fragment.
#[test]
fn stream_to_a_fast_peer_is_written_by_its_thread() {
    let client = TestClient::without_writer(Config::default());
    let mut stream = client.outbox.send_binary_stream().expect("it is open");
    stream
        .write_all(&numbers(10 * FRAGMENT))
        .expect("it is open");
    stream.finish().expect("the connection is open");
    assert_eq!(client.socket.written().len(), 10 * (FRAGMENT + 10));
    assert!(!client.shared.write.has_work());
    client.end();
}

#[test]
fn other_messages_wait_for_the_end_of_a_stream() {
    both_ways(|config| {
        let client = TestClient::new(config);
        client.outbox.send("before").expect("the queue has room");
        let mut stream = text_stream(&client);
        write(&mut stream, "ab");
        client.socket.until_written(8 + 4);
        client.outbox.send("after").expect("the queue has room");
        let receipt = client.outbox.send_with_receipt("receipt");
        let receipt = receipt.expect("the queue has room");
        let mut second = text_stream(&client);
        second.write_all(b"second").expect("it is a text");
        second.finish().expect("the connection is open");
        write(&mut stream, "cd");
        client.socket.until_written(8 + 4 + 4);
        assert_eq!(first_bytes(&client), [TEXT, TEXT_BEGINS, CONTINUES]);
        assert_eq!((receipt.fate(), client.outbox.len()), (None, 3));
        stream.finish().expect("the connection is open");
        assert_eq!(receipt.wait_timeout(DEADLINE), Some(Fate::Delivered));
        client.socket.until_written(8 + 4 + 4 + 2 + 7 + 9 + 8);
        let frames = client.frames();
        let firsts: Vec<u8> = frames.iter().map(|(first, _)| *first).collect();
        let expected = [TEXT, TEXT_BEGINS, CONTINUES, ENDS, TEXT, TEXT, TEXT];
        assert_eq!(firsts, expected);
        assert_eq!(frames[4].1, b"after");
        assert_eq!(frames[6].1, b"second");
        assert_eq!(client.end().delivered, 5);
    });
}

/// Messages that wait behind a stream are no work. Otherwise, the writer would look again without a pause.
#[test]
fn waiting_messages_do_not_keep_the_writer_busy() {
    let client = TestClient::without_writer(Config::default());
    let mut stream = text_stream(&client);
    write(&mut stream, "ab");
    client.outbox.send("after").expect("the queue has room");
    assert!(!client.shared.write.has_work());
    client.outbox.close(1000, "");
    assert!(!client.shared.write.has_work(), "the Close waits too");
    stream
        .finish()
        .expect("the message was begun before the Close");
    client.shared.write.flush();
    client.shared.write.flush();
    client.shared.write.flush();
    assert_eq!(first_bytes(&client), [TEXT_BEGINS, ENDS, TEXT, CLOSE]);
    client.end();
}

#[test]
fn pong_passes_between_fragments() {
    both_ways(|config| {
        let client = TestClient::new(config);
        let mut stream = text_stream(&client);
        write(&mut stream, "ab");
        client.socket.until_written(4);
        client.shared.send_pong(b"p".to_vec().into());
        client.socket.until_written(4 + 3);
        stream.finish().expect("the connection is open");
        client.socket.until_written(4 + 3 + 2);
        assert_eq!(first_bytes(&client), [TEXT_BEGINS, PONG, ENDS]);
        client.end();
    });
}

#[test]
fn stream_waits_for_a_slow_peer() {
    both_ways(|config| {
        let client = TestClient::held(config, 0);
        let mut stream = client.outbox.send_binary_stream().expect("it is open");
        let reserved = client.outbox.bytes();
        let payload = numbers(20 * FRAGMENT);
        let sent = payload.clone();
        let sender = thread::spawn(move || {
            stream.write_all(&sent)?;
            stream.finish()
        });
        // The message ahead is in flight. Two fragments wait, and the thread waits to queue the third.
        let bytes = || client.outbox.bytes();
        for n in 1..=10 {
            assert!(!sender.is_finished());
            assert!(bytes() <= reserved, "{} of {reserved}", bytes());
            client.socket.accept(FRAGMENT + 10);
            client.socket.until_written(n * (FRAGMENT + 10));
        }
        assert!(reserved < 4 * FRAGMENT, "{reserved}");
        client.socket.accept_all();
        let result = within("the stream ends", || sender.join()).expect("no panic");
        result.expect("the connection is open");
        client.socket.until_written(6 + 20 * (FRAGMENT + 10));
        let sent: Vec<u8> = client
            .frames()
            .into_iter()
            .skip(1)
            .flat_map(|(_, part)| part)
            .collect();
        assert!(sent == payload, "the bytes are the same");
        assert_eq!(client.end().delivered, 2);
    });
}

/// The thread that writes the stream finds the write half held. If the holder did not look again, nobody would write the
/// fragment.
#[test]
fn fragment_queued_during_a_write_is_sent() {
    let client = TestClient::new(Config::default());
    let mut stream = text_stream(&client);
    write(&mut stream, "a");
    client.socket.until_written(3);
    client.socket.hold_try_write(true);
    let shared = Arc::clone(&client.shared);
    let pong = thread::spawn(move || shared.send_pong(b"p".to_vec().into()));
    client.socket.until_in_try_write();
    write(&mut stream, "b");
    client.outbox.send("after").expect("the queue has room");
    stream.finish().expect("the connection is open");
    client.socket.hold_try_write(false);
    pong.join().expect("the thread does not panic");
    client.socket.until_written(3 + 3 + 3 + 2 + 7);
    let expected = [TEXT_BEGINS, PONG, CONTINUES, ENDS, TEXT];
    assert_eq!(first_bytes(&client), expected);
    client.end();
}

/// The thread that flushes the fragment finds a pong, which is written alone.
#[test]
fn fragment_behind_a_pong_is_sent() {
    both_ways(|config| {
        let client = TestClient::new(config);
        let mut stream = text_stream(&client);
        write(&mut stream, "a");
        client.socket.until_written(3);
        client.shared.write.control.set_pong(b"p".to_vec().into());
        write(&mut stream, "b");
        client.socket.until_written(3 + 3 + 3);
        assert_eq!(first_bytes(&client), [TEXT_BEGINS, PONG, CONTINUES]);
        stream.finish().expect("the connection is open");
        client.socket.until_written(3 + 3 + 3 + 2);
        client.end();
    });
}

#[test]
fn text_stream_refuses_what_is_not_utf8() {
    let client = TestClient::new(Config::default());
    let mut stream = text_stream(&client);
    let snowman = "\u{2603}".as_bytes();
    write(&mut stream, "a");
    stream.write_all(&snowman[..1]).expect("a character begins");
    stream
        .flush()
        .expect("a fragment may end inside a character");
    let error = stream.write_all(b"x").expect_err("it does not continue");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    stream
        .write_all(&snowman[1..])
        .expect("the character continues");
    let error = stream.write_all(b"b\xff").expect_err("it is not UTF-8");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    stream.finish().expect("the connection is open");
    client.socket.until_written(3 + 3 + 5);
    let sent: Vec<u8> = client
        .frames()
        .into_iter()
        .flat_map(|(_, part)| part)
        .collect();
    assert_eq!(sent, "a\u{2603}b".as_bytes());
    assert_eq!(client.end().delivered, 1);
}

#[test]
fn text_stream_must_not_end_inside_a_character() {
    let client = TestClient::new(Config::default());
    let mut stream = text_stream(&client);
    write(&mut stream, "a");
    client.socket.until_written(3);
    stream.write_all(b"\xe2").expect("a character begins");
    let error = stream.finish().expect_err("the character is cut");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    until("the Close is written", || {
        first_bytes(&client) == [TEXT_BEGINS, CLOSE]
    });
    client.end();
}

/// With a small byte limit, fragments are smaller, so that other messages still fit beside the stream.
#[test]
fn small_byte_limit_makes_small_fragments() {
    let client = TestClient::new(Config::default().queue_bytes(8 << 10));
    let mut stream = client.outbox.send_binary_stream().expect("it is open");
    stream.write_all(&numbers(5000)).expect("it is open");
    client
        .outbox
        .try_send("beside")
        .expect("the queue has room");
    stream.finish().expect("the connection is open");
    client.socket.until_written(5000 + 2 * 4 + 4 + 8);
    let firsts = first_bytes(&client);
    assert_eq!(firsts, [BINARY_BEGINS, CONTINUES, ENDS, TEXT]);
    client.end();
}
