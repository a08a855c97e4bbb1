//! `POST /publish` to several topics, and `Idempotency-Key`.

use std::net::SocketAddr;
use std::time::Duration;

use crossbeam_channel::bounded;
use serde_json::{Value, json};

use crate::binary::Binary;
use crate::publish::SMALL;
use crate::secrets::File;
use crate::support::{Answer, Connect, DEADLINE, JsonClient, TestClient, post, until, within};

const TEXT: &str = "Content-Type: text/plain\r\n";

#[track_caller]
fn broadcast(address: SocketAddr, body: &Value) -> Answer {
    post(
        address,
        "/publish",
        "Content-Type: application/json\r\n",
        body.to_string(),
    )
}

#[track_caller]
fn rows(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.header("content-type"), Some("application/json"));
    serde_json::from_str(&answer.body).unwrap()
}

/// Publishes with an `Idempotency-Key`.
#[track_caller]
fn publish_once(address: SocketAddr, path: &str, key: &str, headers: &str, body: &str) -> Answer {
    post(
        address,
        path,
        &format!("Idempotency-Key: {key}\r\n{headers}"),
        body,
    )
}

#[test]
fn broadcast_reaches_the_members_of_each_topic() {
    let binary = Binary::start(&["--topic", "*:history=10"]);
    let mut json = JsonClient::connect(binary.address);
    let (a, b) = (json.subscribe("a"), json.subscribe("b/c"));
    let mut raw = TestClient::connect(binary.address, "/ws/a");
    until("both are members", || {
        let topic: Value = serde_json::from_str(&binary.get("/topics/a").body).unwrap();
        topic["members"] == 2
    });
    let body = json!({"topics": ["b/c", "a", "nobody"], "data": {"n": 1.5}, "key": "k"});
    let answer = broadcast(binary.address, &body);
    assert_eq!(answer.status, 202, "{answer:?}");
    let rows = rows(&answer);
    let expected = [
        json!({"topic": "b/c", "id": b + 1, "receivers": 1, "dropped": 0}),
        json!({"topic": "a", "id": a + 1, "receivers": 2, "dropped": 0}),
        json!({"topic": "nobody", "id": rows[2]["id"], "receivers": 0, "dropped": 0}),
    ];
    assert_eq!(rows, expected);
    raw.expect_text(r#"{"n":1.5}"#);
    for topic in ["b/c", "a"] {
        let received = json.receive();
        assert_eq!(
            (&received["topic"], &received["data"]),
            (&json!(topic), &json!({"n": 1.5}))
        );
    }
    let body = json!({"topics": ["a"], "data": "eA==", "base64": true});
    assert_eq!(broadcast(binary.address, &body).status, 202);
    let received = json.receive();
    assert_eq!(
        (&received["data"], &received["base64"]),
        (&json!("eA=="), &json!(true))
    );
}

#[test]
fn invalid_broadcast_publishes_nothing() {
    let binary = Binary::start(&["--max-message", "1KiB"]);
    let mut client = JsonClient::connect(binary.address);
    client.subscribe("a");
    for body in [
        json!({"topics": ["a", ""], "data": 1}),
        json!({"topics": ["a", "a"], "data": 1}),
        json!({"topics": ["a"], "data": 1, "else": 1}),
        json!({"topics": ["a"]}),
        json!({"topics": [], "data": 1}),
        json!([]),
    ] {
        let answer = broadcast(binary.address, &body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert_eq!(answer.body.lines().count(), 1, "{answer:?}");
    }
    let large = json!({"topics": ["a"], "data": "x".repeat(1024)});
    assert_eq!(broadcast(binary.address, &large).status, 413);
    client.assert_idle();
}

#[test]
fn broadcast_tells_each_outcome() {
    let binary = Binary::start(&["--max-topics", "1"]);
    let mut client = JsonClient::connect(binary.address);
    client.subscribe("a");
    let answer = broadcast(
        binary.address,
        &json!({"topics": ["b", "a", "c"], "data": 1}),
    );
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, None),
        "{answer:?}"
    );
    let rows = rows(&answer);
    let error = "there are 1 topics, and no more are made";
    assert_eq!(rows[0], json!({"topic": "b", "error": error}));
    assert_eq!(
        (&rows[1]["topic"], &rows[1]["receivers"]),
        (&json!("a"), &json!(1))
    );
    assert_eq!(rows[2], json!({"topic": "c", "error": error}));
    // Nothing is published, so the request can be repeated.
    let answer = broadcast(binary.address, &json!({"topics": ["b", "c"], "data": 1}));
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(answer.body, format!("{error}\n"));
}

