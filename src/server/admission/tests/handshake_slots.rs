//! Who gets a handshake slot, and who loses one.

use super::*;
use crate::config::Config;
use crate::connection::socket::Transport;
use crate::connection::testing::scripted_socket::ScriptedSocket;

/// A client whose request has not arrived, and its socket.
type Pending = (Arc<Shared>, Arc<dyn Transport>);

fn pending(number: u64, ip: &str) -> Pending {
    let transport: Arc<dyn Transport> = Arc::new(ScriptedSocket::default());
    let config = Arc::new(Config::default());
    let client = Shared::new(number, from(ip), config, &transport);
    (Arc::new(client), transport)
}

fn from(ip: &str) -> Peer {
    Peer::Tcp((ip.parse::<IpAddr>().expect("an address"), 1).into())
}

const BUSY: &str = "10.0.0.1";

/// One address takes all slots.
fn fill<'slots>(
    slots: &'slots HandshakeSlots,
    places: u64,
) -> Vec<(Pending, HandshakeSlot<'slots>)> {
    let acquire = |number| {
        let client = pending(number, BUSY);
        let (slot, evicted) = slots.acquire(number, &from(BUSY)).expect("there is room");
        assert!(evicted.is_none());
        slot.set_client(&client.0);
        (client, slot)
    };
    (1..=places).map(acquire).collect()
}

#[test]
fn the_busiest_address_loses_its_oldest_handshake() {
    let slots = HandshakeSlots::new(3);
    let mut filled = fill(&slots, 3);
    let acquire = |number, ip: &str| slots.acquire(number, &from(ip));
    assert!(acquire(4, BUSY).is_none(), "it is the same address");
    let (_head, evicted) = acquire(5, "10.0.0.2").expect("three to none");
    assert_eq!(evicted.map(|client| client.number), Some(1), "the oldest");
    assert_eq!(slots.pending(), 4, "the evicted one has not ended");
    assert!(acquire(6, "10.0.0.2").is_none(), "two to one is fair");
    let (_other, evicted) = acquire(7, "10.0.0.3").expect("two to none");
    assert_eq!(evicted.map(|client| client.number), Some(2));
    assert!(acquire(8, "10.0.0.4").is_none(), "each address has one");
    assert_eq!(slots.pending(), 5);
    filled.clear();
    assert_eq!(slots.pending(), 2, "the slots of the others");
    assert!(acquire(9, BUSY).is_some());
}

#[test]
fn only_incomplete_requests_are_evicted() {
    let slots = HandshakeSlots::new(4);
    let filled = fill(&slots, 4);
    let client = |at: usize| &filled[at].0.0;
    assert!(client(0).lifecycle().mark_request_received());
    assert!(client(1).lifecycle().mark_request_received() && client(1).lifecycle().mark_upgraded());
    client(2).give_up();
    let (_head, evicted) = slots.acquire(5, &from("10.0.0.2")).expect("four to none");
    assert_eq!(evicted.map(|client| client.number), Some(4));
    assert!(
        slots.acquire(6, &from("10.0.0.3")).is_none(),
        "there is no other"
    );
    assert_eq!(client(3).lifecycle().cause(), None, "the caller resets it");
}

#[test]
fn unix_peers_and_unknown_clients_are_not_evicted() {
    let slots = HandshakeSlots::new(5);
    let client = pending(1, BUSY).0;
    let unix: Vec<_> = (1..=3)
        .filter_map(|n| slots.acquire(n, &Peer::Unix))
        .collect();
    unix.iter().for_each(|(slot, _)| slot.set_client(&client));
    let _unknown: Vec<_> = (4..=5).map(|n| slots.acquire(n, &from(BUSY))).collect();
    assert!(slots.acquire(6, &from("10.0.0.2")).is_none());
    assert_eq!(slots.pending(), 5);
}

/// Threads that are slow to end must not add up.
#[test]
fn evicted_handshakes_are_bounded() {
    let slots = HandshakeSlots::new(4);
    let mut stuck = fill(&slots, 4);
    for number in (10..1000).step_by(10) {
        let Some((slot, evicted)) = slots.acquire(number, &from("10.0.0.2")) else {
            break;
        };
        assert!(evicted.is_some());
        drop(slot);
        let client = pending(number + 1, BUSY);
        let (slot, _) = slots.acquire(number + 1, &from(BUSY)).expect("one is free");
        slot.set_client(&client.0);
        stuck.push((client, slot));
    }
    assert_eq!(
        (stuck.len(), slots.pending()),
        (4 + MAX_EVICTED, 4 + MAX_EVICTED)
    );
    stuck.remove(0);
    assert!(slots.acquire(1, &from("10.0.0.2")).is_some());
}
