//! One client's life after the 101, on thread `sp-N-read`: the handler, the closing handshake, and the end, which is the
//! same few lines whatever happened before.
//!
//! Spawned by the door, beside the writer, which it joins. It ends when the handler has returned and the closing
//! handshake is over, one way or another; the scope in `serve` joins it.

use std::error::Error;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use crate::connection::Connection;
use crate::connection::queue::outbox::this_thread_reads_for;
use crate::connection::read::reader::End;
use crate::connection::shared::Shared;
use crate::connection::socket::{Transport, linger};
use crate::connection::state::Activity;
use crate::connection::write::control_slot::{CloseMode, CloseReason};
use crate::escape::escaped;
use crate::handler::Handler;
use crate::panic::catch_panic;
use crate::server::client::handshake::{self as door, Upgraded};
use crate::server::state::{RegistryEntry, ServerState};

/// A client that is here: its socket, and its place in the list of clients.
pub(crate) struct RegisteredClient<'server> {
    pub(crate) client: Arc<Shared>,
    pub(crate) transport: Arc<dyn Transport>,
    /// It stands in the list until this is dropped.
    pub(crate) entry: RegistryEntry<'server>,
}

impl RegisteredClient<'_> {
    /// The end, whatever was before.
    pub(crate) fn leave(self, server: &ServerState) {
        let RegisteredClient {
            client,
            transport,
            entry,
        } = self;
        if let Some(ending) = client.ending() {
            server.disconnects.count(ending);
        }
        abandon(&client);
        // The descriptor first: whoever finds the client gone from the list finds its socket closed.
        drop(transport);
        drop(entry);
    }
}

/// Ends what a client still has, its writer too.
pub(crate) fn abandon(client: &Shared) {
    client.give_up();
    client.write_slot.end(client);
    // The watchdog may be in the middle of discarding: who finds the client gone finds its books closed.
    client.queue.drain();
}

/// Lives it, from the 101 on.
///
/// It comes in a box, and its beginning and its end are functions of their own: what is on the stack while the reader
/// waits, and what was deeper before, is memory of every idle client, by the page.
pub(crate) fn live<H: Handler>(upgraded: Box<Upgraded<'_>>, server: &ServerState, handler: &H) {
    let Some(mut upgraded) = door::open(upgraded, server) else {
        return;
    };
    begin(&upgraded.here.client);
    let returned = run(handler, &mut upgraded.conn);
    end(upgraded, returned, server);
}

#[inline(never)]
fn begin(client: &Arc<Shared>) {
    log::debug!("#{} {} opened", client.number, client.peer);
    client.state.reader.set(Activity::InHandler);
    this_thread_reads_for(Some(Arc::clone(client)));
}

type Failure = Box<dyn Error + Send + Sync>;

/// What the handler returned. `None`: it panicked.
type Returned = Option<Result<(), Failure>>;

#[inline(never)]
fn run<H: Handler>(handler: &H, conn: &mut Connection) -> Returned {
    catch_panic(|| handler.run(conn))
}

#[inline(never)]
fn end(mut upgraded: Box<Upgraded<'_>>, returned: Returned, server: &ServerState) {
    let RegisteredClient {
        client, transport, ..
    } = &upgraded.here;
    this_thread_reads_for(None);
    close_after(returned, client);
    client.state.reader.set(Activity::Closing);
    // While the Close waits for its writer, and the peer's for the network, what still comes is thrown away.
    upgraded.conn.reader().discard();
    door::join(upgraded.writer, client);
    match upgraded.conn.reader().end() {
        // The server closes TCP first (RFC 6455 §7.1.1).
        Some(End::Closed) => transport.shutdown(Shutdown::Write),
        Some(End::Violation) if !client.state.was_reset.load(SeqCst) => linger(&**transport),
        _ if client.state.close_sent.load(SeqCst) => {}
        // Nobody is left to read what the kernel still holds.
        _ => transport.reset_at_end(),
    }
    server.tally.count(client.fate());
    log::debug!(
        "#{} {} closed: {:?}",
        client.number,
        client.peer,
        client.why()
    );
    // In the request's extensions stands what the user put there.
    let conn = upgraded.conn;
    catch_panic(|| drop(conn));
    drop(upgraded.places);
    upgraded.here.leave(server);
}

/// Posts the Close that the handler's end calls for; one that was posted before stands.
fn close_after(returned: Returned, client: &Shared) {
    match returned {
        Some(Ok(())) => {
            client.close(CloseMode::AfterQueue, CloseReason::new(1000, ""));
        }
        // The error is the end of the connection itself, passed on.
        Some(Err(error)) if !client.is_open() => {
            let said = said(error);
            log::debug!(
                "#{} the handler ended with the connection: {}",
                client.number,
                escaped(&said)
            );
        }
        Some(Err(error)) => {
            client.close(
                CloseMode::Immediate,
                CloseReason::new(1011, "handler failed"),
            );
            let said = said(error);
            log::warn!("#{} the handler failed: {}", client.number, escaped(&said));
        }
        None => {
            client.close(
                CloseMode::Immediate,
                CloseReason::new(1011, "handler failed"),
            );
            log::error!("#{} the handler panicked", client.number);
        }
    }
}

/// What a handler's error says, which is the user's code too, as is its end.
fn said(error: Failure) -> String {
    let said = catch_panic(|| error.to_string());
    catch_panic(|| drop(error));
    said.unwrap_or_else(|| "an error that panicked".into())
}
