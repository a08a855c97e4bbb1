//! Writes the bytes of an answer under the write rule: from memory, or from a stream.

use std::io::{self, IoSlice};

use crate::connection::shared::Shared;
use crate::connection::socket::Transport;
use crate::connection::write::blockage::PROGRESS;
use crate::escape::escaped;
use crate::http1::Stream;
use crate::panic::catch_panic;
use crate::server::refusal_log::Refusal;

/// Writes an answer under the write rule: a peer that accepts 64 KiB within each `write_timeout` gets all of it, however
/// long that takes. The deadlines of the request end here.
///
/// # Blocking
/// Waits until the socket has accepted all bytes. Woken when the peer reads, or by the watchdog at `write_timeout`.
pub(super) fn write(
    shared: &Shared,
    socket: &dyn Transport,
    head: &[u8],
    body: &[u8],
) -> io::Result<()> {
    let deadlines = &shared.write.deadlines;
    deadlines.stop_handshake();
    if head.is_empty() && body.is_empty() {
        // For a socket, to write nothing is an error. The reader of a streamed body may fail without a further byte.
        return Ok(());
    }
    let written = match socket.try_write(&[IoSlice::new(head), IoSlice::new(body)]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        written => written?,
    };
    let (mut written, all) = (written, head.len() + body.len());
    if written < all {
        // Otherwise, clients that do not read could keep all handshake slots for `write_timeout`.
        shared.lifecycle().mark_awaiting_client();
    }
    let mut timed_from = None;
    while written < all {
        if timed_from.is_none_or(|from| written - from >= PROGRESS) {
            deadlines.socket_refused(true);
            timed_from = Some(written);
        }
        let rest = match written.checked_sub(head.len()) {
            None => &head[written..],
            Some(of_body) => &body[of_body..],
        };
        written += socket.write(&rest[..rest.len().min(PROGRESS)])?;
    }
    deadlines.socket_accepted_all();
    Ok(())
}

/// Why a streamed answer is not complete.
pub(super) enum Unwritten {
    Socket(io::Error),
    /// The reader of the body failed, or had too few bytes.
    Body {
        kind: Refusal,
        reason: String,
    },
}

/// Writes `head`, and then the body while it is read, up to [`PROGRESS`] bytes at a time. Each piece is written as by
/// [`write`].
///
/// What the reader has returned before it fails is written too, so the client sees that the body is not complete.
///
/// # Blocking
/// Waits in turn for the reader, which is user code without a time limit, and for the peer, as [`write`].
pub(super) fn write_stream(
    shared: &Shared,
    socket: &dyn Transport,
    mut head: Vec<u8>,
    stream: &mut Stream,
) -> Result<(), Unwritten> {
    let mut piece = Vec::new();
    // The request is complete, so its deadline does not limit the reader of the body.
    shared.write.deadlines.stop_handshake();
    loop {
        // The text of an error is user code too.
        let read = catch_panic(|| {
            let read = stream.fill(&mut piece, PROGRESS);
            read.map_err(|error| error.to_string())
        });
        if read.is_none() {
            piece.clear();
        }
        write(shared, socket, &head, &piece).map_err(Unwritten::Socket)?;
        match read {
            Some(Ok(())) if stream.left() == 0 => return Ok(()),
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let (left, error) = (stream.left(), escaped(&error));
                return Err(Unwritten::Body {
                    kind: Refusal::HandlerFailed,
                    reason: format!("{left} bytes of its body are missing: {error}"),
                });
            }
            None => {
                return Err(Unwritten::Body {
                    kind: Refusal::HandlerPanicked,
                    reason: "the reader of its body panicked".to_owned(),
                });
            }
        }
        head.clear();
        // The server now waits for the reader, and not for the client, which must not lose its slot for that.
        shared.lifecycle().mark_request_received();
    }
}
