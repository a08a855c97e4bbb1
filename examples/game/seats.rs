//! [`Seats`]: who plays, and by which token a seat is found again.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use standpipe::Outbox;

use super::TAKEN_OVER;
use super::layout::Input;
use super::token::Token;

/// Players of a match.
pub(crate) const SEATS: usize = 12;

/// Why an older connection is closed.
pub(crate) const ELSEWHERE: &str = "your seat was taken over by another connection of yours";

/// The newest input of a seat since the last tick. A slot and no queue: a flood overwrites itself.
#[derive(Default)]
struct Slot(AtomicU32);

/// Who sits there, as the tick sees it.
#[derive(Clone)]
pub(crate) struct Guest {
    /// Never the same for two who have had the seat.
    pub(crate) sitting: u64,
    pub(crate) name: Arc<str>,
    /// None while the seat is only kept.
    pub(crate) outbox: Option<Outbox>,
}

pub(crate) type Guests = [Option<Guest>; SEATS];

struct Seat {
    token: Token,
    /// The connection that has it. None: it is kept since `left`.
    holder: Option<u64>,
    left: Instant,
    /// The tick has been told of it.
    has_begun: bool,
    guest: Guest,
}

pub(crate) struct Seats {
    table: Mutex<[Option<Seat>; SEATS]>,
    slots: [Slot; SEATS],
    sittings: AtomicU64,
    /// How long a seat is kept for who has lost its connection.
    pub(crate) keep: Duration,
}

/// A connection's hold on a seat. Dropped, the seat is kept for a while.
pub(crate) struct Sitting<'a> {
    seats: &'a Seats,
    client: u64,
    pub(crate) seat: usize,
    pub(crate) token: Token,
    /// By its token, it has the seat that it had.
    pub(crate) is_back: bool,
}

impl Seats {
    pub(crate) fn new(keep: Duration) -> Seats {
        Seats {
            table: Mutex::default(),
            slots: Default::default(),
            sittings: AtomicU64::new(0),
            keep,
        }
    }

    /// A seat for this connection: the one of its token, while that is kept or has another connection, which then is
    /// closed; else a free one. `None`: there is none.
    ///
    /// # Errors
    /// There are no random numbers to be had.
    pub(crate) fn sit(
        &self,
        name: &str,
        token: Option<Token>,
        client: u64,
    ) -> io::Result<Option<Sitting<'_>>> {
        // Before the lock: it reads a file.
        let fresh = Token::new()?;
        let sitting = |seat, token, is_back| {
            Some(Sitting {
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
            if let Some(before) = seat.guest.outbox.take() {
                // A phone that has changed networks is back before its old connection is known to be dead.
                before.close(TAKEN_OVER, ELSEWHERE);
            }
            return Ok(sitting(at, seat.token, true));
        }
        let Some(at) = table.iter().position(Option::is_none) else {
            return Ok(None);
        };
        table[at] = Some(Seat {
            token: fresh,
            holder: Some(client),
            left: Instant::now(),
            has_begun: false,
            guest: Guest {
                sitting: self.sittings.fetch_add(1, Ordering::Relaxed),
                name: name.into(),
                outbox: None,
            },
        });
        Ok(sitting(at, fresh, false))
    }

    /// Who sits where now; seats that were kept long enough are free from here on. `None`: somebody is sitting down or
    /// getting up at this very moment, and the tick does not wait for that: it sees it the next time.
    pub(crate) fn look(&self) -> Option<Guests> {
        let mut table = match self.table.try_lock() {
            Ok(table) => table,
            Err(TryLockError::Poisoned(dead)) => dead.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let guests = table.each_mut().map(|place| {
            let seat = place.as_ref()?;
            if seat.holder.is_none() && seat.left.elapsed() >= self.keep {
                *place = None;
                return None;
            }
            seat.has_begun.then(|| seat.guest.clone())
        });
        Some(guests)
    }

    /// The newest input of each seat since the last time, without a lock.
    pub(crate) fn inputs(&self) -> [Option<Input>; SEATS] {
        self.slots.each_ref().map(Slot::take)
    }

    /// Held for a moment, and never while anybody's socket is waited for.
    fn lock(&self) -> MutexGuard<'_, [Option<Seat>; SEATS]> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sitting<'_> {
    /// From here on it is in the world. False: another connection with its token was faster.
    #[must_use]
    pub(crate) fn begin(&self, outbox: Outbox) -> bool {
        let mut table = self.seats.lock();
        let own = self.own(&mut table);
        if let Some(seat) = own {
            seat.has_begun = true;
            seat.guest.outbox = Some(outbox);
            return true;
        }
        false
    }

    pub(crate) fn put(&self, input: Input) {
        self.seats.slots[self.seat].put(input);
    }

    /// The seat is free at once.
    pub(crate) fn leave(&self) {
        let mut table = self.seats.lock();
        if self.own(&mut table).is_some() {
            table[self.seat] = None;
        }
    }

    /// The seat, while it is this connection's.
    fn own<'t>(&self, table: &'t mut [Option<Seat>; SEATS]) -> Option<&'t mut Seat> {
        let seat = table[self.seat].as_mut()?;
        (seat.holder == Some(self.client)).then_some(seat)
    }
}

impl Drop for Sitting<'_> {
    fn drop(&mut self) {
        let mut table = self.seats.lock();
        let Some(seat) = self.own(&mut table) else {
            return;
        };
        if !seat.has_begun {
            // Nobody has seen it, and nobody has its token.
            table[self.seat] = None;
            return;
        }
        (seat.holder, seat.guest.outbox) = (None, None);
        seat.left = Instant::now();
    }
}

impl Slot {
    /// So that an input of zeros is no empty slot.
    const FULL: u32 = 1 << 31;

    fn put(&self, Input { seq, keys }: Input) {
        let packed = Slot::FULL | u32::from(seq) << 8 | u32::from(keys);
        // All of it is in one number, so nothing else has to be seen with it.
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
