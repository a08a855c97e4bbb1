//! [`Content`]: the body of an answer, in memory or as a stream.

use std::fmt;
use std::io::{self, Read};

use bytes::Bytes;

use crate::panic::catch_panic;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Content {
    Bytes(Bytes),
    /// In a box, because most answers have none.
    Stream(Box<Stream>),
}

impl Content {
    /// Returns the length of the body in bytes.
    pub(super) fn length(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Stream(stream) => stream.left,
        }
    }
}

/// A body that is read while it is written to the client. Its length is announced before its first byte is read.
pub(crate) struct Stream {
    /// Present until the stream is dropped.
    reader: Option<Box<dyn Read + Send>>,
    /// The bytes that have not been read yet.
    left: u64,
}

impl Stream {
    pub(super) fn new(reader: impl Read + Send + 'static, length: u64) -> Stream {
        Stream {
            reader: Some(Box::new(reader)),
            left: length,
        }
    }

    /// Returns how many bytes of the announced length have not been read.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Replaces the contents of `buffer` by the next `size` bytes. There are fewer only at the end of the body.
    ///
    /// A buffer that is always full makes the write rule independent of the sizes in which the reader returns its bytes.
    ///
    /// # Blocking
    /// Waits for the reader.
    ///
    /// # Errors
    /// The error of the reader, or `UnexpectedEof` if the reader has fewer bytes than were announced. The buffer
    /// contains the bytes that were read before.
    pub(crate) fn fill(&mut self, buffer: &mut Vec<u8>, size: usize) -> io::Result<()> {
        let wanted = usize::try_from(self.left).map_or(size, |left| left.min(size));
        buffer.resize(wanted, 0);
        let mut filled = 0;
        let result = loop {
            if filled == wanted {
                break Ok(());
            }
            let reader = self.reader.as_mut().expect("the stream is not dropped");
            match reader.read(&mut buffer[filled..]) {
                Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        buffer.truncate(filled);
        self.left -= filled as u64;
        result
    }
}

impl Drop for Stream {
    /// Drops the reader, which may run user code, and stops its panic.
    fn drop(&mut self) {
        catch_panic(|| drop(self.reader.take()));
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns one byte in each read, after an interruption.
    struct Drops(&'static [u8], bool);

    impl Read for Drops {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = self.0.len().min(buffer.len()).min(1);
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    #[test]
    fn buffer_is_filled_whatever_the_reader_returns() {
        let mut stream = Stream::new(Drops(b"abcdefg", false), 7);
        let mut buffer = Vec::new();
        for (want, left) in [(&b"abc"[..], 4), (b"def", 1), (b"g", 0), (b"", 0)] {
            stream.fill(&mut buffer, 3).expect("the reader has 7 bytes");
            assert_eq!((&*buffer, stream.left()), (want, left));
        }
    }

    #[test]
    fn no_byte_beyond_the_length_is_read() {
        let mut stream = Stream::new(Drops(b"abcdefg", false), 4);
        let mut buffer = Vec::new();
        stream
            .fill(&mut buffer, 100)
            .expect("the reader has 4 bytes");
        assert_eq!((&*buffer, stream.left()), (&b"abcd"[..], 0));
        stream.fill(&mut buffer, 100).expect("nothing is missing");
        assert_eq!(buffer, b"");
    }

    #[test]
    fn reader_that_ends_early_is_an_error() {
        let mut stream = Stream::new(&b"abc"[..], 4);
        let mut buffer = Vec::new();
        let error = stream
            .fill(&mut buffer, 100)
            .expect_err("a byte is missing");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!((&*buffer, stream.left()), (&b"abc"[..], 1));
    }
}
