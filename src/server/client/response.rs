//! [`Answer`]: an HTTP response other than 101, which ends the connection.

use std::io;

use crate::connection::shared::Shared;
use crate::connection::socket::{Transport, linger, write_all};
use crate::escape::escaped;
use crate::http::{self, Reply, Request};
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
        let reply = http::unavailable(5, "shutting down");
        Answer::rejection_of_kind(Refusal::ShuttingDown, reply, "shutting down")
    }

    /// Logs the answer, writes it, and gives the peer a short time to read it.
    ///
    /// # Blocking
    /// Waits for the peer to accept the answer, at most `handshake_timeout`, and then as [`linger`].
    pub(crate) fn send(
        &self,
        shared: &Shared,
        socket: &dyn Transport,
        server: &ServerState,
        request: Option<&Request>,
    ) {
        self.log(shared, request, &server.refusals);
        if self.rejection.is_some() {
            server.disconnects.count(Disconnect::RequestRejected);
        }
        shared.write.deadlines.restart_handshake(shared.config());
        let head_only = request.is_some_and(|request| request.method() == ::http::Method::HEAD);
        let written: io::Result<()> = write_all(socket, &self.reply.to_bytes(head_only));
        if written.is_ok() {
            linger(socket);
        }
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
