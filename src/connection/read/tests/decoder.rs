use super::*;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// Gives so many bytes at a time.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.1.min(buffer.len());
        (&mut self.0)
            .take(most as u64)
            .read(buffer)
            .inspect(|read| assert!(*read > 0 || most > 0))
    }
}

#[test]
fn messages_of_every_size_come_out_whole_however_they_come_in() {
    let sizes = [
        0, 1, 7, 8, 9, 125, 126, 8_191, 8_192, 8_193, 65_535, 65_536, 300_000,
    ];
    let payload = |size: usize| (0..size).map(|n| (n % 251) as u8).collect::<Vec<_>>();
    let stream: Vec<u8> = sizes
        .iter()
        .flat_map(|size| frame(0x82, &payload(*size)))
        .collect();
    for step in [1, 13, 4_096, 1 << 20] {
        let mut assembler = Decoder::new(8 << 10);
        let mut trickle = Trickle(&stream, step);
        for size in sizes {
            match assembler.next(&mut trickle).expect("well-formed") {
                Incoming::Data(Message::Binary(bytes)) => {
                    assert!(bytes == payload(size), "{size} by {step}")
                }
                other => panic!("{size} by {step}: {other:?}"),
            }
        }
        assert!(matches!(assembler.next(&mut trickle), Ok(Incoming::End)));
    }
}

#[test]
fn a_control_frame_in_pieces_is_no_message_however_small_the_buffer() {
    let stream = [frame(0x82, b"a"), frame(0x8a, &[7; 125])].concat();
    let mut assembler = Decoder::new(1);
    let mut trickle = Trickle(&stream, 9);
    assert!(matches!(
        assembler.next(&mut trickle),
        Ok(Incoming::Data(_))
    ));
    match assembler.next(&mut trickle).expect("well-formed") {
        Incoming::Pong(payload) => assert_eq!(payload, vec![7; 125]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_buffer_grows_while_reads_fill_it_and_shrinks_when_they_do_not() {
    let small = frame(0x82, &[1; 100]);
    let burst = small.repeat(20_000);
    let mut assembler = Decoder::new(8 << 10);
    let mut stream = Trickle(&burst, usize::MAX);
    let mut largest = 0;
    for _ in 0..20_000 {
        assert!(matches!(assembler.next(&mut stream), Ok(Incoming::Data(_))));
        largest = largest.max(assembler.buffer.len());
    }
    assert_eq!(largest, LARGEST);
    for _ in 0..10 {
        let mut stream = Trickle(&small, usize::MAX);
        assert!(matches!(assembler.next(&mut stream), Ok(Incoming::Data(_))));
    }
    assert_eq!(assembler.buffer.len(), IDLE);
}

#[test]
fn a_wrong_text_is_refused_at_the_fragment_that_makes_it_wrong() {
    let fault = |parts: &[(u8, &[u8])]| {
        let stream: Vec<u8> = parts
            .iter()
            .flat_map(|(first, part)| frame(*first, part))
            .collect();
        let mut assembler = Decoder::new(64);
        let mut stream = Trickle(&stream, 3);
        assembler
            .next(&mut stream)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        fault(&[(0x01, b"\xce"), (0x80, b"\xba")]),
        Ok(()),
        "a character in two fragments"
    );
    assert!(
        fault(&[(0x01, b"ok \xff")]).is_err(),
        "without waiting for the rest"
    );
    assert!(fault(&[(0x01, b"\xf4"), (0x00, b"\x90")]).is_err());
    assert!(fault(&[(0x81, b"\xed\xa0\x80")]).is_err(), "a surrogate");
    assert!(fault(&[(0x01, b"\xce"), (0x80, b"")]).is_err(), "cut short");
    assert!(fault(&[(0x88, b"\x03")]).is_err());
    assert!(fault(&[(0x88, b"\x03\xed")]).is_err(), "1005 is never sent");
    assert!(fault(&[(0x88, b"\x03\xe8\xff")]).is_err());
    assert_eq!(fault(&[(0x88, b"\x03\xe8bye")]), Ok(()));
}

#[test]
fn every_character_of_up_to_four_bytes_is_judged_as_std_has_it_however_it_is_cut() {
    let mut judged = 0;
    let mut judge = |text: &[u8]| {
        let good = std::str::from_utf8(text).is_ok();
        let whole = frame(0x81, text);
        let parts = text.iter().map(|byte| frame(0x00, &[*byte]));
        let parts: Vec<u8> = [frame(0x01, b"")]
            .into_iter()
            .chain(parts)
            .flatten()
            .collect();
        for stream in [whole, [parts, frame(0x80, b"")].concat()] {
            let mut assembler = Decoder::new(64);
            match assembler.next(&mut &stream[..]) {
                Ok(Incoming::Data(message)) => {
                    assert!(good && message.to_text().is_ok(), "{text:x?}");
                    assert_eq!(message.into_data(), text);
                }
                Err(error) => assert!(!good && error.to_string().starts_with("1007"), "{text:x?}"),
                other => panic!("{text:x?}: {other:?}"),
            }
        }
        judged += 1;
    };
    // Of the third and the fourth byte only those at the edges of what may follow.
    let edges = [0x7f, 0x80, 0xbf, 0xc0];
    for first in 0x7f..=0xff {
        judge(&[first]);
        for second in 0x7f..=0xc0 {
            judge(&[first, second]);
            for third in edges {
                judge(&[first, second, third]);
                for fourth in edges {
                    judge(&[first, second, third, fourth]);
                }
            }
        }
    }
    assert_eq!(judged, 129 * (1 + 66 * (1 + 4 * 5)));
}

#[test]
fn what_was_read_with_a_message_is_given_without_reading_until_something_else_comes_first() {
    let (a, b) = (frame(0x81, b"a"), frame(0x82, b"b"));
    let whole = Some(Message::text("c"));
    for (then, behind) in [
        // Nothing comes first, and the stream is not asked for more.
        (vec![], None),
        (frame(0x81, b"c"), whole),
        // A control frame, a fragment, half a frame, and a text that is none are for `next`.
        ([frame(0x89, b""), frame(0x81, b"c")].concat(), None),
        ([frame(0x01, b"c"), frame(0x80, b"")].concat(), None),
        (frame(0x81, b"c")[..4].to_vec(), None),
        (frame(0x81, b"\xff"), None),
    ] {
        let stream = [a.clone(), b.clone(), then.clone()].concat();
        let mut assembler = Decoder::new(1024);
        let first = assembler.next(&mut &stream[..]).expect("well-formed");
        assert!(matches!(first, Incoming::Data(message) if message == Message::text("a")));
        assert_eq!(assembler.next_if_read(), Some(Message::binary("b")));
        assert_eq!(assembler.next_if_read(), behind, "{then:?}");
        assert_eq!(assembler.next_if_read(), None);
    }
}
