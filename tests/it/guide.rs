//! The examples of `src/GUIDE.md` whose promises need a client.

use std::error::Error;
use std::thread;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use standpipe::{Config, Connection, Message, Outbox};

use crate::support::{TestServer, op, until};

// BEGIN
fn clock(conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
    let outbox = conn.outbox();
    thread::scope(|scope| {
        let ticker = thread::Builder::new().name(format!("tick-{}", conn.number()));
        ticker.spawn_scoped(scope, move || tick(&outbox))?;
        // Nothing is expected, but `recv` answers pings and sees the Close.
        while conn.recv()?.is_some() {}
        Ok(())
    })
}

fn tick(outbox: &Outbox) {
    // Waits one second, or until the connection ends.
    while outbox.closed().recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
        if outbox.send(Message::text("tick")).is_err() {
            return;
        }
    }
}
// END

#[test]
fn guide_shows_the_clock_that_is_tested_here() {
    let source = include_str!("guide.rs");
    let clock = source.split("// BEGIN\n").nth(1).expect("the beginning");
    let clock = clock.split("// END\n").next().expect("the end");
    assert!(
        include_str!("../../src/GUIDE.md").contains(clock),
        "src/GUIDE.md shows another clock"
    );
}

#[test]
fn clock_answers_pings_and_a_close() {
    let server = TestServer::start(Config::default(), clock);
    let mut client = server.connect();
    client.ping("are you there?");
    let first = client.next_frame();
    assert_eq!(
        (first.opcode, first.payload.as_slice()),
        (op::PONG, &b"are you there?"[..])
    );
    client.expect_text("tick");
    client.expect_text("tick");
    client.close(1000, "enough");
    assert_eq!(client.expect_close(1000), "enough");
    client.expect_eof();
    until("the handler and its ticker have ended", || {
        server.handle().clients() == 0
    });
}

#[test]
fn clock_ends_with_a_client_that_breaks_off() {
    let server = TestServer::start(Config::default(), clock);
    let mut client = server.connect();
    client.expect_text("tick");
    client.reset();
    until("the handler and its ticker have ended", || {
        server.handle().clients() == 0
    });
}
