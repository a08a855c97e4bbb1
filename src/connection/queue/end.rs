//! The half of [`Outbox`] that ends the connection, and that tells whether and how it has ended.

use std::convert::Infallible;

use crossbeam_channel::Receiver;

use super::outbox::Outbox;
use crate::connection::close_cause::{CloseCause, PeerClose};
use crate::connection::end_callbacks::TooManyCallbacks;
use crate::connection::write::close::{CloseMode, may_be_sent};

impl Outbox {
    /// Closes the connection after the queued messages: they are written first, then a Close with `code` and `reason`.
    /// No further message is accepted. Returns immediately. A client that does not read keeps the connection open until
    /// [`write_timeout`](crate::Config::write_timeout); [`close_now`](Self::close_now) does not wait for it.
    ///
    /// `code` is one of 1000–1003, 1007–1014 or 3000–4999 (RFC 6455 §7.4). For any other code, 1000 is sent. The hub
    /// and the `standpipe` program use codes from 4000 to 4099, so an application's own codes begin at 4100. `reason` is
    /// truncated to 123 bytes. If `close` is called several times, the first call takes effect.
    ///
    /// ```
    /// use standpipe::Outbox;
    ///
    /// /// Says goodbye to a client, after all that was sent to it before.
    /// fn finish_game(outbox: &Outbox, score: u32) {
    ///     let _ = outbox.try_send(format!("your score: {score}"));
    ///     outbox.close(1000, "the game is over");
    /// }
    /// # let _ = finish_game;
    /// ```
    pub fn close(&self, code: u16, reason: &str) {
        let code = if may_be_sent(code) { code } else { 1000 };
        self.shared()
            .close_by_application(CloseMode::AfterQueue, code, reason);
    }

    /// Closes the connection without the queued messages: they are discarded. The message that is being written is
    /// completed, and a Close with `code` and `reason` follows it. No further message is accepted. Returns immediately.
    ///
    /// The client has [`close_timeout`](crate::Config::close_timeout), from this call on, to read the Close and to answer
    /// it. Then the connection is reset. So a client that has stopped reading sees the code if it reads again in that time.
    ///
    /// `code` and `reason` are as for [`close`](Self::close). This call replaces a `close` that still waits for the
    /// queue. It has no effect on a connection whose Close is being written already.
    ///
    /// ```
    /// use standpipe::Outbox;
    ///
    /// /// Removes a user from the server, even one whose connection has stopped reading.
    /// fn kick(connections: &[Outbox]) {
    ///     for outbox in connections {
    ///         outbox.close_now(4100, "kicked");
    ///     }
    /// }
    /// # let _ = kick;
    /// ```
    pub fn close_now(&self, code: u16, reason: &str) {
        let code = if may_be_sent(code) { code } else { 1000 };
        self.shared()
            .close_by_application(CloseMode::Immediate, code, reason);
    }

    /// Returns true until the connection ends or begins to close. From then on no message is accepted. The end of the
    /// peer's stream alone does not change it: see [`closed`](Self::closed).
    ///
    /// ```
    /// use standpipe::Outbox;
    ///
    /// /// Forgets the clients that have left.
    /// fn tidy(outboxes: &mut Vec<Outbox>) {
    ///     outboxes.retain(Outbox::is_open);
    /// }
    /// # let _ = tidy;
    /// ```
    pub fn is_open(&self) -> bool {
        self.shared().lifecycle().is_open()
    }

    /// Returns why the connection is closing or has ended, or `None` while there is no cause. It is still known when the
    /// client is gone.
    ///
    /// ```
    /// use standpipe::{CloseCause, Outbox};
    ///
    /// /// Returns whether a client may come back: it has not closed the connection itself.
    /// fn may_come_back(outbox: &Outbox) -> bool {
    ///     !matches!(outbox.cause(), Some(CloseCause::Peer { .. }))
    /// }
    /// # let _ = may_come_back;
    /// ```
    pub fn cause(&self) -> Option<CloseCause> {
        self.shared().lifecycle().cause()
    }

    /// Returns the Close that the peer has sent, or `None` if none has been received. It is its answer if our Close was
    /// first, which [`cause`](Self::cause) tells.
    ///
    /// A Close is received by [`Connection::recv`](crate::Connection::recv), and by the server when the handler has
    /// returned. After our own Close, `recv` returns `None` immediately, so the answer is received only after the
    /// handler's return.
    ///
    /// ```
    /// use standpipe::Outbox;
    ///
    /// fn log_end(outbox: &Outbox) {
    ///     match outbox.peer_close() {
    ///         Some(close) => println!("client {} said {close}", outbox.number()),
    ///         None => println!("client {} said nothing", outbox.number()),
    ///     }
    /// }
    /// # let _ = log_end;
    /// ```
    pub fn peer_close(&self) -> Option<PeerClose> {
        self.shared().lifecycle().peer_close()
    }

