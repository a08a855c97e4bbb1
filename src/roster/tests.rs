//! Rosters of clients in memory.

use super::*;
use crate::config::Config;
use crate::connection::testing::single_threaded::SingleThreaded;

fn client(accepts: usize) -> SingleThreaded {
    let client = SingleThreaded::new(Config::default().queue(1));
    client.accept_per_call(accepts);
    client
}

fn clients<const N: usize>() -> [SingleThreaded; N] {
    [(); N].map(|()| client(usize::MAX))
}

fn join(roster: &Roster, name: &str, client: &SingleThreaded) -> Result<RosterEntry, RosterFull> {
    roster.join(name, client.outbox().clone())
}

/// Returns the payloads of the frames that were written.
fn written(client: &SingleThreaded) -> Vec<Vec<u8>> {
    let frames = client.frames().into_iter();
    frames.map(|(_, payload)| payload).collect()
}

#[test]
fn message_reaches_every_connection_of_a_name_once() {
    let roster = Roster::new(10, 10);
    let [phone, page, bob] = clients();
    let _entries = [
        join(&roster, "ann", &phone),
        join(&roster, "ann", &page),
        join(&roster, "ann", &page),
        join(&roster, "bob", &bob),
    ];
    // Its socket accepts nothing: one message is in flight, one is queued.
    let slow = client(0);
    let _slow = join(&roster, "ann", &slow);
    for (message, receivers, full) in [("1", 3, 0), ("2", 3, 0), ("3", 2, 1)] {
        let outcome = roster.send_to("ann", message);
        assert_eq!((outcome.receivers, outcome.full), (receivers, full));
    }
    assert_eq!(roster.send_to("eve", "1"), RosterOutcome::default());
    assert_eq!(written(&phone), [b"1", b"2", b"3"]);
    assert_eq!(written(&page), [b"1", b"2", b"3"]);
    assert!(written(&bob).is_empty());
    [phone, page, bob, slow]
        .into_iter()
        .for_each(SingleThreaded::end);
}

#[test]
fn connection_leaves_with_its_last_entry() {
    let roster = Roster::new(10, 10);
    let [phone, page] = clients();
    let first = join(&roster, "ann", &phone);
    let second = join(&roster, "ann", &phone);
    let other = join(&roster, "ann", &page);
    let elsewhere = join(&roster, "moderators", &phone);
    let numbers = || -> Vec<u64> { roster.outboxes("ann").iter().map(Outbox::number).collect() };
    assert_eq!(
        numbers(),
        [&phone, &page].map(|client| client.outbox().number())
    );
    drop(first);
    assert_eq!(numbers().len(), 2);
    drop(second);
    assert_eq!(numbers(), [page.outbox().number()]);
    assert_eq!(roster.names(), ["ann", "moderators"]);
    drop(other);
    assert_eq!(
        (roster.names(), roster.len()),
        (vec!["moderators".to_owned()], 1)
    );
    drop(elsewhere);
    assert!(roster.is_empty());
    [phone, page].into_iter().for_each(SingleThreaded::end);
}

#[test]
fn full_roster_says_which_limit_is_reached() {
    let roster = Roster::new(2, 2);
    let clients: [SingleThreaded; 4] = clients();
    let [a, b, c, d] = &clients;
    let (ann, bob) = (join(&roster, "ann", a), join(&roster, "bob", b));
    let refused = join(&roster, "eve", c).expect_err("there are two names");
    assert_eq!(refused, RosterFull::Names(2));
    let text = "the roster has 2 names, and no more are added";
    assert_eq!(refused.to_string(), text);
    let again = join(&roster, "ann", c);
    let refused = join(&roster, "ann", d).expect_err("the name has two connections");
    assert_eq!(refused, RosterFull::Connections(2));
    assert!(join(&roster, "ann", c).is_ok(), "it is there already");
    assert_eq!(roster.outboxes("ann").len(), 2);
    drop(bob);
    let eve = join(&roster, "eve", d);
    assert!(eve.is_ok_and(|eve| eve.name() == "eve"));
    let nobody = Roster::new(2, 0);
    assert_eq!(
        join(&nobody, "ann", a).err(),
        Some(RosterFull::Connections(0))
    );
    assert!(nobody.is_empty());
    drop((ann, again));
    clients.into_iter().for_each(SingleThreaded::end);
}

/// The entries still exist: a handler may be busy elsewhere.
#[test]
fn connections_that_have_ended_make_room() {
    let roster = Roster::new(1, 1);
    let [old, new, newest] = clients();
    let old_entry = join(&roster, "ann", &old);
    old.outbox().terminate();
    assert!(roster.names().is_empty() && roster.outboxes("ann").is_empty());
    assert_eq!(roster.send_to("ann", "1"), RosterOutcome::default());
    assert_eq!(roster.len(), 1);
    let new_entry = join(&roster, "ann", &new).expect("the old connection makes room");
    drop(old_entry);
    assert_eq!(roster.send_to("ann", "1").receivers, 1);
    new.outbox().terminate();
    let _newest = join(&roster, "bob", &newest).expect("the name makes room");
    drop(new_entry);
    assert_eq!(roster.names(), ["bob"]);
    [old, new, newest].into_iter().for_each(SingleThreaded::end);
}

#[test]
fn kick_closes_every_connection_of_a_name() {
    let roster = Roster::new(10, 10);
    let [phone, page, gone, bob] = clients();
    let entries = [&phone, &page, &gone].map(|client| join(&roster, "ann", client));
    let _bob = join(&roster, "bob", &bob);
    gone.outbox().terminate();
    assert_eq!(roster.kick("ann", 4100, "out"), 2);
    assert_eq!(roster.kick("ann", 4100, "out"), 0);
    for client in [&phone, &page] {
        assert!(!client.outbox().is_open());
        assert_eq!(written(client), [b"\x10\x04out"]);
    }
    assert!(bob.outbox().is_open());
    assert_eq!(roster.names(), ["bob"]);
    // The name can be used although the old entries exist, which then do not remove the new connection.
    let [new] = clients();
    let _new = join(&roster, "ann", &new);
    drop(entries);
    assert_eq!(roster.outboxes("ann").len(), 1);
    [phone, page, gone, bob, new]
        .into_iter()
        .for_each(SingleThreaded::end);
}
