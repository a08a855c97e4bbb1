//! What a hub does with faults of the server, of its data, and of clocks.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::link::Link;
use super::nodes_tests::{DEADLINE, Node, config, next};
use super::pending::{PendingPublish, Progress};
use super::record;
use super::redis_server::RedisServer;
use super::topics::Query;
use super::{LinkState, Lost, Redis, RedisConfig};
use crate::hub::{PublishOutcome, Topic};
use crate::{Hub, HubConfig, PublishError};

const COUNTER: &str = "standpipe:{kept}:i";
const STREAM: &str = "standpipe:{kept}:s";

/// A hub whose server refuses connections.
fn without_server(timeout: Duration) -> (Redis, Hub) {
    let config = RedisConfig::new("redis://127.0.0.1:1").timeout(timeout);
    let redis = Redis::start(config).expect("the configuration is valid");
    let hub = Hub::new(HubConfig::default().redis(&redis));
    (redis, hub)
}

fn link(redis: &Redis) -> &Link {
    redis.shared.shards[0].link()
}

/// Runs `f` on a thread of its own, and returns its result.
#[track_caller]
fn within_deadline<T: Send + 'static>(what: &str, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (result, results) = mpsc::channel();
    thread::spawn(move || result.send(f()));
    let result = results.recv_timeout(DEADLINE);
    result.unwrap_or_else(|_| panic!("waited for {what}"))
}

#[track_caller]
fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_true() {
        assert!(Instant::now() < deadline, "waited until {what}");
        thread::yield_now();
    }
}

/// Takes the publish that waits in the queue, as the publisher thread does, and marks it as sent.
fn send_one(link: &Link) -> std::sync::Arc<PendingPublish> {
    let mut taken = link.queue.take(Instant::now() + DEADLINE);
    let publish = taken.pop().expect("waited for a publish");
    assert!(publish.try_send(1, true), "its thread waits");
    publish
}

fn pending(topic: &Topic, first_seq: u64, deadline: Instant) -> PendingPublish {
    let mut records = Vec::new();
    record::append(&mut records, 7, first_seq, &"x".into());
    PendingPublish::new(topic.clone(), records, (first_seq, 1), deadline)
}

/// Sets the counter of topic `kept`, in the same epoch.
fn set_counter(server: &RedisServer, last_id: u64) {
    let counter = server.command(&["GET", COUNTER]);
    let counter: String = ::redis::from_redis_value(counter).expect("it is text");
    server.command(&["SET", COUNTER, &format!("{}{last_id}", &counter[..8])]);
}

/// A question of a thread that has given up may hold the last reference to its topic.
#[test]
fn old_question_may_hold_the_last_topic() {
    let (redis, hub) = without_server(Duration::from_millis(500));
    let topic = hub.topic("t").expect("there is room");
    let (reply, _answer) = crossbeam_channel::bounded(1);
    link(&redis).topics.ask(Query::Fill(topic, reply));
    within_deadline("the end of the topic", move || {
        link(&redis).topics.subscribe_all();
    });
    assert!(hub.get("t").is_none());
}

#[test]
fn publish_ends_when_only_its_messages_return() {
    let (redis, hub) = without_server(Duration::from_millis(100));
    let topic = hub.topic("t").expect("there is room");
    let publisher = {
        let topic = topic.clone();
        thread::spawn(move || topic.publish("x"))
    };
    let publish = send_one(link(&redis));
    let outcome = PublishOutcome {
        id: 7,
        receivers: 3,
        ..PublishOutcome::default()
    };
    publish.set_delivered(0, &[outcome]);
    let outcome = within_deadline("the outcome", || publisher.join().expect("no panic"));
    let outcome = outcome.expect("it has come back");
    assert_eq!((outcome.id, outcome.receivers), (7, 3));
}

/// Before the new deadline, the server may still execute what was sent again.
#[test]
fn publish_that_was_sent_again_has_a_new_deadline() {
    let timeout = Duration::from_millis(300);
    let (redis, hub) = without_server(timeout);
    let topic = hub.topic("t").expect("there is room");
    let began = Instant::now();
    let publisher = thread::spawn(move || topic.publish("x"));
    let publish = send_one(link(&redis));
    let deadline = began + 3 * timeout;
    assert!(publish.set_not_executed(Some(deadline)) && publish.try_send(2, true));
    let outcome = within_deadline("the outcome", || publisher.join().expect("no panic"));
    outcome.expect("it is a local message");
    assert!(Instant::now() >= deadline, "{:?}", began.elapsed());
}