    /// Calls `callback` once, with the cause, when the connection has ended. It has ended when nothing more is written
    /// to the client:
    ///
    /// - our Close has been written; the peer may not have answered it yet,
    /// - the connection was reset, by either side or by a time limit, or it has failed,
    /// - `recv` has reached the end of the peer's stream, or the server has noticed that end while the handler was in its
    ///   own code, as for [`closed`](Self::closed). In the latter case `callback` gets [`CloseCause::Gone`], also if a
    ///   Close of the peer lies unread before that end. `recv` then still returns what had arrived.
    ///
    /// This does not wait for the handler, so `callback` can end the foreign call in which the handler is blocked.
    ///
    /// `callback` is called on the client's thread `sp-N-write`, which holds no lock. That thread has a stack of 128 KiB,
    /// and the client's place in the connection limit stays taken until `callback` has returned. So it should be short:
    /// it sends on a channel, or shuts a socket down. If the connection has ended before, `callback` is called in
    /// `on_end`, on the calling thread: hold no lock that it takes. If it panics, the panic is logged, and nothing else
    /// happens. After the end of the peer's stream alone, the thread first ends the write in which it may be waiting, at
    /// the latest at [`write_timeout`](crate::Config::write_timeout).
    ///
    /// A callback cannot be removed. One connection can have 16. For work that comes and goes, use one callback and a
    /// place of your own in which it finds what it has to end.
    ///
    /// # Errors
    /// [`TooManyCallbacks`] if the connection has 16 callbacks. Then `callback` is dropped.
    ///
    /// ```
    /// use std::io::{BufRead, BufReader, Write};
    /// use std::net::{Shutdown, TcpStream};
    ///
    /// use standpipe::Connection;
    ///
    /// /// A handler that asks a backend, and does not wait for its answer when the client is gone.
    /// fn ask(conn: &mut Connection) -> standpipe::HandlerResult {
    ///     let backend = TcpStream::connect("127.0.0.1:9000")?;
    ///     let other = backend.try_clone()?;
    ///     conn.outbox().on_end(move |_| {
    ///         // Wakes `read_line` below.
    ///         let _ = other.shutdown(Shutdown::Both);
    ///     })?;
    ///     let mut backend = BufReader::new(backend);
    ///     while let Some(question) = conn.recv()? {
    ///         writeln!(backend.get_mut(), "{}", question.to_text()?)?;
    ///         let mut answer = String::new();
    ///         backend.read_line(&mut answer)?;
    ///         conn.send(answer)?;
    ///     }
    ///     Ok(())
    /// }
    /// # let _: fn(&mut Connection) -> _ = ask;
    /// ```
    pub fn on_end(
        &self,
        callback: impl FnOnce(CloseCause) + Send + 'static,
    ) -> Result<(), TooManyCallbacks> {
        self.shared().on_end(Box::new(callback))
    }

    /// Ends the connection with a TCP reset. The queued messages are not sent. Returns immediately. The client is told no
    /// reason; [`close_now`](Self::close_now) tells it one.
    ///
    /// ```
    /// use standpipe::Outbox;
    ///
    /// /// Frees what a client uses immediately, for example because it abuses the server.
    /// fn cut_off(outbox: &Outbox) {
    ///     outbox.terminate();
    ///     assert!(!outbox.is_open());
    /// }
    /// # let _ = cut_off;
    /// ```
    pub fn terminate(&self) {
        self.shared().terminate(CloseCause::Terminated);
    }

    /// Returns a channel that disconnects when the connection begins to close or ends, and when the server shuts down.
    /// Nothing is ever sent on the channel. Use it in `select!`, or call its `recv_timeout` instead of sleeping.
    ///
    /// Messages are read from the peer only in [`Connection::recv`](crate::Connection::recv). While the handler is in
    /// its own code, the server looks about once per second whether the peer has gone:
    ///
    /// - If the peer has reset the connection, the connection has ended. The queued messages are discarded, and every
    ///   send fails.
    /// - If the peer has only ended its stream, `recv` still returns the messages that arrived before the end. Sends are
    ///   accepted until a write fails or `recv` reaches the end, because the peer may still read.
    /// - If the peer is silent for [`ping_interval`](crate::Config::ping_interval), it is pinged. If nothing arrives within
    ///   [`ping_timeout`](crate::Config::ping_timeout) after that, the connection is reset. A peer of which more than 1 KiB
    ///   lies unread is not judged, because its answer may have no room.
    /// - A Close frame is seen only by `recv`.
    ///
    /// ```
    /// use standpipe::crossbeam_channel::{Receiver, select};
    /// use standpipe::Connection;
    ///
    /// /// Waits for the result of a worker, but not longer than the client is there.
    /// fn result_for(conn: &Connection, results: &Receiver<String>) -> Option<String> {
    ///     select! {
    ///         recv(results) -> result => result.ok(),
    ///         recv(conn.closed()) -> _ => None,
    ///     }
    /// }
    /// # let _ = result_for;
    /// ```
    pub fn closed(&self) -> &Receiver<Infallible> {
        self.shared().lifecycle().closed()
    }

    /// Returns whether the server has stopped accepting in order to end. See
    /// [`Connection::is_draining`](crate::Connection::is_draining).
    ///
    /// ```
    /// # use standpipe::Outbox;
    /// /// Gives a client a job, unless the server is about to end.
    /// fn offer(outbox: &Outbox, job: &str) -> bool {
    ///     !outbox.is_draining() && outbox.try_send(job).is_ok()
    /// }
    /// # let _: fn(&Outbox, &str) -> bool = offer;
    /// ```
    pub fn is_draining(&self) -> bool {
        self.shared().draining().is_set()
    }

    /// Returns a channel that disconnects when the server has stopped accepting in order to end. Nothing is ever sent on
    /// it. Use it in `select!` to stop taking work.
    ///
    /// ```
    /// use standpipe::Outbox;
    /// use standpipe::crossbeam_channel::{Receiver, select};
    ///
    /// /// Sends the results of a job, until the server drains.
    /// fn forward(results: &Receiver<String>, outbox: &Outbox) {
    ///     loop {
    ///         select! {
    ///             recv(results) -> result => {
    ///                 let Ok(result) = result else { return };
    ///                 if outbox.send(result).is_err() {
    ///                     return;
    ///                 }
    ///             }
    ///             recv(outbox.draining()) -> _ => return,
    ///         }
    ///     }
    /// }
    /// # let _: fn(&Receiver<String>, &Outbox) = forward;
    /// ```
    pub fn draining(&self) -> &Receiver<Infallible> {
        self.shared().draining().receiver()
    }
}
