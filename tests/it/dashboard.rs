//! The dashboard: who may open it, its snapshots and commands, and that its threads end with the server.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::binary::Binary;
use crate::secrets::start_with_secrets;
use crate::support::{Connect, JsonClient, TestClient, get, until};

fn watch(binary: &Binary) -> TestClient {
    TestClient::connect(binary.address, "/dashboard/live")
}

#[track_caller]
fn read_event(watcher: &mut TestClient) -> Value {
    serde_json::from_str(watcher.read_message().to_text().unwrap()).unwrap()
}

/// Waits for a snapshot for which `holds` returns true.
#[track_caller]
pub(crate) fn wait_for_snapshot(
    watcher: &mut TestClient,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> Value {
    // Snapshots arrive twice a second, so 200 of them take more than a minute.
    for _ in 0..200 {
        let message = read_event(watcher);
        if message.get("server").is_some() && holds(&message) {
            return message;
        }
    }
    panic!("none of 200 snapshots shows {what}");
}

/// Sends a command and returns its answer.
#[track_caller]
fn command(watcher: &mut TestClient, command: &Value) -> Value {
    watcher.text(command.to_string());
    for _ in 0..200 {
        let message = read_event(watcher);
        if message.get("server").is_none() {
            return message;
        }
    }
    panic!("no answer to {command}");
}

#[track_caller]
fn assert_done(watcher: &mut TestClient, what: Value) {
    let answer = command(watcher, &what);
    assert!(answer.get("done").is_some(), "{what}: {answer}");
}

#[track_caller]
fn assert_refused(watcher: &mut TestClient, what: Value, why: &str) {
    let answer = command(watcher, &what);
    let error = answer["error"].as_str().unwrap_or_default();
    assert!(error.contains(why), "{what}: {answer}");
}

/// Asks for clients until `holds` returns true for the answer. The rows are those of the last snapshot.
#[track_caller]
fn wait_for_clients(
    watcher: &mut TestClient,
    question: &Value,
    what: &str,
    holds: impl Fn(&[Value]) -> bool,
) -> Value {
    for _ in 0..200 {
        let answer = command(watcher, question);
        if holds(answer["clients"].as_array().expect("an answer with rows")) {
            return answer;
        }
        // The next snapshot has new rows.
        wait_for_snapshot(watcher, "anything", |_| true);
    }
    panic!("200 answers do not show {what}");
}

/// Returns the numbers of the clients in an answer.
fn numbers(answer: &Value) -> Vec<u64> {
    let rows = answer["clients"].as_array().expect("rows");
    rows.iter()
        .map(|row| row[0].as_u64().expect("a number"))
        .collect()
}

#[test]
fn search_shows_a_client_with_threads_and_queue() {
    let binary = Binary::start(&[]);
    let member = binary.connect("/ws/t");
    let peer = member.local_addr().to_string();
    let mut watcher = watch(&binary);
    let question = json!({"do": "find", "text": peer, "rows": 100});
    let answer = wait_for_clients(&mut watcher, &question, "the member in its topic", |rows| {
        rows.first().is_some_and(|row| row[2] == json!(["t"]))
    });
    assert_eq!(answer["found"], 1);
    let client = &answer["clients"][0];
    assert_eq!(client[1], peer.as_str());
    assert_eq!(client[3][0], "waiting for the peer");
    assert_eq!(client[3][2], "idle");
    assert_eq!(client[4], json!([0, 64, 0, 0]));
    #[cfg(target_os = "linux")]
    assert_eq!(client[5], 0);
    let snapshot = wait_for_snapshot(&mut watcher, "the topic", |snapshot| {
        snapshot["topics"] != json!([])
    });
    assert_eq!(snapshot["server"]["clients"], 2);
    assert_eq!(snapshot["topics"][0]["policy"], "disconnect");
}

#[test]
fn snapshot_and_rows_have_the_documented_fields() {
    let binary = Binary::start(&[]);
    let mut member = binary.connect("/ws/t");
    member.text("x");
    member.expect_text("x");
    let mut watcher = watch(&binary);
    let snapshot = wait_for_snapshot(&mut watcher, "the member", |snapshot| {
        snapshot["topics"][0]["members"] == 1
    });
    let fields: Vec<&String> = snapshot.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        ["server", "topics", "slow", "generators", "took_us"]
    );
    let answer = command(&mut watcher, &json!({"do": "find", "rows": 9}));
    for client in answer["clients"].as_array().unwrap() {
        let client = client.as_array().unwrap();
        assert_eq!(client.len(), 11, "{client:?}");
        assert!(client[0].is_u64() && client[1].is_string() && client[2].is_array());
        for (at, length) in [(3, 4), (4, 4), (6, 4)] {
            assert_eq!(client[at].as_array().map(Vec::len), Some(length));
        }
        // No ping was answered, no token names a user, and the client is not part of an experiment.
        assert_eq!(client[7..10], [Value::Null, Value::Null, Value::Null]);
        // A text if the connection has TLS.
        assert!(client[10].is_null() || client[10].is_string());
    }
}

