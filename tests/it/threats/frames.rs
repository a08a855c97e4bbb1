//! Invalid and misleading frames, and the close code for each (SECURITY.md, T9 to T20).

use standpipe::{Config, Message};

use crate::support::{Frame, Length, Seen, TestClient, TestServer, op, with_both_flush_modes};

/// Sends `bytes` and expects one Close with `code` and then the end of the stream.
#[track_caller]
fn expect_refusal(server: &TestServer, bytes: &[u8], code: u16) {
    let mut client = server.connect();
    client.bytes(bytes);
    client.expect_close(code);
    client.expect_eof();
}

/// Returns the header and mask of a binary message that declares this length in the shortest form.
fn declare(length: u64) -> Vec<u8> {
    let mut frame = Frame::new(op::BINARY, "");
    frame.length = match length {
        0..126 => {
            let mut bytes = frame.bytes();
            bytes[1] = 0x80 | u8::try_from(length).unwrap();
            return bytes;
        }
        126..65_536 => Length::Two(u16::try_from(length).unwrap()),
        _ => Length::Eight(length),
    };
    frame.bytes()
}

#[test]
fn empty_fragments_above_the_limit_get_1008() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let mut client = server.connect();
        let empty = Frame::new(op::CONTINUATION, "").unfinished().bytes();
        client.frame(&Frame::new(op::TEXT, "a").unfinished());
        client.bytes(empty.repeat(1022));
        client.frame(&Frame::new(op::CONTINUATION, "b"));
        client.expect_text("ab");
        client.frame(&Frame::new(op::TEXT, "").unfinished());
        // The first fragment above the limit ends the connection, so not all of these may be sent.
        client.try_bytes(empty.repeat(10_000));
        client.expect_close(1008);
        client.expect_eof();
    });
}

#[test]
fn configured_fragment_limit_is_enforced() {
    let server = TestServer::echo(Config::default().max_fragments(3));
    let part = Frame::new(op::CONTINUATION, "x").unfinished().bytes();
    let mut client = server.connect();
    client.frame(&Frame::new(op::TEXT, "x").unfinished());
    client.bytes(&part);
    client.frame(&Frame::new(op::CONTINUATION, "x"));
    client.expect_text("xxx");
    let begin = Frame::new(op::TEXT, "x").unfinished().bytes();
    expect_refusal(&server, &[begin, part.repeat(3)].concat(), 1008);
}

#[test]
fn declared_length_is_checked_before_the_payload() {
    let server = TestServer::echo(Config::default());
    for length in [65_537, (1 << 31) - 1, 1 << 31, (1 << 31) + 1] {
        expect_refusal(&server, &declare(length), 1009);
    }
    for length in [(1 << 32) - 1, 1 << 32, (1 << 32) + 1, (1 << 63) - 1] {
        expect_refusal(&server, &declare(length), 1009);
    }
    for length in [1 << 63, u64::MAX] {
        expect_refusal(&server, &declare(length), 1002);
    }
    for length in [0, 125, 126, 127, 65_535, 65_536_u64] {
        let mut client = server.connect();
        let payload = vec![7; usize::try_from(length).unwrap()];
        client.binary(&payload);
        assert_eq!(client.read_message(), Message::binary(payload));
    }
}

#[test]
fn unmasked_frame_is_refused_by_its_header() {
    let server = TestServer::echo(Config::default().max_message(16 << 20));
    let mut frame = Frame::new(op::BINARY, "");
    frame.masked = false;
    expect_refusal(&server, &frame.bytes(), 1002);
    // The frame declares 15 MiB, and no payload arrives.
    frame.length = Length::Eight(15 << 20);
    expect_refusal(&server, &frame.bytes(), 1002);
}

#[test]
fn invalid_utf8_gets_1007_and_is_not_delivered() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        for (case, bytes) in [
            ("a lone continuation", &b"\x80"[..]),
            ("an overlong slash", b"\xc0\xaf"),
            ("an overlong NUL", b"\xe0\x80\x80"),
            ("a surrogate", b"\xed\xa0\x80"),
            ("beyond U+10FFFF", b"\xf4\x90\x80\x80"),
            ("a byte that never occurs", b"\xff"),
            ("cut at the end", b"ok \xf0\x9f\x92"),
            ("bad in the middle", b"ok \xc3\x28 ok"),
        ] {
            eprintln!("{case}");
            expect_refusal(&server, &Frame::new(op::TEXT, bytes).bytes(), 1007);
            // The same text in fragments of one byte.
            let mut client = server.connect();
            client.frame(&Frame::new(op::TEXT, "").unfinished());
            for byte in bytes {
                client.frame(&Frame::new(op::CONTINUATION, [*byte]).unfinished());
            }
            client.frame(&Frame::new(op::CONTINUATION, ""));
            client.expect_close(1007);
            client.expect_eof();
        }
    });
}

#[test]
fn one_character_may_span_four_fragments() {
    let server = TestServer::echo(Config::default());
    let mut client = server.connect();
    for text in ["é", "€", "💧", "\u{10ffff}", "\u{d7ff}\u{e000}"] {
        client.frame(&Frame::new(op::TEXT, "").unfinished());
        for byte in text.bytes() {
            client.frame(&Frame::new(op::CONTINUATION, [byte]).unfinished());
        }
        client.frame(&Frame::new(op::CONTINUATION, ""));
        client.expect_text(text);
    }
}

