//! Every header that a frame can begin with, in every state of a message, against an independent model.

use super::*;

const MAX_MESSAGE: u64 = 70_000;

/// The lengths that the extended forms announce, as far as the form can hold them.
const LENGTHS: [u64; 10] = [
    0,
    125,
    126,
    65_535,
    65_536,
    MAX_MESSAGE,
    MAX_MESSAGE + 1,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX,
];

/// Returns the code that a server closes with by RFC 6455 §5.2 to §5.5, 0 for none. It shares no code
/// with the header check: it gets the fields of a whole header, and `before`, the bytes of the message in progress.
fn model(first: u8, second: u8, claimed: u64, before: Option<u64>) -> u16 {
    let (fin, rsv, opcode) = (first >= 0x80, first / 16 % 8, first % 16);
    let (masked, form) = (second >= 0x80, second % 128);
    let control = opcode >= 8;
    let known = matches!(opcode, 0x0 | 0x1 | 0x2 | 0x8 | 0x9 | 0xa);
    let shortest = match form {
        126 => (126..=0xffff).contains(&claimed),
        127 => (0x1_0000..0x8000_0000_0000_0000).contains(&claimed),
        _ => true,
    };
    // §5.4: a continuation needs an open message, and a new one needs that there is none.
    let in_turn = match opcode {
        0 => before.is_some(),
        1 | 2 => before.is_none(),
        _ => true,
    };
    // §5.5
    let control_is_small = !control || (fin && form <= 125);
    if rsv != 0 || !known || !masked || !shortest || !in_turn || !control_is_small {
        return 1002;
    }
    if !control && u128::from(before.unwrap_or(0)) + u128::from(claimed) > MAX_MESSAGE.into() {
        return 1009;
    }
    0
}

/// Returns what the header check says about one more frame, whole or byte by byte.
fn verdict(config: &Config, opening: &[u8], frame: &[u8], cut: usize) -> u16 {
    let mut check = HeaderCheck::new(config, 1);
    check.check(opening, 1).expect("the opening is well-formed");
    for piece in frame.chunks(cut) {
        if let Err((_, violation)) = check.check(piece, 1) {
            return violation.code;
        }
    }
    0
}

#[test]
fn every_header_in_every_state_is_checked_by_rfc_6455() {
    let config = Config::default().max_message(usize::try_from(MAX_MESSAGE).expect("it is small"));
    let text = [0x01, 0x81, 0, 0, 0, 0, b'a'];
    let binary = [0x02, 0x81, 0, 0, 0, 0, b'a'];
    let states: [(&[u8], Option<u64>); 3] = [(&[], None), (&text, Some(1)), (&binary, Some(1))];
    let mut judged = 0;
    let mut check = |first: u8, second: u8, claimed: u64, extended: &[u8]| {
        // A short payload is present too, so that the one-step check of whole messages is covered as well.
        let payload = usize::try_from(claimed.min(125)).expect("it is small");
        let mut frame = vec![first, second];
        frame.extend(extended);
        frame.extend([0; 4]);
        frame.extend(vec![0; if extended.is_empty() { payload } else { 0 }]);
        for (opening, before) in states {
            let expected = model(first, second, claimed, before);
            for cut in [frame.len(), 1] {
                let found = verdict(&config, opening, &frame, cut);
                assert_eq!(
                    found, expected,
                    "{first:#04x} {second:#04x} {claimed} after {opening:02x?}, {cut} at a time"
                );
            }
            judged += 1;
        }
    };
    for first in 0..=255 {
        for second in 0..=255 {
            match second & 0x7f {
                126 => {
                    for length in LENGTHS.into_iter().filter(|length| *length <= 0xffff) {
                        check(first, second, length, &length.to_be_bytes()[6..]);
                    }
                }
                127 => {
                    for length in LENGTHS {
                        check(first, second, length, &length.to_be_bytes());
                    }
                }
                short => check(first, second, short.into(), &[]),
            }
        }
    }
    assert_eq!(judged, 3 * 256 * 2 * (126 + 4 + 10));
}
