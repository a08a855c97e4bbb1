//! Compares the header check with an independent model, for every two-byte header and every state of a message.

use super::*;

const MAX_MESSAGE: u64 = 70_000;

/// The lengths that are tested in the extended forms, if the form can represent them.
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

/// Returns the close code that RFC 6455 §5.2 to §5.5 requires, or 0 if the header is valid. The model shares no code
/// with the header check. It gets the fields of a whole header, and `before`: the bytes of the message in progress.
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
    // §5.4: a continuation needs a message in progress, and a new message needs that there is none.
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

/// Returns the verdict of the header check on one more frame, which arrives in pieces of `piece_size` bytes.
fn verdict(config: &Config, opening: &[u8], frame: &[u8], piece_size: usize) -> u16 {
    let mut check = HeaderCheck::new(config, 1);
    check
        .check(opening, 1)
        .expect("the opening bytes are valid");
    for piece in frame.chunks(piece_size) {
        if let Err((_, violation)) = check.check(piece, 1) {
            return violation.code;
        }
    }
    0
}

#[test]
fn every_header_is_checked_as_rfc_6455_says() {
    let config = Config::default().max_message(usize::try_from(MAX_MESSAGE).expect("it is small"));
    let text = [0x01, 0x81, 0, 0, 0, 0, b'a'];
    let binary = [0x02, 0x81, 0, 0, 0, 0, b'a'];
    let states: [(&[u8], Option<u64>); 3] = [(&[], None), (&text, Some(1)), (&binary, Some(1))];
    let mut checked = 0;
    let mut check = |first: u8, second: u8, claimed: u64, extended: &[u8]| {
        // A short frame has its payload, so that the fast path for whole messages is tested too.
        let payload = usize::try_from(claimed.min(125)).expect("it is small");
        let mut frame = vec![first, second];
        frame.extend(extended);
        frame.extend([0; 4]);
        frame.extend(vec![0; if extended.is_empty() { payload } else { 0 }]);
        for (opening, before) in states {
            let expected = model(first, second, claimed, before);
            for piece_size in [frame.len(), 1] {
                let found = verdict(&config, opening, &frame, piece_size);
                assert_eq!(
                    found, expected,
                    "{first:#04x} {second:#04x} {claimed} after {opening:02x?}, in pieces of {piece_size} bytes"
                );
            }
            checked += 1;
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
    assert_eq!(checked, 3 * 256 * 2 * (126 + 4 + 10));
}
