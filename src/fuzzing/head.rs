//! The target `head`: reading a request head with its cookies and its token, the checks of `Host` and `Origin`, and the
//! upgrade.

use std::io::{self, Read};
use std::sync::Arc;

use super::Choices;
use crate::config::Config;
use crate::http1::{self, Arrival, HeadError, Peer, Reply, Rules};

/// The maximum number of bytes that may be read: the limit of a head plus one read, rounded up.
const MOST: usize = 32 << 10;

/// Reads a head in one piece, and again in small pieces whose size is the first byte of the input. The outcomes must be
/// equal, and the number of bytes read must be limited.
pub fn head(data: &[u8]) {
    let mut choices = Choices(data);
    let read_size = 1 + usize::from(choices.byte());
    for peer in [Peer::Unix, Peer::Tcp(([127, 0, 0, 1], 1).into())] {
        let whole = outcome(choices.0, usize::MAX, peer.clone());
        let pieces = outcome(choices.0, read_size, peer);
        assert_eq!(whole, pieces, "{read_size} bytes in each read");
    }
}

/// Returns a description of the outcome for a head.
fn outcome(bytes: &[u8], read_size: usize, peer: Peer) -> String {
    let mut stream = SmallReads::new(bytes, read_size);
    let read = http1::read_head(&mut stream, Vec::new(), peer);
    assert!(stream.read <= MOST, "{} bytes were read", stream.read);
    let mut request = match read {
        Ok((request, _)) => request,
        Err(HeadError::Refused(reply, reason)) => {
            return format!("{} {reason}", reply.code());
        }
        Err(HeadError::Gone) => return "gone".to_owned(),
        Err(HeadError::Io(error)) => return error.to_string(),
    };
    let arrival = Arc::new(Arrival {
        loopback_host: true,
        ..Arrival::default()
    });
    request.set_arrival(arrival, None);
    let rules = Rules::new(&Config::default()).expect("the default has no invalid pattern");
    let judged = match rules.judge(&mut request) {
        Err((reply, reason)) => format!("{} {reason}", reply.code()),
        Ok(()) => match http1::accept(&request, Reply::upgrade()) {
            Err((reply, reason)) => format!("{} {reason}", reply.code()),
            Ok(accepted) => {
                let head = String::from_utf8(accepted.head).expect("a head is ASCII");
                assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                // No text from the client can end the head early.
                assert_eq!(head.matches("\r\n\r\n").count(), 1, "{head}");
                // The time may differ between two runs.
                let lines = head.lines().filter(|line| !line.starts_with("Date: "));
                lines.collect::<Vec<_>>().join(" ")
            }
        },
    };
    let (cookie, token) = (request.cookie("a"), request.bearer_token());
    assert!(!cookie.is_some_and(|value| value.contains(';')));
    assert!(!token.is_some_and(str::is_empty));
    format!("{request:?} {cookie:?} {token:?} {judged}")
}

/// A stream that returns up to `read_size` bytes in each read. Before each of these reads it returns `Interrupted` once.
pub(super) struct SmallReads<'a> {
    bytes: &'a [u8],
    read_size: usize,
    pub(super) read: usize,
    interrupts: bool,
}

impl<'a> SmallReads<'a> {
    pub(super) fn new(bytes: &'a [u8], read_size: usize) -> SmallReads<'a> {
        SmallReads {
            bytes,
            read_size,
            read: 0,
            interrupts: false,
        }
    }
}

impl Read for SmallReads<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupts = !self.interrupts;
        if self.interrupts && self.read_size != usize::MAX {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let (now, later) = self
            .bytes
            .split_at(self.bytes.len().min(self.read_size).min(buffer.len()));
        self.bytes = later;
        self.read += now.len();
        buffer[..now.len()].copy_from_slice(now);
        Ok(now.len())
    }
}
