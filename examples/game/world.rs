//! [`World`]: the state of the game and its rules.
//!
//! The world knows no client and no clock. The same seed and the same inputs produce the same world.

use super::layout::{DOWN, Input, LEFT, RIGHT, UP};
use super::seats::SEATS;

/// The arena, in units of the world.
pub(crate) const WIDTH: u16 = 1600;
pub(crate) const HEIGHT: u16 = 900;

const DOTS: usize = 30;
/// Radii. The page uses the same numbers.
const PLAYER: f32 = 24.0;
const DOT: f32 = 10.0;
/// Units that a player moves in one tick.
const SPEED: f32 = 12.0;
/// Number of ticks for which an input is valid. The page repeats the input while a key is down. A player whose
/// connection is dead therefore stops after half a second, instead of moving until TCP notices.
const HOLD: u8 = 15;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Player {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) score: u16,
    /// Sequence number of the last input that moved the player.
    pub(crate) ack: u16,
    keys: u8,
    hold: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dot {
    pub(crate) x: f32,
    pub(crate) y: f32,
    dx: f32,
    dy: f32,
}

/// A player has caught a dot.
#[derive(Debug, PartialEq)]
pub(crate) struct Hit {
    pub(crate) seat: usize,
    pub(crate) score: u16,
    /// Position of the dot.
    pub(crate) x: f32,
    pub(crate) y: f32,
}

#[derive(Debug, PartialEq)]
pub(crate) struct World {
    pub(crate) tick: u32,
    pub(crate) players: [Option<Player>; SEATS],
    pub(crate) dots: [Dot; DOTS],
    random_state: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let nowhere = Dot {
            x: 0.0,
            y: 0.0,
            dx: 0.0,
            dy: 0.0,
        };
        let mut world = World {
            tick: 0,
            players: [None; SEATS],
            dots: [nowhere; DOTS],
            random_state: seed | 1,
        };
        for at in 0..DOTS {
            world.dots[at] = world.new_dot();
        }
        world
    }

    pub(crate) fn enter(&mut self, seat: usize) {
        let [x, y] = [self.random(), self.random()];
        self.players[seat] = Some(Player {
            x: clamp_inside(x * f32::from(WIDTH), PLAYER, WIDTH),
            y: clamp_inside(y * f32::from(HEIGHT), PLAYER, HEIGHT),
            score: 0,
            ack: 0,
            keys: 0,
            hold: 0,
        });
    }

    pub(crate) fn leave(&mut self, seat: usize) {
        self.players[seat] = None;
    }

    /// Sets the direction of a player for the next [`HOLD`] ticks.
    pub(crate) fn steer(&mut self, seat: usize, input: Input) {
        if let Some(player) = &mut self.players[seat] {
            (player.keys, player.ack, player.hold) = (input.keys, input.seq, HOLD);
        }
    }

    /// Moves everything by 1/30 s and returns the hits, at most one for each dot.
    pub(crate) fn step(&mut self) -> Vec<Hit> {
        self.tick = self.tick.wrapping_add(1);
        self.players.iter_mut().flatten().for_each(Player::step);
        self.dots.iter_mut().for_each(Dot::step);
        let mut hits = Vec::new();
        for at in 0..DOTS {
            let Dot { x, y, .. } = self.dots[at];
            // If two players reach a dot in the same tick, the one with the lower seat number catches it.
            for (seat, player) in self.players.iter_mut().enumerate() {
                let Some(player) = player else { continue };
                if (player.x - x).hypot(player.y - y) < PLAYER + DOT {
                    player.score = player.score.saturating_add(1);
                    let score = player.score;
                    hits.push(Hit { seat, score, x, y });
                    self.dots[at] = self.new_dot();
                    break;
                }
            }
        }
        hits
    }

    fn new_dot(&mut self) -> Dot {
        let [x, y, dx, dy] = [(); 4].map(|()| self.random());
        Dot {
            x: clamp_inside(x * f32::from(WIDTH), DOT, WIDTH),
            y: clamp_inside(y * f32::from(HEIGHT), DOT, HEIGHT),
            dx: dx * 8.0 - 4.0,
            dy: dy * 8.0 - 4.0,
        }
    }

    /// Returns a random number from 0 up to 1. Xorshift is predictable, which does no harm here.
    fn random(&mut self) -> f32 {
        self.random_state ^= self.random_state << 13;
        self.random_state ^= self.random_state >> 7;
        self.random_state ^= self.random_state << 17;
        (self.random_state >> 40) as f32 / (1 << 24) as f32
    }
}

impl Player {
    fn step(&mut self) {
        if self.hold == 0 {
            return;
        }
        self.hold -= 1;
        let axis = |less, more| {
            f32::from(i8::from(self.keys & more != 0) - i8::from(self.keys & less != 0))
        };
        let (dx, dy) = (axis(LEFT, RIGHT), axis(UP, DOWN));
        // Diagonal movement has the same speed.
        let speed = SPEED / dx.hypot(dy).max(1.0);
        self.x = clamp_inside(self.x + dx * speed, PLAYER, WIDTH);
        self.y = clamp_inside(self.y + dy * speed, PLAYER, HEIGHT);
    }
}

impl Dot {
    fn step(&mut self) {
        for (position, speed, size) in [
            (&mut self.x, &mut self.dx, WIDTH),
            (&mut self.y, &mut self.dy, HEIGHT),
        ] {
            let target = *position + *speed;
            *position = clamp_inside(target, DOT, size);
            if *position != target {
                *speed = -*speed;
            }
        }
    }
}

/// Returns the nearest position at which a circle of this radius is inside the arena.
fn clamp_inside(position: f32, radius: f32, size: u16) -> f32 {
    position.clamp(radius, f32::from(size) - radius)
}
