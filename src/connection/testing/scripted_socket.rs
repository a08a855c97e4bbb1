//! [`ScriptedSocket`]: a [`Transport`] in memory that stands still until the test opens it. So a slow peer is exact: the gate says
//! when the writer is *in* `write`, and nothing moves until it is told how many bytes to take.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::clock::lock;
use crate::connection::socket::Transport;

/// How long a test waits for what must come, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A peer in memory. It begins open.
#[derive(Debug)]
pub(crate) struct ScriptedSocket {
    inside: Mutex<Inside>,
    changed: Condvar,
}

pub(crate) struct Inside {
    /// What the reader finds next; `ended` is what it finds when that is all.
    to_read: VecDeque<io::Result<Vec<u8>>>,
    ended: bool,
    /// Calls of `read`, and whether one stands still.
    pub(crate) reads: usize,
    reading: bool,
    /// Every byte that was taken.
    written: Vec<u8>,
    /// Calls of `try_write`.
    pub(crate) tries: usize,
    /// Bytes it will take before it refuses, and in one call.
    room: usize,
    most: usize,
    /// Takes what it likes, from nothing to all.
    whim: Option<Dice>,
    /// Fails once so many bytes were taken.
    breaks_at: usize,
    /// A thread stands still in `write`, and the most that one was asked to wait for.
    pub(crate) writing: bool,
    pub(crate) most_waited_for: usize,
    /// Holds threads in `try_write`, which a socket never does: so a helper can be caught with the wire.
    holds_helpers: bool,
    helpers_held: usize,
    pub(crate) no_more_writing: bool,
    pub(crate) was_reset: bool,
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside")
            .field("written", &self.written.len())
            .field("room", &self.room)
            .field("writing", &self.writing)
            .field("reading", &self.reading)
            .field("ended", &self.ended)
            .field("no_more_writing", &self.no_more_writing)
            .finish_non_exhaustive()
    }
}

impl Default for ScriptedSocket {
    fn default() -> ScriptedSocket {
        ScriptedSocket {
            inside: Mutex::new(Inside {
                to_read: VecDeque::new(),
                ended: false,
                reads: 0,
                reading: false,
                written: Vec::new(),
                tries: 0,
                room: usize::MAX,
                most: usize::MAX,
                whim: None,
                breaks_at: usize::MAX,
                writing: false,
                most_waited_for: 0,
                holds_helpers: false,
                helpers_held: 0,
                no_more_writing: false,
                was_reset: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl ScriptedSocket {
    fn change(&self, how: impl FnOnce(&mut Inside)) {
        how(&mut lock(&self.inside));
        self.changed.notify_all();
    }

    /// From now on it takes `bytes`, and then refuses.
    pub(crate) fn take(&self, bytes: usize) {
        self.change(|inside| inside.room = bytes);
    }

    /// From now on it takes everything.
    pub(crate) fn open(&self) {
        self.take(usize::MAX);
    }

    /// From now on it takes at most so many bytes in one call.
    pub(crate) fn take_at_most(&self, bytes: usize) {
        self.change(|inside| inside.most = bytes);
    }

    pub(crate) fn take_at_whim(&self, seed: u64) {
        self.change(|inside| inside.whim = Some(Dice::new(seed)));
    }

    /// The peer is gone once it has taken `bytes` in all.
    pub(crate) fn break_after(&self, bytes: usize) {
        self.change(|inside| inside.breaks_at = bytes);
    }

    pub(crate) fn hold_helpers(&self, hold: bool) {
        self.change(|inside| inside.holds_helpers = hold);
    }

    /// The peer sends `bytes`, which one `read` gives.
    pub(crate) fn send(&self, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.change(|inside| inside.to_read.push_back(Ok(bytes)));
    }

    pub(crate) fn fail_read(&self, kind: ErrorKind) {
        self.change(|inside| inside.to_read.push_back(Err(kind.into())));
    }

    /// The peer sends nothing more.
    pub(crate) fn hang_up(&self) {
        self.change(|inside| inside.ended = true);
    }

    /// Waits for an event.
    pub(crate) fn until(&self, what: &str, happened: impl Fn(&Inside) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut inside = lock(&self.inside);
        while !happened(&inside) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "waited in vain until {what}: {:?}",
                *inside
            );
            inside = self.wait(inside, left);
        }
    }

    /// The writer stands still in `write`.
    pub(crate) fn until_in_write(&self) {
        // One that has room again is only about to wake.
        self.until("the writer is in write", |inside| {
            inside.writing && inside.room == 0
        });
    }

    /// The writer stands still in `write`, or there was no need to: all `bytes` are written.
    pub(crate) fn until_in_write_or(&self, bytes: usize) {
        self.until("the writer is in write", |inside| {
            inside.writing && inside.room == 0 || inside.written.len() >= bytes
        });
    }

    pub(crate) fn until_in_read(&self) {
        self.until("the reader is in read", |inside| inside.reading);
    }

    pub(crate) fn until_written(&self, bytes: usize) {
        let what = format!("{bytes} bytes are written");
        self.until(&what, |inside| inside.written.len() >= bytes);
    }

    pub(crate) fn until_a_helper_is_held(&self) {
        self.until("a helper is held", |inside| inside.helpers_held > 0);
    }

    pub(crate) fn look<T>(&self, at: impl FnOnce(&Inside) -> T) -> T {
        at(&lock(&self.inside))
    }

    pub(crate) fn written(&self) -> Vec<u8> {
        self.look(|inside| inside.written.clone())
    }

    fn wait<'a>(&self, inside: MutexGuard<'a, Inside>, limit: Duration) -> MutexGuard<'a, Inside> {
        let waited = self.changed.wait_timeout(inside, limit);
        waited.expect("no test panics under this lock").0
    }
}

impl Inside {
    /// Bytes that were taken.
    pub(crate) fn taken(&self) -> usize {
        self.written.len()
    }

