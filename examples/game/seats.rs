//! [`Seats`]: which player has which seat, and the token with which a player gets its seat back.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use standpipe::Outbox;

use super::TAKEN_OVER;
use super::layout::Input;
use super::token::Token;

/// Number of players in a match.
pub(crate) const SEATS: usize = 12;

/// The close reason for the older of two connections with the same token.
pub(crate) const TAKEN_OVER_REASON: &str =
    "your seat was taken over by another connection of yours";

/// The newest input of a seat since the last tick. A slot instead of a queue, because only the newest input counts.
#[derive(Default)]
struct Slot(AtomicU32);

/// The player on a seat, as the tick sees it.
#[derive(Clone)]
pub(crate) struct Occupant {
    /// A number that is different for each player who has ever had a seat.
    pub(crate) occupancy: u64,
    pub(crate) name: Arc<str>,
    /// `None` while the player has no connection and the seat is kept.
    pub(crate) outbox: Option<Outbox>,
}

pub(crate) type Occupants = [Option<Occupant>; SEATS];

struct Seat {
    token: Token,
    /// Number of the connection that holds the seat. `None`: the seat has been kept since `left`.
    holder: Option<u64>,
    left: Instant,
    /// Whether the tick sees this seat.
    is_playing: bool,
    occupant: Occupant,
}

pub(crate) struct Seats {
    table: Mutex<[Option<Seat>; SEATS]>,
    slots: [Slot; SEATS],
    occupancies: AtomicU64,
    /// How long a seat is kept for a player that has lost its connection.
    pub(crate) keep: Duration,
}

/// One connection's claim on a seat. When this is dropped, the seat is kept for a while.
pub(crate) struct SeatClaim<'a> {
    seats: &'a Seats,
    client: u64,
    pub(crate) seat: usize,
    pub(crate) token: Token,
    /// Whether the token matched, so that this is the player's previous seat.
    pub(crate) is_back: bool,
}

impl Seats {
    pub(crate) fn new(keep: Duration) -> Seats {
        Seats {
            table: Mutex::default(),
            slots: Default::default(),
            occupancies: AtomicU64::new(0),
            keep,
        }
    }

    /// Takes a seat for this connection, and returns `None` if all seats are taken.
    ///
    /// If `token` belongs to a seat, the connection takes that seat, and an older connection on it is closed. Otherwise
    /// it takes a free seat.
    ///
    /// # Errors
    /// The kernel's random numbers cannot be read.
    pub(crate) fn take(
        &self,
        name: &str,
        token: Option<Token>,
        client: u64,
    ) -> io::Result<Option<SeatClaim<'_>>> {
        // Created before the lock is taken, because this reads a file.
        let new_token = Token::new()?;
        let claim = |seat, token, is_back| {
            Some(SeatClaim {
                seats: self,
                client,
                seat,
                token,
                is_back,
            })
        };
        let mut table = self.lock();
        let known = table.iter_mut().enumerate().find_map(|(at, seat)| {
            let seat = seat.as_mut()?;
            (Some(seat.token) == token).then_some((at, seat))
        });
        if let Some((at, seat)) = known {
            seat.holder = Some(client);
            if let Some(older) = seat.occupant.outbox.take() {
                // For example, a phone that has changed networks reconnects before the server notices that the old
                // connection is dead.
                older.close(TAKEN_OVER, TAKEN_OVER_REASON);
            }
            return Ok(claim(at, seat.token, true));
        }
        let Some(at) = table.iter().position(Option::is_none) else {
            return Ok(None);
        };
        table[at] = Some(Seat {
            token: new_token,
            holder: Some(client),
            left: Instant::now(),
            is_playing: false,
            occupant: Occupant {
                occupancy: self.occupancies.fetch_add(1, Ordering::Relaxed),
                name: name.into(),
                outbox: None,
            },
        });
        Ok(claim(at, new_token, false))
    }

    /// Frees the seats that were kept for longer than `keep`, and returns the occupants of the others.
    ///
    /// Returns `None` without blocking if another thread is changing the table. The tick then tries again next time.
    pub(crate) fn try_refresh(&self) -> Option<Occupants> {
        let mut table = match self.table.try_lock() {
            Ok(table) => table,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let occupants = table.each_mut().map(|entry| {
            let seat = entry.as_ref()?;
            if seat.holder.is_none() && seat.left.elapsed() >= self.keep {
                *entry = None;
                return None;
            }
            seat.is_playing.then(|| seat.occupant.clone())
        });
        Some(occupants)
    }

    /// Takes the newest input of each seat since the previous call, without a lock.
    pub(crate) fn inputs(&self) -> [Option<Input>; SEATS] {
        self.slots.each_ref().map(Slot::take)
    }

    /// The lock is never held while a thread waits for a socket.
    fn lock(&self) -> MutexGuard<'_, [Option<Seat>; SEATS]> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SeatClaim<'_> {
    /// Makes the seat visible to the tick, which adds the player to the world.
    ///
    /// Returns false if another connection with the same token has taken the seat meanwhile.
    #[must_use]
    pub(crate) fn start_playing(&self, outbox: Outbox) -> bool {
        let mut table = self.seats.lock();
        if let Some(seat) = self.claimed_seat(&mut table) {
            seat.is_playing = true;
            seat.occupant.outbox = Some(outbox);
            return true;
        }
        false
    }

    pub(crate) fn put_input(&self, input: Input) {
        self.seats.slots[self.seat].put(input);
    }

    /// Frees the seat immediately.
    pub(crate) fn leave(&self) {
        let mut table = self.seats.lock();
        if self.claimed_seat(&mut table).is_some() {
            table[self.seat] = None;
        }
    }

    /// Returns the seat if this connection still holds it.
    fn claimed_seat<'t>(&self, table: &'t mut [Option<Seat>; SEATS]) -> Option<&'t mut Seat> {
        let seat = table[self.seat].as_mut()?;
        (seat.holder == Some(self.client)).then_some(seat)
    }
}

impl Drop for SeatClaim<'_> {
    fn drop(&mut self) {
        let mut table = self.seats.lock();
        let Some(seat) = self.claimed_seat(&mut table) else {
            return;
        };
        if !seat.is_playing {
            // The seat was never visible to the tick, and its token was not used.
            table[self.seat] = None;
            return;
        }
        (seat.holder, seat.occupant.outbox) = (None, None);
        seat.left = Instant::now();
    }
}

impl Slot {
    /// Distinguishes an input of zeros from an empty slot.
    const FULL: u32 = 1 << 31;

    fn put(&self, Input { seq, keys }: Input) {
        let packed = Slot::FULL | u32::from(seq) << 8 | u32::from(keys);
        // Relaxed is enough, because the whole input is in this one number.
        self.0.store(packed, Ordering::Relaxed);
    }

    fn take(&self) -> Option<Input> {
        let packed = self.0.swap(0, Ordering::Relaxed);
        (packed & Slot::FULL != 0).then_some(Input {
            seq: (packed >> 8) as u16,
            keys: packed as u8,
        })
    }
}
