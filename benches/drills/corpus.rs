//! *corpus*: every first byte of a frame, masked and unmasked, with every form of length, each on a connection of its
//! own. An independent model of RFC 6455 §5.2 gives the expected result.

use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::{Client, PATIENCE};
use crate::frame::{Got, PING, frame};
use crate::healthy;
use crate::report::Report;
use crate::server::Standpipe;

/// The lower seven bits of the second byte, the extended length, and the payload length that they declare.
const LENGTHS: [(u8, &[u8], u64); 6] = [
    (1, &[], 1),
    (126, &[0, 5], 5),
    (126, &[0, 200], 200),
    (127, &[0, 0, 0, 0, 0, 0, 0, 5], 5),
    (127, &[0, 0, 1, 0, 0, 0, 0, 0], 1 << 40),
    (127, &[0x80, 0, 0, 0, 0, 0, 0, 0], 1 << 63),
];

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    // A prime step, so that the small form uses every bit, too.
    let step = if small { 7 } else { 1 };
    let server = Standpipe::start(&[])?;
    report.fault("every possible start of a frame header");
    healthy::alongside(&server, report, |report| {
        let (mut correct, mut tried, mut bad, mut wrong) = (0, 0, 0, String::new());
        for n in (0..256 * 2 * LENGTHS.len()).step_by(step) {
            let (first, masked) = ((n / 2 % 256) as u8, n % 2 == 1);
            let length = LENGTHS[n / 512];
            let expected = expected_code(first, masked, length);
            let got = send_frame(&server, first, masked, length)?;
            tried += 1;
            bad += u64::from(expected.is_some());
            if got == expected {
                correct += 1;
            } else {
                wrong = format!(
                    "; {first:#04x}, masked {masked}, {length:?}: got {got:?}, expected {expected:?}"
                );
            }
        }
        report.bad_inputs(bad);
        report.check(
            "each frame is served, or closed with the code of the model",
            correct == tried,
            format!("{correct} of {tried}, {bad} of them invalid{wrong}"),
        );
        Ok(())
    })?;
    server.check_end(report)
}

/// Returns the close code that the model expects, or `None` if the frame is valid.
fn expected_code(first: u8, masked: bool, (form, _, length): (u8, &[u8], u64)) -> Option<u16> {
    let (fin, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
    let control = opcode >= 8;
    let minimal = match form {
        126 => length > 125,
        127 => length > 65_535,
        _ => true,
    };
    let unknown = !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10);
    // No message is in progress that a continuation could belong to. A Close is invalid here, because its payload is
    // `x` or begins with `xx`, which is no valid code.
    let out_of_place = opcode == 0 || opcode == 8;
    let bad_control = control && (!fin || length > 125);
    let wrong = !masked || reserved != 0 || unknown || out_of_place || bad_control;
    if wrong || !minimal || length > i64::MAX as u64 {
        Some(1002)
    } else if length > 64 << 10 {
        Some(1009)
    } else {
        None
    }
}

/// Sends the frame with up to 200 bytes of payload, and a ping after it. Returns the close code, or `None` for a pong.
fn send_frame(
    server: &Standpipe,
    first: u8,
    masked: bool,
    (form, more, length): (u8, &[u8], u64),
) -> Result<Option<u16>, Failure> {
    let mut client = Client::connect(server.address, "/echo")?;
    let mut bytes = vec![first, form | if masked { 0x80 } else { 0 }];
    bytes.extend(more);
    if masked {
        bytes.extend([0; 4]);
    }
    bytes.resize(bytes.len() + length.min(200) as usize, b'x');
    bytes.extend(frame(PING, b"still there?"));
    client.bytes(&bytes)?;
    client.unblock()?;
    let deadline = Instant::now() + PATIENCE;
    let (mut code, mut pong) = (None, false);
    while Instant::now() < deadline && code.is_none() && !pong {
        let end = client.read_available(usize::MAX, |got| match got {
            Got::Close(with) => code = Some(with),
            Got::Pong => pong = true,
            _ => {}
        });
        if end.is_some() && code.is_none() {
            return Ok(Some(0));
        }
        // The answer is polled, because the socket does not block.
        thread::sleep(Duration::from_micros(50));
    }
    Ok(code)
}
