//! The decoder with reads of different sizes.

use std::io::Read as _;

use super::super::read_buffer::{IDLE, LARGEST};
use super::*;
use crate::connection::testing::frames::from_client as frame;

/// A stream that returns up to the given number of bytes in one read.
struct SmallReads<'a>(&'a [u8], usize);

impl SmallReads<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let most = self.1.min(buffer.len());
        let read = (&mut self.0).take(most as u64).read(buffer)?;
        assert!(read > 0 || most > 0);
        Ok(read)
    }
}

fn decoder(read_buffer: usize) -> Decoder {
    let config = Config::default().read_buffer(read_buffer);
    Decoder::new(&config.max_message(1 << 20))
}

#[test]
fn messages_of_every_size_are_decoded_whole() {
    let sizes = [
        0, 1, 7, 8, 9, 125, 126, 8_191, 8_192, 8_193, 65_535, 65_536, 300_000,
    ];
    let payload = |size: usize| (0..size).map(|n| (n % 251) as u8).collect::<Vec<_>>();
    let stream: Vec<u8> = sizes
        .iter()
        .flat_map(|size| frame(0x82, &payload(*size)))
        .collect();
    for step in [1, 13, 4_096, 1 << 20] {
        let mut decoder = decoder(8 << 10);
        let mut stream_reads = SmallReads(&stream, step);
        for size in sizes {
            match decoder
                .next(&mut |buffer| stream_reads.read(buffer))
                .expect("well-formed")
            {
                Incoming::Data(Message::Binary(bytes)) => {
                    assert!(bytes == payload(size), "{size} bytes, {step} in one read")
                }
                other => panic!("{size} bytes, {step} in one read: {other:?}"),
            }
        }
        assert!(matches!(
            decoder.next(&mut |buffer| stream_reads.read(buffer)),
            Ok(Incoming::End)
        ));
    }
}

