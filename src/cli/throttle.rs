//! [`ThrottledStream`]: a socket that is read at a limited rate, so that its server has a slow client.

use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::stream::Stream;

/// The minimum number of reads per second. One read takes at most the rate divided by this number, so that even a small
/// rate gives a steady trickle instead of bursts.
const READS_PER_SECOND: u64 = 20;

/// The read rate of a socket. The reading thread shares it with the thread that changes it.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes per second. 0 reads nothing; `None` sets no limit.
    rate: Option<u64>,
    is_over: bool,
    /// Bytes read so far.
    bytes_read: u64,
}

impl Throttle {
    pub(crate) fn new(rate: Option<u64>) -> Arc<Throttle> {
        let throttle = Throttle::default();
        throttle.lock().rate = rate;
        Arc::new(throttle)
    }

    /// Changes the rate, and wakes a read that is waiting.
    pub(crate) fn set(&self, rate: Option<u64>) {
        self.lock().rate = rate;
        self.changed.notify_all();
    }

    pub(crate) fn rate(&self) -> Option<u64> {
        self.lock().rate
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.lock().bytes_read
    }

    /// Makes all further reads fail, including a read that is waiting for its time.
    pub(crate) fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    /// Waits until bytes may be read, and returns how many.
    ///
    /// # Blocking
    /// The previous read took `last` bytes at `since`. Waits until the rate allows the next read, or until `set` or
    /// `end` is called. At rate 0 only those two calls end the wait.
    fn allowance(&self, since: Instant, last: u64) -> io::Result<usize> {
        let mut state = self.lock();
        loop {
            if state.is_over {
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
            let share = (rate / READS_PER_SECOND).max(1);
            let due = Duration::from_micros(last.saturating_mul(1_000_000) / rate);
            match due.checked_sub(since.elapsed()) {
                None | Some(Duration::ZERO) => {
                    return Ok(usize::try_from(share).unwrap_or(usize::MAX));
                }
                Some(remaining) => {
                    let woken = self.changed.wait_timeout(state, remaining);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection whose reads a [`Throttle`] limits. With TLS, the limit is for what the records contain, and up to 16 KiB
/// are read ahead. Writes are not limited.
#[derive(Debug)]
pub(crate) struct ThrottledStream {
    stream: Stream,
    throttle: Arc<Throttle>,
    /// The time of the last read, and its number of bytes.
    last: (Instant, u64),
}

impl ThrottledStream {
    pub(crate) fn new(stream: Stream, throttle: Arc<Throttle>) -> ThrottledStream {
        let last = (Instant::now(), 0);
        ThrottledStream {
            stream,
            throttle,
            last,
        }
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }
}

impl Read for ThrottledStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let allowed = self.throttle.allowance(self.last.0, self.last.1)?;
        let len = allowed.min(buf.len());
        let read = self.stream.read(&mut buf[..len])?;
        self.last = (Instant::now(), read as u64);
        self.throttle.lock().bytes_read += read as u64;
        Ok(read)
    }
}

impl Write for ThrottledStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ThrottledStream {
    fn drop(&mut self) {
        // Another thread may hold a clone of the socket, to interrupt a read. Without the shutdown, the clone would
        // keep the connection open.
        self.stream.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn rate_0_reads_nothing_and_end_fails_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).expect("a connection");
        let (mut server, _) = listener.accept().expect("the client's connection");
        server.write_all(b"four").expect("room in the send buffer");
        let throttle = Throttle::new(Some(0));
        let (mut stream, mut bytes) = (
            ThrottledStream::new(client.into(), Arc::clone(&throttle)),
            [0; 16],
        );
        let read = std::thread::spawn(move || (stream.read(&mut bytes).ok(), stream));
        assert_eq!(throttle.bytes_read(), 0);
        throttle.set(None);
        let (first, mut stream) = read.join().expect("the read returns");
        assert_eq!((first, throttle.bytes_read()), (Some(4), 4));
        throttle.set(Some(0));
        let read = std::thread::spawn(move || stream.read(&mut bytes).is_err());
        throttle.end();
        assert!(read.join().expect("the read returns"));
    }

    #[test]
    fn each_read_takes_a_share_and_delays_the_next() {
        let throttle = Throttle::new(Some(1000));
        let long_ago = Instant::now()
            .checked_sub(Duration::from_secs(1))
            .expect("the machine has run for a second");
        assert_eq!(throttle.allowance(long_ago, 1000).ok(), Some(50));
        let began = Instant::now();
        assert_eq!(throttle.allowance(began, 20).ok(), Some(50));
        assert!(began.elapsed() >= Duration::from_millis(20));
    }
}
