//! The door at moments that no socket holds still: a 101 that is not taken, and a shutdown while the client is let in.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::life::Here;
use super::super::{Connection, receive};
use super::*;
use crate::handler::Handler;
use crate::http::{Reply, Request, Rules};
use crate::server::House;

const HEAD: &[u8] =
    b"GET /x HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Counts the clients it is given, after whatever happens at the door.
struct Counts<F> {
    at_the_door: F,
    given: AtomicUsize,
}

impl<F: Fn() + Sync> Handler for Counts<F> {
    fn request(&self, _: &mut Request) -> Reply {
        (self.at_the_door)();
        Reply::upgrade()
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.given.fetch_add(1, Ordering::SeqCst);
        while conn.recv()?.is_some() {}
        Ok(())
    }
}

fn house() -> House {
    let config = Config::default().close_timeout(PATIENCE);
    let rules = Rules::new(&config, true).expect("no origins are patterns too");
    House::new(config, rules, 1, 1)
}

/// Leads a client with this head through the door of `house`, and waits until it is gone; gives what it was sent and how
/// many clients the handler had.
fn one_client(house: &House, gate: &Arc<Gate>, at_the_door: impl Fn() + Sync) -> (String, usize) {
    let handler = Counts {
        at_the_door,
        given: AtomicUsize::new(0),
    };
    gate.send(HEAD);
    gate.hang_up();
    thread::scope(|scope| {
        let transport: Arc<dyn Transport> = gate.clone();
        let config = Arc::clone(&house.config);
        let client = Arc::new(Client::new(1, Peer::Unix, config, &transport));
        let here = Here {
            entry: house.clients.enter(&client),
            client,
            transport,
        };
        let head = house.heads.take().expect("one at a time");
        receive(here, head, house, scope, &handler);
    });
    // The scope has joined every thread: it ended by itself.
    assert!(house.clients.is_empty());
    assert_eq!((house.heads.taken(), house.seats.taken()), (0, 0));
    let written = String::from_utf8_lossy(&gate.written()).into_owned();
    (written, handler.given.into_inner())
}

#[test]
fn who_takes_its_101_reaches_the_handler_and_leaves_nothing() {
    let (house, gate) = (house(), Arc::new(Gate::default()));
    let (written, given) = one_client(&house, &gate, || ());
    assert!(written.starts_with("HTTP/1.1 101 "), "{written}");
    assert_eq!(given, 1);
}

#[test]
fn who_does_not_take_its_101_never_reaches_the_handler_and_leaves_nothing() {
    for taken in [0, 1, 50] {
        let (house, gate) = (house(), Arc::new(Gate::default()));
        gate.break_after(taken);
        let (written, given) = one_client(&house, &gate, || ());
        assert_eq!((written.len(), given), (taken, 0));
    }
}

#[test]
fn who_is_let_in_when_the_server_begins_to_shut_down_is_told_503_and_not_101() {
    let (house, gate) = (house(), Arc::new(Gate::default()));
    let (written, given) = one_client(&house, &gate, || house.latch.set());
    assert!(written.starts_with("HTTP/1.1 503 "), "{written}");
    assert!(written.contains("Retry-After"), "{written}");
    assert_eq!(given, 0);
}

/// Shutdown has come by, and found it at the door.
#[test]
fn who_is_turned_away_while_it_is_let_in_is_told_503_and_not_101() {
    let (house, gate) = (house(), Arc::new(Gate::default()));
    let (written, given) = one_client(&house, &gate, || {
        for client in house.clients.snapshot() {
            client.shut_down();
        }
    });
    assert!(written.starts_with("HTTP/1.1 503 "), "{written}");
    assert_eq!(given, 0);
}
