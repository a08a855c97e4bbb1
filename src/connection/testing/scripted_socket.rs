//! [`ScriptedSocket`]: a [`Transport`] in memory that accepts exactly as many bytes as the test allows. So a test can
//! simulate a slow peer precisely: it knows when the writer is blocked in `write`, and nothing changes until the test
//! lets the socket accept more bytes.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use super::dice::Dice;
use crate::connection::socket::{PeerState, Transport};
use crate::sync::lock;

/// The longest time that a test waits for an event, long enough for a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A socket in memory. At first it accepts everything.
#[derive(Debug)]
pub(crate) struct ScriptedSocket {
    state: Mutex<State>,
    changed: Condvar,
    /// The descriptor, which is never readable, and its other end.
    descriptor: OnceLock<(UnixStream, UnixStream)>,
}

pub(crate) struct State {
    /// The results of the next reads. After the last one, the stream ends if `ended` is set.
    to_read: VecDeque<io::Result<Vec<u8>>>,
    ended: bool,
    /// The number of calls of `read`.
    pub(crate) reads: usize,
    /// Whether a thread is blocked in `read`.
    pub(crate) reading: bool,
    /// All accepted bytes.
    written: Vec<u8>,
    /// The number of calls of `try_write`.
    pub(crate) tries: usize,
    /// How many more bytes are accepted before the socket refuses.
    room: usize,
    /// The maximum number of bytes accepted in one call.
    most_per_call: usize,
    /// If set, each call accepts a random part of the offered bytes, from nothing to everything.
    random: Option<Dice>,
    /// Writing fails once this many bytes have been accepted.
    breaks_at: usize,
    /// Whether a thread is blocked in `write`.
    pub(crate) writing: bool,
    /// The maximum number of bytes in one call of `write`.
    pub(crate) largest_blocking_write: usize,
    /// Whether `try_write` blocks. A real socket never does that, but so a test can stop a thread that holds the write
    /// half.
    holds_try_write: bool,
    in_try_write: usize,
    /// Whether only one thread uses the socket, so that nothing may block. The stream then ends after the scripted
    /// reads, a blocking write accepts at least one byte, and every second read is interrupted.
    single_threaded: bool,
    interrupted: bool,
    pub(crate) no_more_writing: bool,
    no_more_reading: bool,
    pub(crate) was_reset: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("written", &self.written.len())
            .field("room", &self.room)
            .field("writing", &self.writing)
            .field("reading", &self.reading)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Default for ScriptedSocket {
    fn default() -> ScriptedSocket {
        ScriptedSocket {
            state: Mutex::new(State {
                to_read: VecDeque::new(),
                ended: false,
                reads: 0,
                reading: false,
                written: Vec::new(),
                tries: 0,
                room: usize::MAX,
                most_per_call: usize::MAX,
                random: None,
                breaks_at: usize::MAX,
                writing: false,
                largest_blocking_write: 0,
                holds_try_write: false,
                in_try_write: 0,
                single_threaded: false,
                interrupted: false,
                no_more_writing: false,
                no_more_reading: false,
                was_reset: false,
            }),
            changed: Condvar::new(),
            descriptor: OnceLock::new(),
        }
    }
}

impl ScriptedSocket {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    /// Returns a socket for use by one thread. No call blocks, and at first the socket accepts nothing.
    pub(crate) fn single_threaded() -> ScriptedSocket {
        let socket = ScriptedSocket::default();
        socket.change(|state| {
            state.single_threaded = true;
            state.most_per_call = 0;
        });
        socket
    }

    /// From now on the socket accepts `bytes` more bytes, and then refuses.
    pub(crate) fn accept(&self, bytes: usize) {
        self.change(|state| state.room = bytes);
    }

    /// From now on the socket accepts everything.
    pub(crate) fn accept_all(&self) {
        self.accept(usize::MAX);
    }

    /// From now on the socket accepts at most this many bytes in one call.
    pub(crate) fn accept_per_call(&self, bytes: usize) {
        self.change(|state| state.most_per_call = bytes);
    }

    pub(crate) fn accept_at_random(&self, seed: u64) {
        self.change(|state| state.random = Some(Dice::new(seed)));
    }

    /// The connection breaks once the socket has accepted `bytes` in all.
    pub(crate) fn break_after(&self, bytes: usize) {
        self.change(|state| state.breaks_at = bytes);
    }

    pub(crate) fn hold_try_write(&self, hold: bool) {
        self.change(|state| state.holds_try_write = hold);
    }

    /// The peer sends `bytes`, which one `read` returns.
    pub(crate) fn send(&self, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.change(|state| state.to_read.push_back(Ok(bytes)));
    }

    pub(crate) fn fail_read(&self, kind: ErrorKind) {
        self.change(|state| state.to_read.push_back(Err(kind.into())));
    }

    /// At this point of the input, one call of `wait_readable` finds nothing. A `read` waits for the rest.
    pub(crate) fn pause(&self) {
        self.fail_read(ErrorKind::WouldBlock);
    }

    /// The peer sends nothing more.
    pub(crate) fn hang_up(&self) {
        self.change(|state| state.ended = true);
    }

    /// Waits until `happened` returns true. `what` describes the event, for the message of a failed test.
    pub(crate) fn until(&self, what: &str, happened: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let mut state = lock(&self.state);
        while !happened(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "timed out waiting until {what}: {:?}",
                *state
            );
            state = self.wait(state, left);
        }
    }

