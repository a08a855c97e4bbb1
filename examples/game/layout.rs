//! The layout of the binary messages. Numbers are big-endian, which is the default of `DataView`.
//!
//! ```text
//! from the server   snapshot   1  tick u32  late u16 (µs)  players u8  dots u8
//!                              each player:  seat u8  away u8 (0 or 1)  x u16  y u16  score u16  ack u16
//!                                            waiting u8  skipped u32                          (15 bytes)
//!                              each dot:     x u16  y u16                                      (4 bytes)
//!                   echo       2  stamp u32
//! from a player     input      1  seq u16  keys u8 (1 up, 2 down, 4 left, 8 right)
//!                   ping       2  stamp u32
//!                   leave      3
//! ```
//! Positions are in 1/32 of a unit of the world. `ack` is the `seq` of the last input that moved the player. `waiting`
//! is the number of messages queued for the player. `skipped` is the number of messages to this connection that were
//! dropped, which are snapshots replaced by newer ones. The snapshot of a full match has 309 bytes. Text messages from
//! the server are events, in JSON.

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
/// Close codes from 4000 on are for applications (RFC 6455 §7.4.2). Those below 4100 belong to the `standpipe` program.
pub(crate) const MALFORMED: u16 = 4102;

/// Which keys are down. An input is a state, not a step, so the newest one replaces all earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) seq: u16,
    pub(crate) keys: u8,
}

/// A message from a player.
#[derive(Debug, PartialEq)]
pub(crate) enum PlayerMessage {
    Input(Input),
    /// The server echoes the stamp, so that the page can measure the round trip.
    Ping(u32),
    /// Frees the seat immediately.
    Leave,
}

impl PlayerMessage {
    /// Parses a message.
    ///
    /// # Errors
    /// Returns a close code and a reason for a message with another layout.
    pub(crate) fn parse(message: &Message) -> Result<PlayerMessage, (u16, &'static str)> {
        let Message::Binary(bytes) = message else {
            return Err((1003, "a player's messages are binary"));
        };
        match bytes[..] {
            [1, high, low, keys] if keys <= UP | DOWN | LEFT | RIGHT => {
                Ok(PlayerMessage::Input(Input {
                    seq: u16::from_be_bytes([high, low]),
                    keys,
                }))
            }
            [1, ..] => Err((MALFORMED, "an input is 1, seq (2 bytes), keys (0 to 15)")),
            [2, a, b, c, d] => Ok(PlayerMessage::Ping(u32::from_be_bytes([a, b, c, d]))),
            [2, ..] => Err((MALFORMED, "a ping is 2, stamp (4 bytes)")),
            [3] => Ok(PlayerMessage::Leave),
            _ => Err((MALFORMED, "a message is 1 (input), 2 (ping) or 3 (leave)")),
        }
    }
}

pub(crate) fn echo(stamp: u32) -> Message {
    let mut bytes = vec![ECHO];
    bytes.extend(stamp.to_be_bytes());
    Message::binary(bytes)
}

/// The state of a player's connection, which all players see.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PlayerStatus {
    pub(crate) is_away: bool,
    pub(crate) waiting: usize,
    pub(crate) skipped: u64,
}

/// Encodes a snapshot. All players receive the same message, so it is encoded once per tick.
pub(crate) fn snapshot(world: &World, late: Duration, statuses: &[PlayerStatus; SEATS]) -> Message {
    let mut bytes = Vec::with_capacity(512);
    bytes.push(SNAPSHOT);
    bytes.extend(world.tick.to_be_bytes());
    bytes.extend(capped(late.as_micros()).to_be_bytes());
    bytes.push(world.players.iter().flatten().count() as u8);
    bytes.push(world.dots.len() as u8);
    for (seat, (player, status)) in world.players.iter().zip(statuses).enumerate() {
        let Some(player) = player else { continue };
        bytes.extend([seat as u8, u8::from(status.is_away)]);
        for number in [
            position(player.x),
            position(player.y),
            player.score,
            player.ack,
        ] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.push(u8::try_from(status.waiting).unwrap_or(u8::MAX));
        let skipped = u32::try_from(status.skipped).unwrap_or(u32::MAX);
        bytes.extend(skipped.to_be_bytes());
    }
    for dot in &world.dots {
        bytes.extend(position(dot.x).to_be_bytes());
        bytes.extend(position(dot.y).to_be_bytes());
    }
    Message::binary(bytes)
}

fn position(units: f32) -> u16 {
    (units * 32.0) as u16
}

fn capped(number: u128) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
