//! [`Body`]: the body of a request, in either framing (RFC 9112 §6), and the bytes that follow it on the connection.

use std::io::{self, Read};

use super::Reply;
use super::chunked::{Chunked, Step};

/// How the length of a request's body is determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Neither header is present: the request has no body.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// The connection from which a body is read.
pub(crate) trait Wire: Read + Send {
    /// Tells that the server now waits for the body, so the time limit of a body applies.
    fn begin(&mut self);
    /// Tells that the server no longer waits for the body. If all of it has arrived, no time limit applies from now on,
    /// because the client has done its part.
    fn finish(&mut self);
    /// Sends `100 Continue` to a client that waits for this response before it sends the body (RFC 9110 §10.1.1).
    fn send_continue(&mut self) -> io::Result<()>;
}

/// The size of one read of a chunked body, in bytes.
const READ: usize = 8 << 10;

/// The body of one request.
pub(crate) struct Body {
    left: Left,
    /// Bytes that have been read from the connection, of which the first `used` belong to the past.
    ahead: Vec<u8>,
    used: usize,
    wire: Box<dyn Wire>,
    /// The client may wait for a `100 Continue` before it sends the body.
    expects_continue: bool,
    /// Whether [`read`](Self::read) has been called.
    was_read: bool,
}

/// What is missing of the body.
enum Left {
    Length(u64),
    Chunked(Chunked),
    /// The end of the body is not known any more.
    Unknown,
}

impl Body {
    /// Returns the body that begins with `ahead`, the bytes that have been read together with the head.
    pub(crate) fn new(
        framing: Framing,
        ahead: Vec<u8>,
        expects_continue: bool,
        wire: Box<dyn Wire>,
    ) -> Body {
        let left = match framing {
            Framing::None => Left::Length(0),
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunked(Chunked::new()),
        };
        let has_body = !matches!(left, Left::Length(0));
        Body {
            left,
            expects_continue: expects_continue && has_body,
            ahead,
            used: 0,
            wire,
            was_read: false,
        }
    }

    /// Reads the whole body, of at most `limit` bytes. The error is the answer for the client.
    pub(super) fn read(&mut self, limit: usize) -> Result<Vec<u8>, Reply> {
        if std::mem::replace(&mut self.was_read, true) {
            return Err(Reply::text(400, "the body is not available\n"));
        }
        if matches!(self.left, Left::Length(length) if length > limit as u64) {
            return Err(too_large(limit));
        }
        self.wire.begin();
        let read = self.read_all(limit);
        self.wire.finish();
        if read.is_err() {
            self.left = Left::Unknown;
        }
        read
    }

    fn read_all(&mut self, limit: usize) -> Result<Vec<u8>, Reply> {
        let incomplete = |_| Reply::text(400, "the body is incomplete\n");
        // A client that has begun to send does not wait.
        if self.expects_continue && self.ahead.is_empty() {
            self.wire.send_continue().map_err(incomplete)?;
        }
        let mut body = Vec::new();
        match &mut self.left {
            Left::Length(left) => {
                let ahead = &self.ahead[self.used..];
                let first =
                    usize::try_from(*left).map_or(ahead.len(), |left| left.min(ahead.len()));
                body.extend_from_slice(&ahead[..first]);
                self.used += first;
                let rest = *left - first as u64;
                let read = self.wire.by_ref().take(rest).read_to_end(&mut body);
                if read.map_err(incomplete)? as u64 != rest {
                    return Err(incomplete(io::ErrorKind::UnexpectedEof.into()));
                }
                *left = 0;
            }
            Left::Chunked(chunked) => loop {
                if self.used == self.ahead.len() {
                    refill(&mut self.ahead, &mut *self.wire).map_err(incomplete)?;
                    self.used = 0;
                }
                let step = chunked.advance(&self.ahead[self.used..]);
                let (used, step) =
                    step.map_err(|reason| Reply::text(400, format!("{reason}\n")))?;
                self.used += used;
                match step {
                    Step::Data(data) if data.len() > limit - body.len() => {
                        return Err(too_large(limit));
                    }
                    Step::Data(data) => body.extend_from_slice(data),
                    Step::More => {}
                    Step::End => break,
                }
            },
            Left::Unknown => return Err(incomplete(io::ErrorKind::UnexpectedEof.into())),
        }
        Ok(body)
    }

    /// Returns how many bytes of the body are still to come, if another request can follow them on the connection.
    ///
    /// Nothing can follow a body whose end is not known. A client that expects a `100 Continue` may or may not send the
    /// body after another answer (RFC 9110 §10.1.1).
    pub(crate) fn unread(&self) -> Option<u64> {
        match &self.left {
            Left::Length(0) => Some(0),
            Left::Length(left) if !self.expects_continue => Some(*left),
            Left::Chunked(chunked) if chunked.is_complete() => Some(0),
            _ => None,
        }
    }

