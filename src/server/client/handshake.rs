//! Thread `sp-N-open`: the opening handshake of one client, from its first byte to the answer.
//!
//! All checks happen before the 101: the form and origin of the request, the decision of the handler, the limits, and
//! the start of the client's threads. The handshake thread ends when it has rejected the request, or when it has handed
//! the client over to the reader, which writes the 101.
//!
//! The handshake has its own thread because parsing a request touches 8 KiB of stack, and stack pages that have been
//! touched stay resident until their thread ends. If the reader thread parsed the request, every idle client would keep
//! these pages.

use std::io;
use std::sync::Arc;
use std::thread::Scope;

use super::response::Answer;
use super::session::{Accepted, RegisteredClient, Threads};
use crate::connection::Connection;
use crate::connection::queue::outbox::Outbox;
use crate::connection::read::reader::Reader;
use crate::connection::shared::Shared;
use crate::connection::socket::{Transport, write_all};
use crate::handler::Handler;
use crate::http::{self, Body, HeadError, Reply, Request};
use crate::panic::catch_panic;
use crate::server::admission::Permits;
use crate::server::admission::handshake_slots::HandshakeSlot;
use crate::server::state::ServerState;

/// Reads and answers a client's request. Afterwards, either the client's reader thread has taken over, or the client
/// has ended. `_slot` is the client's handshake slot, which is freed when this function returns.
///
/// # Blocking
/// Waits for the peer's bytes, and for the peer to accept the answer, both limited by `handshake_timeout`. May also
/// block in the handler's code.
pub(crate) fn run<'scope, H: Handler>(
    client: RegisteredClient<'scope>,
    _slot: HandshakeSlot<'scope>,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) {
    match read_and_answer(&client, server, scope, handler) {
        Some(upgrade) => {
            let Upgrade {
                threads,
                response,
                conn,
                permits,
            } = upgrade;
            threads.hand_over(|writer| Accepted {
                client,
                response,
                conn,
                writer,
                permits,
            });
        }
        None => client.leave(server),
    }
}

/// The result of an accepted request.
struct Upgrade<'scope> {
    threads: Threads<'scope>,
    /// The 101.
    response: Vec<u8>,
    conn: Connection,
    permits: Permits<'scope>,
}

/// Returns `None` if the request was answered without an upgrade, or if the client has disconnected.
fn read_and_answer<'scope, H: Handler>(
    client: &RegisteredClient<'scope>,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) -> Option<Upgrade<'scope>> {
    let RegisteredClient {
        shared,
        socket,
        arrival,
        ..
    } = client;
    let send = |answer: Answer, request: Option<&Request>| {
        answer.send(shared, &**socket, server, request);
    };
    let peer = shared.peer.clone();
    let (mut request, mut ahead) = match http::read_head(&mut RequestReader(&**socket), peer) {
        Ok(read) => read,
        Err(error) => {
            if let Some(answer) = answer_unreadable(error, shared, server) {
                send(answer, None);
            }
            return None;
        }
    };
    request.set_arrival(Arc::clone(arrival));
    if !shared.lifecycle().mark_request_received() {
        // The client is told of a shutdown. A client that was evicted to free its slot has been reset, and gets no
        // answer.
        if server.shutdown.is_closing() {
            send(Answer::shutting_down(), Some(&request));
        }
        return None;
    }
    if request.content_length().is_some() {
        request.set_body(Some(Box::new(BodyReader {
            ahead: io::Cursor::new(std::mem::take(&mut ahead)),
            socket: Arc::clone(socket),
            shared: Arc::clone(shared),
        })));
    }
    let decided = decide(shared, server, handler, &mut request);
    request.set_body(None);
    let upgraded =
        decided.and_then(|reply| upgrade(shared, server, scope, handler, &request, reply));
    match upgraded {
        Ok((threads, accepted, permits)) => Some(Upgrade {
            threads,
            response: accepted.head,
            conn: Connection::new(
                Arc::new(request),
                accepted.subprotocol,
                Reader::new(Arc::clone(socket), shared, ahead),
                Outbox::new(Arc::clone(shared)),
            ),
            permits,
        }),
        Err(answer) => {
            send(answer, Some(&request));
            None
        }
    }
}

fn answer_unreadable(error: HeadError, shared: &Shared, server: &ServerState) -> Option<Answer> {
    match error {
        HeadError::Refused(reply, reason) => Some(Answer::rejection(reply, reason)),
        // A shutdown ends the wait for a request. To `read_head`, this looks as if the peer had ended its stream.
        HeadError::Gone | HeadError::Io(_) if server.shutdown.is_closing() => {
            Some(Answer::shutting_down())
        }
        HeadError::Gone => None,
        HeadError::Io(error) => {
            log::debug!("#{} reading the request failed: {error}", shared.number);
            None
        }
    }
}

/// Checks the request against the server's rules, and asks the handler. Returns the handler's reply if it is an
/// upgrade.
fn decide<H: Handler>(
    shared: &Shared,
    server: &ServerState,
    handler: &H,
    request: &mut Request,
) -> Result<Reply, Answer> {
    server
        .rules
        .judge(request)
        .map_err(|(reply, reason)| Answer::rejection(reply, reason))?;
    let reply = catch_panic(|| handler.request(request)).ok_or_else(|| {
        log::error!("#{} the handler panicked in `request`", shared.number);
        Answer::rejection(Reply::status(500), "the handler panicked")
    })?;
    if reply.is_upgrade() {
        Ok(reply)
    } else {
        Err(Answer::reply(reply))
    }
}

type Upgraded<'scope> = (Threads<'scope>, http::Accepted, Permits<'scope>);

/// Acquires the permits of an accepted client and starts its two threads.
fn upgrade<'scope, H: Handler>(
    shared: &Arc<Shared>,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
    request: &Request,
    reply: Reply,
) -> Result<Upgraded<'scope>, Answer> {
    let accepted =
        http::accept(request, reply).map_err(|(reply, reason)| Answer::rejection(reply, reason))?;
    let client_permit = server.client_permits.try_acquire().ok_or_else(|| {
        let reply = http::unavailable(5, "connection limit reached");
        Answer::rejection(reply, "max_clients reached")
    })?;
    let address_permit = server.per_address.try_enter(&shared.peer).ok_or_else(|| {
        let reply = http::unavailable(5, "too many connections from your address");
        Answer::rejection(reply, "max_clients_per_ip reached for this address")
    })?;
    let threads = Threads::start(shared, server, scope, handler).map_err(|error| {
        let reply = http::unavailable(5, "cannot start a thread for this connection");
        Answer::rejection(reply, format!("cannot start a thread: {error}"))
    })?;
    let permits = Permits {
        _client: client_permit,
        _address: address_permit,
    };
    Ok((threads, accepted, permits))
}

/// Adapts the socket to [`io::Read`], for `http`.
struct RequestReader<'a>(&'a dyn Transport);

impl io::Read for RequestReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Reads a request's body: first what arrived with the head, then from the socket.
struct BodyReader {
    ahead: io::Cursor<Vec<u8>>,
    socket: Arc<dyn Transport>,
    shared: Arc<Shared>,
}

impl io::Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.ahead.read(buffer)? {
            0 => self.socket.read(buffer),
            read => Ok(read),
        }
    }
}

impl Body for BodyReader {
    fn send_continue(&mut self) -> io::Result<()> {
        write_all(&*self.socket, b"HTTP/1.1 100 Continue\r\n\r\n")
    }

    fn finish(&mut self) {
        self.shared.write.deadlines.stop_handshake();
    }
}