#[test]
fn control_frame_in_pieces_is_decoded_whole() {
    let stream = [frame(0x82, b"a"), frame(0x8a, &[7; 125])].concat();
    let mut decoder = decoder(1);
    let mut stream_reads = SmallReads(&stream, 9);
    assert!(matches!(
        decoder.next(&mut |buffer| stream_reads.read(buffer)),
        Ok(Incoming::Data(_))
    ));
    match decoder
        .next(&mut |buffer| stream_reads.read(buffer))
        .expect("well-formed")
    {
        Incoming::Pong(payload) => assert_eq!(payload, vec![7; 125]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn buffer_grows_and_shrinks_with_the_reads() {
    let small = frame(0x82, &[1; 100]);
    let burst = small.repeat(20_000);
    let mut decoder = decoder(8 << 10);
    let mut stream = SmallReads(&burst, usize::MAX);
    let mut largest = 0;
    for _ in 0..20_000 {
        assert!(matches!(
            decoder.next(&mut |buffer| stream.read(buffer)),
            Ok(Incoming::Data(_))
        ));
        largest = largest.max(decoder.buffer.capacity());
    }
    assert_eq!(largest, LARGEST);
    for _ in 0..10 {
        let mut stream = SmallReads(&small, usize::MAX);
        assert!(matches!(
            decoder.next(&mut |buffer| stream.read(buffer)),
            Ok(Incoming::Data(_))
        ));
    }
    assert_eq!(decoder.buffer.capacity(), IDLE);
}

#[test]
fn reads_that_time_out_do_not_grow_the_buffer() {
    // The first read fills the buffer, and the next ones find nothing.
    let begun = &frame(0x82, &[1; 5000])[..IDLE];
    let mut decoder = decoder(8 << 10);
    let mut stream = SmallReads(begun, usize::MAX);
    for _ in 0..20 {
        let received = decoder.next(&mut |buffer| match stream.0 {
            [] => Err(ReadError::TimedOut),
            _ => stream.read(buffer),
        });
        assert!(matches!(received, Err(ReadError::TimedOut)), "{received:?}");
    }
    assert!(decoder.buffer.capacity() <= 8 << 10);
}

#[test]
fn invalid_text_and_close_bodies_are_refused_early() {
    let violation = |parts: &[(u8, &[u8])]| {
        let stream: Vec<u8> = parts
            .iter()
            .flat_map(|(first, part)| frame(*first, part))
            .collect();
        let mut decoder = decoder(64);
        let mut stream = SmallReads(&stream, 3);
        match decoder.next(&mut |buffer| stream.read(buffer)) {
            Ok(_) => None,
            Err(ReadError::Violation(violation)) => Some(violation),
            Err(other) => panic!("{other:?}"),
        }
    };
    for (what, parts, expected) in [
        (
            "a character in two fragments",
            &[(0x01, &b"\xce"[..]), (0x80, b"\xba")][..],
            None,
        ),
        (
            "invalid before the last fragment",
            &[(0x01, b"ok \xff")],
            Some(NOT_UTF8),
        ),
        (
            "a character that cannot be completed",
            &[(0x01, b"\xf4"), (0x00, b"\x90")],
            Some(NOT_UTF8),
        ),
        ("a surrogate", &[(0x81, b"\xed\xa0\x80")], Some(NOT_UTF8)),
        (
            "an incomplete character",
            &[(0x01, b"\xce"), (0x80, b"")],
            Some(NOT_UTF8),
        ),
        ("a Close of one byte", &[(0x88, b"\x03")], Some(CLOSE_BODY)),
        (
            "code 1005, which is never sent",
            &[(0x88, b"\x03\xed")],
            Some(CLOSE_CODE),
        ),
        (
            "a reason that is not UTF-8",
            &[(0x88, b"\x03\xe8\xff")],
            Some(NOT_UTF8),
        ),
        ("a valid Close", &[(0x88, b"\x03\xe8bye")], None),
    ] {
        assert_eq!(violation(parts), expected, "{what}");
    }
}

#[test]
fn utf_8_check_agrees_with_the_standard_library() {
    let mut checked = 0;
    let mut check = |text: &[u8]| {
        let good = std::str::from_utf8(text).is_ok();
        let whole = frame(0x81, text);
        let parts = text.iter().map(|byte| frame(0x00, &[*byte]));
        let parts: Vec<u8> = [frame(0x01, b"")]
            .into_iter()
            .chain(parts)
            .flatten()
            .collect();
        for stream in [whole, [parts, frame(0x80, b"")].concat()] {
            let mut decoder = decoder(64);
            let mut stream = SmallReads(&stream, usize::MAX);
            match decoder.next(&mut |buffer| stream.read(buffer)) {
                Ok(Incoming::Data(message)) => {
                    assert!(good && message.to_text().is_ok(), "{text:x?}");
                    assert_eq!(message.into_bytes(), text);
                }
                Err(ReadError::Violation(NOT_UTF8)) => assert!(!good, "{text:x?}"),
                other => panic!("{text:x?}: {other:?}"),
            }
        }
        checked += 1;
    };
    // The third and fourth bytes take only the values at the edges of the valid range.
    let edges = [0x7f, 0x80, 0xbf, 0xc0];
    for first in 0x7f..=0xff {
        check(&[first]);
        for second in 0x7f..=0xc0 {
            check(&[first, second]);
            for third in edges {
                check(&[first, second, third]);
                for fourth in edges {
                    check(&[first, second, third, fourth]);
                }
            }
        }
    }
    assert_eq!(checked, 129 * (1 + 66 * (1 + 4 * 5)));
}

#[test]
fn next_if_read_returns_only_whole_buffered_messages() {
    let (a, b) = (frame(0x81, b"a"), frame(0x82, b"b"));
    let whole = Some(Message::text("c"));
    for (then, behind) in [
        // Nothing follows, and `next_if_read` reads nothing more.
        (vec![], None),
        (frame(0x81, b"c"), whole),
        // `next_if_read` leaves a control frame, a fragment, half a frame and an invalid text to `next`.
        ([frame(0x89, b""), frame(0x81, b"c")].concat(), None),
        ([frame(0x01, b"c"), frame(0x80, b"")].concat(), None),
        (frame(0x81, b"c")[..4].to_vec(), None),
        (frame(0x81, b"\xff"), None),
    ] {
        let stream = [a.clone(), b.clone(), then.clone()].concat();
        let mut decoder = decoder(1024);
        let mut stream = SmallReads(&stream, usize::MAX);
        let first = decoder.next(&mut |buffer| stream.read(buffer));
        let first = first.expect("well-formed");
        assert!(matches!(first, Incoming::Data(message) if message == Message::text("a")));
        assert_eq!(decoder.next_if_read(), Some(Message::binary("b")));
        assert_eq!(decoder.next_if_read(), behind, "{then:?}");
        assert_eq!(decoder.next_if_read(), None);
    }
}
