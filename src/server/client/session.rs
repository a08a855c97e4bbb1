//! Thread `sp-N-read`: one client from its 101 to its end. This thread runs the handler and the closing handshake, and
//! tears the connection down.
//!
//! The handshake thread starts the reader and the writer, and then hands the client over to the reader. The reader ends
//! when the handler has returned and the closing handshake has succeeded or failed. The reader joins the writer, and
//! the scope in `serve` joins the reader.

use std::error::Error;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crossbeam_channel::Sender;

use super::response::Answer;
use crate::connection::Connection;
use crate::connection::activity::Activity;
use crate::connection::close_cause::CloseCause;
use crate::connection::queue::waiting::set_reader_of;
use crate::connection::read::reader::ReadEnd;
use crate::connection::shared::Shared;
use crate::connection::socket::{Linger, Transport, linger, write_all};
use crate::connection::write::close::{CloseMode, CloseReason};
use crate::connection::write::writer;
use crate::escape::escaped;
use crate::handler::Handler;
use crate::panic::catch_panic;
use crate::server::admission::Permits;
use crate::server::registry::RegistryEntry;
use crate::server::state::ServerState;
use crate::server::stats::Disconnect;

/// The stack of a writer thread. No user code runs on it.
const WRITER_STACK: usize = 64 << 10;

/// The stack of a reader thread, where the handler runs. Only the pages that have been touched use memory.
const READER_STACK: usize = 256 << 10;

/// A client with its socket and its entry in the registry.
pub(crate) struct RegisteredClient<'server> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) socket: Arc<dyn Transport>,
    pub(crate) entry: RegistryEntry<'server>,
}

impl RegisteredClient<'_> {
    /// Ends the client and removes it from the registry. Every client ends here, however its connection ended.
    pub(crate) fn leave(self, server: &ServerState) {
        let lifecycle = self.shared.lifecycle();
        if let Some(disconnect) = Disconnect::of(lifecycle.missed_clock(), lifecycle.cause()) {
            server.disconnects.count(disconnect);
        }
        self.shared.tear_down();
        // The socket is dropped first, so that the socket of a client that is not in the registry any more is closed.
        drop(self.socket);
        drop(self.entry);
    }
}

/// A client whose request was accepted. The handshake thread hands this value over to the reader.
pub(crate) struct Accepted<'scope> {
    pub(crate) client: RegisteredClient<'scope>,
    /// The 101.
    pub(crate) response: Vec<u8>,
    pub(crate) conn: Connection,
    pub(crate) writer: ScopedJoinHandle<'scope, ()>,
    pub(crate) permits: Permits<'scope>,
}

/// A client's two threads before the client is handed over. If this value is dropped instead, the reader ends.
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
        let shared_after_panic = Arc::clone(shared);
        let (reader, handed_over) = crossbeam_channel::bounded::<Box<Accepted<'scope>>>(1);
        Builder::new()
            .name(format!("sp-{number}-read"))
            .stack_size(READER_STACK)
            .spawn_scoped(scope, move || {
                let Ok(accepted) = handed_over.recv() else {
                    return;
                };
                drop(handed_over);
                // Panics of user code are caught inside `run`. A panic of our own code must not end the whole server
                // either.
                if catch_panic(|| run(accepted, server, handler)).is_none() {
                    // Otherwise, the writer would wait forever.
                    shared_after_panic.tear_down();
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

/// Runs the session. `accepted` is boxed, and setup and teardown are separate functions that are not inlined. This
/// keeps the reader's stack small, because every stack page that it has touched stays resident while the client is
/// idle.
fn run<H: Handler>(accepted: Box<Accepted<'_>>, server: &ServerState, handler: &H) {
    let Some(mut accepted) = open(accepted, server) else {
        return;
    };
    let returned = run_handler(handler, &mut accepted.conn);
    end(accepted, returned, server);
}

/// Writes the 101. This happens on the reader thread, so that a client that has received its 101 never waits for the
/// reader thread to start. Returns `None` if the client did not get the 101; it has then ended.
#[inline(never)]
fn open<'scope>(
    accepted: Box<Accepted<'scope>>,
    server: &ServerState,
) -> Option<Box<Accepted<'scope>>> {
    let RegisteredClient { shared, socket, .. } = &accepted.client;
    // Before this point, a shutdown answers the client with 503. After it, a shutdown closes the client with 1001. The
    // latch is checked too, because a shutdown ends the clients only after the acceptors have ended.
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
        // The connection was reset at `handshake_timeout`.
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

/// The result of the handler. `None` means that the handler panicked.
type Returned = Option<Result<(), Failure>>;

#[inline(never)]
fn run_handler<H: Handler>(handler: &H, conn: &mut Connection) -> Returned {
    catch_panic(|| handler.run(conn))
}

#[inline(never)]
fn end(mut accepted: Box<Accepted<'_>>, returned: Returned, server: &ServerState) {
    let RegisteredClient { shared, socket, .. } = &accepted.client;
    set_reader_of(None);
    close_after(returned, shared);
    shared.reader.set(Activity::Closing);
    // Until our Close has been written and the peer's Close has arrived, everything that the peer sends is discarded.
    accepted.conn.reader().discard();
    join(accepted.writer, shared);
    let lifecycle = shared.lifecycle();
    match accepted.conn.reader().ended() {
        // The server closes TCP first (RFC 6455 §7.1.1).
        Some(ReadEnd::Closed) => socket.shutdown(Shutdown::Write),
        Some(ReadEnd::Violation) if !lifecycle.was_reset() => linger(&**socket, Linger::CLOSE),
        _ if lifecycle.was_close_sent() => {}
        // Nobody will read the bytes in the kernel's buffer, so closing the socket resets the connection.
        _ => socket.reset_at_end(),
    }
    server.shutdown_tally.count(lifecycle.shutdown_outcome());
    if let Some(cause) = lifecycle.cause() {
        log::debug!("#{} {} ended: {cause}", shared.number, shared.peer);
    }
    // Dropping the connection drops the values in the request's extensions, which may run user code.
    let conn = accepted.conn;
    catch_panic(|| drop(conn));
    drop(accepted.permits);
    accepted.client.leave(server);
}

/// Waits until the writer thread has ended. Each wait of the writer has a deadline.
fn join(writer: ScopedJoinHandle<'_, ()>, shared: &Shared) {
    if writer.join().is_err() {
        log::error!("#{} the writer thread panicked", shared.number);
    }
}

/// Requests the Close that follows from the handler's result. If a Close has been requested before, that one is kept.
fn close_after(returned: Returned, shared: &Shared) {
    let number = shared.number;
    match returned {
        Some(Ok(())) => {
            shared.close_by_application(1000, "");
        }
        // The connection had already ended, and the handler passed that error on.
        Some(Err(error)) if !shared.lifecycle().is_open() => {
            let text = text_of(error);
            log::debug!(
                "#{number} the handler returned after the connection had ended: {}",
                escaped(&text)
            );
        }
        Some(Err(error)) => {
            close_failed(shared);
            let text = text_of(error);
            log::warn!("#{number} the handler failed: {}", escaped(&text));
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

/// Returns the text of a handler's error. Formatting and dropping the error run user code, which may panic.
fn text_of(error: Failure) -> String {
    let text = catch_panic(|| error.to_string());
    catch_panic(|| drop(error));
    text.unwrap_or_else(|| "an error whose text could not be formatted".into())
}
