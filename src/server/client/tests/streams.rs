//! A streamed body: who is waited for, and what that means for the client's slot and its deadlines.

use std::io::{self, Read};
use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, bounded};
use http::HeaderValue;

use super::*;
use crate::connection::lifecycle::Phase;
use crate::connection::write::blockage::PROGRESS;

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A reader that announces each read, and then waits for permission.
struct Gate {
    asked: Sender<()>,
    go: Receiver<()>,
}

impl Read for Gate {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let waited = self.asked.send_timeout((), DEADLINE);
        waited.map_err(io::Error::other)?;
        self.go.recv_timeout(DEADLINE).map_err(io::Error::other)?;
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}

/// Answers the only request with a body of two pieces, which `Gate` returns.
struct Gated(Mutex<Option<Gate>>);

impl Handler for Gated {
    fn request(&self, _: &mut Request) -> Reply {
        let gate = self.0.lock().expect("no test panics with the lock").take();
        let gate = gate.expect("there is one request");
        Reply::stream(200, BYTES, gate, 2 * PROGRESS as u64)
    }

    fn run(&self, _: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

#[test]
fn client_is_waited_for_only_while_it_does_not_read() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    let ((asked, is_asked), (permit, go)) = (bounded(0), bounded(0));
    let handler = Gated(Mutex::new(Some(Gate { asked, go })));
    socket.accept(50);
    socket.hang_up();
    let written = thread::scope(|scope| {
        scope.spawn(|| {
            let state = || {
                let client = &server.clients.snapshot()[0];
                let is_blocked = client.write.deadlines.is_blocked();
                (client.lifecycle().phase(), is_blocked)
            };
            let next_read = |what: &str| is_asked.recv_timeout(DEADLINE).expect(what);
            next_read("the reader is asked for the first piece");
            assert_eq!(state(), (Phase::Responding, false));
            permit.send_timeout((), DEADLINE).expect("the reader waits");
            socket.until_in_write();
            assert_eq!(
                state(),
                (Phase::ReadingRequest, true),
                "the client is waited for"
            );
            socket.accept_all();
            next_read("the reader is asked for the second piece");
            assert_eq!(
                state(),
                (Phase::Responding, false),
                "the reader is waited for"
            );
            permit.send_timeout((), DEADLINE).expect("the reader waits");
        });
        serve_one(&server, &socket, nothing_before, &handler)
    });
    let (head, body) = written.split_once("\r\n\r\n").expect("an empty line");
    assert!(head.contains("Content-Length: 131072"), "{head}");
    assert!(body.len() == 2 * PROGRESS && body.bytes().all(|byte| byte == b'x'));
}

#[test]
fn stream_is_written_whole_however_the_socket_accepts_it() {
    let server = server();
    let config = Arc::clone(&server.config);
    let body = "abcdefg".repeat(30_000);
    for most in [1, 100, 1 << 16, 100_000, usize::MAX] {
        let socket = Arc::new(ScriptedSocket::default());
        socket.accept_per_call(most);
        let transport: Arc<dyn Transport> = socket.clone();
        let shared = Shared::new(
            1,
            Peer::Unix,
            Arc::clone(&config),
            Arc::default(),
            &transport,
        );
        let reader = io::Cursor::new(body.clone());
        let reply = Reply::stream(200, BYTES, reader, body.len() as u64);
        let answer = Answer::reply(reply);
        let written = answer.write(&shared, &*transport, &server, None, After::Close);
        assert!(written.is_ok(), "{most}");
        let written = String::from_utf8(socket.written()).expect("text");
        let (_, rest) = written.split_once("\r\n\r\n").expect("an empty line");
        assert!(rest == body, "{most}: {} bytes", rest.len());
        assert!(
            !shared.write.deadlines.is_blocked(),
            "the write clock has stopped"
        );
    }
}
