//! The actions on all hubs: the removal of a history, the disconnection of a user, claims.

use std::io::ErrorKind;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::nodes_tests::{DEADLINE, Node, config, next};
use super::record::VERSION;
use super::redis_server::RedisServer;
use super::{LinkState, Redis, RedisConfig};

#[track_caller]
fn until(what: &str, is_true: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_true() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::yield_now();
    }
}

/// Returns the texts in the history that this hub has, without asking the server.
fn local_history(node: &Node) -> usize {
    let topic = node.hub.get("kept").expect("it has a member");
    topic.counts().history
}

#[test]
fn history_is_removed_on_all_hubs() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let nodes = [(); 2].map(|()| Node::start(config(&server)));
    let mut members = [0, 1].map(|n: usize| nodes[n].member("/kept").0);
    let last = [nodes[0].publish("kept", "a"), nodes[1].publish("kept", "b")][1];
    for member in &mut members {
        assert!(next(member).ends_with(" a") && next(member).ends_with(" b"));
    }
    assert_eq!([0, 1].map(|n: usize| local_history(&nodes[n])), [2, 2]);
    let topic = nodes[0].hub.topic("kept").expect("it exists");
    topic.clear_history().expect("the server is there");
    assert_eq!(
        local_history(&nodes[0]),
        0,
        "no later than the call returns"
    );
    until("the other hub has removed it", || {
        local_history(&nodes[1]) == 0
    });
    let new = nodes[1].publish("kept", "c");
    assert_eq!(new, last + 1, "the ids continue");
    for member in &mut members {
        assert_eq!(next(member), format!("{new} c"));
    }
    // A third hub reads the server's history.
    let third = Node::start(config(&server));
    let topic = third.hub.topic("kept").expect("there is room");
    let ids: Vec<u64> = topic
        .history(0)
        .iter()
        .map(|message| message.id())
        .collect();
    assert_eq!(ids, [new]);
}

#[test]
fn hub_that_missed_a_removal_catches_up() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    let node = Node::start(config(&server));
    let (mut member, _) = node.member("/kept");
    let last = node.publish("kept", "a");
    next(&mut member);
    // As the script leaves it, but the hub is not told.
    server.command(&["SET", "standpipe:{kept}:x", &last.to_string()]);
    assert_eq!(local_history(&node), 1);
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    until("the hub has read what was removed", || {
        local_history(&node) == 0
    });
    server.kill();
    node.wait_for(LinkState::Isolated);
    let topic = node.hub.topic("kept").expect("it exists");
    let error = topic.clear_history().expect_err("no other hub can be told");
    assert!(error.to_string().contains("redis"), "{error}");
}

#[test]
fn user_is_disconnected_by_all_other_hubs() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let hubs = [(); 3].map(|()| {
        let redis = Redis::start(config(&server)).expect("the configuration is valid");
        let (sender, disconnected) = mpsc::sync_channel(10);
        redis.on_disconnect_user(move |user, code, reason| {
            let _ = sender.send((user.to_owned(), code, reason.to_owned()));
            assert_ne!(code, 4001, "deliberate panic of the test");
        });
        (redis, disconnected)
    });
    for (redis, _) in &hubs {
        until("the hub is up", || redis.links()[0].state == LinkState::Up);
    }
    let long = "r".repeat(123);
    for (user, code, reason) in [
        ("ann é", 4001, "banned"),
        ("bob", 4100, &*long),
        ("c", 1000, ""),
    ] {
        let disconnect = hubs[0].0.disconnect_user(user, code, reason);
        disconnect.expect("the server is there");
        for (_, disconnected) in &hubs[1..] {
            let message = disconnected.recv_timeout(DEADLINE);
            let expected = (user.to_owned(), code, reason.to_owned());
            assert_eq!(message, Ok(expected), "a panic ends nothing");
        }
    }
    assert!(hubs[0].1.try_recv().is_err(), "a hub is not told by itself");
    for (user, reason) in [("", ""), ("a\n", ""), ("u", &*format!("{long}r"))] {
        let error = hubs[0].0.disconnect_user(user, 4000, reason);
        let error = error.expect_err("it is not valid").kind();
        assert_eq!(error, ErrorKind::InvalidInput);
    }
    // A message of another program there is counted, and has no effect.
    for payload in ["", "x", "U", &format!("U{}", char::from(VERSION))] {
        server.command(&["PUBLISH", "standpipe:users", payload]);
    }
    until("the payloads are counted", || {
        hubs[1].0.links()[0].counts.malformed == 4
    });
    assert!(hubs[1].1.try_recv().is_err());
}

#[test]
fn claim_is_given_to_one_hub() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let hubs = [(); 2].map(|()| Redis::start(config(&server)).expect("the configuration is valid"));
    let hour = Duration::from_secs(3600);
    let claim = |n: usize, key: &str| hubs[n].claim(key, &[n as u8], hour).expect("it is there");
    assert_eq!(claim(0, "k"), None);
    assert_eq!(claim(1, "k"), Some(vec![0]));
    assert_eq!(claim(1, "other"), None);
    hubs[0].set_claim("k", b"done", hour).expect("it is there");
    assert_eq!(claim(1, "k"), Some(b"done".to_vec()));
    hubs[0].release_claim("k").expect("it is there");
    assert_eq!(claim(1, "k"), None);
    let short = hubs[0].claim("short", b"", Duration::ZERO);
    assert_eq!(short.expect("it is there"), None);
    until("the claim has expired", || {
        let claim = hubs[1].claim("short", b"", hour);
        claim.expect("it is there").is_none()
    });
    let long = "k".repeat(201);
    let error = hubs[0].claim(&long, b"", hour).expect_err("it is too long");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn isolated_hub_says_that_it_cannot_claim() {
    let config = RedisConfig::new("redis://127.0.0.1:1").timeout(Duration::from_millis(50));
    let redis = Redis::start(config).expect("the configuration is valid");
    until("the hub is isolated", || {
        redis.links()[0].state == LinkState::Isolated
    });
    let error = redis.claim("k", b"", DEADLINE).expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    let error = redis
        .disconnect_user("ann", 4000, "")
        .expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}
