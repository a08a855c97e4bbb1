//! Names on several hubs in one process that share one server.

use std::time::{Duration, Instant};

use redis::from_redis_value;

use super::presence_node::{
    DEAD, Node, all_keys, keys, lease_end, leave_dead_hub, next, notices, now_ms, wait_until,
};
use crate::redis::LinkState;
use crate::redis::redis_server::RedisServer;

#[test]
fn names_on_all_hubs_are_listed_on_each() {
    let Some(server) = RedisServer::start() else {
        return;
    };
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
    let Some(server) = RedisServer::start() else {
        return;
    };
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
    let Some(server) = RedisServer::start() else {
        return;
    };
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
        let all = all_keys(&server);
        let left = [keys().topics_at(DEAD), keys().presence("other")];
        left.iter().all(|key| !all.contains(key))
    });
    let leases = server.command(&["ZCARD", &keys().nodes()]);
    assert_eq!(from_redis_value::<u64>(leases).expect("a number"), 2);
}

#[test]
fn hubs_with_a_lease_are_counted() {
    let Some(server) = RedisServer::start() else {
        return;
    };
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
    let Some(server) = RedisServer::start() else {
        return;
    };
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
    let Some(server) = RedisServer::start() else {
        return;
    };
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
    let Some(server) = RedisServer::start() else {
        return;
    };
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
    let Some(mut server) = RedisServer::start() else {
        return;
    };
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
    let Some(server) = RedisServer::start() else {
        return;
    };
    let node = Node::start(&server);
    let other = Node::start_as_user(&server);
    let mut watchers = [node.watch(), other.watch()];
    let _ann = node.join("ann");
    for watcher in &mut watchers {
        assert_eq!(next(watcher), "+ann");
    }
    let bob = other.join("bob");
    for watcher in &mut watchers {
        assert_eq!(next(watcher), "+bob");
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
    let Some(server) = RedisServer::start() else {
        return;
    };
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
    let Some(server) = RedisServer::start() else {
        return;
    };
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
    let Some(server) = RedisServer::start() else {
        return;
    };
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
