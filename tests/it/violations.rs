//! Violations of the protocol or of a limit: each is answered with its close code, and the peer receives that Close.

use crate::support::{Frame, Length, Seen, TestServer, op, with_both_flush_modes};

/// Returns violations: a name, the frames that violate a rule, and the expected close code.
fn violations() -> Vec<(&'static str, Vec<Frame>, u16)> {
    let text = |payload: &[u8]| Frame::new(op::TEXT, payload);
    let with = |change: fn(&mut Frame)| {
        let mut frame = text(b"x");
        change(&mut frame);
        vec![frame]
    };
    let with_length = |length, bytes| {
        let mut frame = text(&vec![b'x'; bytes]);
        frame.length = length;
        vec![frame]
    };
    vec![
        ("not masked", with(|frame| frame.masked = false), 1002),
        ("RSV1", with(|frame| frame.rsv = 4), 1002),
        ("RSV3", with(|frame| frame.rsv = 1), 1002),
        ("opcode 3", with(|frame| frame.opcode = 3), 1002),
        ("opcode 11", with(|frame| frame.opcode = 11), 1002),
        ("long ping", vec![Frame::new(op::PING, [0; 126])], 1002),
        (
            "ping without FIN",
            vec![Frame::new(op::PING, "x").unfinished()],
            1002,
        ),
        (
            "Close without FIN",
            vec![Frame::close(1000, "").unfinished()],
            1002,
        ),
        (
            "continuation without a start",
            vec![Frame::new(op::CONTINUATION, "x")],
            1002,
        ),
        (
            "text inside a fragmented text",
            vec![text(b"x").unfinished(), text(b"x")],
            1002,
        ),
        ("125 in two bytes", with_length(Length::Two(125), 125), 1002),
        (
            "200 in eight bytes",
            with_length(Length::Eight(200), 200),
            1002,
        ),
        (
            "length over 2^63",
            with_length(Length::Eight(1 << 63), 0),
            1002,
        ),
        ("length 2^62", with_length(Length::Eight(1 << 62), 0), 1009),
        ("over the limit", vec![text(&[b'x'; 1001])], 1009),
        (
            "over the limit in fragments",
            vec![
                text(&[b'x'; 600]).unfinished(),
                Frame::new(op::CONTINUATION, [b'x'; 600]),
            ],
            1009,
        ),
        ("not UTF-8", vec![text(b"\xff")], 1007),
        (
            "not UTF-8 in fragments",
            vec![
                text(b"\xc3").unfinished(),
                Frame::new(op::CONTINUATION, b"x"),
            ],
            1007,
        ),
        (
            "too many fragments",
            [
                vec![text(b"").unfinished()],
                vec![Frame::new(op::CONTINUATION, "").unfinished(); 20],
            ]
            .concat(),
            1008,
        ),
    ]
}

#[test]
fn every_violation_is_answered_with_its_close_code() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config.max_message(1000).max_fragments(20));
        for (name, frames, code) in violations() {
            let mut client = server.connect();
            client.text("good");
            client.bytes(frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>());
            let rest = client.rest();
            // The echo of the valid message may be discarded with the queue, but it must not arrive after the Close.
            let codes: Vec<_> = rest.closes.iter().map(|(code, _)| *code).collect();
            assert_eq!(codes, [code], "{name}: {rest:?}");
            assert!(rest.after_close == 0 && !rest.reset, "{name}: {rest:?}");
            assert!(rest.messages.len() <= 1, "{name}: {rest:?}");
        }
        // A message exactly at the limits is not a violation.
        let mut client = server.connect();
        client.frame(&Frame::new(op::TEXT, "").unfinished());
        for _ in 0..18 {
            client.frame(&Frame::new(op::CONTINUATION, "").unfinished());
        }
        client.frame(&Frame::new(op::CONTINUATION, "x".repeat(1000)));
        client.expect_text(&"x".repeat(1000));
    });
}

#[test]
fn peer_that_reads_late_still_receives_the_close() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let large = Frame::new(op::BINARY, vec![0; 150_000]);
        let mut wrong = large.clone();
        wrong.rsv = 4;
        for (frame, code) in [(large, 1009), (wrong, 1002)] {
            let bytes = frame.bytes();
            let mut seen = 0;
            for _ in 0..100 {
                let mut client = server.connect();
                // Sent in pieces: a server that had already closed its socket would answer the next piece with a reset.
                let taken = bytes.chunks(10_000).all(|piece| client.try_bytes(piece));
                if let (true, Seen::Frame(frame)) = (taken, client.next()) {
                    assert_eq!(frame.code().0, code);
                    seen += 1;
                }
            }
            assert_eq!(
                seen, 100,
                "not all of 100 clients received the Close {code}"
            );
        }
    });
}

#[test]
fn invalid_close_is_answered_with_1002_or_1007() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
            let mut client = server.connect();
            client.close(code, "");
            let rest = client.rest();
            assert_eq!(rest.closes.len(), 1, "{code}: {rest:?}");
            assert_eq!(rest.closes[0].0, 1002, "{code}");
            assert!(rest.after_close == 0 && !rest.reset, "{code}: {rest:?}");
        }
        let mut client = server.connect();
        client.frame(&Frame::new(op::CLOSE, [3]));
        client.expect_close(1002);
        client.expect_eof();
        let mut client = server.connect();
        client.frame(&Frame::new(op::CLOSE, [3, 232, 0xff]));
        client.expect_close(1007);
        client.expect_eof();
    });
}
