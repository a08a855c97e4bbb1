//! Clients that send invalid or excessive input as fast as the server reads it, and connect again when they are closed.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::frame::{BINARY, FIRST_FRAGMENT, Got, MIDDLE_FRAGMENT, PING, frame};
use crate::healthy::Run;

/// One byte more than a message may have.
const OVERSIZED: usize = (64 << 10) + 1;

/// The server must have closed an attack at full speed within this time.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

/// One attack: the bytes that begin it, and the bytes that are repeated.
struct Attack {
    first: Vec<u8>,
    then: Vec<u8>,
    /// Frames in one round of `then`.
    round: u64,
}

/// The results of one kind of attack.
pub(super) struct Floods {
    pub(super) name: &'static str,
    pub(super) expected: u16,
    pub(super) tried: u64,
    pub(super) correct: u64,
    pub(super) frames: u64,
    pub(super) wrong: Option<String>,
}

/// Repeats all kinds of attack in turn until the floods are stopped.
pub(super) fn run(run: &Run) -> Result<Vec<Floods>, Failure> {
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
                first: frame(BINARY, &vec![0; OVERSIZED]),
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
            correct: 0,
            frames: 0,
            wrong: None,
        })
        .collect();
    while !run.stop_floods.load(Relaxed) {
        for ((_, expected, attack), flood) in attacks.iter().zip(&mut floods) {
            flood.tried += 1;
            let (code, frames) = attack.send(run)?;
            flood.frames += frames;
            if code == Some(*expected) {
                flood.correct += 1;
            } else {
                flood.wrong = Some(format!(", one attack saw {code:?}"));
            }
        }
        // Without a pause, a flood on two cores would test the machine instead of the server.
        thread::sleep(Duration::from_millis(50));
    }
    Ok(floods)
}

impl Attack {
    /// Sends until the connection ends. Returns the close code and the number of frames sent.
    fn send(&self, run: &Run) -> Result<(Option<u16>, u64), Failure> {
        let mut client = Client::connect(run.to, "/echo")?;
        client.unblock()?;
        let mut code = None;
        let (mut bytes, mut at, mut frames) = (&self.first, 0, 1);
        let mut writes = true;
        let deadline = Instant::now() + CLOSED_WITHIN;
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
                    // Bytes that arrived before the end can still be read.
                    Err(_) => writes = false,
                }
            }
            let end = client.read_available(1 << 20, |got| {
                if let Got::Close(with) = got {
                    code = Some(with);
                }
            });
            if end.is_some() {
                break;
            }
            if code.is_some() {
                // The client has seen its close code and stops sending.
                writes = false;
            }
            if !busy {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok((code, frames))
    }
}
