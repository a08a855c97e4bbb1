//! [`Node`]: a hub with named members, and what its tests see on the server.

use std::time::{Duration, Instant};

use redis::from_redis_value;

use crate::redis::keys::Keys;
use crate::redis::redis_server::RedisServer;
use crate::redis::{LinkState, Redis, RedisConfig};
use crate::testing::TestServer;
use crate::{
    Client, Connection, Envelope, Gap, Hub, HubConfig, Message, SubscribeOptions, TopicMessage,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// A hub that has died, as the others see it.
pub(super) const DEAD: u64 = 0xdead;

/// Only the notices matter: `+NAME` and `-NAME`.
struct Plain;

impl Envelope for Plain {
    fn message(&self, _: &str, message: &TopicMessage) -> Message {
        message.message()
    }
    fn gap(&self, _: &str, _: Gap<'_>) -> Message {
        Message::text("gap")
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
    pub(super) fn start(server: &RedisServer) -> Node {
        Node::start_at(&server.url())
    }

    pub(super) fn start_at(url: &str) -> Node {
        // A loaded machine may be silent for half a second.
        let config = RedisConfig::new(url).timeout(Duration::from_secs(2));
        let redis = Redis::start(config).expect("the URL is valid");
        let hub = Hub::new(HubConfig::default().envelope(Plain).redis(&redis));
        let rooms = hub.clone();
        let handler = move |conn: &mut Connection| {
            let topic = rooms.topic("room")?;
            let mut options = SubscribeOptions::new().with_envelope();
            match &conn.request().path()[1..] {
                "" => options = options.with_presence(),
                name => options = options.with_name(name),
            }
            let _member = topic.subscribe(conn.outbox(), options)?;
            conn.send("member")?;
            while conn.recv()?.is_some() {}
            Ok(())
        };
        let server = TestServer::with_config(crate::Config::default().hub(&hub), handler);
        let node = Node { redis, hub, server };
        node.wait_for(LinkState::Up);
        node
    }

    /// Starts a hub with a user of its own, which has the permissions that the guide names.
    pub(super) fn start_as_user(server: &RedisServer) -> Node {
        let guide = include_str!("../../GUIDE.md");
        let user = guide
            .lines()
            .find_map(|line| line.strip_prefix("user hubs "));
        let rules: Vec<&str> = user.expect("the guide names them").split(' ').collect();
        server.command(&[&["ACL", "SETUSER", "hubs"], &rules[..]].concat());
        Node::start_at(&format!(
            "redis://hubs:PASSWORD@127.0.0.1:{}",
            server.port()
        ))
    }

    /// Makes the server refuse the hub that has a user of its own.
    pub(super) fn shut_out(&self, server: &RedisServer) {
        server.command(&["ACL", "SETUSER", "hubs", "off"]);
        server.command(&["CLIENT", "KILL", "USER", "hubs"]);
        self.wait_for(LinkState::Isolated);
    }

    fn client(&self, path: &str) -> Client {
        let mut client = self.server.client(path).connect().expect("it is accepted");
        // It may be told of itself before.
        while next(&mut client) != "member" {}
        client
    }

    /// Returns a member of the topic with this name.
    pub(super) fn join(&self, name: &str) -> Client {
        self.client(&format!("/{name}"))
    }

    /// Returns a member without a name that is told of names.
    pub(super) fn watch(&self) -> Client {
        self.client("/")
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.hub.topic("room").expect("there is room").presence()
    }

    #[track_caller]
    pub(super) fn wait_for_names(&self, names: &[&str]) {
        wait_until(&format!("the names {names:?}"), || self.names() == names);
    }

    #[track_caller]
    pub(super) fn wait_for(&self, state: LinkState) {
        wait_until(&format!("the state {state}"), || {
            self.redis.links()[0].state == state
        });
    }

    /// Returns this hub's number.
    pub(super) fn number(&self) -> u64 {
        self.redis.shared.shards[0].link().node
    }
}

/// Waits for something that notifies no test.
#[track_caller]
pub(super) fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_true() {
        assert!(Instant::now() < deadline, "waited for {what}");
        crossbeam_channel::after(Duration::from_millis(5))
            .recv()
            .expect("the time passes");
    }
}

#[track_caller]
pub(super) fn next(client: &mut Client) -> String {
    let message = client.recv_timeout(DEADLINE).expect("the server sends");
    message.expect("waited for a notice").to_string()
}

/// Publishes a message, which arrives after all notices before it. Returns those.
#[track_caller]
pub(super) fn notices(node: &Node, client: &mut Client) -> Vec<String> {
    let topic = node.hub.topic("room").expect("there is room");
    topic.publish("end").expect("the server is there");
    let mut notices = Vec::new();
    loop {
        match next(client).as_str() {
            "end" => return notices,
            "gap" => {}
            notice => notices.push(notice.to_owned()),
        }
    }
}

pub(super) fn keys() -> Keys {
    Keys::new("standpipe", DEAD)
}

/// Writes what a hub that has died has left on the server.
pub(super) fn leave_dead_hub(server: &RedisServer, names: &[&str], lease_end_ms: u64) {
    let (node, end) = (format!("{DEAD:016x}"), lease_end_ms.to_string());
    server.command(&["ZADD", &keys().nodes(), &end, &node]);
    server.command(&["SADD", &keys().topics_at(DEAD), "room", "other"]);
    for name in names {
        for topic in ["room", "other"] {
            let field = format!("{node}\0{name}");
            server.command(&["HSET", &keys().presence(topic), &field, ""]);
        }
    }
}

/// Returns the names of all keys, without the counters of topics.
pub(super) fn all_keys(server: &RedisServer) -> Vec<String> {
    let mut keys: Vec<String> = from_redis_value(server.command(&["KEYS", "*"])).expect("names");
    keys.retain(|key| !key.ends_with(":i"));
    keys.sort();
    keys
}

pub(super) fn now_ms(server: &RedisServer) -> u64 {
    let (seconds, micros): (u64, u64) =
        from_redis_value(server.command(&["TIME"])).expect("two numbers");
    seconds * 1000 + micros / 1000
}

/// Returns when the lease of a hub ends. `None`: it has none.
pub(super) fn lease_end(server: &RedisServer, node: &Node) -> Option<f64> {
    let number = format!("{:016x}", node.number());
    from_redis_value(server.command(&["ZSCORE", &keys().nodes(), &number])).expect("a number")
}
