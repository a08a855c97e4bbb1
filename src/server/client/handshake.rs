//! Thread `sp-N-open`: the requests of one client, from its first byte to the 101 or to the end of the connection.
//!
//! All checks happen before the 101: the form and origin of the request, the decision of the handler, the limits, and
//! the start of the client's threads. After an answer other than 101, the connection is kept for another request, or ends
//! (`keep_alive.rs`). The handshake thread ends with the connection, or when it has handed the client over to the
//! reader, which writes the 101.
//!
//! The handshake has its own thread because parsing a request touches 8 KiB of stack, and stack pages that have been
//! touched stay resident until their thread ends. If the reader thread parsed the request, every idle client would keep
//! these pages.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::Scope;

use log::Level;

use super::client_address::{ClientAddress, ProxyHeaderError};
use super::keep_alive::{self, MAX_REQUESTS};
use super::registered::RegisteredClient;
use super::response::Answer;
use super::session::{Accepted, Threads};
use super::wire::{BodyWire, RequestReader};
use crate::connection::Connection;
use crate::connection::lifecycle::Phase;
use crate::connection::queue::outbox::Outbox;
use crate::connection::read::reader::Reader;
use crate::connection::shared::Shared;
use crate::handler::Handler;
use crate::http1::{self, After, Arrival, Body, Cors, HeadError, Reply, Request};
use crate::panic::catch_panic;
use crate::server::admission::Permits;
use crate::server::admission::handshake_slots::HandshakeSlot;
use crate::server::own_thread;
use crate::server::refusal_log::Refusal;
use crate::server::state::ServerState;

/// How a connection came to the server.
#[derive(Default)]
pub(crate) struct Inbound {
    /// The listener on which the client connected.
    pub(crate) arrival: Arc<Arrival>,
    /// The address of the server's end, if it is a TCP connection.
    pub(crate) local: Option<SocketAddr>,
    /// The beginning of the PROXY header or of the next request, as far as it has been read already.
    pub(crate) ahead: Vec<u8>,
    /// Whether the connection begins with a PROXY header.
    pub(crate) has_proxy_header: bool,
    #[cfg(feature = "tls")]
    pub(crate) tls: super::tls::InboundTls,
}

impl Inbound {
    /// Returns whether the TLS handshake has yet to begin.
    fn expects_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return matches!(self.tls, super::tls::InboundTls::Expected(_));
        #[cfg(not(feature = "tls"))]
        false
    }
}

/// Reads and answers a client's requests. Afterwards, either the client's reader thread has taken over, or the client
/// has ended. `slot` is the client's handshake slot, which is freed when this function returns.
///
/// # Blocking
/// Waits for the peer's bytes, limited by `handshake_timeout` for a head, `message_timeout` for a body and the idle time
/// between two requests. Waits for the peer to accept the answer, limited by `write_timeout`. May also block in the
/// handler's code.
pub(crate) fn run<'scope, H: Handler>(
    #[cfg_attr(not(feature = "tls"), expect(unused_mut))] mut client: RegisteredClient<'scope>,
    slot: HandshakeSlot<'scope>,
    mut inbound: Inbound,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) {
    own_thread::works_for(server);
    let mut address = ClientAddress::new(&client.shared, &slot, server);
    if inbound.has_proxy_header
        && let Err(error) = address.read_proxy_header(&client, &mut inbound.ahead, server)
    {
        let answer = match error {
            ProxyHeaderError::Head(error) => answer_unreadable(error, &client.shared, server),
            ProxyHeaderError::Answer(answer) => Some(answer),
        };
        match answer {
            // The client expects TLS, and could not read this. A 400 is for the proxy.
            Some(answer) if answer.is_unavailable() && inbound.expects_tls() => {
                answer.withhold(&client.shared, server);
            }
            Some(answer) => answer.send(&client.shared, &*client.socket, server, None),
            None => {}
        }
        return client.leave(server);
    }
    #[cfg(feature = "tls")]
    if !inbound
        .tls
        .handshake(&mut client, &mut inbound.ahead, server)
    {
        return client.leave_unopened(server);
    }
    let mut upgraded = None;
    for request_number in 1..=MAX_REQUESTS {
        let is_last = request_number == MAX_REQUESTS;
        match read_and_answer(
            &client,
            &mut inbound,
            &address,
            server,
            scope,
            handler,
            is_last,
        ) {
            Served::Upgraded(upgrade) => {
                upgraded = Some(upgrade);
                break;
            }
            Served::Kept(body) => match next_request(&client, server, body) {
                Some(ahead) => inbound.ahead = ahead,
                None => break,
            },
            Served::Ended => break,
        }
    }
    match upgraded {
        Some(upgrade) => {
            let Upgrade {
                shared,
                threads,
                response,
                conn,
                permits,
            } = *upgrade;
            if !Arc::ptr_eq(&shared, &client.shared) {
                client.replace(&slot, &shared);
            }
            let client = RegisteredClient { shared, ..client };
            threads.hand_over(|writer| Accepted {
                client,
                response,
                conn,
                writer,
                permits,
            });
        }
        None => client.leave_unopened(server),
    }
}

