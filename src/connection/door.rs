//! The door: from the first byte of a client to its 101, or to another answer.
//!
//! Everything that can be refused is refused before the 101: origin and form are right, the handler wants it, there is
//! room, and both threads exist.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use super::client::Client;
use super::transport::{Transport, linger};
use super::wire::Wire;
use super::writer;
use crate::handler::Handler;
use crate::http::{self, Body, HeadError, Reply, Request};
use crate::quoted::quoted;
use crate::server::{House, Permit, Visit};

/// Stack of a writer thread: it calls nothing of the user's.
const WRITER_STACK: usize = 64 << 10;

/// A client that was answered 101.
pub(super) struct Upgraded<'scope> {
    pub(super) request: Request,
    pub(super) subprotocol: Option<String>,
    /// Bytes that came behind the request head.
    pub(super) ahead: Vec<u8>,
    pub(super) writer: ScopedJoinHandle<'scope, ()>,
    pub(super) _places: Places<'scope>,
}

/// One of the places there are for clients, and one of those there are for its address.
pub(super) type Places<'house> = (Permit<'house>, Visit<'house>);

/// Leads a client through the door. `None`: it was answered otherwise, or is gone.
///
/// # Blocking
/// For the peer's bytes, and for it to take the answer: all under `handshake_timeout`.
// Not inlined, so that the client's life does not stand on the stack of its handshake.
#[inline(never)]
pub(super) fn enter<'scope, H: Handler>(
    client: &Arc<Client>,
    transport: &Arc<dyn Transport>,
    house: &'scope House,
    scope: &'scope Scope<'scope, '_>,
    handler: &H,
) -> Option<Upgraded<'scope>> {
    let peer = client.peer.clone();
    let (mut request, mut ahead) = match http::read_head(&mut Head(&**transport), peer) {
        Ok(read) => read,
        Err(error) => {
            if let Some(answer) = unreadable(error, client, house) {
                answer.give(client, &**transport, house, None);
            }
            return None;
        }
    };
    if request.content_length().is_some() {
        let ahead = io::Cursor::new(std::mem::take(&mut ahead));
        let (client, transport) = (Arc::clone(client), Arc::clone(transport));
        request.set_body(Some(Box::new(Rest {
            ahead,
            transport,
            client,
        })));
    }
    let asked = ask(client, house, handler, &mut request);
    request.set_body(None);
    let upgraded = match asked {
        Ok(reply) => upgrade(client, transport, house, scope, &request, reply),
        Err(answer) => Err(answer),
    };
    match upgraded {
        Ok((subprotocol, writer, places)) => Some(Upgraded {
            request,
            subprotocol,
            ahead,
            writer,
            _places: places,
        }),
        Err(answer) => {
            answer.give(client, &**transport, house, Some(&request));
            None
        }
    }
}

/// An answer other than 101. With a reason it is a refusal, and the log says so.
struct Answer {
    reply: Reply,
    reason: Option<String>,
}

impl Answer {
    fn refusal(reply: Reply, reason: impl Into<String>) -> Answer {
        let reason = Some(reason.into());
        Answer { reply, reason }
    }

    fn shutting_down() -> Answer {
        let reply = http::unavailable(5, "shutting down");
        Answer::refusal(reply, "shutting down")
    }

    /// Logs it, writes all of it, and waits a moment for the peer to have read it.
    fn give(
        &self,
        client: &Client,
        transport: &dyn Transport,
        house: &House,
        request: Option<&Request>,
    ) {
        let Client { number, peer, .. } = client;
        let code = self.reply.code();
        let what = request.map_or_else(
            || "unreadable request".to_owned(),
            |request| format!("{} {}", request.method(), quoted(request.path())),
        );
        match &self.reason {
            None => log::debug!("#{number} {peer} {what}: {code}"),
            Some(reason) => {
                house.endings.count("refused_request");
                log::warn!("#{number} {peer} {what}: {code}, {reason}");
            }
        }
        client.state.answering(&client.config);
        let head_only = request.is_some_and(|request| request.method() == ::http::Method::HEAD);
        if write_all(transport, &self.reply.to_bytes(head_only)).is_ok() {
            linger(transport);
        }
    }
}

