//! The accepting thread of a listener. It accepts connections, and starts the opening handshake of each client or
//! refuses it.
//!
//! The first acceptor runs on the thread that called `serve`, further ones as `sp-accept-N`. An acceptor never waits
//! for a client, because the handshake thread reads the request. When all handshake slots are in use, the acceptor
//! refuses the connection without reading it, or evicts a pending handshake of another address
//! (`admission/handshake_slots.rs`).
//!
//! The connections of a channel (`Listener::channel`) were accepted elsewhere. Here they are treated like all others.
//!
//! An acceptor ends when accepting has failed permanently, or when the server stops accepting. In that case it also
//! accepts what waits in the backlog, so that these clients are answered. The backlog of an inherited listener is left
//! to the process that goes on with the socket. The acceptor owns its listener and closes it when it ends. From then on
//! newcomers are refused, and a successor can bind the address.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{Builder, Scope};
use std::time::Duration;

use log::Level;

use super::arrived::{self, Arrived};
use super::client::handshake::{self, Inbound};
use super::client::registered::RegisteredClient;
use super::listener::Listener;
use super::listening_socket::BACKLOG;
use super::refusal_log::Refusal;
use super::shutdown_signal::StopOnDrop;
use super::state::{ServerState, next_number};
use super::stats::Disconnect;
use crate::connection::CloseCause;
use crate::connection::client_name::ClientName;
use crate::connection::shared::Shared;
use crate::connection::socket::{Transport, set_options};
use crate::error::Error;
use crate::handler::Handler;
use crate::http1;
use crate::panic::catch_panic;

/// How long to pause when the kernel has no descriptor or memory left. The pause doubles each time, up to
/// `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The least stack of a thread that runs a TLS handshake. In a debug build, a client's chain of certificates that is made to
/// be searched for long needs between 80 and 96 KiB.
const TLS_STACK: usize = 128 << 10;

/// # Blocking
/// Waits for its listener and for `wake_up`: woken by a client, or when the server stops accepting. Pauses after an
/// error: woken when the server stops accepting.
pub(super) fn run<'scope, H: Handler>(
    mut listener: Listener,
    wake_up: &UnixStream,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) -> Result<(), Error> {
    let stop = StopOnDrop::new(&server.shutdown);
    accept(&listener, wake_up, server, scope, handler)?;
    if !listener.is_inherited() {
        listener.refuse_newcomers();
        accept_backlog(&listener, server, scope, handler);
    }
    stop.disarm();
    Ok(())
}

fn accept<'scope, H: Handler>(
    listener: &Listener,
    wake_up: &UnixStream,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) -> Result<(), Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        let waited = listener.wait(wake_up, &server.shutdown);
        if server.shutdown.is_closing() {
            return Ok(());
        }
        match waited.and_then(|()| listener.accept()) {
            Ok(arrived) => {
                pause = FIRST_PAUSE;
                start_handshake(arrived, listener, server, scope, handler);
            }
            Err(error) if is_permanent(&error) => {
                log::error!("accepting on {listener} failed permanently: {error}");
                return Err(Error::Accept {
                    listener: listener.to_string(),
                    source: error,
                });
            }
            Err(error) if is_harmless(&error) => {}
            // The kernel is out of descriptors or memory. The client stays in the backlog, so an immediate retry would
            // fail again.
            Err(error) => {
                log::error!("accepting on {listener} failed, next try in {pause:?}: {error}");
                server.shutdown.wait_for_closing(pause);
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        }
    }
}

/// Accepts what waits in the backlog.
///
/// # Blocking
/// As [`Listener::wait_for_last_handshake`].
fn accept_backlog<'scope, H: Handler>(
    listener: &Listener,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) {
    // The limit is for a listener that could not turn newcomers away: the backlog was not longer than this.
    for _ in 0..=BACKLOG {
        match listener.accept() {
            Ok(arrived) => start_handshake(arrived, listener, server, scope, handler),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !listener.wait_for_last_handshake() {
                    return;
                }
            }
            Err(error) if is_harmless(&error) => {}
            Err(error) => {
                log::warn!("the backlog of {listener} is reset, because accepting failed: {error}");
                return;
            }
        }
    }
}

/// Returns whether the next attempt may succeed immediately: a signal interrupted the call, the client disconnected
/// while it waited in the backlog (accept(2)), or another process accepted it.
fn is_harmless(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted | io::ErrorKind::WouldBlock
    )
}