/// The result of an accepted request.
struct Upgrade<'scope> {
    shared: Arc<Shared>,
    threads: Threads<'scope>,
    /// The 101.
    response: Vec<u8>,
    conn: Connection,
    permits: Permits<'scope>,
}

/// What became of one request.
enum Served<'scope> {
    Upgraded(Box<Upgrade<'scope>>),
    /// The request was answered, and another one may follow what is left of this body.
    Kept(Body),
    /// The connection has ended, or ends now.
    Ended,
}

/// Waits for the next request. Returns its first bytes, or `None` if the connection ends.
///
/// # Blocking
/// Waits for the rest of the last request's body, and for the first byte of the next request. Woken by the peer, by the
/// watchdog when the idle time is over, by an acceptor that needs the slot, or by a shutdown.
fn next_request(
    client: &RegisteredClient<'_>,
    server: &ServerState,
    body: Body,
) -> Option<Vec<u8>> {
    let RegisteredClient { shared, socket, .. } = client;
    let deadlines = &shared.write.deadlines;
    deadlines.start_request(keep_alive::idle_time(shared.config()));
    // A request that arrives while a shutdown begins is answered 503, so it is read although the connection has been
    // rejected.
    if !shared.lifecycle().mark_idle() && !server.shutdown.is_closing() {
        return None;
    }
    let mut ahead = body.skip()?;
    if ahead.is_empty() {
        ahead = RequestReader(&**socket).read_some()?;
    }
    deadlines.start_request(shared.config().handshake_timeout);
    // A shutdown may have rejected the connection after these bytes had arrived. The request is answered then too.
    let begins = shared.lifecycle().mark_next_request() || server.shutdown.is_closing();
    begins.then_some(ahead)
}

/// Reads one request, which begins with the bytes `inbound.ahead`, and answers it. `is_last` says that the connection must
/// end after it.
fn read_and_answer<'scope, H: Handler>(
    client: &RegisteredClient<'scope>,
    inbound: &mut Inbound,
    address: &ClientAddress<'_>,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
    is_last: bool,
) -> Served<'scope> {
    let RegisteredClient { shared, socket, .. } = client;
    let ahead = mem::take(&mut inbound.ahead);
    let send = |answer: Answer, request: Option<&Request>| {
        answer.send(shared, &**socket, server, request);
    };
    address.begin_request(shared);
    let mut reader = RequestReader(&**socket);
    let (mut request, ahead) = match http1::read_head(&mut reader, ahead, address.peer()) {
        Ok(read) => read,
        Err(error) => {
            if let Some(answer) = answer_unreadable(error, shared, server) {
                send(answer, None);
            }
            return Served::Ended;
        }
    };
    request.set_arrival(Arc::clone(&inbound.arrival), inbound.local);
    #[cfg(feature = "tls")]
    request.set_tls(inbound.tls.info());
    if !shared.lifecycle().mark_request_received() {
        // The client is told of a shutdown. A client that was evicted to free its slot has been reset, and gets no
        // answer.
        if server.shutdown.is_closing() {
            send(Answer::shutting_down(), Some(&request));
        }
        return Served::Ended;
    }
    request.set_body(ahead, Box::new(BodyWire::new(socket, shared)));
    let (decided, cors) = match address.identify(&mut request, shared, server) {
        Ok(()) => decide(server, handler, &mut request),
        Err(answer) => (Err(answer), Cors::default()),
    };
    let body = request.take_body();
    let decided = if body.is_broken() && was_cut_off(shared, server) {
        Err(Answer::shutting_down())
    } else {
        decided
    };
    let upgraded =
        decided.and_then(|reply| upgrade(shared, server, scope, handler, &request, reply));
    let answer = match upgraded {
        Ok((shared, threads, accepted, permits)) => {
            // An upgrade request has no body, so this does not wait.
            let ahead = body.skip().unwrap_or_default();
            return Served::Upgraded(Box::new(Upgrade {
                threads,
                response: accepted.head,
                conn: Connection::new(
                    Arc::new(request),
                    accepted.subprotocol,
                    Reader::new(Arc::clone(socket), &shared, ahead),
                    Outbox::new(Arc::clone(&shared)),
                ),
                permits,
                shared,
            }));
        }
        Err(answer) => answer.with_cors(&cors),
    };
    let is_kept = answer
        .accepted_reply()
        .is_some_and(|reply| keep_alive::is_possible(&request, reply, &body));
    // During a drain, clients and load balancers are told to connect elsewhere.
    if !is_kept || is_last || server.shutdown.has_begun() {
        send(answer, Some(&request));
        return Served::Ended;
    }
    let after = After::KeepAlive(keep_alive::idle_time(shared.config()));
    match answer.write(shared, &**socket, server, Some(&request), after) {
        Ok(()) => Served::Kept(body),
        Err(_) => Served::Ended,
    }
}

