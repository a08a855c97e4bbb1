//! What a peer may not do: each fault is answered with its code, and the peer sees it.

use crate::support::{Frame, Length, Seen, TestServer, op, with_both_flush_modes};

/// A frame that breaks a rule, or the frames, and the code that answers it.
fn faults() -> Vec<(&'static str, Vec<Frame>, u16)> {
    let text = |payload: &[u8]| Frame::new(op::TEXT, payload);
    let with = |change: fn(&mut Frame)| {
        let mut frame = text(b"x");
        change(&mut frame);
        vec![frame]
    };
    let lengthy = |length, bytes| {
        let mut frame = text(&vec![b'x'; bytes]);
        frame.length = length;
        vec![frame]
    };
    vec![
        ("no mask", with(|frame| frame.masked = false), 1002),
        ("RSV1", with(|frame| frame.rsv = 4), 1002),
        ("RSV3", with(|frame| frame.rsv = 1), 1002),
        ("opcode 3", with(|frame| frame.opcode = 3), 1002),
        ("opcode 11", with(|frame| frame.opcode = 11), 1002),
        ("long ping", vec![Frame::new(op::PING, [0; 126])], 1002),
        (
            "half a ping",
            vec![Frame::new(op::PING, "x").unfinished()],
            1002,
        ),
        (
            "half a Close",
            vec![Frame::close(1000, "").unfinished()],
            1002,
        ),
        (
            "continuation of nothing",
            vec![Frame::new(op::CONTINUATION, "x")],
            1002,
        ),
        (
            "text in text",
            vec![text(b"x").unfinished(), text(b"x")],
            1002,
        ),
        ("125 in two bytes", lengthy(Length::Two(125), 125), 1002),
        ("200 in eight bytes", lengthy(Length::Eight(200), 200), 1002),
        ("length over 2^63", lengthy(Length::Eight(1 << 63), 0), 1002),
        ("length 2^62", lengthy(Length::Eight(1 << 62), 0), 1009),
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
fn every_fault_is_answered_with_its_code_and_the_message_before_it_is_served() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config.max_message(1000).max_fragments(20));
        for (name, frames, code) in faults() {
            let mut client = server.connect();
            client.text("good");
            client.bytes(frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>());
            let rest = client.rest();
            // The answer to the good one may be thrown away with the queue, but it cannot come after the Close.
            let codes: Vec<_> = rest.closes.iter().map(|(code, _)| *code).collect();
            assert_eq!(codes, [code], "{name}: {rest:?}");
            assert!(rest.after_close == 0 && !rest.reset, "{name}: {rest:?}");
            assert!(rest.messages.len() <= 1, "{name}: {rest:?}");
        }
        // Exactly at the limits is no fault.
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
fn a_peer_that_looks_only_after_it_has_sent_all_sees_why_it_was_refused() {
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
                // In pieces, so that a server that has closed its socket answers the next one with a reset.
                let taken = bytes.chunks(10_000).all(|piece| client.try_bytes(piece));
                if let (true, Seen::Frame(frame)) = (taken, client.next()) {
                    assert_eq!(frame.code().0, code);
                    seen += 1;
                }
            }
            assert_eq!(seen, 100, "of 100 saw the {code}");
        }
    });
}

#[test]
fn a_close_that_may_not_be_is_answered_1002_or_1007() {
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
