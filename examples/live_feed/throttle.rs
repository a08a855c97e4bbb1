//! [`Throttled`]: a socket whose reads are limited to a rate, like a slow connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::slow_reader::SlowReader;

/// A slow reader's end of its connection.
pub(crate) struct Throttled<'a> {
    stream: TcpStream,
    reader: &'a SlowReader,
    /// Maximum size of one read, in bytes. Small reads are steady; large ones would alternate between bursts and
    /// pauses.
    step: usize,
    /// The next read waits until this time.
    next: Instant,
}

impl<'a> Throttled<'a> {
    pub(crate) fn new(stream: TcpStream, reader: &'a SlowReader) -> Throttled<'a> {
        Throttled {
            stream,
            reader,
            step: (reader.kib as usize * 1024 / 50).clamp(64, 16 << 10),
            next: Instant::now(),
        }
    }

    /// Sets how long a read waits for bytes.
    pub(crate) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(timeout))
    }
}

impl Read for Throttled<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One step takes about 20 ms.
        self.reader.wait_until(self.next);
        let size = buffer.len().min(self.step);
        let read = self.stream.read(&mut buffer[..size])?;
        let duration = Duration::from_secs_f64(read as f64 / (f64::from(self.reader.kib) * 1024.0));
        // `next` is never in the past. Otherwise an idle reader would save up time and read faster later.
        self.next = (self.next + duration).max(Instant::now());
        Ok(read)
    }
}

impl Write for Throttled<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
