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
use std::time::Instant;

use crossbeam_channel::Sender;
use log::Level;

use super::end_log;
use super::registered::RegisteredClient;
use super::response::Answer;
use crate::connection::Connection;
use crate::connection::activity::Activity;
use crate::connection::client_name::TARGET;
use crate::connection::close_cause::CloseCause;
use crate::connection::queue::waiting::set_reader_of;
use crate::connection::read::reader::ReadEnd;
use crate::connection::shared::Shared;
use crate::connection::socket::{Linger, linger, write_all};
use crate::connection::write::close::{CloseMode, CloseReason};
use crate::connection::write::writer;
use crate::escape::escaped;
use crate::handler::Handler;
use crate::http1::Reply;
use crate::panic::catch_panic;
use crate::server::admission::Permits;
use crate::server::own_thread;
use crate::server::refusal_log::{Refusal, RefusalLog};
use crate::server::state::ServerState;
use crate::server::stats::Disconnect;

/// The stack of a writer thread, where the end callbacks run, and the envelopes of gap notices.
const WRITER_STACK: usize = 128 << 10;

/// A client whose request was accepted. The handshake thread hands this value over to the reader.
pub(crate) struct Accepted<'scope> {
    pub(crate) client: RegisteredClient<'scope>,
    /// The 101.
    pub(crate) response: Vec<u8>,
    pub(crate) conn: Connection,
    pub(crate) writer: ScopedJoinHandle<'scope, ()>,
    pub(crate) permits: Permits<'scope>,
}

/// A client's two threads before the client is handed over. If this value is dropped instead, both threads end.
pub(crate) struct Threads<'scope> {
    writer: ScopedJoinHandle<'scope, ()>,
    reader: Sender<Box<Accepted<'scope>>>,
    end: EndWriter,
}

/// Ends the writer when this value is dropped. Otherwise, it would wait forever for a client that is not handed over.
struct EndWriter(Option<Arc<Shared>>);

impl Drop for EndWriter {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.write.finish(CloseCause::Gone);
            shared.write.writer.notify();
        }
    }
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
            .stack_size(server.config.handler_stack)
            .spawn_scoped(scope, move || {
                own_thread::works_for(server);
                let Ok(accepted) = handed_over.recv() else {
                    return;
                };
                drop(handed_over);
                // Panics of user code are caught inside `run`. A panic of our own code must not end the whole server
                // either.
                if catch_panic(|| run(accepted, server, handler)).is_none() {
                    // Otherwise, the writer would wait forever.
                    shared_after_panic.tear_down();
                    shared_after_panic
                        .name
                        .log(Level::Error, format_args!("the reader thread panicked"));
                }
            })?;
        let written = Arc::clone(shared);
        let writer = Builder::new()
            .name(format!("sp-{number}-write"))
            .stack_size(WRITER_STACK)
            .spawn_scoped(scope, move || {
                // End callbacks run here, and may drop the value that ends the server.
                own_thread::works_for(server);
                writer::run(&written);
            })?;
        let end = EndWriter(Some(Arc::clone(shared)));
        Ok(Threads {
            writer,
            reader,
            end,
        })
    }

    pub(crate) fn hand_over(
        self,
        accepted: impl FnOnce(ScopedJoinHandle<'scope, ()>) -> Accepted<'scope>,
    ) {
        let Threads {
            writer,
            reader,
            mut end,
        } = self;
        reader
            .send(Box::new(accepted(writer)))
            .expect("the reader waits for the client");
        // From now on, the reader ends the writer.
        end.0 = None;
    }
}

/// Runs the session. `accepted` is boxed, and setup and teardown are separate functions that are not inlined. This
/// keeps the reader's stack small, because every stack page that it has touched stays resident while the client is
/// idle.
fn run<H: Handler>(accepted: Box<Accepted<'_>>, server: &ServerState, handler: &H) {
    let opened = run_opening(handler, &accepted, server);
    let Some(mut accepted) = open(accepted, opened, server) else {
        return;
    };
    let opened = Instant::now();
    let returned = run_handler(handler, &mut accepted.conn);
    end(accepted, returned, opened, server);
}

/// Why a client does not get its 101.
enum Unopened {
    /// A shutdown began, or the connection was reset at `handshake_timeout`.
    Ended,
    Refused(Answer),
    WriteFailed(io::Error),
}

/// Calls `Handler::opening`, unless the handshake was rejected meanwhile. Afterwards, messages and a Close may be queued.
#[inline(never)]
fn run_opening<H: Handler>(
    handler: &H,
    accepted: &Accepted<'_>,
    server: &ServerState,
) -> Result<(), Unopened> {
    let shared = &accepted.client.shared;
    let lifecycle = shared.lifecycle();
    // Before this point, a shutdown answers the client with 503. After it, a shutdown closes the client with 1001. The
    // signal is checked too, because a shutdown ends the clients only after the acceptors have ended.
    if server.shutdown.is_closing() || !lifecycle.mark_upgraded() {
        return Err(Unopened::Ended);
    }
    shared
        .write
        .deadlines
        .start_request(shared.config().handshake_timeout);
    shared.reader.set(Activity::InHandler);
    set_reader_of(Some(Arc::clone(shared)));
    let returned = catch_panic(|| handler.opening(&accepted.conn));
    set_reader_of(None);
    let refused = match returned {
        _ if lifecycle.is_finished() => Unopened::Ended,
        Some(Ok(())) => return Ok(()),
        Some(Err(reply)) if !reply.is_upgrade() => Unopened::Refused(Answer::from_handler(reply)),
        Some(Err(_)) => Unopened::Refused(Answer::rejection_of_kind(
            Refusal::HandlerFailed,
            Reply::status(500),
            "the handler returned an upgrade from `opening`",
        )),
        None => {
            let reason = "the handler panicked in `opening`";
            let kind = Refusal::HandlerPanicked;
            Unopened::Refused(Answer::rejection_of_kind(kind, Reply::status(500), reason))
        }
    };
    Err(refused)
}

