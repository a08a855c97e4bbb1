//! The door: from the first byte of a client to its 101, or to another answer, on thread `sp-N-door`.
//!
//! Everything that can be refused is refused before the 101: origin and form are right, the handler wants it, there is
//! room, and both threads exist. The thread ends with another answer, or when the reader has the client and writes the
//! 101. It is not the reader's, because reading a request goes
//! deep, and of a stack what was touched once stays in memory: 8 KiB for every idle client.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crossbeam_channel::Sender;

use crate::connection::Connection;
use crate::connection::Shared;
use crate::connection::queue::outbox::Outbox;
use crate::connection::read::reader::Reader;
use crate::connection::socket::{Transport, linger};
use crate::connection::write::write_half::WriteHalf;
use crate::connection::write::writer;
use crate::escape::escaped;
use crate::handler::Handler;
use crate::http::{self, Body, HeadError, Reply, Request};
use crate::panic::catch_panic;
use crate::server::admission::handshake_slots;
use crate::server::admission::per_address::AddressPermit;
use crate::server::client::session::{self as life, RegisteredClient};
use crate::server::state::{Permit, ServerState};

/// Stack of a writer thread: it calls nothing of the user's.
const WRITER_STACK: usize = 64 << 10;

/// Stack of a reader thread, where the handler runs. Only what is touched becomes memory.
const READER_STACK: usize = 256 << 10;

/// A client that is to be answered 101.
pub(crate) struct Upgraded<'scope> {
    pub(crate) here: RegisteredClient<'scope>,
    /// The 101.
    head: Vec<u8>,
    pub(crate) conn: Connection,
    pub(crate) writer: ScopedJoinHandle<'scope, ()>,
    pub(crate) places: Places<'scope>,
}

/// One of the places there are for clients, and one of those there are for its address.
pub(crate) type Places<'server> = (Permit<'server>, AddressPermit<'server>);

/// Leads a client through the door: either its reader thread has it then, or it is gone. `_head` is its place among the
/// heads in flight.
///
/// # Blocking
/// For the peer's bytes, and for it to take the answer: all under `handshake_timeout`.
pub(crate) fn receive<'scope, H: Handler>(
    here: RegisteredClient<'scope>,
    _head: handshake_slots::HandshakeSlot<'scope>,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) {
    match enter(&here, server, scope, handler) {
        Some(entered) => entered.go_on(here),
        None => here.leave(server),
    }
}

/// `None`: it was answered otherwise, or is gone.
fn enter<'scope, H: Handler>(
    here: &RegisteredClient<'scope>,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) -> Option<Entered<'scope>> {
    let RegisteredClient {
        client, transport, ..
    } = here;
    let peer = client.peer.clone();
    let (mut request, mut ahead) = match http::read_head(&mut Head(&**transport), peer) {
        Ok(read) => read,
        Err(error) => {
            if let Some(answer) = unreadable(error, client, server) {
                answer.give(client, &**transport, server, None);
            }
            return None;
        }
    };
    if !client.mark_request_received() {
        // For another who needed its place it has been reset; in a shutdown it is told.
        if server.latch.is_set() {
            Answer::shutting_down().give(client, &**transport, server, Some(&request));
        }
        return None;
    }
    if request.content_length().is_some() {
        let ahead = io::Cursor::new(std::mem::take(&mut ahead));
        let (client, transport) = (Arc::clone(client), Arc::clone(transport));
        request.set_body(Some(Box::new(Rest {
            ahead,
            transport,
            client,
        })));
    }
    let asked = ask(client, server, handler, &mut request);
    request.set_body(None);
    let upgraded = match asked {
        Ok(reply) => upgrade(here, server, scope, handler, &request, reply),
        Err(answer) => Err(answer),
    };
    match upgraded {
        Ok((threads, head, subprotocol, places)) => Some(Entered {
            head,
            conn: Connection::new(
                Arc::new(request),
                subprotocol,
                Reader::new(Arc::clone(transport), client, ahead),
                Outbox::new(Arc::clone(client)),
            ),
            threads,
            places,
        }),
        Err(answer) => {
            answer.give(client, &**transport, server, Some(&request));
            None
        }
    }
}

/// The same, still on the thread at the door.
struct Entered<'scope> {
    head: Vec<u8>,
    conn: Connection,
    threads: Threads<'scope>,
    places: Places<'scope>,
}

impl<'scope> Entered<'scope> {
    fn go_on(self, here: RegisteredClient<'scope>) {
        let Threads { writer, reader } = self.threads;
        let upgraded = Upgraded {
            here,
            head: self.head,
            conn: self.conn,
            writer,
            places: self.places,
        };
        reader
            .send(Box::new(upgraded))
            .expect("it waits for this, whatever comes");
    }
}

/// Both threads of a client: the reader waits to be given it, and ends when it is not.
struct Threads<'scope> {
    writer: ScopedJoinHandle<'scope, ()>,
    reader: Sender<Box<Upgraded<'scope>>>,
}

