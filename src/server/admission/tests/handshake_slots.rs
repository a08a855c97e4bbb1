//! Which client gets a handshake slot, and which pending handshake is evicted.

use super::*;
use crate::config::Config;
use crate::connection::socket::Transport;
use crate::connection::testing::scripted_socket::ScriptedSocket;

/// A client whose request has not arrived, and its socket.
type Pending = (Arc<Shared>, Arc<dyn Transport>);

fn pending(number: u64, ip: &str) -> Pending {
    let transport: Arc<dyn Transport> = Arc::new(ScriptedSocket::default());
    let config = Arc::new(Config::default());
    let client = Shared::new(number, from(ip), config, Arc::default(), &transport);
    (Arc::new(client), transport)
}

fn from(ip: &str) -> Peer {
    Peer::Tcp((ip.parse::<IpAddr>().expect("an address"), 1).into())
}

const BUSY: &str = "10.0.0.1";

/// Fills all slots with handshakes of one address.
fn fill<'slots>(
    slots: &'slots HandshakeSlots,
    count: u64,
) -> Vec<(Pending, HandshakeSlot<'slots>)> {
    let acquire = |number| {
        let client = pending(number, BUSY);
        let (slot, evicted) = slots
            .acquire(number, Some(&from(BUSY)))
            .expect("a slot is free");
        assert!(evicted.is_none());
        slot.set_client(&client.0);
        (client, slot)
    };
    (1..=count).map(acquire).collect()
}

#[test]
fn the_busiest_address_loses_its_oldest_handshake() {
    let slots = HandshakeSlots::new(3);
    let mut filled = fill(&slots, 3);
    let acquire = |number, ip: &str| slots.acquire(number, Some(&from(ip)));
    assert!(acquire(4, BUSY).is_none(), "an address cannot evict itself");
    let (_slot, evicted) = acquire(5, "10.0.0.2").expect("3 slots against 0");
    assert_eq!(evicted.map(|client| client.number), Some(1), "the oldest");
    assert_eq!(slots.pending(), 4, "the evicted handshake has not ended");
    assert!(
        acquire(6, "10.0.0.2").is_none(),
        "with 2 slots against 1 nothing is evicted"
    );
    let (_other_slot, evicted) = acquire(7, "10.0.0.3").expect("2 slots against 0");
    assert_eq!(evicted.map(|client| client.number), Some(2));
    assert!(acquire(8, "10.0.0.4").is_none(), "each address has 1 slot");
    assert_eq!(slots.pending(), 5);
    filled.clear();
    assert_eq!(slots.pending(), 2, "the slots of the other two addresses");
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
    let (_slot, evicted) = slots
        .acquire(5, Some(&from("10.0.0.2")))
        .expect("4 slots against 0");
    assert_eq!(evicted.map(|client| client.number), Some(4));
    assert!(
        slots.acquire(6, Some(&from("10.0.0.3"))).is_none(),
        "no other handshake is incomplete"
    );
    assert_eq!(
        client(3).lifecycle().cause(),
        None,
        "only the caller resets the client"
    );
}

#[test]
fn unix_peers_and_unknown_clients_are_not_evicted() {
    let slots = HandshakeSlots::new(5);
    let client = pending(1, BUSY).0;
    let unix: Vec<_> = (1..=3)
        .filter_map(|n| slots.acquire(n, Some(&Peer::Unix)))
        .collect();
    unix.iter().for_each(|(slot, _)| slot.set_client(&client));
    let _unknown: Vec<_> = (4..=5)
        .map(|n| slots.acquire(n, Some(&from(BUSY))))
        .collect();
    assert!(slots.acquire(6, Some(&from("10.0.0.2"))).is_none());
    assert_eq!(slots.pending(), 5);
}

/// Otherwise, evicted handshakes whose threads end slowly could accumulate without limit.
#[test]
fn evicted_handshakes_are_bounded() {
    let slots = HandshakeSlots::new(4);
    let mut stuck = fill(&slots, 4);
    for number in (10..1000).step_by(10) {
        let Some((slot, evicted)) = slots.acquire(number, Some(&from("10.0.0.2"))) else {
            break;
        };
        assert!(evicted.is_some());
        drop(slot);
        let client = pending(number + 1, BUSY);
        let (slot, _) = slots
            .acquire(number + 1, Some(&from(BUSY)))
            .expect("a slot is free");
        slot.set_client(&client.0);
        stuck.push((client, slot));
    }
    assert_eq!(
        (stuck.len(), slots.pending()),
        (4 + MAX_EVICTED, 4 + MAX_EVICTED)
    );
    stuck.remove(0);
    assert!(slots.acquire(1, Some(&from("10.0.0.2"))).is_some());
}

#[test]
fn idle_connections_end_before_any_handshake_is_evicted() {
    let slots = HandshakeSlots::new(4);
    let mut filled = fill(&slots, 4);
    let client = |at: usize| &filled[at].0.0;
    for at in [1, 3] {
        assert!(
            client(at).lifecycle().mark_request_received() && client(at).lifecycle().mark_idle()
        );
    }
    assert_eq!(slots.pending(), 2, "idle connections are not pending");
    let (_slot, evicted) = slots.acquire(5, Some(&from(BUSY))).expect("one is idle");
    assert!(evicted.is_none(), "an idle connection is not reset");
    assert_eq!(
        client(1).lifecycle().phase(),
        Phase::Rejected,
        "the oldest one"
    );
    assert_eq!(client(3).lifecycle().phase(), Phase::Idle);
    let (_other_slot, evicted) = slots.acquire(6, Some(&Peer::Unix)).expect("one is idle");
    assert!(evicted.is_none());
    assert_eq!(client(3).lifecycle().phase(), Phase::Rejected);
    assert!(
        slots.acquire(7, Some(&from(BUSY))).is_none(),
        "none is idle"
    );
    filled.clear();
    assert_eq!(slots.pending(), 2);
}

#[test]
fn slot_counts_for_the_client_that_a_proxy_names() {
    let slots = HandshakeSlots::new(3);
    let acquire = |number| {
        let client = pending(number, "10.9.9.9");
        let (slot, evicted) = slots.acquire(number, None).expect("a slot is free");
        assert!(evicted.is_none());
        slot.set_client(&client.0);
        (client, slot)
    };
    let taken: Vec<_> = (1..=3).map(acquire).collect();
    let newcomer = from("10.0.0.2");
    assert!(
        slots.acquire(4, Some(&newcomer)).is_none(),
        "a proxy loses no slot before its client is known"
    );
    taken[0].1.set_peer(Some(&newcomer));
    taken[1].1.set_peer(Some(&from(BUSY)));
    taken[2].1.set_peer(Some(&from(BUSY)));
    assert!(
        slots.acquire(5, Some(&newcomer)).is_none(),
        "2 slots against 1"
    );
    // The next request of the first connection may come from another client.
    taken[0].1.set_peer(None);
    let (slot, evicted) = slots
        .acquire(6, Some(&newcomer))
        .expect("2 slots against 0");
    assert_eq!(evicted.map(|client| client.number), Some(2));
    // The evicted client has no slot that could count for another address.
    taken[1].1.set_peer(Some(&newcomer));
    drop((taken, slot));
    assert!(lock(&slots.table).by_address.is_empty());
}
