//! The scripts on a server that refuses them, or executes them too late: nothing may change.

use std::time::Duration;

use redis::{ErrorKind, ServerErrorKind, from_redis_value};

use super::redis_server::RedisServer;
use super::script_caller::{Caller, PUBLISH, TOPIC, heard, keys, now, state};

#[test]
fn late_publish_changes_nothing() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let mut caller = Caller::of(&server);
    for is_new in [true, false] {
        let before = state(&server);
        caller.deadline = now(&server) - 1;
        let payloads = heard(&server, || {
            let (id, now) = caller.publish(&["late"]).expect("the script answers");
            assert_eq!(id, -1);
            assert!(now > caller.deadline);
        });
        assert_eq!(
            (payloads.len(), state(&server)),
            (0, before),
            "new: {is_new}"
        );
        caller.deadline = now(&server) + 60_000_000;
        assert!(caller.id() > 0, "in time");
    }
}

#[test]
fn publish_that_a_frozen_server_kept_is_late() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let mut caller = Caller::of(&server);
    caller.id();
    let before = state(&server);
    caller.deadline = now(&server) + 50_000;
    let mut connection = server.connection().expect("the server accepts connections");
    server.freeze();
    let command = caller.command(&["late"]);
    connection
        .send_packed_command(&command.get_packed_command())
        .expect("the kernel receives it");
    // The end of the connection does not take the command back.
    drop(connection);
    crossbeam_channel::after(Duration::from_millis(100))
        .recv()
        .expect("the time passes");
    server.thaw();
    assert_eq!(state(&server), before);
}

/// Publishes with and without a history while the server refuses writes. Nothing may change.
fn assert_refused(server: &RedisServer, epoch: &str, code: &str) {
    let before = state(server);
    let payloads = heard(server, || {
        // The epoch of the counter, and another one, with which the script takes the other way.
        for epoch in [epoch, "ffffffff"] {
            for caller in [
                Caller::new(server, epoch),
                Caller::new(server, epoch).without_history(),
            ] {
                let error = caller
                    .publish(&["x", "y"])
                    .expect_err("the server refuses it");
                assert_eq!(error.code(), Some(code), "{error}");
            }
            let raised = Caller::new(server, epoch)
                .open(true)
                .expect_err("the server refuses it");
            assert_eq!(raised.code(), Some(code), "{raised}");
        }
    });
    assert_eq!((payloads.len(), state(server)), (0, before));
}

#[test]
fn server_without_memory_changes_nothing() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let caller = Caller::of(&server);
    let id = caller.id();
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_refused(&server, &caller.epoch, "OOM");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(caller.id(), id + 1);
}

#[test]
fn server_without_replicas_changes_nothing() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let caller = Caller::of(&server);
    let id = caller.id();
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert_refused(&server, &caller.epoch, "NOREPLICAS");
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    assert_eq!(caller.id(), id + 1);
}

#[test]
fn replica_changes_nothing() {
    let Some(master) = RedisServer::start() else {
        return;
    };
    let epoch = Caller::of(&master).epoch;
    Caller::new(&master, &epoch).id();
    let Some(replica) = RedisServer::start_replica_of(master.port()) else {
        return;
    };
    assert_refused(&replica, &epoch, "READONLY");
    let opened = Caller::new(&replica, &epoch).open(false);
    assert!(
        opened.is_err(),
        "a master that was demoted is noticed: {opened:?}"
    );
}

#[test]
fn key_of_another_type_changes_nothing() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let caller = Caller::of(&server);
    caller.id();
    server.command(&["DEL", &keys().stream(TOPIC)]);
    server.command(&["SET", &keys().stream(TOPIC), "not a stream"]);
    let counter = server.command(&["GET", &keys().counter(TOPIC)]);
    let payloads = heard(&server, || {
        caller.publish(&["x"]).expect_err("XADD fails");
    });
    assert_eq!(payloads.len(), 0);
    assert_eq!(server.command(&["GET", &keys().counter(TOPIC)]), counter);
}

#[test]
fn forgotten_script_is_an_error_of_its_own() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let sha: String =
        from_redis_value(server.command(&["SCRIPT", "LOAD", PUBLISH])).expect("a hash");
    server.command(&["SCRIPT", "FLUSH"]);
    let error = server
        .try_command(&["EVALSHA", &sha, "0"])
        .expect_err("it is not loaded");
    assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::NoScript));
}
