//! The examples of `src/GUIDE.md` whose promises need a client.

use std::error::Error;
use std::time::{Duration, Instant};

use standpipe::{Config, Connection, Message, RecvTimeoutError};

use crate::support::{TestServer, op, until};

// BEGIN
fn clock(conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut next = Instant::now();
    loop {
        // Waits until the next tick. Meanwhile pings are answered.
        match conn.recv_deadline(next) {
            Ok(Some(_)) => {}          // Nothing is expected from the client.
            Ok(None) => return Ok(()), // The connection has ended.
            Err(RecvTimeoutError::Timeout) => {
                conn.send(Message::text("tick"))?;
                next += Duration::from_secs(1);
            }
            Err(error) => return Err(error.into()),
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
    client.expect_text("tick");
    // The first ping arrives while the handler waits for its next tick.
    for payload in ["are you there?", "and now?"] {
        client.ping(payload);
        let answer = client.next_frame();
        assert_eq!(
            (answer.opcode, answer.payload.as_slice()),
            (op::PONG, payload.as_bytes())
        );
        client.text("not expected, and ignored");
        client.expect_text("tick");
    }
    client.close(1000, "enough");
    assert_eq!(client.expect_close(1000), "enough");
    client.expect_eof();
    until("the handler has ended", || server.handle().clients() == 0);
}

#[test]
fn clock_ends_with_a_client_that_breaks_off() {
    let server = TestServer::start(Config::default(), clock);
    let mut client = server.connect();
    client.expect_text("tick");
    client.reset();
    until("the handler has ended", || server.handle().clients() == 0);
}