#[test]
fn clients_are_found_sorted_and_skipped() {
    let binary = Binary::start(&[]);
    let members: Vec<_> = (0..5)
        .map(|n| binary.connect(&format!("/ws/room-{n}")))
        .collect();
    let mut watcher = watch(&binary);
    let find = |rest: Value| {
        let mut question = json!({"do": "find", "text": "ROOM", "sort": "client", "rows": 100});
        for (key, value) in rest.as_object().expect("fields") {
            question[key] = value.clone();
        }
        question
    };
    let all = wait_for_clients(&mut watcher, &find(json!({})), "the members", |rows| {
        rows.len() == members.len()
    });
    let all = numbers(&all);
    assert!(all.is_sorted(), "{all:?}");
    let reversed: Vec<u64> = all.iter().rev().copied().collect();
    let answer = command(&mut watcher, &find(json!({"reverse": true})));
    assert_eq!(numbers(&answer), reversed);
    let answer = command(&mut watcher, &find(json!({"skip": 2, "rows": 2})));
    assert_eq!(numbers(&answer), all[2..4]);
    assert_eq!(answer["found"], 5);
    // All words must be found.
    let answer = command(&mut watcher, &find(json!({"text": "127.0.0.1 room-3"})));
    assert_eq!(numbers(&answer), [all[3]]);
    let answer = command(&mut watcher, &find(json!({"text": "room-3 room-4"})));
    assert_eq!(answer, json!({"clients": [], "found": 0}));
    // A question by numbers keeps their order.
    let answer = command(
        &mut watcher,
        &json!({"do": "rows", "clients": [all[4], 9999, all[1]]}),
    );
    assert_eq!(numbers(&answer), [all[4], all[1]]);
}

#[test]
fn dashboard_disconnects_one_client() {
    let binary = Binary::start(&[]);
    let (mut first, mut second) = (binary.connect("/ws/t"), binary.connect("/ws/t"));
    let mut watcher = watch(&binary);
    let number = |watcher: &mut TestClient, client: &TestClient| {
        let question = json!({"do": "find", "text": client.local_addr().to_string(), "rows": 1});
        let answer = wait_for_clients(watcher, &question, "a client", |rows| !rows.is_empty());
        numbers(&answer)[0]
    };
    let (one, two) = (number(&mut watcher, &first), number(&mut watcher, &second));
    assert_done(
        &mut watcher,
        json!({"do": "disconnect", "client": one, "code": 4321, "reason": "maintenance"}),
    );
    let rest = first.rest_answering_close();
    assert_eq!(rest.closes, [(4321, "maintenance".into())]);
    for (fields, why) in [
        (json!({"client": two, "code": 1000}), "from 4000 to 4999"),
        (json!({"client": two, "code": 5000}), "from 4000 to 4999"),
        (
            json!({"client": two, "reason": "x".repeat(124)}),
            "123 bytes",
        ),
        (json!({"client": 9999}), "client 9999 has gone"),
    ] {
        let mut command = fields;
        command["do"] = "disconnect".into();
        assert_refused(&mut watcher, command, why);
    }
    second.text("still here");
    second.expect_text("still here");
    assert_done(&mut watcher, json!({"do": "disconnect", "client": two}));
    let close = (1008, "disconnected by the operator".to_owned());
    assert_eq!(second.rest_answering_close().closes, [close]);
    assert_refused(
        &mut watcher,
        json!({"do": "disconnect-user", "user": "nobody"}),
        "user nobody has no clients",
    );
}

