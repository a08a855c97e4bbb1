//! One client's life, on thread `sp-N-read`: the door, the handler, the closing handshake, and the end, which is the
//! same few lines whatever happened before.
//!
//! Spawned by the acceptor. It starts the writer and joins it. It ends when the handler has returned and the closing
//! handshake is over, one way or another; the scope in `serve` joins it.

use std::error::Error;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{Result as Caught, Scope};

use super::Connection;
use super::client::Client;
use super::control::{Goodbye, When};
use super::cork;
use super::door::{self, Upgraded};
use super::outbox::{Outbox, this_thread_reads_for};
use super::reader::{End, Reader};
use super::state::Doing;
use super::transport::{Transport, linger};
use crate::handler::Handler;
use crate::quoted::quoted;
use crate::server::{Entry, House, Permit};

/// A client whose first byte has not been read.
pub(crate) struct Arrival<'house> {
    pub(crate) client: Arc<Client>,
    pub(crate) transport: Arc<dyn Transport>,
    /// It stands in the list of clients until this is dropped.
    pub(crate) entry: Entry<'house>,
    /// It is one of the heads in flight until it is upgraded.
    pub(crate) head: Permit<'house>,
}

/// Lives it.
pub(crate) fn live<'scope, H: Handler>(
    arrival: Arrival<'scope>,
    house: &'scope House,
    scope: &'scope Scope<'scope, '_>,
    handler: &H,
) {
    let Arrival {
        client,
        transport,
        entry,
        head,
    } = arrival;
    if let Some(upgraded) = door::enter(&client, &transport, house, scope, handler) {
        drop(head);
        log::debug!("#{} {} opened", client.number, client.peer);
        run(upgraded, &client, &transport, handler);
        house.tally.count(client.fate());
        log::debug!(
            "#{} {} closed: {:?}",
            client.number,
            client.peer,
            client.why()
        );
    }
    if let Some(ending) = client.ending() {
        house.endings.count(ending);
    }
    client.give_up();
    client.wire.end(&client);
    // The watchdog may be in the middle of discarding: who finds the client gone finds its books closed.
    client.queue.drain();
    // The descriptor first: whoever finds the client gone from the list finds its socket closed.
    drop(transport);
    drop(entry);
}

fn run<H: Handler>(
    upgraded: Upgraded<'_>,
    client: &Arc<Client>,
    transport: &Arc<dyn Transport>,
    handler: &H,
) {
    let Upgraded {
        request,
        subprotocol,
        ahead,
        writer,
        _places,
    } = upgraded;
    let mut conn = Connection {
        request: Arc::new(request),
        subprotocol,
        reader: Reader::new(Arc::clone(transport), client, ahead),
        outbox: Outbox::new(Arc::clone(client)),
    };
    client.state.reader.set(Doing::InHandler);
    this_thread_reads_for(Some(Arc::clone(client)));
    let returned = catch_unwind(AssertUnwindSafe(|| handler.run(&mut conn)));
    cork::set(false);
    this_thread_reads_for(None);
    close_after(returned, client);
    client.state.reader.set(Doing::Closing);
    // While the Close waits for its writer, and the peer's for the network, what still comes is thrown away.
    conn.reader.discard();
    door::join(writer, client);
    match conn.reader.end() {
        // The server closes TCP first (RFC 6455 §7.1.1).
        Some(End::Closed) => transport.shutdown(Shutdown::Write),
        Some(End::Fault) if !client.state.was_reset.load(SeqCst) => linger(&**transport),
        _ if client.state.close_sent.load(SeqCst) => {}
        // Nobody is left to read what the kernel still holds.
        _ => transport.reset_at_end(),
    }
}

/// Posts the Close that the handler's end calls for; one that was posted before stands.
fn close_after(returned: Caught<Result<(), Box<dyn Error + Send + Sync>>>, client: &Client) {
    match returned {
        Ok(Ok(())) => {
            client.close(When::Queued, Goodbye::new(1000, ""));
        }
        // The error is the end of the connection itself, passed on.
        Ok(Err(error)) if !client.is_open() => {
            log::debug!(
                "#{} the handler ended with the connection: {}",
                client.number,
                quoted(&error.to_string())
            );
        }
        Ok(Err(error)) => {
            client.close(When::Now, Goodbye::new(1011, "handler failed"));
            log::warn!(
                "#{} the handler failed: {}",
                client.number,
                quoted(&error.to_string())
            );
        }
        Err(_) => {
            client.close(When::Now, Goodbye::new(1011, "handler failed"));
            log::error!("#{} the handler panicked", client.number);
        }
    }
}
