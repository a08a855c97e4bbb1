use super::*;
use crate::connection::testing::frames::from_client;

fn new_check() -> HeaderCheck {
    HeaderCheck::new(&Config::default().max_message(70_000).max_fragments(4), 1)
}

fn frame(first: u8, length: usize) -> Vec<u8> {
    from_client(first, &vec![0; length])
}

/// Returns the verdict on a stream. It must not depend on how the stream is split into reads.
fn check(stream: &[u8]) -> Result<(), (usize, Violation)> {
    let whole = new_check().check(stream, 1);
    for chunk in [1, 2, 3, 7] {
        let mut header_check = new_check();
        let mut at = 0;
        let mut cut = Ok(());
        for part in stream.chunks(chunk) {
            cut = header_check
                .check(part, 1)
                .map_err(|(good, violation)| (at + good, violation));
            if cut.is_err() {
                break;
            }
            at += part.len();
        }
        assert_eq!(
            cut.map_err(|(_, violation)| violation),
            whole.map_err(|(_, violation)| violation),
            "in pieces of {chunk}"
        );
    }
    whole
}

fn code(stream: &[u8]) -> u16 {
    check(stream).map_or_else(|(_, violation)| violation.code, |()| 0)
}

#[test]
fn headers_are_checked_as_rfc_6455_says() {
    let fragmented = [
        frame(0x01, 1),
        frame(0x89, 3),
        frame(0x00, 0),
        frame(0x80, 1),
    ]
    .concat();
    for (stream, expected, what) in [
        (frame(0x81, 5), 0, "text"),
        (frame(0x82, 70_000), 0, "binary at the limit"),
        (fragmented, 0, "fragments with a ping between"),
        (frame(0x82, 70_001), 1009, "over the limit"),
        (
            [frame(0x01, 40_000), frame(0x80, 30_001)].concat(),
            1009,
            "over the limit in two fragments",
        ),
        (frame(0xc1, 1), 1002, "RSV1"),
        (frame(0xa1, 1), 1002, "RSV2"),
        (frame(0x91, 1), 1002, "RSV3"),
        (frame(0x83, 0), 1002, "opcode 3"),
        (frame(0x8b, 0), 1002, "opcode 11"),
        (frame(0x09, 0), 1002, "ping in fragments"),
        (frame(0x89, 126), 1002, "a ping over 125 bytes"),
        (frame(0x80, 1), 1002, "continuation of nothing"),
        (
            [frame(0x01, 1), frame(0x81, 1)].concat(),
            1002,
            "message in a message",
        ),
        (vec![0x81, 0x05], 1002, "no mask"),
        (vec![0x81, 0xfe, 0, 125], 1002, "length 125 in three bytes"),
        (
            vec![0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            1002,
            "length 65535 in nine bytes",
        ),
        (
            vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
            1002,
            "highest bit of the length",
        ),
        (
            vec![0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255],
            1009,
            "length 2^63 - 1",
        ),
    ] {
        assert_eq!(code(&stream), expected, "{what}");
    }
}

#[test]
fn empty_fragments_count_as_frames() {
    let mut stream = frame(0x01, 0);
    for _ in 0..3 {
        stream.extend(frame(0x00, 0));
    }
    assert_eq!(code(&stream), 0, "four frames are allowed");
    stream.extend(frame(0x00, 0));
    assert_eq!(code(&stream), 1008);
}

#[test]
fn valid_frames_before_a_violation_are_passed_on() {
    let stream = [frame(0x81, 10), frame(0x82, 300), frame(0xc1, 1)].concat();
    assert_eq!(check(&stream).map_err(|(good, _)| good), Err(16 + 308));
}

#[test]
fn messages_and_control_frames_are_rate_limited() {
    let rate = Rate::per_second(10).burst(2);
    let mut check = HeaderCheck::new(&Config::default().rate(Some(rate)), 1);
    let fragments = [frame(0x01, 1), frame(0x00, 1), frame(0x80, 1)].concat();
    assert_eq!(
        check.check(&fragments, 1),
        Ok(()),
        "three frames are one message"
    );
    assert_eq!(check.check(&frame(0x82, 1), 1), Ok(()));
    assert_eq!(check.check(&frame(0x82, 1), 101), Ok(()));
    assert_eq!(check.check(&frame(0x82, 1), 102), Err((0, TOO_FAST)));

    let pings = frame(0x89, 0).repeat(200);
    let mut check = super::tests::new_check();
    assert_eq!(check.check(&pings, 1), Ok(()));
    assert_eq!(check.check(&frame(0x8a, 0), 2), Err((0, CONTROL_FLOOD)));
}

#[test]
fn bytes_after_a_close_are_not_checked() {
    assert_eq!(code(&[frame(0x88, 2), vec![0xff; 40]].concat()), 0);
}

#[test]
fn incomplete_message_is_recognized() {
    let mut check = new_check();
    for (bytes, inside) in [
        (&frame(0x81, 3)[..], false),
        (&frame(0x81, 3)[..5], true),
        (&frame(0x81, 3)[5..], false),
        (&frame(0x01, 0), true),
        (&frame(0x8a, 0), true),
        (&frame(0x80, 0), false),
    ] {
        check.check(bytes, 1).expect("these frames are valid");
        assert_eq!(check.in_message(), inside, "{bytes:?}");
    }
}