impl<'scope> Threads<'scope> {
    fn start<H: Handler>(
        client: &Arc<Shared>,
        server: &'scope ServerState,
        scope: &'scope Scope<'scope, '_>,
        handler: &'scope H,
    ) -> io::Result<Threads<'scope>> {
        let number = client.number;
        let kept = Arc::clone(client);
        let (reader, given) = crossbeam_channel::bounded::<Box<Upgraded<'scope>>>(1);
        Builder::new()
            .name(format!("sp-{number}-read"))
            .stack_size(READER_STACK)
            .spawn_scoped(scope, move || {
                let Ok(upgraded) = given.recv() else {
                    return;
                };
                drop(given);
                // A panic of the user's is caught further in; one of ours must not end the whole server.
                if catch_panic(|| life::live(upgraded, server, handler)).is_none() {
                    // Its writer must not wait for ever.
                    life::abandon(&kept);
                    log::error!("#{number} its reader thread panicked");
                }
            })?;
        let writing = Arc::clone(client);
        let writer = Builder::new()
            .name(format!("sp-{number}-write"))
            .stack_size(WRITER_STACK)
            .spawn_scoped(scope, move || writer::run(&writing))?;
        Ok(Threads { writer, reader })
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
        client: &Shared,
        transport: &dyn Transport,
        server: &ServerState,
        request: Option<&Request>,
    ) {
        let Shared { number, peer, .. } = client;
        let code = self.reply.code();
        let what = request.map_or_else(
            || "unreadable request".to_owned(),
            |request| format!("{} {}", request.method(), escaped(request.path())),
        );
        match &self.reason {
            None => log::debug!("#{number} {peer} {what}: {code}"),
            Some(reason) => {
                server.disconnects.count("refused_request");
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

fn unreadable(error: HeadError, client: &Shared, server: &ServerState) -> Option<Answer> {
    match error {
        HeadError::Refused(reply, reason) => Some(Answer::refusal(reply, reason)),
        // Shutdown ends the waiting for a head as if the peer had.
        HeadError::Gone | HeadError::Io(_) if server.latch.is_set() => {
            Some(Answer::shutting_down())
        }
        HeadError::Gone => None,
        HeadError::Io(error) => {
            log::debug!("#{} reading the request failed: {error}", client.number);
            None
        }
    }
}

/// Judges the request, and lets the handler judge it.
fn ask<H: Handler>(
    client: &Shared,
    server: &ServerState,
    handler: &H,
    request: &mut Request,
) -> Result<Reply, Answer> {
    server
        .rules
        .judge(request)
        .map_err(|(reply, reason)| Answer::refusal(reply, reason))?;
    let reply = catch_panic(|| handler.request(request)).ok_or_else(|| {
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

type Let<'scope> = (Threads<'scope>, Vec<u8>, Option<String>, Places<'scope>);

fn upgrade<'scope, H: Handler>(
    here: &RegisteredClient<'scope>,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
    request: &Request,
    reply: Reply,
) -> Result<Let<'scope>, Answer> {
    let client = &here.client;
    let accepted =
        http::accept(request, reply).map_err(|(reply, reason)| Answer::refusal(reply, reason))?;
    let seat = server.client_permits.take().ok_or_else(|| {
        let reply = http::unavailable(5, "all places are taken");
        Answer::refusal(reply, "max_clients are here")
    })?;
    let visit = server.per_address.enter(&client.peer).ok_or_else(|| {
        let reply = http::unavailable(5, "too many clients of your address");
        Answer::refusal(reply, "max_clients_per_ip of this address are here")
    })?;
    let threads = Threads::start(client, server, scope, handler).map_err(|error| {
        let reply = http::unavailable(5, "no thread to be had");
        Answer::refusal(reply, format!("no thread: {error}"))
    })?;
    Ok((threads, accepted.head, accepted.subprotocol, (seat, visit)))
}

/// Writes the 101, on the reader's thread: so what its handler does first, to subscribe perhaps, comes right behind it, and a
/// client that has its 101 need not wait for a thread that has not run yet. `None`: it was answered otherwise.
#[inline(never)]
pub(crate) fn open<'scope>(
    upgraded: Box<Upgraded<'scope>>,
    server: &ServerState,
) -> Option<Box<Upgraded<'scope>>> {
    let RegisteredClient {
        client, transport, ..
    } = &upgraded.here;
    // From here shutdown says 1001 to it, and before, 503. The latch too: shutdown comes by only when the acceptors
    // have noticed it.
    let answered = if !server.latch.is_set() && client.mark_upgraded() {
        write_all(&**transport, &upgraded.head).map_err(|error| {
            let reply = Reply::status(408);
            Answer::refusal(reply, format!("the 101 was not taken: {error}"))
        })
    } else {
        Err(Answer::shutting_down())
    };
    let Err(answer) = answered else {
        client.state.head_answered();
        let wire = WriteHalf::new(Arc::clone(transport));
        client.write_slot.release(wire, client);
        // A Close may have been posted while the wire was lent to the handshake.
        client.flush();
        return Some(upgraded);
    };
    client.end_of_writing();
    join(upgraded.writer, client);
    drop(upgraded.places);
    answer.give(client, &**transport, server, Some(upgraded.conn.request()));
    drop(upgraded.conn);
    upgraded.here.leave(server);
    None
}

/// Waits for the writer thread, whose every wait has a deadline.
pub(crate) fn join(writer: ScopedJoinHandle<'_, ()>, client: &Shared) {
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
    client: Arc<Shared>,
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
    fn send_continue(&mut self) -> io::Result<()> {
        write_all(&*self.transport, b"HTTP/1.1 100 Continue\r\n\r\n")
    }

    fn finish(&mut self) {
        self.client.state.head_answered();
    }
}
