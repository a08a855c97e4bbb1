//! The accepting thread, one for each listener: permit → accept → spawn, or refuse.
//!
//! The first runs on the thread that called `serve`, further ones as `sp-accept-N`. It never waits for a client: reading
//! the request is for the thread at the new client's door, and beyond 256 requests at a time it refuses unread, or makes
//! room for who comes from elsewhere (`heads.rs`). It ends when the latch is set, which it notices at the next connection, or
//! when accepting has failed for good.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::thread::{Builder, Scope};
use std::time::Duration;

use socket2::Socket;

use crate::connection::{CloseCause, Shared, Transport, prepare};
use crate::error::Error;
use crate::handler::Handler;
use crate::http::{self, Peer};
use crate::panic::catch_panic;
use crate::server::client::handshake::receive;
use crate::server::client::session::{RegisteredClient, abandon};
use crate::server::listener::Listener;
use crate::server::shutdown::SetAtEnd;
use crate::server::state::ServerState;

/// Stack of a thread at the door, where the handler judges requests.
const DOOR_STACK: usize = 256 << 10;

/// How long to leave a kernel alone that has nothing to give; doubled up to the second.
const FIRST_REST: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// # Blocking
/// In `accept`, woken by a client or by the watchdog's knock; at rest, woken by the latch.
pub(super) fn run<'scope, H: Handler>(
    listener: &Listener,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) -> Result<(), Error> {
    let _set = SetAtEnd(&server.latch);
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
    let mut rest = FIRST_REST;
    while !server.latch.is_set() {
        match listener.accept() {
            // The knock of our own watchdog, or somebody as late.
            Ok(_) if server.latch.is_set() => {}
            Ok((socket, peer)) => {
                rest = FIRST_REST;
                admit(socket, peer, server, scope, handler);
            }
            Err(_) if server.latch.is_set() => {}
            Err(error) if is_hopeless(&error) => {
                log::error!("accepting on {listener} failed for good: {error}");
                return Err(Error::Accept {
                    listener: listener.to_string(),
                    source: error,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The client gave up while it waited (accept(2)).
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Out of descriptors or memory: the client stays in the backlog, and trying at once would only spin.
            Err(error) => {
                log::error!("accepting on {listener} failed, next try in {rest:?}: {error}");
                server.latch.wait(rest);
                rest = LONGEST_REST.min(rest * 2);
            }
        }
    }
    Ok(())
}

/// The listener itself is broken, and no waiting mends it.
fn is_hopeless(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT)
    )
}

fn admit<'scope, H: Handler>(
    socket: Socket,
    peer: Peer,
    server: &'scope ServerState,
    scope: &'scope Scope<'scope, '_>,
    handler: &'scope H,
) {
    let number = server.next_number();
    if !server.per_address.may_connect(&peer) {
        log::warn!("#{number} {peer} refused unread: 503, its address connects too often");
        return refuse(&socket, server);
    }
    let Some((head, given_up)) = server.heads.take(number, &peer) else {
        log::warn!("#{number} {peer} refused unread: 503, too many requests at a time");
        return refuse(&socket, server);
    };
    if let Some(other) = given_up {
        log::warn!(
            "#{} {} refused unread: reset, its address has the most requests and another needs the place",
            other.number,
            other.peer
        );
        server.disconnects.count("refused_unread");
        other.reset(CloseCause::Gone);
    }
    prepare(&socket, &server.config, number);
    let transport: Arc<dyn Transport> = Arc::new(socket);
    let kept = Arc::clone(&transport);
    let client = Arc::new(Shared::new(
        number,
        peer,
        Arc::clone(&server.config),
        &transport,
    ));
    head.belongs_to(&client);
    let entry = server.clients.enter(&client);
    let here = RegisteredClient {
        client,
        transport,
        entry,
    };
    let kept_client = Arc::clone(&here.client);
    let spawned = Builder::new()
        .name(format!("sp-{number}-door"))
        .stack_size(DOOR_STACK)
        .spawn_scoped(scope, move || {
            // A panic of the user's is caught further in; one of ours must not end the whole server.
            if catch_panic(|| receive(here, head, server, scope, handler)).is_none() {
                abandon(&kept_client);
                log::error!("#{number} the thread at its door panicked");
            }
        });
    if let Err(error) = spawned {
        log::error!("#{number} refused: 503, no thread to be had: {error}");
        refuse(&*kept, server);
    }
}

/// Answers 503 as far as that goes at once: the acceptor waits for nobody.
fn refuse(transport: &dyn Transport, server: &ServerState) {
    server.disconnects.count("refused_unread");
    let answer = http::unavailable(5, "too busy to read this").to_bytes(false);
    let _ = transport.try_write(&[IoSlice::new(&answer)]);
    transport.shutdown(std::net::Shutdown::Write);
}
