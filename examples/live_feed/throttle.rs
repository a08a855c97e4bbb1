//! [`Paced`]: a socket that gives so many bytes a second and no more, as a slow line does.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::slow_reader::Reader;

/// One slow reader's end of its connection.
pub(crate) struct Paced<'a> {
    stream: TcpStream,
    reader: &'a Reader,
    /// Bytes of one read: small ones, as a rush and a rest would be another kind of slow.
    step: usize,
    /// Not before.
    next: Instant,
}

impl<'a> Paced<'a> {
    pub(crate) fn new(stream: TcpStream, reader: &'a Reader) -> Paced<'a> {
        Paced {
            stream,
            reader,
            step: (reader.kib as usize * 1024 / 50).clamp(64, 16 << 10),
            next: Instant::now(),
        }
    }

    /// How long a read waits for bytes.
    pub(crate) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))
    }
}

impl Read for Paced<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A step lasts 20 ms, so whoever ends it waits no longer than that.
        self.reader.rest_until(self.next);
        let most = buffer.len().min(self.step);
        let read = self.stream.read(&mut buffer[..most])?;
        let lasts = Duration::from_secs_f64(read as f64 / (f64::from(self.reader.kib) * 1024.0));
        // Not in the past, when it had nothing to read: what it did not use is no credit.
        self.next = (self.next + lasts).max(Instant::now());
        Ok(read)
    }
}

impl Write for Paced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
