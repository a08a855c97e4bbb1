//! [`Paced`]: a socket that is read as slowly as somebody says, so that its server meets a slow client.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Reads a second, at least: none takes more than its share of the rate, so that a small rate trickles and does not jump.
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

    /// Waits until something may be read: how much.
    ///
    /// # Blocking
    /// Until `since` is long enough ago for the `last` bytes that were read then; woken by another rate and by the end. At rate 0 only by those.
    fn allowance(&self, since: Instant, last: u64) -> io::Result<usize> {
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
            let due = Duration::from_micros(last.saturating_mul(1_000_000) / rate);
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
    /// When bytes were last read, and how many.
    last: (Instant, u64),
}

impl Paced {
    pub(crate) fn new(tcp: TcpStream, pace: Arc<Pace>) -> Paced {
        let last = (Instant::now(), 0);
        Paced { tcp, pace, last }
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }
}

impl Read for Paced {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = self
            .pace
            .allowance(self.last.0, self.last.1)?
            .min(buf.len());
        let read = self.tcp.read(&mut buf[..most])?;
        self.last = (Instant::now(), read as u64);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn nothing_is_read_at_0_until_the_pace_changes_and_nothing_after_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let reading = TcpStream::connect(address).expect("a connection");
        let (mut writing, _) = listener.accept().expect("a peer");
        writing.write_all(b"four").expect("room in the kernel");
        let pace = Pace::new(Some(0));
        let (mut paced, mut bytes) = (Paced::new(reading, Arc::clone(&pace)), [0; 16]);
        let read = std::thread::spawn(move || (paced.read(&mut bytes).ok(), paced));
        assert_eq!(pace.bytes(), 0);
        pace.set(None);
        let (first, mut paced) = read.join().expect("a read that ends");
        assert_eq!((first, pace.bytes()), (Some(4), 4));
        pace.set(Some(0));
        let read = std::thread::spawn(move || paced.read(&mut bytes).is_err());
        pace.end();
        assert!(read.join().expect("a read that ends"));
    }

    #[test]
    fn one_read_takes_its_share_and_what_was_read_is_waited_for() {
        let pace = Pace::new(Some(1000));
        let long_ago = Instant::now()
            .checked_sub(Duration::from_secs(1))
            .expect("the machine has run for a second");
        assert_eq!(pace.allowance(long_ago, 1000).ok(), Some(50));
        let began = Instant::now();
        assert_eq!(pace.allowance(began, 20).ok(), Some(50));
        assert!(began.elapsed() >= Duration::from_millis(20));
    }
}
