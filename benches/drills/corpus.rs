//! *corpus*: every first byte a frame can have, masked or not, with every form of length, each on a connection of its own;
//! a model of RFC 6455 §5.2 that knows nothing of the server says what has to come of it.

use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::{Client, PATIENCE};
use crate::frame::{Got, PING, frame};
use crate::healthy;
use crate::report::Report;
use crate::server::Standpipe;

/// The second byte's seven bits, the bytes behind it, and how long that claims the payload to be.
const LENGTHS: [(u8, &[u8], u64); 6] = [
    (1, &[], 1),
    (126, &[0, 5], 5),
    (126, &[0, 200], 200),
    (127, &[0, 0, 0, 0, 0, 0, 0, 5], 5),
    (127, &[0, 0, 1, 0, 0, 0, 0, 0], 1 << 40),
    (127, &[0x80, 0, 0, 0, 0, 0, 0, 0], 1 << 63),
];

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    // A prime, so that every bit takes part in the small form too.
    let step = if small { 7 } else { 1 };
    let server = Standpipe::start(&[])?;
    report.fault("every header a frame can begin with");
    healthy::beside(&server, report, |report| {
        let (mut right, mut tried, mut bad, mut wrong) = (0, 0, 0, String::new());
        for n in (0..256 * 2 * LENGTHS.len()).step_by(step) {
            let (first, masked) = ((n / 2 % 256) as u8, n % 2 == 1);
            let length = LENGTHS[n / 512];
            let expected = verdict(first, masked, length);
            let got = ask(&server, first, masked, length)?;
            tried += 1;
            bad += u64::from(expected.is_some());
            if got == expected {
                right += 1;
            } else {
                wrong = format!(
                    "; {first:#04x}, masked {masked}, {length:?}: {got:?} and not {expected:?}"
                );
            }
        }
        report.bad_inputs(bad);
        report.check(
            "each is served, or refused with the code of the model",
            right == tried,
            format!("{right} of {tried}, {bad} of them bad{wrong}"),
        );
        Ok(())
    })?;
    server.check_end(report)
}

/// The code that must come, if any.
fn verdict(first: u8, masked: bool, (form, _, length): (u8, &[u8], u64)) -> Option<u16> {
    let (fin, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
    let control = opcode >= 8;
    let minimal = match form {
        126 => length > 125,
        127 => length > 65_535,
        _ => true,
    };
    let unknown = !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10);
    // No message is in progress that could go on; and a Close has two bytes or none.
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

/// Sends it with as much payload as is reasonable and a ping behind it; the code that came, or `None` for the pong.
fn ask(
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
        let end = client.look(usize::MAX, |got| match got {
            Got::Close(with) => code = Some(with),
            Got::Pong => pong = true,
            _ => {}
        });
        if end.is_some() && code.is_none() {
            return Ok(Some(0));
        }
        // The answer takes a moment.
        thread::sleep(Duration::from_micros(50));
    }
    Ok(code)
}
