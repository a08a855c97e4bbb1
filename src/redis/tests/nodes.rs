//! Hubs in one process that share their topics through one server.

use std::time::{Duration, Instant};

use crate::redis::redis_server::RedisServer;
use crate::redis::{LinkState, Lost, Redis, RedisConfig};
use crate::testing::TestServer;
use crate::{
    Client, Connection, Envelope, Gap, Hub, HubConfig, Message, PublishError, SubscribeOptions,
    TopicMessage, TopicSettings,
};

pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// Writes `ID TEXT`, `gap FIRST LAST`, `+NAME` and `-NAME`.
struct Plain;

impl Envelope for Plain {
    fn message(&self, _: &str, message: &TopicMessage) -> Message {
        Message::text(format!("{} {}", message.id(), message.message()))
    }
    fn gap(&self, _: &str, gap: Gap<'_>) -> Message {
        Message::text(format!("gap {} {}", gap.first, gap.last))
    }
    fn presence(&self, _: &str, name: &str, joined: bool) -> Message {
        Message::text(format!("{}{name}", if joined { '+' } else { '-' }))
    }
}

/// A hub and a server for its members.
pub(super) struct Node {
    pub(super) redis: Redis,
    pub(super) hub: Hub,
    server: TestServer,
}

impl Node {
    pub(super) fn start(config: RedisConfig) -> Node {
        let redis = Redis::start(config).expect("the configuration is valid");
        let kept = TopicSettings::default().history(100).queue(1000);
        let config = HubConfig::default()
            .topic("kept*", kept)
            .default_settings(TopicSettings::default().queue(1000))
            .envelope(Plain)
            .redis(&redis);
        let hub = Hub::new(config);
        let rooms = hub.clone();
        let handler = move |conn: &mut Connection| {
            let topic = rooms.topic(&conn.request().path()[1..])?;
            let mut options = SubscribeOptions::new().with_envelope();
            if let Some(since) = conn.request().query("since") {
                options = options.since(since.parse()?);
            }
            let member = topic.subscribe(conn.outbox(), options)?;
            conn.send(format!("member after {}", member.last_id()))?;
            while let Some(message) = conn.recv()? {
                topic.publish(message)?;
            }
            Ok(())
        };
        let server = TestServer::with_config(crate::Config::default().hub(&hub), handler);
        Node { redis, hub, server }
    }

    /// Returns a member of the topic, and the last id before its messages.
    pub(super) fn member(&self, path: &str) -> (Client, u64) {
        let mut client = self.server.client(path).connect().expect("it is accepted");
        let text = next(&mut client);
        (client, last_id(&text))
    }

    pub(super) fn publish(&self, topic: &str, text: &str) -> u64 {
        let topic = self.hub.topic(topic).expect("there is room");
        let outcome = topic.publish(text).expect("the server is there");
        outcome.id
    }

    #[track_caller]
    pub(super) fn wait_for(&self, state: LinkState) {
        let deadline = Instant::now() + DEADLINE;
        while self.redis.links()[0].state != state {
            let now = self.redis.links()[0].state;
            assert!(Instant::now() < deadline, "waited for {state}, is {now}");
            std::thread::yield_now();
        }
    }
}

#[track_caller]
pub(super) fn next(client: &mut Client) -> String {
    let message = client.recv_timeout(DEADLINE).expect("the server sends");
    match message.expect("waited for a message") {
        crate::Message::Text(text) => text.to_string(),
        other => panic!("waited for a text, got {other:?}"),
    }
}

/// Reads the answer of the handler.
#[track_caller]
fn last_id(text: &str) -> u64 {
    let id = text.strip_prefix("member after ").expect("it is a member");
    id.parse().expect("it is an id")
}

/// Reads gaps that follow each other without a hole, from `first` to `last`.
#[track_caller]
fn assert_gap(client: &mut Client, mut first: u64, last: u64) {
    while first <= last {
        let text = next(client);
        let mut words = text.split(' ');
        assert_eq!(words.next(), Some("gap"), "{text}");
        let ids: Vec<u64> = words.map(|id| id.parse().expect("it is an id")).collect();
        assert_eq!(ids[0], first, "{text}");
        first = ids[1] + 1;
    }
    assert_eq!(first, last + 1);
}

/// The timeout is longer than a busy machine may stop a hub or the server.
pub(super) fn config(server: &RedisServer) -> RedisConfig {
    RedisConfig::new(&server.url()).timeout(Duration::from_secs(2))
}

#[test]
fn message_reaches_members_on_all_hubs_in_one_order() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let nodes = [(); 3].map(|()| Node::start(config(&server)));
    let mut members: Vec<Client> = nodes.iter().map(|node| node.member("/kept").0).collect();
    let (mut plain, _) = nodes[0].member("/plain");
    let ids: Vec<u64> = (0..30)
        .map(|n| nodes[n % 3].publish("kept", &n.to_string()))
        .collect();
    let plain_id = nodes[2].publish("plain", "x");
    for member in &mut members {
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(next(member), format!("{id} {n}"));
        }
    }
    assert_eq!(next(&mut plain), format!("{plain_id} x"));
    assert!(ids.is_sorted_by(|a, b| b - a == 1), "{ids:?}");
}

