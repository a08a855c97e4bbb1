//! [`Answer`]: an HTTP response other than 101. The connection ends after it, or is kept for another request.

use std::io::{self, IoSlice};

use crate::connection::shared::Shared;
use crate::connection::socket::{Linger, Transport, linger, write_all};
use crate::connection::write::write_path::PROGRESS;
use crate::escape::escaped;
use crate::http1::{self, After, Cors, Reply, Request};
use crate::server::refusal_log::{Refusal, RefusalLog};
use crate::server::state::ServerState;
use crate::server::stats::Disconnect;

pub(crate) struct Answer {
    reply: Reply,
    /// Why the request is rejected, for the log. `None` for an ordinary reply.
    rejection: Option<(Refusal, String)>,
}

impl Answer {
    pub(crate) fn reply(reply: Reply) -> Answer {
        Answer {
            reply,
            rejection: None,
        }
    }

    pub(crate) fn rejection(reply: Reply, reason: impl Into<String>) -> Answer {
        let kind = Refusal::Answer(reply.code());
        Answer::rejection_of_kind(kind, reply, reason)
    }

    /// As [`rejection`](Self::rejection), with a kind of its own in the log.
    pub(crate) fn rejection_of_kind(
        kind: Refusal,
        reply: Reply,
        reason: impl Into<String>,
    ) -> Answer {
        Answer {
            reply,
            rejection: Some((kind, reason.into())),
        }
    }

    pub(crate) fn shutting_down() -> Answer {
        let reply = http1::unavailable(5, "shutting down");
        Answer::rejection_of_kind(Refusal::ShuttingDown, reply, "shutting down")
    }

    /// Lets the pages of an allowed origin read the answer.
    pub(crate) fn with_cors(mut self, cors: &Cors) -> Answer {
        self.reply = cors.apply(self.reply);
        self
    }

    /// Returns the handler's reply, or `None` if the request is rejected.
    pub(crate) fn accepted_reply(&self) -> Option<&Reply> {
        self.rejection.is_none().then_some(&self.reply)
    }

    /// Logs the answer, writes it, ends the connection, and gives the peer a short time to read the answer.
    ///
    /// # Blocking
    /// Waits for the peer to accept the answer, as [`write`], and then as [`linger`].
    pub(crate) fn send(
        &self,
        shared: &Shared,
        socket: &dyn Transport,
        server: &ServerState,
        request: Option<&Request>,
    ) {
        let written = self.write(shared, socket, server, request, After::Close);
        if written.is_ok() {
            // A lingering connection gives way to newcomers, like one that waits for another request.
            shared.lifecycle().mark_idle();
            linger(socket, Linger::ANSWER);
        }
    }

    /// Logs the answer and writes it.
    ///
    /// # Blocking
    /// Waits for the peer to accept the answer, as [`write`].
    pub(crate) fn write(
        &self,
        shared: &Shared,
        socket: &dyn Transport,
        server: &ServerState,
        request: Option<&Request>,
        after: After,
    ) -> io::Result<()> {
        self.log(shared, request, &server.refusals);
        if self.rejection.is_some() {
            server.disconnects.count(Disconnect::RequestRejected);
        }
        let head_only = request.is_some_and(|request| request.method() == http::Method::HEAD);
        let head = self.reply.head(after);
        write(shared, socket, &head, self.reply.body(head_only))
    }

    fn log(&self, shared: &Shared, request: Option<&Request>, refusals: &RefusalLog) {
        let Shared { number, peer, .. } = shared;
        let code = self.reply.code();
        let what = request.map_or_else(
            || "unreadable request".to_owned(),
            |request| format!("{} {}", request.method(), escaped(request.path())),
        );
        match &self.rejection {
            None => log::debug!("#{number} {peer} {what}: {code}"),
            Some((kind, reason)) => {
                refusals.log(
                    *kind,
                    format_args!("#{number} {peer} {what}: {code}, {reason}"),
                );
            }
        }
    }
}

/// Writes an answer under the write rule: a peer that accepts 64 KiB within each `write_timeout` gets all of it, however
/// long that takes. The deadlines of the request end here.
///
/// # Blocking
/// Waits until the socket has accepted all bytes. Woken when the peer reads, or by the watchdog at `write_timeout`.
fn write(shared: &Shared, socket: &dyn Transport, head: &[u8], body: &[u8]) -> io::Result<()> {
    let deadlines = &shared.write.deadlines;
    deadlines.stop_handshake();
    let written = match socket.try_write(&[IoSlice::new(head), IoSlice::new(body)]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        written => written?,
    };
    let (of_head, of_body) = (written.min(head.len()), written.saturating_sub(head.len()));
    let (head, body) = (&head[of_head..], &body[of_body..]);
    if !(head.is_empty() && body.is_empty()) {
        // Otherwise, clients that do not read could keep all handshake slots for `write_timeout`.
        shared.lifecycle().mark_awaiting_client();
    }
    for piece in head.chunks(PROGRESS).chain(body.chunks(PROGRESS)) {
        deadlines.socket_refused(true);
        write_all(socket, piece)?;
    }
    deadlines.socket_accepted_all();
    Ok(())
}
