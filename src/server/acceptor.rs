//! The accepting thread, one for each listener: accept, and start the client's opening handshake, or refuse.
//!
//! The first acceptor runs on the thread that called `serve`, further ones as `sp-accept-N`. An acceptor never waits for a
//! client: the handshake thread reads the request. When all handshake slots are in use, the acceptor refuses the connection
//! without reading it, or evicts another address's handshake (`admission/handshake_slots.rs`). It ends when the latch is
//! set, which it notices at the next connection, or when accepting has failed for good.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread::{Builder, Scope};
use std::time::Duration;

use socket2::Socket;

use super::client::handshake;
use super::client::session::RegisteredClient;
use super::listener::Listener;
use super::state::ServerState;
use super::stats::Disconnect;
use crate::caught::caught;
use crate::connection::CloseCause;
use crate::connection::shared::Shared;
use crate::connection::socket::{Transport, set_options};
use crate::error::Error;
use crate::handler::Handler;
use crate::http::{self, Peer};
use crate::sync::SetOnDrop;

/// The stack of a handshake thread, where the handler's `request` runs.
const HANDSHAKE_STACK: usize = 256 << 10;

/// How long to pause when the kernel has no descriptor or memory to give. Doubled each time, up to one second.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// # Blocking
/// In `accept`, woken by a client or by the watchdog's wake-up connection; in a pause, woken by the latch.
pub(super) fn run<'scope, H: Handler>(
    listener: &Listener,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) -> Result<(), Error> {
    let _set = SetOnDrop(&server.latch);
    let result = accept(listener, server, scope, handler);
    listener.done();
    result
}

fn accept<'scope, H: Handler>(
    listener: &Listener,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) -> Result<(), Error> {
    let mut pause = FIRST_PAUSE;
    while !server.latch.is_set() {
        match listener.accept() {
            // The watchdog's wake-up connection, or a client that is as late.
            Ok(_) if server.latch.is_set() => {}
            Ok((socket, peer)) => {
                pause = FIRST_PAUSE;
                start_handshake(socket, peer, server, scope, handler);
            }
            Err(_) if server.latch.is_set() => {}
            Err(error) if is_permanent(&error) => {
                log::error!("accepting on {listener} failed for good: {error}");
                return Err(Error::Accept {
                    listener: listener.to_string(),
                    source: error,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The client gave up while it waited in the backlog (accept(2)).
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Out of descriptors or memory. The client stays in the backlog, and an immediate retry would only spin.
            Err(error) => {
                log::error!("accepting on {listener} failed, next try in {pause:?}: {error}");
                server.latch.wait(pause);
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        }
    }
    Ok(())
}

/// Returns whether the listener itself is broken, so that waiting does not help.
fn is_permanent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT)
    )
}

fn start_handshake<'scope, H: Handler>(
    socket: Socket,
    peer: Peer,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) {
    let number = server.next_number();
    if !server.per_address.may_connect(&peer) {
        log::warn!(
            "#{number} {peer} rejected with 503 before reading the request: connect rate exceeded"
        );
        return refuse(&socket, server);
    }
    let Some((slot, evicted)) = server.handshakes.acquire(number, &peer) else {
        log::warn!(
            "#{number} {peer} rejected with 503 before reading the request: no free handshake slot"
        );
        return refuse(&socket, server);
    };
    if let Some(other) = evicted {
        log::warn!(
            "#{} {} pending handshake reset to free a slot for another address",
            other.number,
            other.peer
        );
        server.disconnects.count(Disconnect::RefusedUnread);
        other.terminate(CloseCause::Gone);
    }
    set_options(&socket, &server.config, number);
    let socket: Arc<dyn Transport> = Arc::new(socket);
    let kept_socket = Arc::clone(&socket);
    let config = Arc::clone(&server.config);
    let shared = Arc::new(Shared::new(number, peer, config, &socket));
    slot.set_client(&shared);
    let kept = Arc::clone(&shared);
    let client = RegisteredClient {
        entry: server.clients.add(&shared),
        shared,
        socket,
    };
    let spawned = Builder::new()
        .name(format!("sp-{number}-open"))
        .stack_size(HANDSHAKE_STACK)
        .spawn_scoped(scope, move || {
            // Panics of user code are caught further in. One of ours must not end the whole server.
            if caught(|| handshake::run(client, slot, server, scope, handler)).is_none() {
                kept.tear_down();
                log::error!("#{number} the handshake thread panicked");
            }
        });
    if let Err(error) = spawned {
        log::error!("#{number} rejected with 503: cannot start a thread: {error}");
        refuse(&*kept_socket, server);
    }
}

/// Answers 503 as far as the socket accepts it: the acceptor does not wait for a client.
fn refuse(socket: &dyn Transport, server: &ServerState) {
    server.disconnects.count(Disconnect::RefusedUnread);
    let answer = http::unavailable(5, "too busy to read this").to_bytes(false);
    let _ = socket.try_write(&[IoSlice::new(&answer)]);
    socket.shutdown(Shutdown::Write);
}
