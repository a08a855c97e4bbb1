//! The door at moments that no socket holds still: a 101 that is not taken, and a shutdown while the client is let in.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::handshake::receive;
use super::session::RegisteredClient;
use crate::config::Config;
use crate::connection::shared::{CloseCause, ShutdownOutcome};
use crate::connection::testing::scripted_socket::{PATIENCE, ScriptedSocket};
use crate::connection::{Connection, Shared, Transport};
use crate::handler::Handler;
use crate::http::Peer;
use crate::http::{Reply, Request, Rules};
use crate::server::admission::capacity::MAX_EVICTED;
use crate::server::admission::handshake_slots::{HandshakeSlot, HandshakeSlots};
use crate::server::state::ServerState;

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

fn server() -> ServerState {
    let config = Config::default().close_timeout(PATIENCE);
    let rules = Rules::new(&config, true).expect("no origins are patterns too");
    ServerState::new(config, rules, 1, 1)
}

/// Leads a client with this head through the door of `server`, and waits until it is gone; gives what it was sent and how
/// many clients the handler had.
fn one_client(
    server: &ServerState,
    gate: &Arc<ScriptedSocket>,
    at_the_door: impl Fn() + Sync,
) -> (String, usize) {
    one_client_after(server, gate, |_| (), at_the_door)
}

/// The same, of one to which something has happened before its head comes.
fn one_client_after(
    server: &ServerState,
    gate: &Arc<ScriptedSocket>,
    before: impl FnOnce(&Shared),
    at_the_door: impl Fn() + Sync,
) -> (String, usize) {
    let handler = Counts {
        at_the_door,
        given: AtomicUsize::new(0),
    };
    gate.send(HEAD);
    gate.hang_up();
    thread::scope(|scope| {
        let transport: Arc<dyn Transport> = gate.clone();
        let config = Arc::clone(&server.config);
        let client = Arc::new(Shared::new(1, Peer::Unix, config, &transport));
        let (head, _) = server.heads.take(1, &Peer::Unix).expect("one at a time");
        head.belongs_to(&client);
        before(&client);
        let here = RegisteredClient {
            entry: server.clients.enter(&client),
            client,
            transport,
        };
        receive(here, head, server, scope, &handler);
    });
    // The scope has joined every thread: it ended by itself.
    assert!(server.clients.snapshot().is_empty());
    assert_eq!(
        (server.heads.taken(), server.client_permits.taken()),
        (0, 0)
    );
    let written = String::from_utf8_lossy(&gate.written()).into_owned();
    (written, handler.given.into_inner())
}

#[test]
fn who_takes_its_101_reaches_the_handler_and_leaves_nothing() {
    let (server, gate) = (server(), Arc::new(ScriptedSocket::default()));
    let (written, given) = one_client(&server, &gate, || ());
    assert!(written.starts_with("HTTP/1.1 101 "), "{written}");
    assert_eq!(given, 1);
}

#[test]
fn who_does_not_take_its_101_never_reaches_the_handler_and_leaves_nothing() {
    for taken in [0, 1, 50] {
        let (server, gate) = (server(), Arc::new(ScriptedSocket::default()));
        gate.break_after(taken);
        let (written, given) = one_client(&server, &gate, || ());
        assert_eq!((written.len(), given), (taken, 0));
    }
}

#[test]
fn who_is_let_in_when_the_server_begins_to_shut_down_is_told_503_and_not_101() {
    let (server, gate) = (server(), Arc::new(ScriptedSocket::default()));
    let (written, given) = one_client(&server, &gate, || server.latch.set());
    assert!(written.starts_with("HTTP/1.1 503 "), "{written}");
    assert!(written.contains("Retry-After"), "{written}");
    assert_eq!(given, 0);
}

/// Shutdown has come by, and found it at the door.
#[test]
fn who_is_turned_away_while_it_is_let_in_is_told_503_and_not_101() {
    let (server, gate) = (server(), Arc::new(ScriptedSocket::default()));
    let (written, given) = one_client(&server, &gate, || {
        for client in server.clients.snapshot() {
            client.shut_down();
        }
    });
    assert!(written.starts_with("HTTP/1.1 503 "), "{written}");
    assert_eq!(given, 0);
}

#[test]
fn whose_head_comes_when_it_has_been_turned_away_never_reaches_the_handler() {
    let never = || panic!("the handler was asked");
    // For another: it is about to be reset.
    let (server, gate) = (server(), Arc::new(ScriptedSocket::default()));
    let try_evict = |client: &Shared| assert!(client.try_evict());
    let (written, given) = one_client_after(&server, &gate, try_evict, never);
    assert_eq!((written.as_str(), given), ("", 0));
    // By a shutdown, which tells it.
    let (server, gate) = (self::server(), Arc::new(ScriptedSocket::default()));
    let shut_down = |client: &Shared| {
        server.latch.set();
        client.shut_down();
    };
    let (written, given) = one_client_after(&server, &gate, shut_down, never);
    assert!(written.starts_with("HTTP/1.1 503 "), "{written}");
    assert_eq!(given, 0);
}