#[test]
fn outcome_of_a_sent_publish_is_unknown_at_the_end() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    let config = config(&server).lost(Lost::Refuse);
    let node = Node::start(config.timeout(Duration::from_secs(20)));
    node.publish("t", "first");
    // Then the publisher thread has done what it does first on a connection.
    wait_until("the lease is written", || node.redis.links()[0].nodes == 1);
    node.publish("t", "second");
    server.freeze();
    let topic = node.hub.topic("t").expect("there is room");
    let publisher = thread::spawn(move || topic.publish("x"));
    let is_sent = |link: &Link| link.all_pending().iter().any(|p| p.is_in_doubt());
    wait_until("the publish is sent", || is_sent(link(&node.redis)));
    node.redis.shared.shards[0].stop();
    server.kill();
    node.redis.shutdown();
    let outcome = within_deadline("the outcome", || publisher.join().expect("no panic"));
    let error = outcome.expect_err("there is no server");
    assert!(matches!(error, PublishError::Unknown(_)), "{error}");
}

#[test]
fn failed_joins_are_not_repeated_without_a_pause() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let node = Node::start(config(&server));
    let _member = node.member("/kept");
    server.command(&["DEL", COUNTER]);
    server.command(&["RPUSH", COUNTER, "not a counter"]);
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    node.wait_for(LinkState::Isolated);
    let mut connection = server.connection().expect("the server is there");
    let mut attempts = || -> u64 {
        let stats = ::redis::cmd("INFO").arg("stats").query(&mut connection);
        let stats: String = stats.expect("INFO is text");
        let field = stats
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"));
        let connections: Option<u64> = field.and_then(|count| count.parse().ok());
        connections.expect("it counts connections") / 3
    };
    let (before, began) = (attempts(), Instant::now());
    wait_until("20 attempts are over", || attempts() >= before + 20);
    assert!(
        began.elapsed() > Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    server.command(&["DEL", COUNTER]);
    node.wait_for(LinkState::Up);
}

#[test]
fn topic_refused_by_a_full_server_does_not_cost_the_link() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let node = Node::start(config(&server));
    let (mut member, _) = node.member("/kept");
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let client = node.hub.topic("kept-too").expect("there is room");
    assert_eq!(client.presence(), [""; 0], "it cannot be opened");
    let link = &node.redis.links()[0];
    assert_eq!((link.state, link.counts.links_lost), (LinkState::Up, 0));
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    let (mut other, _) = node.member("/kept-too");
    let id = node.publish("kept-too", "x");
    assert_eq!(next(&mut other), format!("{id} x"));
    let id = node.publish("kept", "y");
    assert_eq!(next(&mut member), format!("{id} y"));
}

#[test]
fn wrong_clock_of_a_hub_without_members_silences_nobody() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let nodes = [(); 2].map(|()| Node::start(config(&server)));
    let (mut member, _) = nodes[1].member("/plain");
    nodes[0].wait_for(LinkState::Up);
    let topic = nodes[0].hub.topic("plain").expect("there is room");
    topic.jump_to(link(&nodes[0].redis).clock.now() + 3_600_000_000);
    let id = topic.publish("x").expect("the server is there").id;
    assert_eq!(next(&mut member), format!("{id} x"));
}

#[test]
fn ids_above_a_clock_that_was_set_back_are_taken() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let nodes = [(); 2].map(|()| Node::start(config(&server)));
    let id = nodes[0].publish("kept", "x");
    set_counter(&server, id + 3_600_000_000);
    let (mut member, last_id) = nodes[1].member("/kept");
    let id = nodes[0].publish("kept", "y");
    assert_eq!(id, last_id + 1);
    assert_eq!(next(&mut member), format!("{id} y"));
}

#[test]
fn history_skips_many_invalid_entries() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    for id in 1..200 {
        server.command(&["XADD", STREAM, &format!("{id}-0"), "m", "garbage"]);
    }
    let nodes = [(); 2].map(|()| Node::start(config(&server)));
    nodes[0].publish("kept", "x");
    let topic = nodes[1].hub.topic("kept").expect("there is room");
    let history = within_deadline("the history", move || topic.history(0));
    assert_eq!(history.len(), 1);
    assert_eq!(nodes[1].redis.links()[0].counts.links_lost, 0);
}

