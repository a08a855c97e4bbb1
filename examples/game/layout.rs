//! What is said in binary messages, byte by byte; numbers are big-endian, as `DataView` reads them.
//!
//! ```text
//! the server's   snapshot   1  tick u32  late u16 (µs)  players u8  dots u8
//!                           each player:  seat u8  away u8 (1: is)  x u16  y u16  score u16  ack u16
//!                                         waiting u8  skipped u32                             (15 bytes)
//!                           each dot:     x u16  y u16                                         (4 bytes)
//!                echo       2  stamp u32
//! a player's     input      1  seq u16  keys u8 (1 up, 2 down, 4 left, 8 right)
//!                ping       2  stamp u32
//!                leave      3
//! ```
//! Places are in 1/32 of the world's units. `ack` is the `seq` of the last input that moved the player; `waiting` is how
//! many messages wait for it in the server, and `skipped` how many snapshots were replaced by newer ones on this
//! connection. A text message of the server's is an event, in JSON. A full match has 309 bytes.

use std::time::Duration;

use standpipe::Message;

use super::seats::SEATS;
use super::world::World;

pub(crate) const UP: u8 = 1;
pub(crate) const DOWN: u8 = 2;
pub(crate) const LEFT: u8 = 4;
pub(crate) const RIGHT: u8 = 8;

const SNAPSHOT: u8 = 1;
const ECHO: u8 = 2;
/// Close codes from 4000 on are an application's own (RFC 6455 §7.4.2).
pub(crate) const MALFORMED: u16 = 4002;

/// Which keys are down. It is a state and no step: so the newest says all, and those before it are not missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) seq: u16,
    pub(crate) keys: u8,
}

/// What a player says.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    Input(Input),
    /// To be echoed, so that the page knows the round trip.
    Ping(u32),
    /// Gives the seat back at once.
    Leave,
}

impl Said {
    /// A close code and a reason for what is none of these.
    pub(crate) fn parse(message: &Message) -> Result<Said, (u16, &'static str)> {
        let Message::Binary(bytes) = message else {
            return Err((1003, "a player's messages are binary"));
        };
        match bytes[..] {
            [1, high, low, keys] if keys <= UP | DOWN | LEFT | RIGHT => Ok(Said::Input(Input {
                seq: u16::from_be_bytes([high, low]),
                keys,
            })),
            [1, ..] => Err((MALFORMED, "an input is 1, seq (2 bytes), keys (0 to 15)")),
            [2, a, b, c, d] => Ok(Said::Ping(u32::from_be_bytes([a, b, c, d]))),
            [2, ..] => Err((MALFORMED, "a ping is 2, stamp (4 bytes)")),
            [3] => Ok(Said::Leave),
            _ => Err((MALFORMED, "a message is 1 (input), 2 (ping) or 3 (leave)")),
        }
    }
}

pub(crate) fn echo(stamp: u32) -> Message {
    let mut bytes = vec![ECHO];
    bytes.extend(stamp.to_be_bytes());
    Message::binary(bytes)
}

/// How a player's connection is, as far as the others are shown it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    pub(crate) is_away: bool,
    pub(crate) waiting: usize,
    pub(crate) skipped: u64,
}

/// One picture for all: encoded once, however many look at it.
pub(crate) fn snapshot(world: &World, late: Duration, lines: &[Line; SEATS]) -> Message {
    let mut bytes = Vec::with_capacity(512);
    bytes.push(SNAPSHOT);
    bytes.extend(world.tick.to_be_bytes());
    bytes.extend(capped(late.as_micros()).to_be_bytes());
    bytes.push(world.players.iter().flatten().count() as u8);
    bytes.push(world.dots.len() as u8);
    for (seat, (player, line)) in world.players.iter().zip(lines).enumerate() {
        let Some(player) = player else { continue };
        bytes.extend([seat as u8, u8::from(line.is_away)]);
        for number in [place(player.x), place(player.y), player.score, player.ack] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.push(u8::try_from(line.waiting).unwrap_or(u8::MAX));
        let skipped = u32::try_from(line.skipped).unwrap_or(u32::MAX);
        bytes.extend(skipped.to_be_bytes());
    }
    for dot in &world.dots {
        bytes.extend(place(dot.x).to_be_bytes());
        bytes.extend(place(dot.y).to_be_bytes());
    }
    Message::binary(bytes)
}

fn place(at: f32) -> u16 {
    (at * 32.0) as u16
}

fn capped(number: u128) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
