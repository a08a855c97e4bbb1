//! What the program shows and answers while its topics are shared: over HTTP, in both modes, to `standpipe pub`.

use std::process::Command;

use serde_json::Value;
use standpipe::{Client, Message};

use crate::client::JsonClient;
use crate::hub_process::HubProcess;
use crate::redis_server::RedisServer;
use crate::wait::{DEADLINE, until};

/// The flags of topics with a history.
const KEPT: [&str; 2] = ["--topic", "*-kept:history=1000"];

/// Publishes over HTTP. Returns the JSON of the answer.
#[track_caller]
fn publish(hub: &HubProcess, topic: &str, body: &str) -> Value {
    let answer = hub.request(&format!("POST /publish/{topic}"), body);
    assert_eq!(answer.status, 202, "{answer:?}");
    serde_json::from_str(&answer.body).expect("the answer is JSON")
}

#[track_caller]
fn raw(hub: &HubProcess, path: &str) -> Client {
    let url = format!("ws://{}{path}", hub.address);
    Client::connect(&url).expect("the hub accepts clients")
}

/// Receives until the connection is closed. Returns the code and the reason.
#[track_caller]
fn until_closed(client: &mut Client) -> (u16, String) {
    while client
        .recv_timeout(DEADLINE)
        .expect("a message or a Close")
        .is_some()
    {}
    let close = client.peer_close().expect("the hub has sent a Close");
    (close.code, close.reason.clone())
}

/// Sends a command, and returns the answer to it.
#[track_caller]
fn request(client: &mut JsonClient, command: &str) -> crate::client::Incoming {
    assert!(client.send(command).is_ok(), "the connection ended");
    let answer = client.receive(DEADLINE).ok().flatten();
    answer.expect("the command is answered within 20 s")
}

#[test]
fn answer_counts_the_hubs_that_received() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let hubs = [0, 1].map(|_| HubProcess::start(&redis.url(), &KEPT));
    hubs.iter().for_each(HubProcess::wait_until_up);
    assert_eq!(publish(&hubs[0], "t", "nobody")["nodes"], 0);
    let _members = [
        raw(&hubs[0], "/ws/t"),
        raw(&hubs[1], "/ws/t"),
        raw(&hubs[1], "/ws/t"),
    ];
    let answer = publish(&hubs[0], "t", "all");
    assert_eq!(
        (&answer["receivers"], &answer["nodes"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn full_server_opens_no_topic_and_says_so() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let hub = HubProcess::start(&redis.url(), &KEPT);
    hub.wait_until_up();
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let url = format!("ws://{}/ws/t", hub.address);
    let error = Client::connect(&url).expect_err("the topic is not open");
    assert!(error.to_string().contains("503"), "{error}");
    until("the log has the reason", DEADLINE, || {
        hub.log().contains("topic \"t\" is not opened: OOM")
    });
}

#[test]
fn history_is_read_without_members_here() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let hubs =
        [0, 1].map(|_| HubProcess::start(&redis.url(), &[KEPT[0], KEPT[1], "--max-topics", "1"]));
    hubs.iter().for_each(HubProcess::wait_until_up);
    let first = publish(&hubs[0], "a-kept", "one")["id"].clone();
    let second = publish(&hubs[0], "a-kept", "two")["id"].clone();
    let path = format!("/topics/a-kept/history?since={first}");
    let history: Value = serde_json::from_str(&hubs[1].get(&path).body).expect("JSON");
    assert_eq!(history, serde_json::json!([{"id": second, "data": "two"}]));
    assert_eq!(hubs[1].get("/topics/unknown-kept/history").body, "[]");
    let _member = raw(&hubs[1], "/ws/other");
    let answer = hubs[1].get("/topics/a-kept/history");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("there are 1 topics"), "{answer:?}");
}

