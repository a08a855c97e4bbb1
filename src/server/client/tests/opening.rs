//! `Handler::opening`, while the 101 is held back.

use std::sync::Mutex;

use crate::message::Message;

use super::*;
use crate::connection::Outbox;
use crate::connection::testing::frames::from_server;
use crate::sync::lock;

/// A handler that calls `opening`, and keeps a value that counts when it is dropped.
struct Opening<F> {
    opening: F,
    dropped: Arc<AtomicUsize>,
    runs: AtomicUsize,
}

struct CountsDrops(Arc<AtomicUsize>);

impl Drop for CountsDrops {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<F: Fn(&Connection) -> Result<(), Reply> + Sync> Opening<F> {
    fn new(opening: F) -> Opening<F> {
        Opening {
            opening,
            dropped: Arc::default(),
            runs: AtomicUsize::new(0),
        }
    }

    /// Runs one client, whose peer hangs up when it has received the 101 and `frames` bytes, or immediately if it expects
    /// none. Returns the head and the frames that were written, and how often `run` was called.
    fn serve(
        &self,
        server: &ServerState,
        socket: &Arc<ScriptedSocket>,
        frames: usize,
    ) -> (String, Vec<(u8, Vec<u8>)>, usize) {
        thread::scope(|scope| {
            scope.spawn(|| {
                if frames > 0 {
                    socket.until_written(length_of_the_101() + frames);
                }
                socket.hang_up();
            });
            serve_one(server, socket, nothing_before, self);
        });
        let dropped = self.dropped.load(Ordering::SeqCst);
        assert_eq!(dropped, 1, "what was kept must be dropped once");
        let written = socket.written();
        let end = written.windows(4).position(|end| end == b"\r\n\r\n");
        let end = end.map_or(written.len(), |end| end + 4);
        let head = String::from_utf8_lossy(&written[..end]).into_owned();
        let frames = if head.starts_with("HTTP/1.1 101 ") {
            from_server(&written[end..])
        } else {
            Vec::new()
        };
        (head, frames, self.runs.load(Ordering::SeqCst))
    }
}

fn length_of_the_101() -> usize {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    one_client(&server, &socket, nothing_before, || ())
        .0
        .find("\r\n\r\n")
        .expect("the end of the head")
        + 4
}

impl<F: Fn(&Connection) -> Result<(), Reply> + Sync> Handler for Opening<F> {
    fn opening(&self, conn: &Connection) -> Result<(), Reply> {
        conn.keep(CountsDrops(Arc::clone(&self.dropped)));
        (self.opening)(conn)
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        assert_eq!(self.dropped.load(Ordering::SeqCst), 0);
        assert!(conn.take::<String>().is_none());
        while conn.recv()?.is_some() {}
        Ok(())
    }
}

/// The second message is sent by another thread, while the socket has accepted a part of the 101.
#[test]
fn messages_queued_before_the_101_follow_it() {
    for early_flush in [true, false] {
        let (mut server, socket) = (server(), Arc::new(ScriptedSocket::default()));
        let config = Config::default().early_flush(early_flush);
        server.config = Arc::new(config.close_timeout(DEADLINE));
        let outbox: Mutex<Option<Outbox>> = Mutex::default();
        let handler = Opening::new(|conn: &Connection| {
            conn.send(Message::text("one")).expect("the queue has room");
            *lock(&outbox) = Some(conn.outbox());
            Ok(())
        });
        socket.accept(50);
        let (head, frames, runs) = thread::scope(|scope| {
            scope.spawn(|| {
                socket.until_in_write();
                let outbox = lock(&outbox).take().expect("it was stored before the 101");
                outbox
                    .try_send(Message::text("two"))
                    .expect("the queue has room");
                assert_eq!((outbox.len(), socket.written().len()), (2, 50));
                socket.accept_all();
            });
            handler.serve(&server, &socket, 2 * 5)
        });
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let texts = [(0x81, b"one".to_vec()), (0x81, b"two".to_vec())];
        assert_eq!((frames.get(..2), runs), (Some(&texts[..]), 1));
    }
}

#[test]
fn close_of_opening_follows_the_101() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    let handler = Opening::new(|conn: &Connection| {
        conn.send(Message::text("one")).expect("the queue has room");
        conn.close(4100, "full");
        assert!(conn.send(Message::text("two")).is_err());
        Ok(())
    });
    let (head, frames, runs) = handler.serve(&server, &socket, 5 + 8);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let close = [&4100_u16.to_be_bytes()[..], b"full"].concat();
    assert_eq!(frames, [(0x81, b"one".to_vec()), (0x88, close)]);
    assert_eq!(runs, 1, "`recv` returns `None` there");
}