#[test]
fn client_resumes_on_another_hub() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let nodes = [(); 2].map(|()| Node::start(config(&server)));
    let first = nodes[0].publish("kept", "a");
    let second = nodes[0].publish("kept", "b");
    let path = format!("/kept?since={first}");
    let client = nodes[1].server.client(&path).connect();
    let mut member = client.expect("it is accepted");
    // The answer of the handler follows the replay.
    assert_eq!(next(&mut member), format!("{second} b"));
    assert_eq!(last_id(&next(&mut member)), second);
    let third = nodes[0].publish("kept", "c");
    assert_eq!(next(&mut member), format!("{third} c"));
    let history = nodes[1].hub.topic("kept").expect("there is room");
    assert_eq!(history.history(0).len(), 3);
}

#[test]
fn outcome_counts_local_members_and_receiving_hubs() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let nodes = [(); 2].map(|()| Node::start(config(&server)));
    let _members = [
        nodes[0].member("/t"),
        nodes[0].member("/t"),
        nodes[1].member("/t"),
    ];
    let topic = nodes[0].hub.topic("t").expect("there is room");
    let outcome = topic.publish("x").expect("the server is there");
    assert_eq!((outcome.receivers, outcome.nodes), (2, 2));
}

#[test]
fn isolated_hub_delivers_locally_between_two_gaps() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    let nodes = [(); 2].map(|()| Node::start(config(&server)));
    let (mut here, _) = nodes[0].member("/kept");
    let (mut there, _) = nodes[1].member("/kept");
    let before = nodes[0].publish("kept", "before");
    for member in [&mut here, &mut there] {
        assert_eq!(next(member), format!("{before} before"));
    }
    server.kill();
    nodes[0].wait_for(LinkState::Isolated);
    let local = nodes[0].publish("kept", "local");
    assert!(local > before + 1);
    assert_gap(&mut here, before + 1, local - 1);
    assert_eq!(next(&mut here), format!("{local} local"));
    server.restart();
    nodes[0].wait_for(LinkState::Up);
    nodes[1].wait_for(LinkState::Up);
    let after = nodes[1].publish("kept", "after");
    assert!(after > local);
    assert_gap(&mut here, local + 1, after - 1);
    assert_eq!(next(&mut here), format!("{after} after"));
    assert_gap(&mut there, before + 1, after - 1);
    assert_eq!(next(&mut there), format!("{after} after"));
}

#[test]
fn isolated_hub_refuses_if_asked_to() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    let node = Node::start(config(&server).lost(Lost::Refuse));
    node.wait_for(LinkState::Up);
    server.kill();
    node.wait_for(LinkState::Isolated);
    let topic = node.hub.topic("t").expect("there is room");
    let error = topic.publish("x").expect_err("there is no server");
    assert!(matches!(error, PublishError::Unavailable(..)), "{error}");
    server.restart();
    node.wait_for(LinkState::Up);
    topic.publish("y").expect("the server is there again");
}

#[test]
fn short_freeze_delays_and_loses_nothing() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let node = Node::start(config(&server).timeout(Duration::from_secs(10)));
    let (mut member, before) = node.member("/kept");
    server.freeze();
    let ids = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| node.publish("kept", "x"));
        // The publish waits for the frozen server. Then it goes on.
        server.thaw();
        publisher.join().expect("it is published")
    });
    assert_eq!(next(&mut member), format!("{ids} x"));
    assert_eq!(ids, before + 1);
    assert_eq!(node.redis.links()[0].counts.links_lost, 0);
}

#[test]
fn missed_messages_are_read_after_a_killed_subscription() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let nodes = [(); 2].map(|()| Node::start(config(&server)));
    let (mut member, mut last_id) = nodes[0].member("/kept");
    for round in 0..5 {
        server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        let id = nodes[1].publish("kept", &round.to_string());
        assert_eq!(id, last_id + 1);
        assert_eq!(next(&mut member), format!("{id} {round}"));
        last_id = id;
    }
}

#[test]
fn shutdown_ends_while_the_server_is_frozen() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let node = Node::start(config(&server));
    let _member = node.member("/t");
    server.freeze();
    let began = Instant::now();
    node.redis.shutdown();
    let limit = Duration::from_secs(7);
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    let topic = node.hub.topic("t").expect("there is room");
    assert!(topic.publish("x").is_err());
    server.thaw();
}

#[test]
fn shards_begin_with_different_servers() {
    for (first, second) in [
        ("redis://127.0.0.1:1", "redis://127.0.0.1:1"),
        ("redis://127.0.0.1", "redis://:s3cret@127.0.0.1:6379/2"),
        (
            "redis://127.0.0.1:1,redis://127.0.0.1:2",
            "redis://127.0.0.1:1",
        ),
    ] {
        let config = RedisConfig::new("unix:/nowhere").shard(first).shard(second);
        let error = Redis::start(config).expect_err("one of them would have no topics");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(
            text.contains("two shards begin with the server 127.0.0.1:"),
            "{text}"
        );
    }
    let config =
        RedisConfig::new("redis://127.0.0.1:1").shard("redis://127.0.0.1:2,redis://127.0.0.1:1");
    Redis::start(config)
        .expect("they begin with different servers")
        .shutdown();
}
