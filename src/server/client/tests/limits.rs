//! A connection with limits of its own has another state than its handshake had. What has ended the first state must end
//! the second.

use super::*;
use crate::limits::Limits;
use crate::server::client::session::Threads;

/// A handler that gives its clients a queue of 3 messages, and calls `in_request` before.
struct Limited<F>(F);

impl<F: Fn() + Sync> Handler for Limited<F> {
    fn request(&self, _: &mut Request) -> Reply {
        (self.0)();
        Reply::upgrade().limits(Limits::new().queue(3))
    }

    fn opening(&self, conn: &Connection) -> Result<(), Reply> {
        assert_eq!(conn.outbox().capacity(), 3);
        Ok(())
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        while conn.recv()?.is_some() {}
        Ok(())
    }
}

fn limited_client(server: &ServerState, in_request: impl Fn() + Sync) -> String {
    let socket = Arc::new(ScriptedSocket::default());
    socket.hang_up();
    serve_one(server, &socket, nothing_before, &Limited(in_request))
}

#[test]
fn limits_replace_the_state_of_the_handshake() {
    let written = limited_client(&server(), || {});
    assert!(written.starts_with("HTTP/1.1 101 "), "{written}");
}

#[test]
fn shutdown_of_the_first_state_ends_the_second() {
    let server = server();
    let written = limited_client(&server, || {
        server.shutdown.stop_accepting();
        for client in server.clients.snapshot() {
            client.shut_down();
        }
    });
    assert!(written.starts_with("HTTP/1.1 503 "), "{written}");
}

#[test]
fn reset_of_the_first_state_ends_the_second() {
    let server = server();
    let written = limited_client(&server, || {
        for client in server.clients.snapshot() {
            client.terminate(crate::CloseCause::TimedOut(crate::Clock::Handshake));
        }
    });
    assert_eq!(written, "");
    let counts = server.disconnects.counts();
    assert!(
        counts.contains(&(Disconnect::Deadline(crate::Clock::Handshake), 1)),
        "{counts:?}"
    );
}

/// Otherwise, the scope would wait for the writer forever.
#[test]
fn threads_that_get_no_client_end() {
    let (server, socket) = (server(), Arc::new(ScriptedSocket::default()));
    thread::scope(|scope| {
        let (client, _slot) = registered(&server, &socket);
        let threads = Threads::start(&client.shared, &server, scope, &Answers);
        drop(threads.expect("two threads can be started"));
    });
}