#[test]
fn history_is_removed_over_http_on_all_hubs() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let hubs = [0, 1].map(|_| HubProcess::start(&redis.url(), &KEPT));
    hubs.iter().for_each(HubProcess::wait_until_up);
    let _member = raw(&hubs[1], "/ws/a-kept");
    publish(&hubs[1], "a-kept", "one");
    // This hub has no members of the topic.
    let answer = hubs[0].request("DELETE /topics/a-kept/history", "");
    assert_eq!((answer.status, &*answer.body), (204, ""), "{answer:?}");
    until("the other hub has removed it", DEADLINE, || {
        hubs[1].get("/topics/a-kept/history").body == "[]"
    });
}

#[test]
fn repetition_on_another_hub_publishes_nothing() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let flags = ["--redis-timeout", "1s"];
    let hubs = [0, 1].map(|_| HubProcess::start(&redis.url(), &flags));
    hubs.iter().for_each(HubProcess::wait_until_up);
    let mut member = raw(&hubs[1], "/ws/t");
    let publish = |hub: usize, key: &str, body: &str| {
        let key = format!("Idempotency-Key: {key}\r\n");
        hubs[hub].request_with("POST /publish/t", &key, body)
    };
    let first = publish(0, "a", "one");
    assert_eq!(first.status, 202, "{first:?}");
    for hub in [1, 0, 1] {
        let again = publish(hub, "a", "one");
        assert_eq!((again.status, &again.body), (202, &first.body), "hub {hub}");
    }
    assert_eq!(publish(1, "a", "another").status, 400);
    assert_eq!(publish(1, "b", "two").status, 202);
    for text in ["one", "two"] {
        let message = member.recv_timeout(DEADLINE).expect("a message");
        assert_eq!(message, Some(Message::text(text)));
    }
    let stored = format!("{:?}", redis.command(&["KEYS", "*:idem:*"]));
    assert_eq!(stored.matches(":idem:").count(), 2, "{stored}");
    // Another hub has begun and not finished.
    let keys = redis.command(&["KEYS", "*:idem:*"]);
    let keys: Vec<String> = redis::from_redis_value(keys).expect("a list of keys");
    for key in &keys {
        redis.command(&["SET", key, "0123456789abcdef 0 "]);
    }
    let local = publish(1, "a", "one");
    assert_eq!(
        (local.status, local.body),
        (202, first.body),
        "this hub remembers it"
    );
    // An isolated hub recognizes what it has answered itself.
    redis.kill();
    let mut alone = publish(0, "c", "three");
    until("the hub publishes alone", DEADLINE, || {
        alone = publish(0, "c", "three");
        alone.status == 202
    });
    assert_eq!(publish(0, "c", "three").body, alone.body);
}

#[test]
fn user_is_disconnected_on_all_hubs() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let secret = SecretFile::new();
    let token = secret.token("ann");
    let flags = ["--jwt-hmac-file", secret.path()];
    let hubs = [0, 1].map(|_| HubProcess::start(&redis.url(), &flags));
    hubs.iter().for_each(HubProcess::wait_until_up);
    let path = format!("/ws/t?token={token}");
    let mut clients = [0, 1, 1].map(|n: usize| raw(&hubs[n], &path));
    let mut other = raw(&hubs[1], &format!("/ws/t?token={}", secret.token("bob")));
    let body = r#"{"code":4100,"reason":"banned"}"#;
    let answer = hubs[0].request("POST /users/ann/disconnect", body);
    assert_eq!(
        (answer.status, &*answer.body),
        (202, r#"{"disconnected":1}"#)
    );
    for client in &mut clients {
        assert_eq!(until_closed(client), (4100, "banned".into()));
    }
    other.send("still connected").expect("it is");
    let message = other.recv_timeout(DEADLINE).expect("a message");
    assert_eq!(message, Some(Message::text("still connected")));
    redis.kill();
    until("the hub says that others may not know", DEADLINE, || {
        let answer = hubs[1].request("POST /users/bob/disconnect", body);
        assert!(matches!(answer.status, 202 | 503), "{answer:?}");
        answer.status == 503 && answer.body.contains("the other hubs may not know")
    });
    assert_eq!(until_closed(&mut other), (4100, "banned".into()));
}

