//! The door at moments that no socket holds still: a 101 that is not taken, and a shutdown while the client is let in.

use std::error::Error;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::life::Here;
use super::super::{Connection, receive};
use super::*;
use crate::handler::Handler;
use crate::http::{Reply, Request, Rules};
use crate::server::{Heads, House};

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
        let (head, _) = house.heads.take(&client).expect("one at a time");
        let here = Here {
            entry: house.clients.enter(&client),
            client,
            transport,
        };
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

/// A client whose request has not come, and its socket.
type AtTheDoor = (Arc<Client>, Arc<dyn Transport>);

fn at_the_door(number: u64, ip: &str) -> AtTheDoor {
    let transport: Arc<dyn Transport> = Arc::new(Gate::default());
    let peer = Peer::Tcp((ip.parse::<IpAddr>().expect("an address"), 1).into());
    let config = Arc::new(Config::default());
    let client = Client::new(number, peer, config, &transport);
    (Arc::new(client), transport)
}

const GREEDY: &str = "10.0.0.1";

/// So many places, all taken by one address.
fn siege(places: u64) -> (Heads, Vec<AtTheDoor>) {
    let heads = Heads::new(usize::try_from(places).expect("small"));
    (
        heads,
        (1..=places).map(|n| at_the_door(n, GREEDY)).collect(),
    )
}

#[test]
fn the_address_with_the_most_requests_gives_its_oldest_place_to_one_with_fewer() {
    let (heads, siege) = siege(3);
    let mut taken: Vec<_> = siege.iter().map(|(client, _)| heads.take(client)).collect();
    assert!(taken.iter().all(|taken| matches!(taken, Some((_, None)))));
    let again = at_the_door(4, GREEDY).0;
    assert!(
        heads.take(&again).is_none(),
        "nobody gives way to a brother"
    );
    let other = at_the_door(5, "10.0.0.2").0;
    let (_head, given_up) = heads
        .take(&other)
        .expect("it has none, and the greedy three");
    assert_eq!(given_up.map(|client| client.number), Some(1), "the oldest");
    assert!(!siege[0].0.pass_the_door(), "it is turned away");
    assert_eq!(heads.taken(), 4, "it is not gone yet");
    let second = at_the_door(6, "10.0.0.2").0;
    assert!(heads.take(&second).is_none(), "two to one is fair already");
    let _third = heads
        .take(&at_the_door(7, "10.0.0.3").0)
        .expect("two to none");
    drop(taken.remove(0));
    assert_eq!(heads.taken(), 4, "one more is leaving");
    taken.clear();
    assert_eq!(heads.taken(), 2, "of the others");
}

#[test]
fn who_is_inside_already_does_not_give_way() {
    let (heads, siege) = siege(3);
    let _taken: Vec<_> = siege.iter().map(|(client, _)| heads.take(client)).collect();
    assert!(siege[0].0.pass_the_door());
    let (_head, given_up) = heads
        .take(&at_the_door(4, "10.0.0.2").0)
        .expect("the next oldest gives way");
    assert_eq!(given_up.map(|client| client.number), Some(2));
    for (client, _) in &siege {
        client.pass_the_door();
    }
    assert!(heads.take(&at_the_door(5, "10.0.0.3").0).is_none());
}

/// A handler that never answers a request keeps its thread, whoever has its place.
#[test]
fn no_more_are_turned_away_at_a_time_than_there_are_places() {
    let (heads, _) = siege(4);
    let mut number = 0;
    let mut next = |ip: &str| {
        number += 1;
        at_the_door(number, ip)
    };
    let (mut stuck, mut turned_away) = (Vec::new(), 0);
    for _ in 0..4 {
        loop {
            let (client, transport) = next(GREEDY);
            let Some((head, _)) = heads.take(&client) else {
                break;
            };
            stuck.push((client, transport, head));
        }
        let (client, _transport) = next("10.0.0.2");
        let (_head, given_up) = heads.take(&client).expect("it has none");
        turned_away += usize::from(given_up.is_some());
    }
    assert_eq!(
        (turned_away, heads.taken()),
        (4, 7),
        "the last of the others has gone"
    );
    let (client, transport) = next(GREEDY);
    stuck.push((
        Arc::clone(&client),
        transport,
        heads.take(&client).expect("one place is free").0,
    ));
    assert!(heads.take(&next("10.0.0.2").0).is_none());
}
