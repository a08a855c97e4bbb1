//! Thread `sp-N-read`: one client from its 101 to its end. It runs the handler and the closing handshake, and tears the
//! connection down.
//!
//! The handshake thread starts it, together with the writer, and hands the client over; the reader joins the writer. The
//! reader ends when the handler has returned and the closing handshake is over, one way or another; the scope in `serve`
//! joins it. The end is the same few lines whatever happened before.

use std::error::Error;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crossbeam_channel::Sender;

use super::response::Answer;
use crate::caught::caught;
use crate::connection::Connection;
use crate::connection::activity::Activity;
use crate::connection::close_cause::CloseCause;
use crate::connection::queue::waiting::set_reader_of;
use crate::connection::read::reader::ReadEnd;
use crate::connection::shared::Shared;
use crate::connection::socket::{Transport, linger, write_all};
use crate::connection::write::close::{CloseMode, CloseReason};
use crate::connection::write::writer;
use crate::handler::Handler;
use crate::quoted::quoted;
use crate::server::admission::Permits;
use crate::server::registry::RegistryEntry;
use crate::server::state::ServerState;
use crate::server::stats::Disconnect;

/// The stack of a writer thread. No user code runs on it.
const WRITER_STACK: usize = 64 << 10;

/// The stack of a reader thread, where the handler runs. Only pages that are touched use memory.
const READER_STACK: usize = 256 << 10;

/// A client that is in the registry, and its socket.
pub(crate) struct RegisteredClient<'server> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) socket: Arc<dyn Transport>,
    pub(crate) entry: RegistryEntry<'server>,
}

impl RegisteredClient<'_> {
    /// Ends the client, whatever happened before, and removes it from the registry.
    pub(crate) fn leave(self, server: &ServerState) {
        let lifecycle = self.shared.lifecycle();
        if let Some(disconnect) = Disconnect::of(lifecycle.missed_clock(), lifecycle.cause()) {
            server.disconnects.count(disconnect);
        }
        self.shared.tear_down();
        // The descriptor first: a client that is no longer in the registry has closed its socket.
        drop(self.socket);
        drop(self.entry);
    }
}

/// A client whose request was accepted, as it is handed from the handshake thread to its reader.
pub(crate) struct Accepted<'scope> {
    pub(crate) client: RegisteredClient<'scope>,
    /// The 101.
    pub(crate) response: Vec<u8>,
    pub(crate) conn: Connection,
    pub(crate) writer: ScopedJoinHandle<'scope, ()>,
    pub(crate) permits: Permits<'scope>,
}

/// A client's two threads, before the client has been handed over. If it never is, the reader ends.
pub(crate) struct Threads<'scope> {
    writer: ScopedJoinHandle<'scope, ()>,
    reader: Sender<Box<Accepted<'scope>>>,
}

impl<'scope> Threads<'scope> {
    pub(crate) fn start<H: Handler>(
        shared: &Arc<Shared>,
        server: &'scope ServerState,
        scope: &'scope Scope<'scope, '_>,
        handler: &'scope H,
    ) -> io::Result<Threads<'scope>> {
        let number = shared.number;
        let kept = Arc::clone(shared);
        let (reader, handed_over) = crossbeam_channel::bounded::<Box<Accepted<'scope>>>(1);
        Builder::new()
            .name(format!("sp-{number}-read"))
            .stack_size(READER_STACK)
            .spawn_scoped(scope, move || {
                let Ok(accepted) = handed_over.recv() else {
                    return;
                };
                drop(handed_over);
                // Panics of user code are caught further in. One of ours must not end the whole server.
                if caught(|| run(accepted, server, handler)).is_none() {
                    // Otherwise the writer would wait for ever.
                    kept.tear_down();
                    log::error!("#{number} the reader thread panicked");
                }
            })?;
        let written = Arc::clone(shared);
        let writer = Builder::new()
            .name(format!("sp-{number}-write"))
            .stack_size(WRITER_STACK)
            .spawn_scoped(scope, move || writer::run(&written))?;
        Ok(Threads { writer, reader })
    }

    pub(crate) fn hand_over(
        self,
        accepted: impl FnOnce(ScopedJoinHandle<'scope, ()>) -> Accepted<'scope>,
    ) {
        self.reader
            .send(Box::new(accepted(self.writer)))
            .expect("the reader waits for the client");
    }
}

/// Runs the session. `accepted` is boxed, and setup and teardown are separate functions that are not inlined, to keep the
/// reader's stack small: what it has touched stays resident while the client is idle.
fn run<H: Handler>(accepted: Box<Accepted<'_>>, server: &ServerState, handler: &H) {
    let Some(mut accepted) = open(accepted, server) else {
        return;
    };
    let returned = run_handler(handler, &mut accepted.conn);
    end(accepted, returned, server);
}