#[test]
fn dashboard_disconnects_user_on_all_hubs() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let secret = SecretFile::new();
    let flags = ["--jwt-hmac-file", secret.path()];
    let hubs = [0, 1].map(|_| HubProcess::start(&redis.url(), &flags));
    hubs.iter().for_each(HubProcess::wait_until_up);
    let token = secret.token("ann");
    let mut client = raw(&hubs[1], &format!("/ws/t?token={token}"));
    let mut watcher = raw(&hubs[0], "/dashboard/live");
    let command = r#"{"do":"disconnect-user","user":"ann","code":4100,"reason":"banned"}"#;
    watcher.send(command).expect("the dashboard is connected");
    let answer = until_answered(&mut watcher);
    assert!(answer.contains("the other hubs do the same"), "{answer}");
    assert_eq!(until_closed(&mut client), (4100, "banned".into()));
    redis.kill();
    until(
        "the dashboard says that others may not know",
        DEADLINE,
        || {
            watcher.send(command).expect("the dashboard is connected");
            until_answered(&mut watcher).contains("the other hubs may not know")
        },
    );
}

/// Receives from the dashboard until a command is answered. Returns the answer.
#[track_caller]
fn until_answered(watcher: &mut Client) -> String {
    loop {
        let message = watcher.recv_timeout(DEADLINE).expect("a message");
        let message = message.expect("the dashboard stays connected");
        let text = message.to_text().expect("an answer is text");
        if text.starts_with(r#"{"done""#) || text.starts_with(r#"{"error""#) {
            return text.into();
        }
    }
}

/// A key for tokens in a file, which is deleted when this is dropped.
struct SecretFile(std::path::PathBuf);

