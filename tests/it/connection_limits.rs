//! Limits of one connection, given with its 101, and the stack of the handlers.

use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use standpipe::{Config, Connection, Handler, Limits, Outbox, Rate, Reply, Request};

use crate::shutdown::{assert_closed_with_1001, read_to_close, report};
use crate::support::{DEADLINE, Failure, TestServer, assert_only_close, echo, until};

/// Echoes, and gives the clients of `/own` their own limits. Passes every outbox to the test.
struct Own {
    limits: Limits,
    outboxes: crossbeam_channel::Sender<Outbox>,
}

impl Handler for Own {
    fn request(&self, request: &mut Request) -> Reply {
        match request.path() {
            "/own" => Reply::upgrade().limits(self.limits.clone()),
            _ => Reply::upgrade(),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        self.outboxes.send(conn.outbox())?;
        echo(conn)
    }
}

fn start(config: Config, limits: Limits) -> (TestServer, Receiver<Outbox>) {
    let (sender, outboxes) = unbounded();
    let handler = Own {
        limits,
        outboxes: sender,
    };
    (TestServer::start(config, handler), outboxes)
}

#[test]
fn message_limit_is_that_of_the_connection() {
    let limits = Limits::new().max_message(2000).max_fragments(2);
    let (server, _outboxes) = start(Config::default().max_message(1000), limits);
    let mut own = server.client().path("/own").connect();
    own.text("x".repeat(2000));
    own.expect_text(&"x".repeat(2000));
    let mut other = server.connect();
    other.text("x".repeat(1001));
    other.expect_close(1009);
    own.text("x".repeat(2001));
    own.expect_close(1009);
}

#[test]
fn queue_is_that_of_the_connection() {
    let limits = Limits::new().queue(3).queue_bytes(100);
    let (server, outboxes) = start(Config::default().queue(7), limits);
    let own = server.client().path("/own").connect();
    let next = || outboxes.recv_timeout(DEADLINE).expect("a client arrives");
    assert_eq!(next().capacity(), 3);
    let other = server.connect();
    assert_eq!(next().capacity(), 7);
    let states = server.handle().client_states();
    let mut capacities: Vec<_> = states.iter().map(|state| state.queue.capacity).collect();
    capacities.sort_unstable();
    assert_eq!(capacities, [3, 7]);
    own.leave();
    other.leave();
}

#[test]
fn rate_is_that_of_the_connection() {
    let limits = Limits::new().rate(Some(Rate::per_second(1)));
    let (server, _outboxes) = start(Config::default(), limits);
    let mut own = server.client().path("/own").connect();
    own.text("one");
    own.text("two");
    own.expect_text("one");
    own.expect_close(1008);
}

#[test]
fn clocks_are_those_of_the_connection() {
    let short = Duration::from_millis(100);
    let limits = Limits::new().ping_interval(short).ping_timeout(short);
    let (server, _outboxes) = start(Config::default(), limits);
    let _silent = server.client().path("/own").connect();
    let mut other = server.connect();
    until("the silent client is reset", || {
        server.disconnects("ping_timeout") == 1
    });
    other.text("here");
    other.expect_text("here");
    other.leave();
}

#[test]
fn shutdown_closes_a_connection_with_its_own_limits() {
    let (server, outboxes) = start(Config::default(), Limits::new().queue(3));
    let mut client = server.client().path("/own").connect();
    client.text("counted");
    client.expect_text("counted");
    let outbox = outboxes.recv_timeout(DEADLINE).expect("a client arrives");
    // The client may read the message before the server has counted it.
    until("the message is counted", || {
        server.handle().counts().delivered == 1
    });
    let client = read_to_close(client);
    let handle = server.handle().clone();
    handle.shutdown();
    assert_closed_with_1001(client);
    assert_eq!(server.report(), report(1, 0));
    assert_eq!(handle.counts(), outbox.counts());
}

#[test]
fn wrong_limits_are_answered_500() {
    let (server, _outboxes) = start(Config::default(), Limits::new().queue(0));
    let (_client, answer) = server.client().path("/own").request();
    assert_eq!(answer.status, 500);
    // The permits have been released.
    server.connect().leave();
}

/// Uses about 600 KiB of stack, which would end the process with the default.
#[test]
fn handler_has_the_stack_that_is_configured() {
    fn depth(left: usize, conn: &Connection) -> usize {
        let frame = [conn.number(); 128];
        if left == 0 {
            return 0;
        }
        1 + depth(left - 1, conn) + usize::from(std::hint::black_box(frame)[0] == 0)
    }

    let config = Config::default().handler_stack(2 << 20);
    let server = TestServer::start(config, |conn: &mut Connection| {
        conn.send(depth(600, conn).to_string())?;
        conn.close(4100, "done");
        Ok(())
    });
    let mut client = server.connect();
    client.expect_text("600");
    assert_only_close(&client.rest_answering_close(), 4100, "done");
}

/// The smallest stack that is allowed is enough for the library itself.
#[test]
fn smallest_stack_is_enough_to_echo() {
    let server = TestServer::echo(Config::default().handler_stack(64 << 10));
    let mut client = server.connect();
    client.text("x".repeat(60_000));
    client.expect_text(&"x".repeat(60_000));
    client.leave();
}