#[test]
fn who_has_given_up_its_place_is_not_heard_and_not_counted_again() {
    let (client, _transport) = at_the_door(1, GREEDY);
    assert!(client.try_evict() && !client.try_evict());
    assert!(!client.mark_request_received() && !client.mark_upgraded());
    // Shutdown has nothing to say to it, and nothing to report of it.
    client.shut_down();
    assert!(client.is_open());
    client.reset(CloseCause::Gone);
    assert_eq!(
        (client.fate(), client.ending()),
        (ShutdownOutcome::Other, None)
    );
}

/// A client whose request has not come, and its socket.
type AtTheDoor = (Arc<Shared>, Arc<dyn Transport>);

fn at_the_door(number: u64, ip: &str) -> AtTheDoor {
    let transport: Arc<dyn Transport> = Arc::new(ScriptedSocket::default());
    let config = Arc::new(Config::default());
    let client = Shared::new(number, from(ip), config, &transport);
    (Arc::new(client), transport)
}

fn from(ip: &str) -> Peer {
    Peer::Tcp((ip.parse::<IpAddr>().expect("an address"), 1).into())
}

const GREEDY: &str = "10.0.0.1";

/// Every place is taken by one address.
fn siege<'heads>(
    heads: &'heads HandshakeSlots,
    places: u64,
) -> Vec<(AtTheDoor, HandshakeSlot<'heads>)> {
    let take = |number| {
        let client = at_the_door(number, GREEDY);
        let (head, given_up) = heads.take(number, &from(GREEDY)).expect("there is room");
        assert!(given_up.is_none());
        head.belongs_to(&client.0);
        (client, head)
    };
    (1..=places).map(take).collect()
}

#[test]
fn the_address_with_the_most_requests_gives_its_oldest_place_to_one_with_fewer() {
    let heads = HandshakeSlots::new(3);
    let mut siege = siege(&heads, 3);
    let take = |number, ip: &str| heads.take(number, &from(ip));
    assert!(take(4, GREEDY).is_none(), "nobody gives way to a brother");
    let (_head, given_up) = take(5, "10.0.0.2").expect("three to none");
    assert_eq!(given_up.map(|client| client.number), Some(1), "the oldest");
    assert_eq!(heads.taken(), 4, "it is not gone yet");
    assert!(take(6, "10.0.0.2").is_none(), "two to one is fair already");
    let (_other, given_up) = take(7, "10.0.0.3").expect("two to none");
    assert_eq!(given_up.map(|client| client.number), Some(2));
    assert!(take(8, "10.0.0.4").is_none(), "each has one");
    assert_eq!(heads.taken(), 5);
    siege.clear();
    assert_eq!(heads.taken(), 2, "of the others");
    assert!(take(9, GREEDY).is_some());
}

#[test]
fn who_has_been_heard_or_is_over_does_not_give_way() {
    let heads = HandshakeSlots::new(4);
    let siege = siege(&heads, 4);
    let client = |at: usize| &siege[at].0.0;
    assert!(client(0).mark_request_received());
    assert!(client(1).mark_request_received() && client(1).mark_upgraded());
    client(2).give_up();
    let (_head, given_up) = heads.take(5, &from("10.0.0.2")).expect("four to none");
    assert_eq!(given_up.map(|client| client.number), Some(4));
    assert!(
        heads.take(6, &from("10.0.0.3")).is_none(),
        "there is no other"
    );
    assert_eq!(client(3).why(), None, "whoever asked resets it");
}

#[test]
fn neither_a_unix_peer_nor_one_whose_client_is_not_known_yet_gives_way() {
    let heads = HandshakeSlots::new(5);
    let client = at_the_door(1, GREEDY).0;
    let unix: Vec<_> = (1..=3).filter_map(|n| heads.take(n, &Peer::Unix)).collect();
    unix.iter().for_each(|(head, _)| head.belongs_to(&client));
    let _unknown: Vec<_> = (4..=5).map(|n| heads.take(n, &from(GREEDY))).collect();
    assert!(heads.take(6, &from("10.0.0.2")).is_none());
    assert_eq!(heads.taken(), 5);
}

/// Threads that are slow to go must not add up.
#[test]
fn no_more_than_so_many_have_given_up_their_place_and_are_not_gone() {
    let heads = HandshakeSlots::new(4);
    let mut stuck = siege(&heads, 4);
    for number in (10..1000).step_by(10) {
        let Some((head, given_up)) = heads.take(number, &from("10.0.0.2")) else {
            break;
        };
        assert!(given_up.is_some());
        drop(head);
        let client = at_the_door(number + 1, GREEDY);
        let (head, _) = heads.take(number + 1, &from(GREEDY)).expect("one is free");
        head.belongs_to(&client.0);
        stuck.push((client, head));
    }
    assert_eq!(
        (stuck.len(), heads.taken()),
        (4 + MAX_EVICTED, 4 + MAX_EVICTED)
    );
    stuck.remove(0);
    assert!(heads.take(1, &from("10.0.0.2")).is_some());
}
