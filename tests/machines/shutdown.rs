//! A hub ends in time although its Redis server does not answer, and starts without one.

use std::time::{Duration, Instant};

use crate::client::JsonClient;
use crate::hub_process::HubProcess;
use crate::one_at_a_time;
use crate::redis_server::RedisServer;
use crate::wait::{DEADLINE, until};

/// From the signal to the end of the process.
const LIMIT: Duration = Duration::from_secs(10);

fn subscribed(hub: &HubProcess, topic: &str) -> JsonClient {
    let Ok(mut client) = JsonClient::at(hub.address) else {
        panic!("the hub takes no client: {}", hub.log());
    };
    let sent = client.send(format!(r#"{{"sub":"{topic}","ref":"sub"}}"#));
    assert!(sent.is_ok(), "the connection ended");
    let answer = client.receive(DEADLINE).ok().flatten();
    let answer = answer.expect("the sub is answered within 20 s");
    assert_eq!(answer.ack.as_deref(), Some("sub"), "{answer:?}");
    client
}

/// Publishes, and waits for the message.
fn echo(client: &mut JsonClient, topic: &str, payload: &str) {
    let sent = client.send(format!(r#"{{"pub":"{topic}","data":"{payload}"}}"#));
    assert!(sent.is_ok(), "the connection ended");
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        match client.receive(DEADLINE) {
            Ok(Some(incoming)) if incoming.data.as_deref() == Some(payload) => return,
            Ok(_) => {}
            Err(_) => panic!("the connection ended"),
        }
    }
    panic!("waited {DEADLINE:?} for {payload}");
}

fn frozen(is_isolated: bool) {
    let _one_at_a_time = one_at_a_time();
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let mut hub = HubProcess::start(&redis.url(), &[]);
    hub.wait_until_up();
    let mut client = subscribed(&hub, "alpha-kept");
    echo(&mut client, "alpha-kept", "before");
    redis.freeze();
    if is_isolated {
        echo(&mut client, "alpha-kept", "alone");
    }
    hub.interrupt();
    let (status, time) = hub.wait_for_end(LIMIT);
    assert_eq!(status.code(), Some(0), "after {time:?}: {}", hub.log());
}

#[test]
fn hub_ends_in_time_while_redis_is_frozen() {
    frozen(false);
}

#[test]
fn isolated_hub_ends_in_time() {
    frozen(true);
}

#[test]
fn hub_starts_without_redis_and_joins_it_later() {
    let _one_at_a_time = one_at_a_time();
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    redis.kill();
    let hub = HubProcess::start(&redis.url(), &[]);
    assert_eq!(hub.get("/healthz").status, 200);
    until("the hub is ready without redis", DEADLINE, || {
        hub.get("/readyz").status == 200
    });
    let mut client = subscribed(&hub, "alpha-kept");
    echo(&mut client, "alpha-kept", "alone");
    assert!(!hub.is_up());
    redis.restart();
    hub.wait_until_up();
    echo(&mut client, "alpha-kept", "together");
}

#[test]
fn hub_joins_redis_again_after_a_restart() {
    let _one_at_a_time = one_at_a_time();
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let mut hub = HubProcess::start(&redis.url(), &["--redis-lost", "refuse"]);
    hub.wait_until_up();
    redis.kill();
    until("the hub is not ready", DEADLINE, || {
        hub.get("/readyz").status == 503
    });
    let answer = hub.request("POST /publish/alpha-kept", "nobody gets it");
    assert_eq!(answer.status, 503, "{answer:?}");
    redis.restart();
    until("the hub is ready again", DEADLINE, || {
        hub.get("/readyz").status == 200
    });
    hub.wait_until_up();
    let mut client = subscribed(&hub, "alpha-kept");
    echo(&mut client, "alpha-kept", "together");
    hub.interrupt();
    assert_eq!(hub.wait_for_end(LIMIT).0.code(), Some(0));
}