#[test]
fn refused_opening_is_answered_without_a_101() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    let handler = Opening::new(|conn: &Connection| {
        conn.send(Message::text("one")).expect("the queue has room");
        Err(Reply::text(409, "the room is full\n"))
    });
    let (head, _, runs) = handler.serve(&server, &socket, 0);
    assert!(head.starts_with("HTTP/1.1 409 "), "{head}");
    assert!(socket.written().ends_with(b"the room is full\n"));
    assert_eq!(runs, 0);
}

#[test]
fn panic_or_upgrade_in_opening_is_answered_500() {
    for panics in [true, false] {
        let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
        let handler = Opening::new(|_: &Connection| {
            assert!(!panics, "user code panics");
            Err(Reply::upgrade())
        });
        let (head, _, runs) = handler.serve(&server, &socket, 0);
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        assert_eq!(runs, 0);
    }
}

#[test]
fn client_reset_in_opening_gets_no_answer() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    let handler = Opening::new(|conn: &Connection| {
        conn.outbox().terminate();
        Ok(())
    });
    let (head, _, runs) = handler.serve(&server, &socket, 0);
    assert_eq!((head.as_str(), runs), ("", 0));
}

#[test]
fn client_without_its_101_drops_what_is_kept() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    socket.break_after(7);
    let handler = Opening::new(|_: &Connection| Ok(()));
    let (head, _, runs) = handler.serve(&server, &socket, 0);
    assert_eq!((head.len(), runs), (7, 0));
}

#[test]
fn shutdown_in_opening_closes_after_the_101() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    let handler = Opening::new(|conn: &Connection| {
        server.shutdown.begin(std::time::Duration::ZERO);
        conn.outbox().shared().shut_down();
        Ok(())
    });
    let (head, frames, runs) = handler.serve(&server, &socket, 2 + 25);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!((frames.len(), frames[0].0, runs), (1, 0x88, 1));
    assert_eq!(frames[0].1[..2], 1001_u16.to_be_bytes());
}

/// The watchdog resets the client while its 101 is being written.
#[test]
fn client_reset_before_its_101_is_counted_once() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    socket.accept(50);
    let handler = Opening::new(|_: &Connection| Ok(()));
    thread::scope(|scope| {
        scope.spawn(|| {
            socket.until_in_write();
            let timed_out = crate::CloseCause::TimedOut(crate::Clock::Handshake);
            server.clients.snapshot()[0].terminate(timed_out);
        });
        handler.serve(&server, &socket, 0)
    });
    let counts = server.disconnects.counts();
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    assert_eq!(total, 1, "{counts:?}");
    assert!(
        counts.contains(&(Disconnect::Deadline(crate::Clock::Handshake), 1)),
        "{counts:?}"
    );
}

/// Otherwise, clients that are refused in `opening` could keep any number of threads.
#[test]
fn refused_client_keeps_its_permit_while_it_lingers() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    let handler = Opening::new(|_: &Connection| Err(Reply::status(409)));
    thread::scope(|scope| {
        scope.spawn(|| {
            socket.until_written(1);
            socket.until_in_read();
            let in_use = server.client_permits.in_use();
            socket.hang_up();
            assert_eq!(in_use, 1);
        });
        serve_one(&server, &socket, nothing_before, &handler);
    });
}
