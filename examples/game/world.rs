//! [`World`]: what there is and how it moves. It knows no client and no clock; with the same luck and the same inputs it
//! is the same world.

use super::layout::{DOWN, Input, LEFT, RIGHT, UP};
use super::seats::SEATS;

/// The arena, in units of the world.
pub(crate) const WIDTH: u16 = 1600;
pub(crate) const HEIGHT: u16 = 900;

const DOTS: usize = 30;
/// Radii, which the page knows too.
const PLAYER: f32 = 24.0;
const DOT: f32 = 10.0;
/// Units a player goes in one tick.
const SPEED: f32 = 12.0;
/// Ticks for which an input holds. The page repeats it while a key is down, so who has fallen silent stands still after
/// half a second and does not run on for as long as TCP takes to notice.
const HOLD: u8 = 15;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Player {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) score: u16,
    /// The sequence number of the last input that moved it.
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

/// Somebody has caught a dot.
#[derive(Debug, PartialEq)]
pub(crate) struct Hit {
    pub(crate) seat: usize,
    pub(crate) score: u16,
    /// Where.
    pub(crate) x: f32,
    pub(crate) y: f32,
}

#[derive(Debug, PartialEq)]
pub(crate) struct World {
    pub(crate) tick: u32,
    pub(crate) players: [Option<Player>; SEATS],
    pub(crate) dots: [Dot; DOTS],
    luck: u64,
}

impl World {
    pub(crate) fn new(luck: u64) -> World {
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
            luck: luck | 1,
        };
        for at in 0..DOTS {
            world.dots[at] = world.new_dot();
        }
        world
    }

    pub(crate) fn enter(&mut self, seat: usize) {
        let [x, y] = [self.chance(), self.chance()];
        self.players[seat] = Some(Player {
            x: within(x * f32::from(WIDTH), PLAYER, WIDTH),
            y: within(y * f32::from(HEIGHT), PLAYER, HEIGHT),
            score: 0,
            ack: 0,
            keys: 0,
            hold: 0,
        });
    }

    pub(crate) fn leave(&mut self, seat: usize) {
        self.players[seat] = None;
    }

    /// What a player wants from now on.
    pub(crate) fn steer(&mut self, seat: usize, input: Input) {
        if let Some(player) = &mut self.players[seat] {
            (player.keys, player.ack, player.hold) = (input.keys, input.seq, HOLD);
        }
    }

    /// One step of 1/30 s. At most one hit for each dot.
    pub(crate) fn step(&mut self) -> Vec<Hit> {
        self.tick = self.tick.wrapping_add(1);
        self.players.iter_mut().flatten().for_each(Player::step);
        self.dots.iter_mut().for_each(Dot::step);
        let mut hits = Vec::new();
        for at in 0..DOTS {
            let Dot { x, y, .. } = self.dots[at];
            // In the order of seats, which is luck for whoever sat down first.
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
        let [x, y, dx, dy] = [(); 4].map(|()| self.chance());
        Dot {
            x: within(x * f32::from(WIDTH), DOT, WIDTH),
            y: within(y * f32::from(HEIGHT), DOT, HEIGHT),
            dx: dx * 8.0 - 4.0,
            dy: dy * 8.0 - 4.0,
        }
    }

    /// From 0 up to 1, by xorshift: what comes next is no secret worth keeping.
    fn chance(&mut self) -> f32 {
        self.luck ^= self.luck << 13;
        self.luck ^= self.luck >> 7;
        self.luck ^= self.luck << 17;
        (self.luck >> 40) as f32 / (1 << 24) as f32
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
        // Aslant it is not faster.
        let speed = SPEED / dx.hypot(dy).max(1.0);
        self.x = within(self.x + dx * speed, PLAYER, WIDTH);
        self.y = within(self.y + dy * speed, PLAYER, HEIGHT);
    }
}

impl Dot {
    fn step(&mut self) {
        for (at, by, most) in [
            (&mut self.x, &mut self.dx, WIDTH),
            (&mut self.y, &mut self.dy, HEIGHT),
        ] {
            let to = *at + *by;
            *at = within(to, DOT, most);
            if *at != to {
                *by = -*by;
            }
        }
    }
}

fn within(at: f32, radius: f32, most: u16) -> f32 {
    at.clamp(radius, f32::from(most) - radius)
}