#[test]
fn repeated_request_publishes_once() {
    let binary = Binary::start(&[]);
    let address = binary.address;
    let mut client = JsonClient::connect(address);
    client.subscribe("t");
    client.subscribe("u");
    let first = publish_once(address, "/publish/t", "K", TEXT, "one");
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(client.receive()["data"], "one");
    for _ in 0..3 {
        let again = publish_once(address, "/publish/t", "K", TEXT, "one");
        assert_eq!((again.status, &again.body), (202, &first.body));
        assert_eq!(again.header("content-type"), Some("application/json"));
    }
    let body = r#"{"topics":["t","u"],"data":"both"}"#;
    let first = publish_once(address, "/publish", "K", "", body);
    assert_eq!(
        rows(&first).len(),
        2,
        "the key of another path is another key: {first:?}"
    );
    assert_eq!(
        publish_once(address, "/publish", "K", "", body).body,
        first.body
    );
    assert_eq!(
        [client.receive(), client.receive()].map(|m| m["data"].clone()),
        ["both", "both"]
    );
    // Another request with this key is a mistake of the program that sends it.
    for (headers, path, data) in [
        (TEXT, "/publish/t", "two"),
        ("", "/publish/t", "one"),
        (TEXT, "/publish/t?key=k", "one"),
    ] {
        let other = publish_once(address, path, "K", headers, data);
        assert_eq!(other.status, 400, "{path} {data}: {other:?}");
    }
    client.assert_idle();
}

#[test]
fn refused_request_leaves_its_key_unused() {
    let binary = Binary::start(&["--max-topics", "1"]);
    let address = binary.address;
    let client = binary.connect("/ws/t");
    let refused = publish_once(address, "/publish/u", "K", TEXT, "x");
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("1"))
    );
    client.leave();
    until("the topic has ended", || binary.get("/topics").body == "[]");
    assert_eq!(
        publish_once(address, "/publish/u", "K", TEXT, "x").status,
        202
    );
}

#[test]
fn idempotency_key_belongs_to_one_credential() {
    let keys = File::new("idempotency", "first\nsecond\n");
    let binary = Binary::start(&["--publish-key-file", keys.path()]);
    let ids = ["first", "second", "first"].map(|key| {
        let headers = format!("{TEXT}Authorization: Bearer {key}\r\n");
        let answer = publish_once(binary.address, "/publish/t", "K", &headers, "x");
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        answer["id"].as_u64().unwrap()
    });
    assert_eq!((ids[1], ids[2]), (ids[0] + 1, ids[0]));
    let refused = publish_once(binary.address, "/publish/t", "K", TEXT, "x");
    assert_eq!(
        refused.status, 401,
        "an answer is not told without the credential"
    );
}

#[test]
fn invalid_idempotency_key_is_refused() {
    let binary = Binary::start(&[]);
    let long = "k".repeat(201);
    for key in [&*long, "", "é", "a\r\nIdempotency-Key: b"] {
        let answer = publish_once(binary.address, "/publish/t", key, TEXT, "x");
        assert_eq!(answer.status, 400, "{key}: {answer:?}");
    }
    assert_eq!(
        publish_once(binary.address, "/publish/t", &long[1..], TEXT, "x").status,
        202
    );
    assert_eq!(binary.get("/topics").body, "[]");
}

#[test]
fn repetition_during_the_first_request_is_refused() {
    let flags = ["--topic", "t:policy=block:60s,queue=1"];
    let binary = Binary::start(&[&SMALL[..], &flags].concat());
    let address = binary.address;
    let connect = Connect::to(address).path("/ws/t");
    let mut stalled = connect.small_rcvbuf().connect();
    let large = "x".repeat(64 << 10);
    let publish = |key: usize| {
        let body = large.clone();
        move || publish_once(address, "/publish/t", &key.to_string(), TEXT, &body)
    };
    for key in 0..100 {
        let (answered, answer) = bounded(1);
        let first = publish(key);
        let thread = std::thread::spawn(move || answered.send(first()));
        // Usually it is answered immediately, until one has to wait for the member.
        if answer.recv_timeout(Duration::from_millis(300)).is_ok() {
            continue;
        }
        let second = publish(key)();
        if second.status == 202 {
            continue;
        }
        assert_eq!(
            (second.status, second.header("retry-after")),
            (503, Some("1"))
        );
        assert!(second.body.contains("is not finished"), "{second:?}");
        for _ in 0..=key {
            stalled.read_message();
        }
        let first = answer
            .recv_timeout(DEADLINE)
            .expect("the first request is answered");
        assert_eq!(first.status, 202);
        assert_eq!(publish(key)().body, first.body);
        within(30, "the publisher to end", move || thread.join())
            .unwrap()
            .unwrap();
        return;
    }
    panic!("no publish has waited for the member");
}