/// Writes the 101. This happens on the reader thread, so that a client that has received its 101 never waits for the
/// reader thread to start. Returns `None` if the client did not get the 101; it has then ended.
#[inline(never)]
fn open<'scope>(
    accepted: Box<Accepted<'scope>>,
    opened: Result<(), Unopened>,
    server: &ServerState,
) -> Option<Box<Accepted<'scope>>> {
    let RegisteredClient { shared, socket, .. } = &accepted.client;
    let written = opened
        .and_then(|()| write_all(&**socket, &accepted.response).map_err(Unopened::WriteFailed));
    let Err(unopened) = written else {
        shared.write.deadlines.stop_handshake();
        shared.write.open(Arc::clone(socket));
        server.counters.count_opened(accepted.conn.request());
        shared.name.log(Level::Debug, format_args!("opened"));
        shared.reader.set(Activity::InHandler);
        set_reader_of(Some(Arc::clone(shared)));
        return Some(accepted);
    };
    shared.write.finish(CloseCause::Gone);
    drop_kept(&accepted.conn, shared, &server.refusals);
    join(accepted.writer, shared);
    let send = |answer: Answer| {
        answer.send(shared, &**socket, server, Some(accepted.conn.request()));
    };
    match unopened {
        // Counted and logged by the thread that has reset it.
        _ if shared.lifecycle().was_reset() => {}
        Unopened::Ended if server.shutdown.is_closing() => send(Answer::shutting_down()),
        Unopened::Ended => {}
        Unopened::Refused(answer) => send(answer),
        Unopened::WriteFailed(error) => {
            server.disconnects.count(Disconnect::RequestRejected);
            server.counters.refused.count(Refusal::UpgradeFailed);
            server.refusals.log(
                Refusal::UpgradeFailed,
                &shared.name.get(),
                format_args!("writing the 101 failed: {error}"),
            );
        }
    }
    drop(accepted.conn);
    // Held until here, because this thread counts towards the connection limit while it waits for the peer.
    drop(accepted.permits);
    accepted.client.leave_unopened(server);
    None
}

type Failure = Box<dyn Error + Send + Sync>;

/// The result of the handler. `None` means that the handler panicked.
type Returned = Option<Result<(), Failure>>;

#[inline(never)]
fn run_handler<H: Handler>(handler: &H, conn: &mut Connection) -> Returned {
    catch_panic(|| handler.run(conn))
}

/// Drops what the handler has kept, which may run user code.
fn drop_kept(conn: &Connection, shared: &Shared, refusals: &RefusalLog) {
    let kept = conn.take_all();
    if catch_panic(|| drop(kept)).is_none() {
        refusals.log(
            Refusal::HandlerPanicked,
            &shared.name.get(),
            format_args!("dropping a value of the handler panicked"),
        );
    }
}

#[inline(never)]
fn end(mut accepted: Box<Accepted<'_>>, returned: Returned, opened: Instant, server: &ServerState) {
    let RegisteredClient { shared, socket, .. } = &accepted.client;
    set_reader_of(None);
    drop_kept(&accepted.conn, shared, &server.refusals);
    close_after(returned, shared, server);
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
        // A reset at a deadline takes precedence, because it may also happen during a close.
        let missed = lifecycle.missed_clock().map(CloseCause::TimedOut);
        server
            .counters
            .closed
            .count(missed.as_ref().unwrap_or(&cause));
    }
    end_log::log(&accepted.conn, shared, opened.elapsed(), &server.refusals);
    // Dropping the connection drops the values in the request's extensions, which may run user code.
    let conn = accepted.conn;
    catch_panic(|| drop(conn));
    drop(accepted.permits);
    accepted.client.leave(server);
}

/// Waits until the writer thread has ended. Each wait of the writer has a deadline.
fn join(writer: ScopedJoinHandle<'_, ()>, shared: &Shared) {
    if writer.join().is_err() {
        shared
            .name
            .log(Level::Error, format_args!("the writer thread panicked"));
        shared.tear_down();
        shared.call_end_callbacks();
    }
}

/// Requests the Close that follows from the handler's result. If a Close has been requested before, that one is kept.
fn close_after(returned: Returned, shared: &Shared, server: &ServerState) {
    let client = shared.name.get();
    let refusals = &server.refusals;
    match returned {
        // The handler has finished because the server ends, so the client is told to go elsewhere.
        Some(Ok(())) if shared.draining().is_set() && shared.lifecycle().is_open() => {
            shared.shut_down();
        }
        Some(Ok(())) => {
            shared.close_by_application(CloseMode::AfterQueue, 1000, "");
        }
        // The connection had already ended, and the handler passed that error on.
        Some(Err(error)) if !shared.lifecycle().is_open() => {
            let text = text_of(error);
            let text = escaped(&text);
            client.log(
                TARGET,
                Level::Debug,
                &[],
                format_args!("the handler returned after the connection had ended: {text}"),
            );
        }
        Some(Err(error)) => {
            close_failed(shared);
            let text = text_of(error);
            let text = escaped(&text);
            refusals.log(
                Refusal::HandlerFailed,
                &client,
                format_args!("the handler failed: {text}"),
            );
        }
        None => {
            close_failed(shared);
            refusals.log(
                Refusal::HandlerPanicked,
                &client,
                format_args!("the handler panicked"),
            );
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
