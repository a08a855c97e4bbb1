//! The script that changes names, on a real server.

use redis::{RedisResult, Value, from_redis_value};

use super::keys::Keys;
use super::record::{Limits, Payload, parse, presence_payload};
use super::redis_server::RedisServer;

const SCRIPT: &str = include_str!("../presence.lua");
const TOPIC: &str = "room";

fn keys() -> Keys {
    Keys::new("test", 1)
}

fn run(server: &RedisServer, node: u64, mode: &str, names: &[&str]) -> RedisResult<Value> {
    let mut call = redis::cmd("EVAL");
    call.arg(SCRIPT).arg(1).arg(keys().presence(TOPIC));
    call.arg(keys().channel(TOPIC))
        .arg(format!("{node:016x}\0"));
    call.arg(&presence_payload(node, "", true)[1..])
        .arg(mode)
        .arg(names);
    call.query(&mut server.connection()?)
}

/// Returns what other hubs are told of a call: `+NODE NAME` or `-NODE NAME`, sorted.
fn told(server: &RedisServer, node: u64, mode: &str, names: &[&str]) -> Vec<String> {
    let channel = keys().channel(TOPIC);
    let mut connection = server.connection().expect("it accepts connections");
    let mut listener = connection.as_pubsub();
    listener.subscribe(&channel).expect("the server answers");
    run(server, node, mode, names).expect("the script ends");
    server.command(&["PUBLISH", &channel, "end"]);
    let limits = Limits {
        own_node: 0,
        max_message: 0,
    };
    let mut told = Vec::new();
    loop {
        let message = listener.get_message().expect("the last message arrives");
        match parse(message.get_payload_bytes(), &limits, 0) {
            Ok(Payload::Joined { node, name }) => told.push(format!("+{node} {name}")),
            Ok(Payload::Left { node, name }) => told.push(format!("-{node} {name}")),
            _ if message.get_payload_bytes() == b"end" => break,
            other => panic!("not a change: {other:?}"),
        }
    }
    told.sort();
    told
}

fn fields(server: &RedisServer) -> Vec<String> {
    let hash = server.command(&["HKEYS", &keys().presence(TOPIC)]);
    let mut fields: Vec<String> = from_redis_value(hash).expect("names of fields");
    fields.sort();
    fields
}

#[test]
fn each_change_of_a_name_is_told_once() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    assert_eq!(
        told(&server, 1, "add", &["ann", "bob é"]),
        ["+1 ann", "+1 bob é"]
    );
    assert_eq!(told(&server, 1, "add", &["ann", "cat"]), ["+1 cat"]);
    assert_eq!(
        told(&server, 2, "add", &["ann"]),
        ["+2 ann"],
        "on another hub"
    );
    assert_eq!(told(&server, 1, "remove", &["ann", "dan"]), ["-1 ann"]);
    let (first, second) = (format!("{:016x}", 1), format!("{:016x}", 2));
    assert_eq!(
        fields(&server),
        [
            format!("{first}\0bob é"),
            format!("{first}\0cat"),
            format!("{second}\0ann")
        ]
    );
}

#[test]
fn only_replaces_the_names_of_one_hub() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    told(&server, 1, "add", &["ann", "bob"]);
    told(&server, 2, "add", &["ann", "bob"]);
    assert_eq!(
        told(&server, 1, "only", &["bob", "cat"]),
        ["+1 cat", "-1 ann"]
    );
    assert_eq!(
        told(&server, 1, "only", &["bob", "cat"]),
        [""; 0],
        "nothing has changed"
    );
    assert_eq!(told(&server, 1, "only", &[]), ["-1 bob", "-1 cat"]);
    assert_eq!(fields(&server).len(), 2, "the other hub keeps its names");
    assert_eq!(told(&server, 2, "only", &[]), ["-2 ann", "-2 bob"]);
    let exists = server.command(&["EXISTS", &keys().presence(TOPIC)]);
    assert_eq!(exists, Value::Int(0), "an empty list is no key");
}

#[test]
fn refused_change_of_names_is_told_to_nobody() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    told(&server, 1, "add", &["ann"]);
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    for (mode, names) in [("add", &["bob"][..]), ("remove", &["ann"]), ("only", &[])] {
        let error = run(&server, 1, mode, names).expect_err("the server refuses it");
        assert_eq!(error.code(), Some("NOREPLICAS"), "{mode}");
    }
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    assert_eq!(
        told(&server, 1, "only", &["ann"]),
        [""; 0],
        "nothing had changed"
    );
}
