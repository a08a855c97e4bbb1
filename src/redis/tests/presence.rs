//! Names on several hubs in one process that share one server.

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
const DEAD: u64 = 0xdead;

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
struct Node {
    redis: Redis,
    hub: Hub,
    server: TestServer,
}

impl Node {
    fn start(server: &RedisServer) -> Node {
        Node::start_at(&server.url())
    }

    fn start_at(url: &str) -> Node {
        let redis = Redis::start(RedisConfig::new(url)).expect("the URL is valid");
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
    fn start_as_user(server: &RedisServer) -> Node {
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
    fn shut_out(&self, server: &RedisServer) {
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
    fn join(&self, name: &str) -> Client {
        self.client(&format!("/{name}"))
    }

    /// Returns a member without a name that is told of names.
    fn watch(&self) -> Client {
        self.client("/")
    }

    fn names(&self) -> Vec<String> {
        self.hub.topic("room").expect("there is room").presence()
    }

    #[track_caller]
    fn wait_for_names(&self, names: &[&str]) {
        wait_until(&format!("the names {names:?}"), || self.names() == names);
    }

    #[track_caller]
    fn wait_for(&self, state: LinkState) {
        wait_until(&format!("the state {state}"), || {
            self.redis.links()[0].state == state
        });
    }

    /// Returns this hub's number.
    fn number(&self) -> u64 {
        self.redis.shared.shards[0].link().node
    }
}

/// Waits for something that notifies no test.
#[track_caller]
fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_true() {
        assert!(Instant::now() < deadline, "waited for {what}");
        crossbeam_channel::after(Duration::from_millis(5))
            .recv()
            .expect("the time passes");
    }
}

#[track_caller]
fn next(client: &mut Client) -> String {
    let message = client.recv_timeout(DEADLINE).expect("the server sends");
    message.expect("waited for a notice").to_string()
}

/// Publishes a message, which arrives after all notices before it. Returns those.
#[track_caller]
fn notices(node: &Node, client: &mut Client) -> Vec<String> {
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

fn keys() -> Keys {
    Keys::new("standpipe", DEAD)
}

/// Writes what a hub that has died has left on the server.
fn leave_dead_hub(server: &RedisServer, names: &[&str], lease_end_ms: u64) {
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
fn all_keys(server: &RedisServer) -> Vec<String> {
    let mut keys: Vec<String> = from_redis_value(server.command(&["KEYS", "*"])).expect("names");
    keys.retain(|key| !key.ends_with(":i"));
    keys.sort();
    keys
}

fn now_ms(server: &RedisServer) -> u64 {
    let (seconds, micros): (u64, u64) =
        from_redis_value(server.command(&["TIME"])).expect("two numbers");
    seconds * 1000 + micros / 1000
}

/// Returns when the lease of a hub ends. `None`: it has none.
fn lease_end(server: &RedisServer, node: &Node) -> Option<f64> {
    let number = format!("{:016x}", node.number());
    from_redis_value(server.command(&["ZSCORE", &keys().nodes(), &number])).expect("a number")
}

macro_rules! start {
    () => {
        match RedisServer::start() {
            Some(server) => server,
            None => return,
        }
    };
}

#[test]
fn names_on_all_hubs_are_listed_on_each() {
    let server = start!();
    let nodes = [(); 3].map(|()| Node::start(&server));
    let mut watcher = nodes[2].watch();
    let _ann = nodes[0].join("ann");
    assert_eq!(next(&mut watcher), "+ann");
    let bob = nodes[1].join("bob");
    assert_eq!(next(&mut watcher), "+bob");
    for node in &nodes {
        node.wait_for_names(&["ann", "bob"]);
    }
    // A hub that opens the topic later reads them.
    let late = Node::start(&server);
    late.wait_for_names(&["ann", "bob"]);
    drop(bob);
    assert_eq!(next(&mut watcher), "-bob");
    late.wait_for_names(&["ann"]);
}

#[test]
fn name_on_two_hubs_joins_and_leaves_once() {
    let server = start!();
    let nodes = [(); 3].map(|()| Node::start(&server));
    let mut watchers = [nodes[0].watch(), nodes[2].watch()];
    let here = nodes[0].join("ann");
    let there = nodes[1].join("ann");
    for watcher in &mut watchers {
        assert_eq!(next(watcher), "+ann");
    }
    drop(here);
    // The name has left the first hub when its field is gone.
    let field = format!("{:016x}\0ann", nodes[0].number());
    wait_until("the end of the grace", || {
        let is_there = server.command(&["HEXISTS", &keys().presence("room"), &field]);
        from_redis_value::<bool>(is_there).is_ok_and(|is_there| !is_there)
    });
    for (node, watcher) in [&nodes[0], &nodes[2]].into_iter().zip(&mut watchers) {
        assert_eq!(notices(node, watcher), [""; 0], "it is on another hub");
        assert_eq!(node.names(), ["ann"]);
    }
    drop(there);
    for watcher in &mut watchers {
        while next(watcher) != "-ann" {}
    }
}

#[test]
fn names_of_a_dead_hub_are_removed() {
    let server = start!();
    leave_dead_hub(&server, &["ann", "zoe"], now_ms(&server) - 1);
    let began = Instant::now();
    let nodes = [(); 2].map(|()| Node::start(&server));
    let _ann = nodes[1].join("ann");
    nodes[0].wait_for_names(&["ann", "zoe"]);
    let mut watcher = nodes[0].watch();
    assert_eq!(next(&mut watcher), "-zoe");
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(5),
        "it could have renewed its lease: {took:?}"
    );
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(nodes[0].names(), ["ann"], "it is also on another hub");
    wait_until("the end of the removal", || {
        let keys = all_keys(&server);
        let left = [self::keys().topics_at(DEAD), self::keys().presence("other")];
        left.iter().all(|key| !keys.contains(key))
    });
    let leases = server.command(&["ZCARD", &self::keys().nodes()]);
    assert_eq!(from_redis_value::<u64>(leases).expect("a number"), 2);
}

#[test]
fn hubs_with_a_lease_are_counted() {
    let server = start!();
    leave_dead_hub(&server, &[], now_ms(&server) + 60_000);
    let nodes = [(); 2].map(|()| Node::start(&server));
    for node in &nodes {
        wait_until("the hubs to know each other", || {
            node.redis.links()[0].nodes == 3
        });
    }
    leave_dead_hub(&server, &[], now_ms(&server) - 1);
    wait_until("the end of a lease", || {
        nodes[0].redis.links()[0].nodes == 2
    });
}

#[test]
fn lease_is_renewed_before_it_ends() {
    let server = start!();
    let node = Node::start(&server);
    wait_until("the lease", || lease_end(&server, &node).is_some());
    let first = lease_end(&server, &node).expect("it has a lease");
    let left = first - now_ms(&server) as f64;
    assert!((7_000.0..=10_050.0).contains(&left), "{left} ms");
    let began = Instant::now();
    wait_until("the renewal", || lease_end(&server, &node) > Some(first));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn hub_whose_lease_was_removed_writes_its_names_again() {
    let server = start!();
    let nodes = [(); 2].map(|()| Node::start(&server));
    let mut watcher = nodes[0].watch();
    let _bob = nodes[1].join("bob");
    assert_eq!(next(&mut watcher), "+bob");
    // Another hub has taken it for dead.
    let number = format!("{:016x}", nodes[1].number());
    server.command(&[
        "DEL",
        &keys().presence("room"),
        &keys().topics_at(nodes[1].number()),
    ]);
    server.command(&["ZREM", &keys().nodes(), &number]);
    let left = crate::redis::record::presence_payload(nodes[1].number(), "bob", false);
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(keys().channel("room")).arg(left);
    publish
        .query::<i64>(&mut server.connection().expect("it accepts connections"))
        .expect("it is published");
    assert_eq!(next(&mut watcher), "-bob");
    assert_eq!(next(&mut watcher), "+bob");
    let members = server.command(&["SMEMBERS", &keys().topics_at(nodes[1].number())]);
    assert_eq!(
        from_redis_value::<Vec<String>>(members).expect("topics"),
        ["room"]
    );
}

#[test]
fn shutdown_removes_names_and_lease() {
    let server = start!();
    let nodes = [(); 2].map(|()| Node::start(&server));
    let mut watcher = nodes[0].watch();
    let _bob = nodes[1].join("bob");
    assert_eq!(next(&mut watcher), "+bob");
    let began = Instant::now();
    nodes[1].redis.shutdown();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(next(&mut watcher), "-bob");
    assert_eq!(all_keys(&server), [keys().nodes()]);
    assert_eq!(lease_end(&server, &nodes[1]), None);
}

#[test]
fn names_outlive_a_restart_of_the_server() {
    let mut server = start!();
    let nodes = [(); 2].map(|()| Node::start(&server));
    let mut watcher = nodes[0].watch();
    let _bob = nodes[1].join("bob");
    assert_eq!(next(&mut watcher), "+bob");
    let cat = nodes[1].join("cat");
    assert_eq!(next(&mut watcher), "+cat");
    server.kill();
    nodes
        .iter()
        .for_each(|node| node.wait_for(LinkState::Isolated));
    assert_eq!(nodes[0].names(), ["bob", "cat"], "as last known");
    drop(cat);
    nodes[1].wait_for_names(&["bob"]);
    let _dan = nodes[1].join("dan");
    server.restart();
    nodes.iter().for_each(|node| node.wait_for(LinkState::Up));
    nodes[0].wait_for_names(&["bob", "dan"]);
    nodes[1].wait_for_names(&["bob", "dan"]);
    let mut notices = notices(&nodes[0], &mut watcher);
    notices.sort();
    assert_eq!(notices, ["+dan", "-cat"], "bob has never left");
}

#[test]
fn names_of_an_isolated_hub_leave_and_return() {
    let server = start!();
    let node = Node::start(&server);
    let other = Node::start_as_user(&server);
    let mut watchers = [node.watch(), other.watch()];
    let _ann = node.join("ann");
    let bob = other.join("bob");
    for watcher in &mut watchers {
        assert_eq!([next(watcher), next(watcher)], ["+ann", "+bob"]);
    }
    let began = Instant::now();
    other.shut_out(&server);
    assert_eq!(next(&mut watchers[0]), "-bob");
    let took = began.elapsed();
    assert!(
        took > Duration::from_secs(6) && took < Duration::from_secs(15),
        "{took:?}"
    );
    assert_eq!(other.names(), ["ann", "bob"], "as last known");
    server.command(&["ACL", "SETUSER", "hubs", "on"]);
    assert_eq!(next(&mut watchers[0]), "+bob");
    other.wait_for(LinkState::Up);
    assert_eq!(
        notices(&other, &mut watchers[1]),
        [""; 0],
        "nothing has changed there"
    );
    drop(bob);
    for watcher in &mut watchers {
        while next(watcher) != "-bob" {}
    }
}

#[test]
fn name_that_leaves_an_isolated_hub_is_removed_later() {
    let server = start!();
    let node = Node::start(&server);
    let other = Node::start_as_user(&server);
    let mut watcher = node.watch();
    let bob = other.join("bob");
    assert_eq!(next(&mut watcher), "+bob");
    other.shut_out(&server);
    drop(bob);
    other.wait_for_names(&[]);
    assert_eq!(node.names(), ["bob"]);
    server.command(&["ACL", "SETUSER", "hubs", "on"]);
    assert_eq!(next(&mut watcher), "-bob");
    wait_until("the removal", || {
        !all_keys(&server).contains(&keys().topics_at(other.number()))
    });
}

#[test]
fn refused_names_are_written_later() {
    let server = start!();
    let nodes = [(); 2].map(|()| Node::start(&server));
    let mut watcher = nodes[0].watch();
    // Writing a name fails, because the key is not a hash.
    server.command(&["SET", &keys().presence("room"), "x"]);
    let _bob = nodes[1].join("bob");
    wait_until("the refusal", || {
        let topics = server.command(&["SMEMBERS", &keys().topics_at(nodes[1].number())]);
        from_redis_value::<Vec<String>>(topics).is_ok_and(|topics| topics == ["room"])
    });
    server.command(&["DEL", &keys().presence("room")]);
    assert_eq!(next(&mut watcher), "+bob");
    nodes
        .iter()
        .for_each(|node| assert_eq!(node.redis.links()[0].state, LinkState::Up));
}

#[test]
fn invalid_names_on_the_server_are_ignored() {
    let server = start!();
    leave_dead_hub(&server, &["zoe"], now_ms(&server) + 60_000);
    for field in [
        "no hub",
        "000000000000dead\0",
        "000000000000dead\0a\nb",
        "dead\0ann",
    ] {
        server.command(&["HSET", &keys().presence("room"), field, ""]);
    }
    for lease in ["no hub", "-1"] {
        server.command(&["ZADD", &keys().nodes(), "1", lease]);
    }
    let node = Node::start(&server);
    node.wait_for_names(&["zoe"]);
    assert_eq!(node.redis.links()[0].counts.malformed, 4);
}
