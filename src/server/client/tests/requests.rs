//! Plain requests: the phase and the counts of a client whose request cannot be read, or is cut off.

use super::*;
use crate::connection::lifecycle::Phase;

/// Answers with the length of the body, if there is one.
struct Lengths;

impl Handler for Lengths {
    fn request(&self, request: &mut Request) -> Reply {
        match request.content_length() {
            None => Reply::text(200, "no body\n"),
            Some(_) => match request.read_body(100) {
                Ok(body) => Reply::text(200, format!("{} bytes\n", body.len())),
                Err(refusal) => refusal,
            },
        }
    }

    fn run(&self, _: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

/// Ends the peer's stream when it is dropped, so that a failed test does not wait for ever.
struct HangUp<'a>(&'a ScriptedSocket);

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

/// Runs one client, and calls `meanwhile` with it when its thread waits for the peer after `written` bytes. The peer
/// hangs up afterwards.
fn while_waiting(
    server: &ServerState,
    socket: &Arc<ScriptedSocket>,
    written: usize,
    meanwhile: impl FnOnce(&Shared) + Send,
) -> String {
    thread::scope(|scope| {
        scope.spawn(|| {
            let _hang_up = HangUp(socket);
            socket.until_written(written);
            socket.until_in_read();
            meanwhile(&server.clients.snapshot()[0]);
        });
        serve_sent(server, socket, nothing_before, &Lengths)
    })
}

fn disconnects(server: &ServerState, by: &str) -> u64 {
    let counts = server.disconnects.counts();
    counts
        .iter()
        .find(|(each, _)| each.name() == by)
        .expect("a name")
        .1
}

const KEPT: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const BODY: &[u8] = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n";

/// The slot of a lingering connection is free for any newcomer, whatever the answer was.
#[test]
fn client_lingers_as_idle_after_an_unreadable_request() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    socket.send(&b"garbage\r\n"[..]);
    let written = while_waiting(&server, &socket, 1, |client| {
        assert_eq!(client.lifecycle().phase(), Phase::Idle);
        let newcomer = server.handshakes.acquire(2, Some(&Peer::Unix));
        assert!(matches!(newcomer, Some((_, None))));
    });
    assert!(written.starts_with("HTTP/1.1 400 "), "{written}");
    let counts = ["refused_request", "refused_unread"].map(|by| disconnects(&server, by));
    assert_eq!(counts, [1, 0]);
}

#[test]
fn client_that_withholds_its_body_can_be_evicted() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    socket.send(BODY);
    while_waiting(&server, &socket, 0, |client| {
        assert!(client.lifecycle().try_evict());
        client.terminate(crate::CloseCause::Gone);
    });
    // A body that has arrived is answered.
    let (server, socket) = (self::server(), Arc::new(ScriptedSocket::default()));
    socket.send(BODY);
    let written = while_waiting(&server, &socket, 0, |_| {
        socket.send(&b"12345"[..]);
        socket.until_written(1);
    });
    assert!(written.ends_with("\r\n\r\n5 bytes\n"), "{written}");
}

#[test]
fn client_that_does_not_read_its_answer_can_be_evicted() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    socket.send(KEPT);
    socket.accept(50);
    let written = thread::scope(|scope| {
        scope.spawn(|| {
            let _hang_up = HangUp(&socket);
            socket.until_in_write();
            let client = &server.clients.snapshot()[0];
            let is_evicted = client.lifecycle().try_evict();
            client.terminate(crate::CloseCause::Gone);
            assert!(is_evicted);
        });
        serve_sent(&server, &socket, nothing_before, &Lengths)
    });
    assert_eq!(written.len(), 50);
}

/// The rest of the body would be 400 to the handler, but the client has made no mistake.
#[test]
fn body_cut_off_by_a_shutdown_is_answered_503() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    socket.send([BODY, b"12"].concat());
    let written = while_waiting(&server, &socket, 0, |client| {
        server.shutdown.stop_accepting();
        client.shut_down();
    });
    assert!(written.starts_with("HTTP/1.1 503 "), "{written}");
    // A client that hangs up is still answered 400.
    let (server, socket) = (self::server(), Arc::new(ScriptedSocket::default()));
    socket.send([BODY, b"12"].concat());
    let written = while_waiting(&server, &socket, 0, |_| ());
    assert!(written.starts_with("HTTP/1.1 400 "), "{written}");
}

/// The bytes of the next request are in the kernel when the shutdown ends the idle connection.
#[test]
fn request_that_meets_the_stop_is_answered_503() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    socket.send(KEPT);
    let written = while_waiting(&server, &socket, 1, |client| {
        assert_eq!(client.lifecycle().phase(), Phase::Idle);
        server.shutdown.stop_accepting();
        assert!(client.lifecycle().reject_handshake());
        socket.send(KEPT);
    });
    let answers = written.matches("HTTP/1.1 ").count();
    assert!(
        answers == 2 && written.contains("HTTP/1.1 503 "),
        "{written}"
    );
}

/// The watchdog may run again before the thread of the connection has noticed its end.
#[test]
fn end_of_an_idle_connection_is_no_missed_deadline() {
    let (mut server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    server.config = Arc::new(Config::default().handshake_timeout(Duration::ZERO));
    socket.send(KEPT);
    while_waiting(&server, &socket, 1, |client| {
        assert!(client.end_idle());
        let check = client.check_deadlines(crate::clock::now());
        assert_eq!(check, crate::connection::deadlines::DeadlineCheck::Met);
    });
}
