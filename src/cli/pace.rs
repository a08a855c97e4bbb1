//! [`Paced`]: a socket that is read as slowly as somebody says, so that its server meets a slow client.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Reads a second, at most: each gets its share of the rate, so that a small rate trickles and does not jump.
const STEPS: u64 = 20;

/// How fast a socket is read; shared by the thread that reads and whoever moves the slider.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes a second; 0 reads nothing, `None` reads what comes.
    rate: Option<u64>,
    over: bool,
    /// Bytes that were read.
    read: u64,
}

impl Pace {
    pub(crate) fn new(rate: Option<u64>) -> Arc<Pace> {
        let pace = Pace::default();
        pace.lock().rate = rate;
        Arc::new(pace)
    }

    /// Another rate, at once.
    pub(crate) fn set(&self, rate: Option<u64>) {
        self.lock().rate = rate;
        self.changed.notify_all();
    }

    pub(crate) fn rate(&self) -> Option<u64> {
        self.lock().rate
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lock().read
    }

    /// The next read fails, and one that waits for its time.
    pub(crate) fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.lock().over
    }

    /// Waits until something may be read: how much.
    ///
    /// # Blocking
    /// Until `since` is long enough ago for the rate; woken by another rate and by the end. At rate 0 only by those.
    fn allowance(&self, since: Instant) -> io::Result<usize> {
        let mut state = self.lock();
        loop {
            if state.over {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let Some(rate) = state.rate else {
                return Ok(usize::MAX);
            };
            if rate == 0 {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let share = (rate / STEPS).max(1);
            let due = Duration::from_micros(share * 1_000_000 / rate);
            match due.checked_sub(since.elapsed()) {
                None | Some(Duration::ZERO) => {
                    return Ok(usize::try_from(share).unwrap_or(usize::MAX));
                }
                Some(left) => {
                    let woken = self.changed.wait_timeout(state, left);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket under a [`Pace`].
#[derive(Debug)]
pub(crate) struct Paced {
    tcp: TcpStream,
    pace: Arc<Pace>,
    last: Instant,
}

impl Paced {
    pub(crate) fn new(tcp: TcpStream, pace: Arc<Pace>) -> Paced {
        let last = Instant::now();
        Paced { tcp, pace, last }
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }
}

impl Read for Paced {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = self.pace.allowance(self.last)?.min(buf.len());
        let read = self.tcp.read(&mut buf[..most])?;
        self.last = Instant::now();
        self.pace.lock().read += read as u64;
        Ok(read)
    }
}

impl Write for Paced {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.tcp.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        // Whoever else holds the socket, to wake a read, must not keep it open.
        let _ = self.tcp.shutdown(Shutdown::Both);
    }
}