/// Writes the 101, on the reader's thread. So what the handler sends first follows right behind it, and a client that has
/// its 101 does not wait for a thread that has not run yet. Returns `None` if the client is gone.
#[inline(never)]
fn open<'scope>(
    accepted: Box<Accepted<'scope>>,
    server: &ServerState,
) -> Option<Box<Accepted<'scope>>> {
    let RegisteredClient { shared, socket, .. } = &accepted.client;
    // From here on, shutdown closes the client with 1001; before, it is answered 503. The latch is checked too, because
    // shutdown looks at the clients only after the acceptors have noticed it.
    let rejected = server.latch.is_set() || !shared.lifecycle().mark_upgraded();
    let written = if rejected {
        Err(None)
    } else {
        write_all(&**socket, &accepted.response).map_err(Some)
    };
    let Err(error) = written else {
        shared.write.deadlines.stop_handshake();
        shared.write.open(Arc::clone(socket));
        log::debug!("#{} {} opened", shared.number, shared.peer);
        shared.reader.set(Activity::InHandler);
        set_reader_of(Some(Arc::clone(shared)));
        return Some(accepted);
    };
    shared.write.finish(CloseCause::Gone);
    join(accepted.writer, shared);
    drop(accepted.permits);
    match error {
        None if server.latch.is_set() => {
            Answer::shutting_down().send(shared, &**socket, server, Some(accepted.conn.request()));
        }
        // The watchdog reset it at `handshake_timeout`.
        None => {}
        Some(error) => {
            server.disconnects.count(Disconnect::RequestRejected);
            log::warn!("#{} writing the 101 failed: {error}", shared.number);
        }
    }
    drop(accepted.conn);
    accepted.client.leave(server);
    None
}

type Failure = Box<dyn Error + Send + Sync>;

/// What the handler returned. `None` means that it panicked.
type Returned = Option<Result<(), Failure>>;

#[inline(never)]
fn run_handler<H: Handler>(handler: &H, conn: &mut Connection) -> Returned {
    caught(|| handler.run(conn))
}

#[inline(never)]
fn end(mut accepted: Box<Accepted<'_>>, returned: Returned, server: &ServerState) {
    let RegisteredClient { shared, socket, .. } = &accepted.client;
    set_reader_of(None);
    close_after(returned, shared);
    shared.reader.set(Activity::Closing);
    // While our Close waits to be written, and the peer's to arrive, what the peer sends is discarded.
    accepted.conn.reader().discard();
    join(accepted.writer, shared);
    let lifecycle = shared.lifecycle();
    match accepted.conn.reader().ended() {
        // The server closes TCP first (RFC 6455 §7.1.1).
        Some(ReadEnd::Closed) => socket.shutdown(Shutdown::Write),
        Some(ReadEnd::Violation) if !lifecycle.was_reset() => linger(&**socket),
        _ if lifecycle.was_close_sent() => {}
        // Nobody will read what the kernel still holds.
        _ => socket.reset_at_end(),
    }
    server.shutdown_tally.count(lifecycle.shutdown_outcome());
    if let Some(cause) = lifecycle.cause() {
        log::debug!("#{} {} ended: {cause}", shared.number, shared.peer);
    }
    // The request's extensions hold what the user put there, and dropping it is user code.
    let conn = accepted.conn;
    caught(|| drop(conn));
    drop(accepted.permits);
    accepted.client.leave(server);
}

/// Waits for the writer thread. Each of its waits has a deadline.
fn join(writer: ScopedJoinHandle<'_, ()>, shared: &Shared) {
    if writer.join().is_err() {
        log::error!("#{} the writer thread panicked", shared.number);
    }
}

/// Requests the Close that the handler's return calls for. One that was requested before stands.
fn close_after(returned: Returned, shared: &Shared) {
    let number = shared.number;
    match returned {
        Some(Ok(())) => {
            shared.close_by_application(1000, "");
        }
        // The error is the end of the connection itself, passed on by the handler.
        Some(Err(error)) if !shared.lifecycle().is_open() => {
            let text = text_of(error);
            log::debug!(
                "#{number} the handler ended with the connection: {}",
                quoted(&text)
            );
        }
        Some(Err(error)) => {
            close_failed(shared);
            let text = text_of(error);
            log::warn!("#{number} the handler failed: {}", quoted(&text));
        }
        None => {
            close_failed(shared);
            log::error!("#{number} the handler panicked");
        }
    }
}

fn close_failed(shared: &Shared) {
    let reason = CloseReason::new(1011, "handler failed");
    shared.close(CloseMode::Immediate, reason, CloseCause::HandlerFailed);
}

/// Returns the text of a handler's error. Formatting it and dropping it are user code, which may panic.
fn text_of(error: Failure) -> String {
    let text = caught(|| error.to_string());
    caught(|| drop(error));
    text.unwrap_or_else(|| "an error that panicked".into())
}