    /// Waits until the writer is blocked in `write`.
    pub(crate) fn until_in_write(&self) {
        // If `room` is not 0, the writer is about to wake.
        self.until("the writer is in write", |state| {
            state.writing && state.room == 0
        });
    }

    /// Waits until the writer is blocked in `write`, or all `bytes` are written.
    pub(crate) fn until_in_write_or(&self, bytes: usize) {
        self.until("the writer is in write", |state| {
            state.writing && state.room == 0 || state.written.len() >= bytes
        });
    }

    pub(crate) fn until_in_read(&self) {
        self.until("the reader is in read", |state| state.reading);
    }

    pub(crate) fn until_written(&self, bytes: usize) {
        let what = format!("{bytes} bytes are written");
        self.until(&what, |state| state.written.len() >= bytes);
    }

    pub(crate) fn until_in_try_write(&self) {
        self.until("a thread is held in try_write", |state| {
            state.in_try_write > 0
        });
    }

    pub(crate) fn with_state<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&lock(&self.state))
    }

    pub(crate) fn written(&self) -> Vec<u8> {
        self.with_state(|state| state.written.clone())
    }

    /// Returns whether a scripted read is left.
    pub(crate) fn has_input(&self) -> bool {
        self.with_state(|state| !state.to_read.is_empty())
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, limit);
        waited.expect("no test panics under this lock").0
    }
}

impl State {
    /// Returns the number of accepted bytes.
    pub(crate) fn accepted(&self) -> usize {
        self.written.len()
    }

    /// Accepts as much of `bytes` as the script allows.
    fn accept(&mut self, bytes: &[&[u8]], waiting: bool) -> io::Result<usize> {
        if self.no_more_writing {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if self.written.len() >= self.breaks_at {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let offered: usize = bytes.iter().map(|piece| piece.len()).sum();
        let mut left = offered
            .min(self.room)
            .min(
                self.most_per_call
                    .max(usize::from(waiting && self.single_threaded)),
            )
            .min(self.breaks_at - self.written.len());
        if let Some(dice) = &mut self.random {
            left = left.min(usize::from(waiting) + dice.below(offered + 1));
        }
        if left == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.room != usize::MAX {
            self.room -= left;
        }
        let accepted = left;
        for piece in bytes {
            let part = piece.len().min(left);
            self.written.extend_from_slice(&piece[..part]);
            left -= part;
        }
        Ok(accepted)
    }
}

impl Transport for ScriptedSocket {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = lock(&self.state);
        state.reads += 1;
        if state.single_threaded {
            state.interrupted = !state.interrupted;
            if state.interrupted {
                return Err(ErrorKind::Interrupted.into());
            }
            if state.no_more_reading {
                return Ok(0);
            }
        }
        loop {
            match state.to_read.pop_front() {
                Some(Ok(mut bytes)) => {
                    let read = bytes.len().min(buffer.len());
                    buffer[..read].copy_from_slice(&bytes[..read]);
                    let rest = bytes.split_off(read);
                    if !rest.is_empty() {
                        state.to_read.push_front(Ok(rest));
                    }
                    return Ok(read);
                }
                Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => {}
                Some(Err(error)) => return Err(error),
                None if state.ended || state.single_threaded => return Ok(0),
                None => {
                    state.reading = true;
                    self.changed.notify_all();
                    state = self.wait(state, DEADLINE);
                    state.reading = false;
                }
            }
        }
    }

    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = lock(&self.state);
        state.tries += 1;
        state.in_try_write += 1;
        self.changed.notify_all();
        while state.holds_try_write {
            state = self.wait(state, DEADLINE);
        }
        state.in_try_write -= 1;
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &**piece).collect();
        let accepted = state.accept(&pieces, false);
        self.changed.notify_all();
        accepted
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = lock(&self.state);
        state.largest_blocking_write = state.largest_blocking_write.max(bytes.len());
        loop {
            match state.accept(&[bytes], true) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    state.writing = true;
                    self.changed.notify_all();
                    state = self.wait(state, DEADLINE);
                    state.writing = false;
                }
                accepted => {
                    self.changed.notify_all();
                    return accepted;
                }
            }
        }
    }

    fn wait_readable(&self, limit: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        let mut state = lock(&self.state);
        loop {
            let is_pause = |error: &io::Error| error.kind() == ErrorKind::WouldBlock;
            if matches!(state.to_read.front(), Some(Err(error)) if is_pause(error)) {
                state.to_read.pop_front();
                return Ok(false);
            }
            if !state.to_read.is_empty() || state.ended || state.single_threaded {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            state.reading = true;
            self.changed.notify_all();
            state = self.wait(state, left);
            state.reading = false;
        }
    }

    fn peer_state(&self) -> PeerState {
        self.with_state(|state| match state.written.len() >= state.breaks_at {
            true => PeerState::Reset,
            false if state.ended => PeerState::EndedStream,
            false => PeerState::Present,
        })
    }

    fn shutdown(&self, how: Shutdown) {
        self.change(|state| {
            state.ended |= how != Shutdown::Write;
            state.no_more_reading |= how != Shutdown::Write;
            state.no_more_writing |= how != Shutdown::Read;
        });
    }

    fn reset_at_end(&self) {
        self.change(|state| state.was_reset = true);
    }

    fn limit_read(&self, _: Duration) {}
}

impl AsFd for ScriptedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let pair = || UnixStream::pair().expect("a descriptor is free");
        self.descriptor.get_or_init(pair).0.as_fd()
    }
}