impl SecretFile {
    fn new() -> SecretFile {
        let name = format!("standpipe-machines-{}.hmac", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, "0123456789abcdef0123456789abcdef").expect("a file");
        SecretFile(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }

    /// Returns a token of this user.
    fn token(&self, user: &str) -> String {
        let mut program = Command::new(env!("CARGO_BIN_EXE_standpipe"));
        program
            .env_clear()
            .args(["token", "--hmac-file", self.path()]);
        program.args(["--sub", user, "--expires", "1h"]);
        let output = program.output().expect("the binary can be started");
        let token = String::from_utf8(output.stdout).expect("a token is text");
        assert!(output.status.success(), "{:?}", output.stderr);
        token.trim_end().to_owned()
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const UNKNOWN: &str = "the outcome is not known: the message may be published or not";

/// What a publisher was told.
#[derive(Debug, PartialEq)]
enum Told {
    Unknown,
    NotPublished,
}

#[track_caller]
fn told(is_unknown: bool, text: &str) -> Told {
    if is_unknown {
        assert_eq!(text.trim_end(), UNKNOWN);
        return Told::Unknown;
    }
    assert!(text.starts_with("not published: "), "{text}");
    Told::NotPublished
}

#[test]
fn unknown_outcome_is_told_as_such() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let flags = ["--redis-lost", "refuse", "--redis-timeout", "1s"];
    let hub = HubProcess::start(&redis.url(), &flags);
    hub.wait_until_up();
    let Ok(mut json) = JsonClient::at(hub.address) else {
        panic!("the hub takes no client: {}", hub.log());
    };
    let mut member = raw(&hub, "/ws/t");
    publish(&hub, "t", "before");
    // What is sent to the frozen server has no outcome. What waits behind a heartbeat is not sent, so it is refused. Then
    // the same is tried again.
    let frozen = |publish: &mut dyn FnMut() -> Told| {
        for _ in 0..20 {
            redis.freeze();
            let told = publish();
            // From now on the server counts as away.
            let answer = hub.request("POST /publish/t", "x");
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(answer.body.starts_with("not published: "), "{answer:?}");
            redis.thaw();
            hub.wait_until_up();
            if told == Told::Unknown {
                return;
            }
        }
        panic!("20 publishes were refused");
    };
    frozen(&mut || {
        let answer = hub.request("POST /publish/t", "x");
        told(answer.status == 504, &answer.body)
    });
    frozen(&mut || {
        let answer = request(&mut json, r#"{"pub":"t","data":"x","ref":"1"}"#);
        assert_eq!(answer.reference.as_deref(), Some("1"));
        let error = answer.error.unwrap_or_default();
        told(error == UNKNOWN, &error)
    });
    frozen(&mut || {
        let mut direct = raw(&hub, "/ws/t");
        direct.send("x").expect("the hub reads");
        let (code, reason) = until_closed(&mut direct);
        assert!(matches!(code, 1011 | 1013), "{code}");
        told(code == 1011, &reason)
    });
    frozen(&mut || {
        let mut program = Command::new(env!("CARGO_BIN_EXE_standpipe"));
        let base = format!("http://{}", hub.address);
        program.env_clear().args(["pub", "t", "x", "--url", &base]);
        let output = program.output().expect("the binary can be started");
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&output.stderr);
        match stderr.trim_end() {
            "the message may be published or not (504)" => Told::Unknown,
            refused => told(false, refused),
        }
    });
    assert_eq!(hub.figure("standpipe_redis_unknown_total"), Some(4.0));
    // The server has refused what it executed too late.
    publish(&hub, "t", "after");
    for text in ["before", "after"] {
        assert_eq!(
            member.recv_timeout(DEADLINE).expect("a message"),
            Some(Message::text(text))
        );
    }
}

/// Returns the rules of the user in the guide, for the password `pw` and a server that is new.
fn rules_of_the_guide() -> Vec<String> {
    let guide = include_str!("../../src/GUIDE.md");
    let mut lines = guide.lines();
    let line = lines.find_map(|line| line.strip_prefix("user hubs "));
    let line = line
        .expect("the guide has the rules")
        .replace(">PASSWORD", ">pw");
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn rules_of_the_guide_allow_what_a_hub_does() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let rules = rules_of_the_guide();
    let set_user = |redis: &RedisServer| {
        let rules = rules.iter().map(String::as_str);
        let command: Vec<&str> = ["ACL", "SETUSER", "hubs"]
            .into_iter()
            .chain(rules)
            .collect();
        redis.command(&command);
    };
    set_user(&redis);
    let url = redis.url().replace("redis://", "redis://hubs:pw@");
    let hubs = [0, 1].map(|_| HubProcess::start(&url, &KEPT));
    hubs.iter().for_each(HubProcess::wait_until_up);
    let member = raw(&hubs[0], "/ws/a-kept?name=ann");
    let id = publish(&hubs[1], "a-kept", "x")["id"].clone();
    let path = format!("/ws/a-kept?since={}", id.as_u64().expect("an id") - 1);
    let mut late = raw(&hubs[1], &path);
    assert_eq!(
        late.recv_timeout(DEADLINE).expect("a message"),
        Some(Message::text("x"))
    );
    assert_eq!(hubs[1].get("/topics/a-kept/presence").status, 200);
    for (request, status) in [
        ("DELETE /topics/a-kept/history", 204),
        ("POST /users/ann/disconnect", 202),
        ("POST /publish/a-kept", 202),
    ] {
        let key = "Idempotency-Key: k\r\n";
        let answer = hubs[1].request_with(request, key, "");
        assert_eq!(answer.status, status, "{request}: {answer:?}");
    }
    drop(member);
    // A new server: the hubs catch up.
    redis.restart();
    set_user(&redis);
    hubs.iter().for_each(HubProcess::wait_until_up);
    publish(&hubs[1], "a-kept", "y");
    // The reasons are `auth`, `command`, `key` and `channel`. Until the new server had the user, `auth` failed.
    let log = format!("{:?}", redis.command(&["ACL", "LOG"]));
    for reason in ["command", "key", "channel"] {
        let denied = format!("bulk-string('\"{reason}\"')");
        assert!(!log.contains(&denied), "{log}");
    }
    for (index, hub) in hubs.iter().enumerate() {
        assert!(!hub.log().contains("NOPERM"), "hub {index}: {}", hub.log());
    }
}