/// Returns whether the listener itself is broken, so that a retry cannot succeed.
fn is_permanent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT)
    )
}

/// Returns the stack of the thread that reads a client's request. A handler may need little, but a TLS handshake needs more
/// than the least that is allowed.
fn stack(handler_stack: usize, listener: &Listener) -> usize {
    match listener.has_tls() {
        true => handler_stack.max(TLS_STACK),
        false => handler_stack,
    }
}

fn start_handshake<'scope, H: Handler>(
    arrived: Arrived,
    listener: &Listener,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) {
    let number = next_number();
    server.counters.count_accepted();
    let local = arrived.local_addr();
    let Arrived {
        socket,
        peer,
        ahead,
    } = arrived;
    let name = ClientName {
        number,
        peer: peer.clone(),
        user: None,
    };
    let is_proxy = http1::is_trusted(&peer, &server.config.trusted_proxies);
    if listener.has_proxy_header() && !is_proxy {
        server.refusals.log(
            Refusal::NotAProxy,
            &name,
            format_args!("closed before reading: not a trusted proxy"),
        );
        server.counters.refused.count(Refusal::NotAProxy);
        return server.disconnects.count(Disconnect::RefusedUnread);
    }
    // The limits per address are for the client of a proxy, which is not known yet (`client/client_address.rs`).
    if !is_proxy && !server.per_address.may_connect(&peer) {
        let why = "refused before reading the request: connect rate exceeded";
        server
            .refusals
            .log(Refusal::ConnectRate, &name, format_args!("{why}"));
        return refuse(Refusal::ConnectRate, &socket, listener, server);
    }
    let slot_peer = (!is_proxy).then_some(&peer);
    let Some((slot, evicted)) = server.handshakes.acquire(number, slot_peer) else {
        let why = "refused before reading the request: no free handshake slot";
        server
            .refusals
            .log(Refusal::NoHandshakeSlot, &name, format_args!("{why}"));
        return refuse(Refusal::NoHandshakeSlot, &socket, listener, server);
    };
    if let Some(other) = evicted {
        let why = "pending handshake reset to free a slot for another address";
        let client = other.name.get();
        server
            .refusals
            .log(Refusal::Evicted, &client, format_args!("{why}"));
        server.disconnects.count(Disconnect::RefusedUnread);
        server.counters.refused.count(Refusal::Evicted);
        other.terminate(CloseCause::Gone);
    }
    set_options(&socket, &server.config, &name, local.is_some());
    let arrival = listener.arrival(local);
    let socket: Arc<dyn Transport> = Arc::new(socket);
    let socket_for_refusal = Arc::clone(&socket);
    let config = Arc::clone(&server.config);
    let common = Arc::clone(server.shutdown.common());
    let shared = Arc::new(Shared::new(number, peer, config, common, &socket));
    if listener.has_tls() {
        shared.tls.begin_handshake();
    }
    slot.set_client(&shared);
    let shared_after_panic = Arc::clone(&shared);
    let client = RegisteredClient {
        entry: server.clients.add(&shared),
        shared,
        socket,
    };
    let inbound = Inbound {
        arrival,
        local,
        ahead,
        has_proxy_header: listener.has_proxy_header(),
        #[cfg(feature = "tls")]
        tls: listener.inbound_tls(),
    };
    let spawned = Builder::new()
        .name(format!("sp-{number}-open"))
        .stack_size(stack(server.config.handler_stack, listener))
        .spawn_scoped(scope, move || {
            // Panics of user code are caught inside `run`. A panic of our own code must not end the whole server
            // either.
            if catch_panic(|| handshake::run(client, slot, inbound, server, scope, handler))
                .is_none()
            {
                shared_after_panic.tear_down();
                shared_after_panic
                    .name
                    .log(Level::Error, format_args!("the handshake thread panicked"));
            }
        });
    if let Err(error) = spawned {
        server.refusals.log(
            Refusal::NoThread,
            &name,
            format_args!("refused: cannot start a thread: {error}"),
        );
        refuse(Refusal::NoThread, &*socket_for_refusal, listener, server);
    }
}

/// Answers 503 without blocking, because the acceptor must not wait for a client. A client that expects TLS could not read
/// the answer, so its connection is only closed.
fn refuse(reason: Refusal, socket: &dyn Transport, listener: &Listener, server: &ServerState) {
    server.counters.refused.count(reason);
    server.disconnects.count(Disconnect::RefusedUnread);
    if !listener.has_tls() {
        arrived::refuse(socket);
    }
}
