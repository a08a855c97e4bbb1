//! The target `requests`: all requests of one connection, with their bodies in both framings.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use super::Choices;
use crate::http1::{self, HeadError, Peer, Wire};
use crate::sync::lock;

/// The limit of a body, in bytes.
const MOST: usize = 100;

/// Reads requests until one is refused, first in one piece, and again in small pieces whose size is the first byte of the
/// input. The same requests and bodies must be found: otherwise, a body could hide a request.
pub fn requests(data: &[u8]) {
    let mut choices = Choices(data);
    let read_size = 1 + usize::from(choices.byte());
    let whole = outcome(choices.0, usize::MAX);
    let pieces = outcome(choices.0, read_size);
    assert_eq!(whole, pieces, "{read_size} bytes in each read");
}

/// Returns a description of each request.
fn outcome(bytes: &[u8], read_size: usize) -> Vec<String> {
    let bytes = Arc::new(Mutex::new(io::Cursor::new(bytes.to_vec())));
    let mut stream = Stream { bytes, read_size };
    let mut ahead = Vec::new();
    let mut seen = Vec::new();
    loop {
        let (mut request, rest) = match http1::read_head(&mut stream, ahead, Peer::Unix) {
            Ok(read) => read,
            Err(HeadError::Refused(_, reason)) => {
                seen.push(reason);
                return seen;
            }
            Err(HeadError::Gone | HeadError::Io(_)) => {
                seen.push("gone".into());
                return seen;
            }
        };
        request.set_body(rest, Box::new(stream.clone()));
        let read = request.read_body(MOST);
        if let Ok(body) = &read {
            assert!(body.len() <= MOST, "{} bytes", body.len());
        }
        let is_read = read.is_ok();
        let read = read.map_err(|refusal| refusal.code());
        seen.push(format!("{request:?} {read:?}"));
        let expects = request.header("expect").is_some();
        let body = request.take_body();
        if is_read {
            assert_eq!(body.unread(), Some(0), "a whole body was read");
        } else if expects {
            // What may follow depends on whether the client has begun to send, and so on the size of the reads.
            return seen;
        }
        if body.unread().is_none() {
            return seen;
        }
        match body.skip() {
            Some(next) => ahead = next,
            None => return seen,
        }
    }
}

/// A connection that returns up to `read_size` bytes in each read.
#[derive(Clone)]
struct Stream {
    bytes: Arc<Mutex<io::Cursor<Vec<u8>>>>,
    read_size: usize,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.read_size);
        lock(&self.bytes).read(&mut buffer[..most])
    }
}

impl Wire for Stream {
    fn begin(&mut self) {}

    fn finish(&mut self) {}

    fn send_continue(&mut self) -> io::Result<()> {
        Ok(())
    }
}