#[test]
fn oversized_or_fragmented_control_frame_gets_1002() {
    let server = TestServer::echo(Config::default().max_message(16 << 20));
    for opcode in [op::PING, op::PONG, op::CLOSE] {
        let mut frame = Frame::new(opcode, "");
        expect_refusal(&server, &frame.clone().unfinished().bytes(), 1002);
        for length in [Length::Two(126), Length::Eight(15 << 20)] {
            frame.length = length;
            expect_refusal(&server, &frame.bytes(), 1002);
        }
    }
    let mut client = server.connect();
    client.ping([b'p'; 125]);
    assert_eq!(client.next_frame().payload, [b'p'; 125]);
}

#[test]
fn close_reason_is_cut_at_a_character_boundary() {
    let server = TestServer::start(Config::default(), |conn: &mut standpipe::Connection| {
        conn.close(4000, &"é".repeat(100));
        while conn.recv()?.is_some() {}
        Ok(())
    });
    let mut client = server.connect();
    let reason = client.expect_close(4000);
    assert_eq!(reason, "é".repeat(61));
}

#[test]
fn configured_message_limit_is_enforced() {
    for limit in [1, 125, 1000, 65_536, 70_000] {
        let server = TestServer::echo(Config::default().max_message(limit));
        for size in [limit - 1, limit] {
            let mut client = server.connect();
            let payload = vec![b'm'; size];
            client.binary(&payload);
            assert_eq!(client.read_message(), Message::binary(payload.clone()));
            let (front, rest) = payload.split_at(size / 2);
            client.frame(&Frame::new(op::BINARY, front).unfinished());
            client.frame(&Frame::new(op::CONTINUATION, rest));
            assert_eq!(client.read_message(), Message::binary(payload));
        }
        let payload = vec![b'm'; limit + 1];
        let complete = Frame::new(op::BINARY, &payload).bytes();
        expect_refusal(&server, &complete, 1009);
        let (front, rest) = payload.split_at(limit / 2);
        let parts = [
            Frame::new(op::BINARY, front).unfinished().bytes(),
            Frame::new(op::CONTINUATION, rest).bytes(),
        ];
        expect_refusal(&server, &parts.concat(), 1009);
    }
}

#[test]
fn compression_is_never_negotiated() {
    let server = TestServer::echo(Config::default());
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits=99; server_max_window_bits=-1",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate;;;=;\"; x=\"unclosed",
        "x-webkit-deflate-frame, permessage-deflate; a=\"\\\"\", ,,",
    ] {
        let offer = format!("Sec-WebSocket-Extensions: {offer}");
        let (mut client, answer) = server.client().header(&offer).request();
        assert_eq!(answer.status, 101, "{offer}: {answer:?}");
        assert_eq!(answer.header("Sec-WebSocket-Extensions"), None);
        client.text("plain");
        client.expect_text("plain");
        let mut frame = Frame::new(op::TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
        frame.rsv = 4;
        client.frame(&frame);
        client.expect_close(1002);
        client.expect_eof();
    }
}

#[test]
fn reserved_bits_opcodes_and_long_lengths_get_1002() {
    let server = TestServer::echo(Config::default());
    for rsv in 1..8 {
        let mut frame = Frame::new(op::TEXT, "r");
        frame.rsv = rsv;
        expect_refusal(&server, &frame.bytes(), 1002);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        expect_refusal(&server, &Frame::new(opcode, "o").bytes(), 1002);
    }
    for length in [Length::Two(5), Length::Two(125), Length::Eight(5)] {
        let mut frame = Frame::new(op::TEXT, "12345");
        frame.length = length;
        expect_refusal(&server, &frame.bytes(), 1002);
    }
    expect_refusal(&server, &Frame::new(op::CONTINUATION, "").bytes(), 1002);
    let nested = Frame::new(op::TEXT, "a").unfinished().bytes().repeat(2);
    expect_refusal(&server, &nested, 1002);
}

#[test]
fn every_close_gets_exactly_one_answer() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let code = |code: u16| Frame::close(code, "r").payload;
        let mut closes = vec![
            (vec![], 1005),
            (vec![3], 1002),
            ([&code(1000)[..2], b"\xff\xfe"].concat(), 1007),
        ];
        for wrong in [
            0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
        ] {
            closes.push((code(wrong), 1002));
        }
        // IANA registered the last three after RFC 6455.
        for right in [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
        ] {
            closes.push((code(right), right));
        }
        closes.extend([(code(3000), 3000), (code(4999), 4999)]);
        for (payload, answer) in closes {
            let mut client = server.connect();
            let close = Frame::new(op::CLOSE, &payload).bytes();
            let text = Frame::new(op::TEXT, "after the close").bytes();
            client.bytes([&close[..], &close, &text].concat());
            let rest = client.rest();
            let answers: Vec<u16> = rest.closes.iter().map(|(code, _)| *code).collect();
            assert_eq!(answers, [answer], "answer to {payload:?}");
            assert!(
                rest.messages.is_empty() && rest.after_close == 0,
                "{rest:?}"
            );
            assert_eq!(client.closes, 1);
        }
    });
}

#[test]
fn every_oversized_sender_sees_1009() {
    let server = TestServer::echo(Config::default());
    let oversize = Frame::new(op::BINARY, vec![0; 200 << 10]).bytes();
    for n in 0..200 {
        let mut client: TestClient = server.connect();
        let (front, rest) = oversize.split_at(100 << 10);
        client.bytes(front);
        client.expect_close(1009);
        // The client is still sending, and its connection is not reset.
        client.bytes(rest);
        assert_eq!(client.next(), Seen::Eof, "client {n}");
    }
}