/// Returns whether a shutdown has ended the wait for the rest of the request. To the handler, this looks as if the client
/// had sent an incomplete body. But the client may send the same request again.
fn was_cut_off(shared: &Shared, server: &ServerState) -> bool {
    server.shutdown.is_closing() && shared.lifecycle().phase() == Phase::Rejected
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
            shared.name.log(
                Level::Debug,
                format_args!("reading the request failed: {error}"),
            );
            None
        }
    }
}

/// Checks the request against the server's rules, and asks the handler. Returns the handler's reply if it is an upgrade,
/// and what every answer says to a browser.
fn decide<H: Handler>(
    server: &ServerState,
    handler: &H,
    request: &mut Request,
) -> (Result<Reply, Answer>, Cors) {
    if let Err((reply, reason)) = server.rules.judge(request) {
        return (Err(Answer::rejection(reply, reason)), Cors::default());
    }
    let cors = server.rules.cors(request);
    if let Some(reply) = cors.preflight(request) {
        return (Err(Answer::reply(reply)), cors);
    }
    if request.is_about_server() {
        // RFC 9110 §9.3.7. Which methods are allowed depends on the path.
        return (Err(Answer::reply(Reply::status(204))), cors);
    }
    (ask(handler, request), cors)
}

/// Asks the handler. Returns its reply if it is an upgrade.
fn ask<H: Handler>(handler: &H, request: &mut Request) -> Result<Reply, Answer> {
    let reply = catch_panic(|| handler.request(request)).ok_or_else(|| {
        let reason = "the handler panicked in `request`";
        Answer::rejection_of_kind(Refusal::HandlerPanicked, Reply::status(500), reason)
    })?;
    if reply.is_upgrade() {
        Ok(reply)
    } else {
        Err(Answer::from_handler(reply))
    }
}

type Upgraded<'scope> = (
    Arc<Shared>,
    Threads<'scope>,
    http1::Accepted,
    Permits<'scope>,
);

/// Acquires the permits of an accepted client and starts its two threads. Returns the state of its connection, which is
/// another one than before if the connection has limits of its own.
fn upgrade<'scope, H: Handler>(
    shared: &Arc<Shared>,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
    request: &Request,
    mut reply: Reply,
) -> Result<Upgraded<'scope>, Answer> {
    let limits = reply.take_limits();
    let own = limits.map(|limits| limits.apply(shared.config()));
    let own = own.transpose().map_err(|error| {
        let reason = format!("the handler's limits are wrong: {error}");
        Answer::rejection(Reply::status(500), reason)
    })?;
    let user = reply.take_user();
    let accepted = http1::accept(request, reply)
        .map_err(|(reply, reason)| Answer::rejection(reply, reason))?;
    let client_permit = server.client_permits.try_acquire().ok_or_else(|| {
        let reply = http1::unavailable(5, "connection limit reached");
        Answer::rejection_of_kind(Refusal::MaxClients, reply, "max_clients reached")
    })?;
    let address_permit = server
        .per_address
        .try_enter(request.peer())
        .ok_or_else(|| {
            let reply = http1::unavailable(5, "too many connections from your address");
            let reason = "max_clients_per_ip reached for this address";
            Answer::rejection_of_kind(Refusal::MaxClientsPerIp, reply, reason)
        })?;
    let shared = own.map_or_else(
        || Arc::clone(shared),
        |config| Arc::new(shared.with_config(config)),
    );
    shared.name.set(request.peer().clone(), user);
    let threads = Threads::start(&shared, server, scope, handler).map_err(|error| {
        let reply = http1::unavailable(5, "cannot start a thread for this connection");
        let reason = format!("cannot start a thread: {error}");
        Answer::rejection_of_kind(Refusal::NoThread, reply, reason)
    })?;
    let permits = Permits {
        _client: client_permit,
        _address: address_permit,
    };
    Ok((shared, threads, accepted, permits))
}