    /// Returns whether reading the body has failed.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.left, Left::Unknown)
    }

    /// Discards the rest of the body. Returns the bytes that follow it, or `None` if the connection has ended.
    ///
    /// # Blocking
    /// Waits for the rest of the body. Woken by its bytes, or by the end of the connection.
    pub(crate) fn skip(mut self) -> Option<Vec<u8>> {
        let unread = self.unread()?;
        let rest = self.ahead.len() - self.used;
        let ahead = usize::try_from(unread).map_or(rest, |unread| unread.min(rest));
        let missing = unread - ahead as u64;
        let skipped = io::copy(&mut self.wire.by_ref().take(missing), &mut io::sink());
        let is_complete = skipped.is_ok_and(|skipped| skipped == missing);
        is_complete.then(|| self.ahead.split_off(self.used + ahead))
    }
}

fn too_large(limit: usize) -> Reply {
    Reply::text(
        413,
        format!("the body is larger than the limit of {limit} bytes\n"),
    )
}

/// Replaces the contents of `buffer` by the next bytes of `wire`: at least one.
fn refill(buffer: &mut Vec<u8>, wire: &mut dyn Wire) -> io::Result<()> {
    buffer.resize(READ, 0);
    loop {
        match wire.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer.truncate(count);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that sends these bytes, and records what it is told.
    struct Script(&'static [u8], std::sync::mpsc::Sender<&'static str>);

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Wire for Script {
        fn begin(&mut self) {
            let _ = self.1.send("begin");
        }

        fn finish(&mut self) {
            let _ = self.1.send("finish");
        }

        fn send_continue(&mut self) -> io::Result<()> {
            let _ = self.1.send("continue");
            Ok(())
        }
    }

    fn body(
        framing: Framing,
        ahead: &[u8],
        expects_continue: bool,
        rest: &'static [u8],
    ) -> (Body, std::sync::mpsc::Receiver<&'static str>) {
        let (told, told_to) = std::sync::mpsc::channel();
        let wire = Box::new(Script(rest, told));
        let body = Body::new(framing, ahead.to_vec(), expects_continue, wire);
        (body, told_to)
    }

    #[test]
    fn bytes_after_a_body_belong_to_the_next_request() {
        for (framing, ahead, rest) in [
            (Framing::Length(3), &b"abcGET"[..], &b""[..]),
            (Framing::Length(3), b"ab", b"c"),
            (Framing::Chunked, b"3\r\nabc\r\n0\r\n\r\nGET", b""),
            (Framing::Chunked, b"", b"3\r\nabc\r\n0\r\n\r\nGET"),
        ] {
            let (mut body, told) = body(framing, ahead, false, rest);
            assert_eq!(body.read(3).expect("a body"), b"abc");
            assert_eq!(told.try_iter().collect::<Vec<_>>(), ["begin", "finish"]);
            assert!(body.read(3).is_err(), "a body can be read once");
            assert_eq!(body.unread(), Some(0));
            let next = body.skip().expect("the connection goes on");
            assert!(next == b"GET" || next.is_empty(), "{next:?}");
        }
    }

    #[test]
    fn unread_body_is_skipped_exactly() {
        let (first, _) = body(Framing::Length(5), b"abcdeGET", false, b"");
        assert_eq!(
            (first.unread(), first.skip()),
            (Some(5), Some(b"GET".to_vec()))
        );
        let (second, _) = body(Framing::Length(5), b"ab", false, b"cde");
        assert_eq!(second.skip(), Some(Vec::new()));
        let (ended, _) = body(Framing::Length(5), b"ab", false, b"c");
        assert_eq!(ended.skip(), None);
    }

    #[test]
    fn nothing_follows_a_body_of_unknown_end() {
        let (chunked, _) = body(Framing::Chunked, b"0\r\n\r\n", false, b"");
        assert_eq!(chunked.unread(), None, "a chunked body that nobody read");
        let (mut bad, _) = body(Framing::Chunked, b"x\r\n", false, b"");
        assert_eq!(bad.read(9).map_err(|reply| reply.code()), Err(400));
        assert_eq!(bad.unread(), None);
        let (mut large, _) = body(Framing::Chunked, b"5\r\nabcde\r\n", false, b"");
        assert_eq!(large.read(4).map_err(|reply| reply.code()), Err(413));
        assert_eq!(large.unread(), None);
        let (mut cut, _) = body(Framing::Length(5), b"abc", false, b"");
        assert_eq!(cut.read(9).map_err(|reply| reply.code()), Err(400));
        assert_eq!(cut.unread(), None);
    }

    #[test]
    fn continue_is_sent_only_to_a_client_that_waits() {
        let (mut waiting, told) = body(Framing::Length(3), b"", true, b"abc");
        assert_eq!(
            waiting.unread(),
            None,
            "the client may send the body or not"
        );
        assert!(waiting.read(3).is_ok());
        assert_eq!(
            told.try_iter().collect::<Vec<_>>(),
            ["begin", "continue", "finish"]
        );
        for (framing, ahead) in [(Framing::Length(3), &b"a"[..]), (Framing::Length(0), b"")] {
            let (mut sending, told) = body(framing, ahead, true, b"bc");
            assert!(sending.read(3).is_ok());
            assert_eq!(sending.unread(), Some(0));
            assert!(!told.try_iter().any(|what| what == "continue"));
        }
    }
}
