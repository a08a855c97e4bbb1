//! [`Answer`]: an HTTP response other than 101. The connection ends after it, or is kept for another request.

use std::io;

use log::Level;
use log::kv::Value;

use super::write::{Unwritten, write, write_stream};
use crate::connection::client_name::TARGET;
use crate::connection::shared::Shared;
use crate::connection::socket::{Linger, Transport, linger};
use crate::escape::escaped;
use crate::http1::{self, After, Content, Cors, Reply, Request};
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

    /// The answer that the handler has returned. If it was made from an error, or has a reason, the log has that.
    pub(crate) fn from_handler(mut reply: Reply) -> Answer {
        if let Some(error) = reply.take_failure() {
            let reason = format!("the handler failed: {}", escaped(&error));
            return Answer::rejection_of_kind(Refusal::HandlerFailed, reply, reason);
        }
        match reply.take_reason() {
            Some(reason) => Answer::rejection(reply, escaped(&reason).to_string()),
            None => Answer::reply(reply),
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

    pub(crate) fn is_unavailable(&self) -> bool {
        self.reply.code() == 503
    }

    /// Logs and counts the answer, which cannot be sent.
    pub(crate) fn withhold(self, shared: &Shared, server: &ServerState) {
        self.log(shared, None, &server.refusals);
        server.disconnects.count(Disconnect::RequestRejected);
        if let Some((kind, _)) = &self.rejection {
            server.counters.refused.count(*kind);
        }
    }

    /// Logs the answer, writes it, ends the connection, and gives the peer a short time to read the answer.
    ///
    /// # Blocking
    /// Waits for the peer to accept the answer, as [`write`](Self::write), and then as [`linger`].
    pub(crate) fn send(
        self,
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

    /// Logs the answer and writes it. An error means that the connection must end.
    ///
    /// # Blocking
    /// Waits for the peer to accept the answer, as [`write()`], and for the reader of a streamed body.
    pub(crate) fn write(
        self,
        shared: &Shared,
        socket: &dyn Transport,
        server: &ServerState,
        request: Option<&Request>,
        after: After,
    ) -> io::Result<()> {
        self.log(shared, request, &server.refusals);
        if let Some((kind, _)) = &self.rejection {
            server.disconnects.count(Disconnect::RequestRejected);
            server.counters.refused.count(*kind);
        }
        let route = request.and_then(Request::route);
        server.counters.requests.count(route, self.reply.code());
        let head_only = request.is_some_and(|request| request.method() == http::Method::HEAD);
        let head = self.reply.head(after);
        let written = match self.reply.into_content(head_only) {
            Content::Bytes(body) => return write(shared, socket, &head, &body),
            Content::Stream(mut stream) => write_stream(shared, socket, head, &mut stream),
        };
        written.map_err(|unwritten| match unwritten {
            Unwritten::Socket(error) => error,
            Unwritten::Body { kind, reason } => {
                let what = name_of(request);
                let (client, fields) = (shared.name.get(), fields_of(request));
                server.refusals.log_with(
                    kind,
                    &client,
                    &fields,
                    format_args!("{what}: the answer ended early: {reason}"),
                );
                io::ErrorKind::UnexpectedEof.into()
            }
        })
    }

    fn log(&self, shared: &Shared, request: Option<&Request>, refusals: &RefusalLog) {
        let client = shared.name.get();
        let code = self.reply.code();
        let what = name_of(request);
        let mut fields = fields_of(request);
        fields.push(("status", code.into()));
        match &self.rejection {
            None => client.log(
                TARGET,
                Level::Debug,
                &fields,
                format_args!("{what}: {code}"),
            ),
            Some((kind, reason)) => {
                refusals.log_with(
                    *kind,
                    &client,
                    &fields,
                    format_args!("{what}: {code}, {reason}"),
                );
            }
        }
    }
}

/// Returns the request as the log shows it.
fn name_of(request: Option<&Request>) -> String {
    request.map_or_else(
        || "unreadable request".to_owned(),
        |request| format!("{} {}", request.method(), escaped(request.path())),
    )
}

/// Returns the request as fields of a log line. The path is the part of the target before the query, because a query may
/// contain a token.
fn fields_of(request: Option<&Request>) -> Vec<(&'static str, Value<'_>)> {
    request.map_or_else(Vec::new, |request| {
        vec![
            ("method", request.method().as_str().into()),
            ("path", request.path().into()),
        ]
    })
}