fn unreadable(error: HeadError, client: &Client, house: &House) -> Option<Answer> {
    match error {
        HeadError::Refused(reply, reason) => Some(Answer::refusal(reply, reason)),
        // Shutdown ends the waiting for a head as if the peer had.
        HeadError::Gone | HeadError::Io(_) if house.latch.is_set() => Some(Answer::shutting_down()),
        HeadError::Gone => None,
        HeadError::Io(error) => {
            log::debug!("#{} reading the request failed: {error}", client.number);
            None
        }
    }
}

/// Judges the request, and lets the handler judge it.
fn ask<H: Handler>(
    client: &Client,
    house: &House,
    handler: &H,
    request: &mut Request,
) -> Result<Reply, Answer> {
    house
        .rules
        .judge(request)
        .map_err(|(reply, reason)| Answer::refusal(reply, reason))?;
    let reply = catch_unwind(AssertUnwindSafe(|| handler.request(request))).map_err(|_| {
        log::error!("#{} the handler panicked at a request", client.number);
        Answer::refusal(Reply::status(500), "the handler panicked")
    })?;
    if reply.is_upgrade() {
        Ok(reply)
    } else {
        Err(Answer {
            reply,
            reason: None,
        })
    }
}

type Entered<'scope> = (Option<String>, ScopedJoinHandle<'scope, ()>, Places<'scope>);

fn upgrade<'scope>(
    client: &Arc<Client>,
    transport: &Arc<dyn Transport>,
    house: &'scope House,
    scope: &'scope Scope<'scope, '_>,
    request: &Request,
    reply: Reply,
) -> Result<Entered<'scope>, Answer> {
    let accepted =
        http::accept(request, reply).map_err(|(reply, reason)| Answer::refusal(reply, reason))?;
    let seat = house.seats.take().ok_or_else(|| {
        let reply = http::unavailable(5, "all places are taken");
        Answer::refusal(reply, "max_clients are here")
    })?;
    let visit = house.visitors.enter(&client.peer).ok_or_else(|| {
        let reply = http::unavailable(5, "too many clients of your address");
        Answer::refusal(reply, "max_clients_per_ip of this address are here")
    })?;
    let writing = Arc::clone(client);
    let writer = Builder::new()
        .name(format!("sp-{}-write", client.number))
        .stack_size(WRITER_STACK)
        .spawn_scoped(scope, move || writer::run(&writing))
        .map_err(|error| {
            let reply = http::unavailable(5, "no thread to be had");
            Answer::refusal(reply, format!("no thread: {error}"))
        })?;
    // From here shutdown says 1001 to it, and before, 503. The latch too: shutdown comes by only when the acceptors
    // have noticed it.
    let answered = if !house.latch.is_set() && client.pass_the_door() {
        write_all(&**transport, &accepted.head).map_err(|error| {
            let reply = Reply::status(408);
            Answer::refusal(reply, format!("the 101 was not taken: {error}"))
        })
    } else {
        Err(Answer::shutting_down())
    };
    match answered {
        Ok(()) => {
            client.state.head_answered();
            let wire = Wire::new(Arc::clone(transport));
            client.wire.give_back(wire, client);
            // A Close may have been posted while the wire was lent to the handshake.
            client.flush();
            Ok((accepted.subprotocol, writer, (seat, visit)))
        }
        Err(answer) => {
            client.end_of_writing();
            join(writer, client);
            Err(answer)
        }
    }
}

/// Waits for the writer thread, whose every wait has a deadline.
pub(super) fn join(writer: ScopedJoinHandle<'_, ()>, client: &Client) {
    if writer.join().is_err() {
        log::error!("#{} its writer thread panicked", client.number);
    }
}

fn write_all(transport: &dyn Transport, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match transport.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The transport as `http` wants it.
struct Head<'a>(&'a dyn Transport);

impl io::Read for Head<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// A request's body: what came with the head, then the socket.
struct Rest {
    ahead: io::Cursor<Vec<u8>>,
    transport: Arc<dyn Transport>,
    client: Arc<Client>,
}

impl io::Read for Rest {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.ahead.read(buffer)? {
            0 => self.transport.read(buffer),
            read => Ok(read),
        }
    }
}

impl Body for Rest {
    fn go_on(&mut self) -> io::Result<()> {
        write_all(&*self.transport, b"HTTP/1.1 100 Continue\r\n\r\n")
    }

    fn is_read(&mut self) {
        self.client.state.head_answered();
    }
}