    /// Takes of `bytes` what it is told to; an error when it is of no use any more.
    fn take(&mut self, bytes: &[&[u8]], waiting: bool) -> io::Result<usize> {
        if self.no_more_writing {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if self.written.len() >= self.breaks_at {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let offered: usize = bytes.iter().map(|piece| piece.len()).sum();
        let mut left = offered
            .min(self.room)
            .min(self.most)
            .min(self.breaks_at - self.written.len());
        if let Some(dice) = &mut self.whim {
            left = left.min(usize::from(waiting) + dice.below(offered + 1));
        }
        if left == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.room != usize::MAX {
            self.room -= left;
        }
        let taken = left;
        for piece in bytes {
            let part = piece.len().min(left);
            self.written.extend_from_slice(&piece[..part]);
            left -= part;
        }
        Ok(taken)
    }
}

impl Transport for ScriptedSocket {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut inside = lock(&self.inside);
        inside.reads += 1;
        loop {
            match inside.to_read.pop_front() {
                Some(Ok(mut bytes)) => {
                    let read = bytes.len().min(buffer.len());
                    buffer[..read].copy_from_slice(&bytes[..read]);
                    let rest = bytes.split_off(read);
                    if !rest.is_empty() {
                        inside.to_read.push_front(Ok(rest));
                    }
                    return Ok(read);
                }
                Some(Err(error)) => return Err(error),
                None if inside.ended => return Ok(0),
                None => {
                    inside.reading = true;
                    self.changed.notify_all();
                    inside = self.wait(inside, PATIENCE);
                    inside.reading = false;
                }
            }
        }
    }

    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut inside = lock(&self.inside);
        inside.tries += 1;
        inside.helpers_held += 1;
        self.changed.notify_all();
        while inside.holds_helpers {
            inside = self.wait(inside, PATIENCE);
        }
        inside.helpers_held -= 1;
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &**piece).collect();
        let taken = inside.take(&pieces, false);
        self.changed.notify_all();
        taken
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut inside = lock(&self.inside);
        inside.most_waited_for = inside.most_waited_for.max(bytes.len());
        loop {
            match inside.take(&[bytes], true) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    inside.writing = true;
                    self.changed.notify_all();
                    inside = self.wait(inside, PATIENCE);
                    inside.writing = false;
                }
                taken => {
                    self.changed.notify_all();
                    return taken;
                }
            }
        }
    }

    fn shutdown(&self, how: Shutdown) {
        self.change(|inside| {
            inside.ended |= how != Shutdown::Write;
            inside.no_more_writing |= how != Shutdown::Read;
        });
    }

    fn reset_at_end(&self) {
        self.change(|inside| inside.was_reset = true);
    }

    fn limit_read(&self, _: Duration) {}
}

/// Numbers that look random and are the same in each run.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).expect("48 bits") % limit
    }
}