#[test]
fn catching_up_goes_on_after_an_invalid_entry() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let nodes = [(); 2].map(|()| Node::start(config(&server)));
    let (mut member, _) = nodes[0].member("/kept");
    let first = nodes[1].publish("kept", "x");
    assert_eq!(next(&mut member), format!("{first} x"));
    let mut records = Vec::new();
    record::append(&mut records, 7, 1, &"z".into());
    let mut connection = server.connection().expect("the server is there");
    for id in first + 1..first + 100 {
        let body = if id == first + 5 {
            b"garbage"
        } else {
            &records[..]
        };
        let mut add = ::redis::cmd("XADD");
        add.arg(STREAM).arg(format!("{id}-0")).arg("m").arg(body);
        add.exec(&mut connection).expect("the server takes it");
    }
    set_counter(&server, first + 99);
    let last = nodes[1].publish("kept", "y");
    assert_eq!(last, first + 100);
    let received: Vec<String> = (0..100).map(|_| next(&mut member)).collect();
    assert_eq!(received[4], format!("gap {0} {0}", first + 5));
    assert_eq!(received[98], format!("{} z", first + 99));
    assert_eq!(received[99], format!("{last} y"));
}

#[test]
fn late_publish_does_not_delay_others_of_its_call() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let node = Node::start(config(&server));
    node.wait_for(LinkState::Up);
    let (topic, link) = (
        node.hub.topic("t").expect("there is room"),
        link(&node.redis),
    );
    // The hub's clock may be wrong by the time of a round trip.
    let late = Instant::now() - Duration::from_millis(100);
    let late = link.register(1, |seq| pending(&topic, seq, late));
    let early = link.register(1, |seq| pending(&topic, seq, Instant::now() + DEADLINE));
    let publishes = [&late, &early].map(|registered| registered.publish.clone());
    link.queue.push_front(publishes.to_vec());
    let is_waiting =
        |publish: &PendingPublish| matches!(publish.progress(true), Progress::Waiting { .. });
    wait_until("both have an outcome", || {
        !publishes.iter().any(|publish| is_waiting(publish))
    });
    assert!(matches!(publishes[0].progress(true), Progress::Refused(_)));
    assert!(matches!(publishes[1].progress(true), Progress::Done(_)));
}

/// No heartbeat is received meanwhile, but the answers show that the server is not silent.
#[test]
fn long_history_does_not_isolate() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let add = "for n = 1, 200000 do redis.call('XADD', KEYS[1], n .. '-0', 'm', 'garbage') end";
    server.command(&["EVAL", add, "1", STREAM]);
    let node = Node::start(config(&server).timeout(Duration::from_millis(500)));
    let _member = node.member("/kept");
    node.wait_for(LinkState::Up);
    let before = node.redis.links()[0].counts;
    let topic = node.hub.topic("kept").expect("there is room");
    topic.history(0);
    wait_until("the history is complete", || topic.is_filled());
    let after = node.redis.links()[0].counts;
    assert!(after.malformed >= 200_000, "{after:?}");
    assert_eq!(
        (after.isolated, after.links_lost),
        (before.isolated, before.links_lost)
    );
}

/// The publisher thread does not go round and round until the next renewal of its lease.
#[test]
fn names_are_written_again_at_once() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let node = Node::start(config(&server));
    node.wait_for(LinkState::Up);
    let (link, names) = (link(&node.redis), "standpipe:{t}:p");
    let are_written = || server.command(&["EXISTS", names]) == ::redis::Value::Int(1);
    link.set_present("t", "ann", true);
    wait_until("the name is written", are_written);
    server.command(&["DEL", names]);
    let began = Instant::now();
    link.names.rewrite();
    link.queue.call();
    wait_until("the name is written again", are_written);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

/// The publisher thread handed it to a subscriber thread, which has ended.
#[test]
fn publish_that_no_thread_has_is_in_doubt() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let node = Node::start(config(&server));
    node.wait_for(LinkState::Up);
    let (topic, link) = (
        node.hub.topic("t").expect("there is room"),
        link(&node.redis),
    );
    let sent = link.register(1, |seq| pending(&topic, seq, Instant::now() + DEADLINE));
    assert!(sent.publish.try_send(1, false));
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_until("it has an outcome", || {
        matches!(sent.publish.progress(true), Progress::Done(_))
    });
}
