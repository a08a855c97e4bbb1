//! Clients that send as fast as they are read, what no client should; ended, they come again.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::frame::{FIRST_FRAGMENT, BINARY, MIDDLE_FRAGMENT, Got, PING, frame};
use crate::healthy::Field;

/// One more byte than a message may have.
const TOO_MUCH: usize = (64 << 10) + 1;

/// Within this an attack that goes on at full speed must have met its answer.
const ENDS: Duration = Duration::from_secs(10);

/// One attack: bytes to begin with, and bytes to go on with.
struct Attack {
    first: Vec<u8>,
    then: Vec<u8>,
    /// Frames in one round of `then`.
    round: u64,
}

/// What became of one kind.
pub(super) struct Floods {
    pub(super) name: &'static str,
    pub(super) expected: u16,
    pub(super) tried: u64,
    pub(super) right: u64,
    pub(super) frames: u64,
    pub(super) wrong: Option<String>,
}

/// All kinds in turn, until the field says that it is enough.
pub(super) fn run(field: &Field) -> Result<Vec<Floods>, Failure> {
    let many = |frame: Vec<u8>| frame.repeat(100);
    let attacks = [
        (
            "a ping flood",
            1008,
            Attack {
                first: Vec::new(),
                then: many(frame(PING, b"are you there?")),
                round: 100,
            },
        ),
        (
            "a flood of empty fragments",
            1008,
            Attack {
                first: frame(FIRST_FRAGMENT, b""),
                then: many(frame(MIDDLE_FRAGMENT, b"")),
                round: 100,
            },
        ),
        (
            "a message over the limit",
            1009,
            Attack {
                first: frame(BINARY, &vec![0; TOO_MUCH]),
                then: Vec::new(),
                round: 0,
            },
        ),
        (
            "a message over the limit in fragments",
            1009,
            Attack {
                first: frame(FIRST_FRAGMENT, &[b' '; 1000]),
                then: frame(MIDDLE_FRAGMENT, &[b' '; 1000]),
                round: 1,
            },
        ),
    ];
    let mut floods: Vec<Floods> = attacks
        .iter()
        .map(|(name, expected, _)| Floods {
            name,
            expected: *expected,
            tried: 0,
            right: 0,
            frames: 0,
            wrong: None,
        })
        .collect();
    while !field.no_floods.load(Relaxed) {
        for ((_, expected, attack), flood) in attacks.iter().zip(&mut floods) {
            flood.tried += 1;
            let (code, frames) = attack.send(field)?;
            flood.frames += frames;
            if code == Some(*expected) {
                flood.right += 1;
            } else {
                flood.wrong = Some(format!(", one saw {code:?}"));
            }
        }
        // On two cores a flood without a pause tests the machine and not the server.
        thread::sleep(Duration::from_millis(50));
    }
    Ok(floods)
}

impl Attack {
    /// Until the connection ends: the code that was seen, and the frames that were sent.
    fn send(&self, field: &Field) -> Result<(Option<u16>, u64), Failure> {
        let mut client = Client::connect(field.to, "/echo")?;
        client.unblock()?;
        let mut code = None;
        let (mut bytes, mut at, mut frames) = (&self.first, 0, 1);
        let mut writes = true;
        let deadline = Instant::now() + ENDS;
        while Instant::now() < deadline {
            let mut busy = false;
            if at == bytes.len() && code.is_none() {
                (bytes, at) = (&self.then, 0);
                frames += self.round;
            }
            if writes && at < bytes.len() {
                match client.try_bytes(&bytes[at..]) {
                    Ok(sent) => {
                        busy = sent > 0;
                        at += sent;
                    }
                    // What came before the end may still be read.
                    Err(_) => writes = false,
                }
            }
            let end = client.look(1 << 20, |got| {
                if let Got::Close(with) = got {
                    code = Some(with);
                }
            });
            if end.is_some() {
                break;
            }
            if code.is_some() {
                // It has been told; a polite one would stop now.
                writes = false;
            }
            if !busy {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok((code, frames))
    }
}