#[test]
fn snapshot_has_at_most_200_topics() {
    let binary = Binary::start(&["--topic", "*:history=1"]);
    let mut client = JsonClient::connect(binary.address);
    for n in 0..201 {
        let ack = client.request(format!(r#"{{"pub":"t{n}","data":1,"ref":{n}}}"#));
        assert_eq!(ack["ack"], n);
    }
    let mut watcher = watch(&binary);
    let snapshot = wait_for_snapshot(&mut watcher, "topics", |snapshot| {
        snapshot["topics"] != json!([])
    });
    assert_eq!(snapshot["topics"].as_array().map(Vec::len), Some(200));
}

#[test]
fn changed_policy_applies_to_a_slow_client() {
    let binary = Binary::start(&["--policy", "drop-newest"]);
    let mut watcher = watch(&binary);
    assert_done(
        &mut watcher,
        json!({"do": "add-slow", "topic": "t", "rate": 0}),
    );
    assert_done(
        &mut watcher,
        json!({"do": "generate", "topic": "t", "rate": 500, "size": 4096}),
    );
    wait_for_snapshot(
        &mut watcher,
        "drops by the policy drop-newest",
        |snapshot| snapshot["topics"][0]["dropped"].as_u64() > Some(0),
    );
    assert_done(
        &mut watcher,
        json!({"do": "set-policy", "topic": "t", "policy": "block:30s"}),
    );
    wait_for_snapshot(&mut watcher, "a publisher that waits", |snapshot| {
        snapshot["generators"][0]["waits"] == true
    });
    assert_done(
        &mut watcher,
        json!({"do": "set-rate", "name": "slow-1", "rate": null}),
    );
    wait_for_snapshot(&mut watcher, "a queue that empties", |snapshot| {
        snapshot["server"]["queued"].as_u64() < Some(60)
            && snapshot["slow"][0]["read"].as_u64() > Some(100_000)
    });
    assert_done(&mut watcher, json!({"do": "stop", "topic": "t"}));
    assert_done(&mut watcher, json!({"do": "remove-slow", "name": "slow-1"}));
    wait_for_snapshot(&mut watcher, "the end of the experiment", |snapshot| {
        snapshot["slow"] == json!([])
            && snapshot["generators"] == json!([])
            && snapshot["server"]["clients"] == 1
    });
}

#[test]
fn wrong_and_excessive_commands_are_refused() {
    let binary = Binary::start(&[]);
    let mut watcher = watch(&binary);
    for (what, why) in [
        (json!({"do": "reboot"}), "unknown variant"),
        (json!([1]), "invalid command"),
        (
            json!({"do": "add-slow", "topic": "", "rate": 0}),
            "1 to 200 bytes",
        ),
        (
            json!({"do": "add-slow", "topic": "a\nb", "rate": 0}),
            "control",
        ),
        (
            json!({"do": "set-rate", "name": "slow-9", "rate": 1}),
            "no such client",
        ),
        (
            json!({"do": "remove-slow", "name": "slow-9"}),
            "no such client",
        ),
        (
            json!({"do": "set-policy", "topic": "t", "policy": "conflate"}),
            "no such topic",
        ),
        (
            json!({"do": "generate", "topic": "t", "rate": 0, "size": 1}),
            "1 to 2000",
        ),
        (
            json!({"do": "generate", "topic": "t", "rate": 9999, "size": 1}),
            "1 to 2000",
        ),
        (
            json!({"do": "generate", "topic": "t", "rate": 1, "size": 99_999}),
            "at most",
        ),
        (json!({"do": "stop", "topic": "t"}), "no generator"),
        (
            json!({"do": "find", "text": "x".repeat(301), "rows": 1}),
            "300 bytes",
        ),
    ] {
        assert_refused(&mut watcher, what, why);
    }
    let slow = json!({"do": "add-slow", "topic": "t", "rate": 0});
    for _ in 0..8 {
        assert_done(&mut watcher, slow.clone());
    }
    assert_refused(&mut watcher, slow, "there are 8 slow clients");
    for n in 0..4 {
        assert_done(
            &mut watcher,
            json!({"do": "generate", "topic": format!("g{n}"), "rate": 1, "size": 1}),
        );
    }
    let fifth = json!({"do": "generate", "topic": "g5", "rate": 1, "size": 1});
    assert_refused(&mut watcher, fifth, "4 generators");
    assert_refused(
        &mut watcher,
        json!({"do": "set-policy", "topic": "g1", "policy": "drop"}),
        "drop-newest",
    );
}

#[test]
fn dashboard_threads_end_with_the_server() {
    let binary = Binary::start(&[]);
    let mut watcher = watch(&binary);
    assert_done(
        &mut watcher,
        json!({"do": "add-slow", "topic": "t", "rate": 0}),
    );
    assert_done(
        &mut watcher,
        json!({"do": "generate", "topic": "t", "rate": 10, "size": 64}),
    );
    let process = binary.process();
    for name in ["sp-dash", "sp-slow-1", "sp-gen-2"] {
        // A thread sets its name when it first runs.
        until(name, || {
            process.threads().iter().any(|thread| thread == name)
        });
    }
    binary.signal("TERM");
    // The watcher receives snapshots and then the Close, which it answers.
    let rest = watcher.rest_answering_close();
    assert_eq!(rest.closes.first().map(|(code, _)| *code), Some(1001));
    let (status, last, log) = binary.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(last.as_deref(), Some("drained 2, lost 0"), "{log}");
}

/// Returns the HTTP status of the page and of its WebSocket.
fn statuses(address: SocketAddr, header: &str) -> (u16, u16) {
    let live = Connect::to(address).path("/dashboard/live");
    let live = if header.is_empty() {
        live
    } else {
        live.header(header)
    };
    let page = get(address, "/dashboard", "").status;
    (page, live.request().1.status)
}

#[test]
fn dashboard_requires_a_key() {
    let binary = start_with_secrets("dashboard", "t0ken", "s3cret");
    // The page contains no data, and the user enters a key on it.
    assert_eq!(statuses(binary.address, ""), (401, 401));
    let page = get(binary.address, "/dashboard", "");
    assert!(page.body.contains("key-form"), "{page:?}");
    for (header, status) in [
        ("Authorization: Bearer s3cret", 101),
        ("Sec-WebSocket-Protocol: standpipe.raw, bearer.s3cret", 101),
        ("Authorization: Bearer t0ken", 401),
        ("Sec-WebSocket-Protocol: standpipe.raw, bearer.wrong", 401),
    ] {
        assert_eq!(statuses(binary.address, header).1, status, "{header}");
    }
    // A slow client is subject to the same rules as others, so it sends a token.
    let live = Connect::to(binary.address).path("/dashboard/live");
    let (mut watcher, _) = live.header("Authorization: Bearer s3cret").request();
    assert_done(
        &mut watcher,
        json!({"do": "add-slow", "topic": "t", "rate": 0}),
    );
}

#[test]
fn page_is_self_contained() {
    let binary = Binary::start(&[]);
    let page = binary.get("/dashboard");
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    for external in ["src=\"", "@import", "http://", "https://"] {
        assert!(!page.body.contains(external), "{external}");
    }
    until("no watcher is registered", || {
        binary.get("/debug/clients").body == "[]"
    });
}
