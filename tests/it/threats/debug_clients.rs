//! `GET /debug/clients`: its documented shape, which thread waits for which queue, and who may read it (SECURITY.md,
//! T28 and T29).

use serde_json::{Value, json};

use super::spawned::Spawned;
use crate::support::{Frame, get, http, op, until};

/// Returns the keys of an object, sorted.
fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn debug_clients_has_the_documented_shape() {
    let spawned = Spawned::start(&["--queue", "7"]);
    assert_eq!(spawned.get("/debug/clients").body, "[]");
    let mut client = spawned.connect("/ws/shape");
    for text in ["one", "two"] {
        client.text(text);
        client.expect_text(text);
    }
    let _plain = spawned.connect("/echo");
    let mut shown = Vec::new();
    until("both readers wait for their peers", || {
        shown = spawned.clients();
        let is_idle = |client: &Value| {
            client["reader"]["state"] == "waiting for the peer"
                && client["writer"]["state"] == "idle"
        };
        shown.len() == 2 && shown.iter().all(is_idle)
    });
    let first = &shown[0];
    let all = [
        "accepted",
        "client",
        "delivered",
        "discarded",
        "dropped",
        "peer",
        "queue",
        "reader",
        "topics",
        "writer",
    ];
    assert!(all.iter().all(|key| keys(first).contains(key)), "{first}");
    assert_eq!(
        keys(&first["queue"]),
        ["bytes", "capacity", "messages", "oldest_ms"]
    );
    for thread in ["reader", "writer"] {
        assert_eq!(keys(&first[thread]), ["since_ms", "state"]);
        assert!(first[thread]["since_ms"].is_u64(), "{first}");
    }
    assert_eq!(
        first["client"], 2,
        "the first connection requested this page"
    );
    assert_eq!(first["peer"], client.local_addr().to_string());
    assert_eq!(first["topics"], json!(["shape"]));
    assert_eq!(shown[1]["topics"], json!([]));
    assert_eq!(
        first["queue"],
        json!({"messages": 0, "capacity": 7, "bytes": 0, "oldest_ms": 0})
    );
    for (key, count) in [
        ("accepted", 2),
        ("delivered", 2),
        ("dropped", 0),
        ("discarded", 0),
    ] {
        assert_eq!(first[key], count, "{key}");
    }
}

#[test]
fn debug_clients_shows_blocked_writer_and_waiting_reader() {
    let flags = ["--sndbuf", "8KiB", "--unsent", "8KiB", "--queue", "4"];
    let spawned = Spawned::start(&flags);
    let client = spawned.client("/echo").small_rcvbuf().connect();
    let bytes = Frame::new(op::BINARY, vec![0; 32 << 10]).bytes();
    let mut sent = 0;
    let mut shown = Value::Null;
    until("the reader waits for room", || {
        while let accepted @ 1.. = client.send_available(&bytes[sent..]) {
            sent = (sent + accepted) % bytes.len();
        }
        shown = spawned.clients().remove(0);
        let own = format!("waiting for room in client {}'s queue", shown["client"]);
        shown["reader"]["state"] == own && shown["writer"]["state"] == "blocked in write"
    });
    assert_eq!(shown["queue"]["messages"], 4);
    assert!(
        shown["queue"]["bytes"].as_u64().unwrap() > 4 * (32 << 10),
        "{shown}"
    );
    until("the age of the oldest message grows", || {
        spawned.clients()[0]["queue"]["oldest_ms"].as_u64().unwrap() > 50
    });
}

#[test]
fn debug_clients_is_refused_through_a_proxy() {
    let spawned = Spawned::start(&[]);
    assert_eq!(spawned.get("/debug/clients").status, 200);
    for line in [
        "X-Forwarded-For: 127.0.0.1",
        "x-forwarded-for: ::1",
        "X-Forwarded-Host: localhost",
        "X-Forwarded-Proto: http",
        "Forwarded: for=127.0.0.1",
    ] {
        let answer = get(spawned.addr(), "/debug/clients", &format!("{line}\r\n"));
        assert_eq!(answer.status, 403, "{line}");
        assert!(!answer.body.contains("peer"), "{answer:?}");
    }
    for path in [
        "/debug%2fclients",
        "/debug//clients",
        "/debug/./clients",
        "/DEBUG/clients",
        "/debug/clients/",
    ] {
        let answer = get(spawned.addr(), path, "Forwarded: for=1.2.3.4\r\n");
        assert!(
            matches!(answer.status, 400 | 403 | 404),
            "{path}: {answer:?}"
        );
    }
    let post = format!(
        "POST /debug/clients HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
        spawned.addr()
    );
    assert_eq!(http(spawned.addr(), post).status, 405);
}

#[test]
fn debug_clients_is_refused_on_public_listeners() {
    let spawned = Spawned::start(&["--listen", "0.0.0.0:0"]);
    assert_eq!(spawned.get("/debug/clients").status, 401);
    assert_eq!(spawned.get("/healthz").status, 200);
    let both = Spawned::start(&["--listen", "127.0.0.1:0", "--listen", "0.0.0.0:0"]);
    assert_eq!(both.get("/debug/clients").status, 401);
}
