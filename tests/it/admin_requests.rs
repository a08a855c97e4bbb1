//! The admin requests about topics and clients: one topic, a page of a history and its removal, disconnecting.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::binary::Binary;
use crate::secrets::File;
use crate::support::{Answer, JsonClient, TestClient, get, http, post, until};

/// Returns the number of the only client.
#[track_caller]
fn only_client(binary: &Binary) -> u64 {
    let clients: Value = serde_json::from_str(&binary.get("/debug/clients").body).unwrap();
    let clients = clients.as_array().unwrap();
    assert_eq!(clients.len(), 1, "{clients:?}");
    clients[0]["client"].as_u64().unwrap()
}

#[track_caller]
fn disconnect(binary: &Binary, path: &str, body: &str) -> u64 {
    let answer = post(binary.address, path, "", body);
    assert_eq!(answer.status, 202, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    body["disconnected"].as_u64().unwrap()
}

#[track_caller]
fn delete(binary: &Binary, path: &str, headers: &str) -> Answer {
    let head = format!("DELETE {path} HTTP/1.1\r\nHost: {}\r\n", binary.address);
    http(
        binary.address,
        format!("{head}Connection: close\r\n{headers}\r\n"),
    )
}

/// Returns the data of a page of a history.
#[track_caller]
fn page(binary: &Binary, query: &str) -> Vec<Value> {
    let answer = binary.get(&format!("/topics/t/history{query}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let messages: Vec<Value> = serde_json::from_str(&answer.body).unwrap();
    messages
        .into_iter()
        .map(|message| message["data"].clone())
        .collect()
}

#[track_caller]
fn publish(binary: &Binary, data: &str) -> u64 {
    let answer = post(
        binary.address,
        "/publish/t",
        "Content-Type: text/plain\r\n",
        data,
    );
    assert_eq!(answer.status, 202, "{answer:?}");
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    answer["id"].as_u64().unwrap()
}

#[test]
fn client_is_disconnected_by_its_number() {
    let binary = Binary::start(&[]);
    let mut client = binary.connect("/ws/t");
    let path = format!("/clients/{}/disconnect", only_client(&binary));
    let body = r#"{"code":4100,"reason":"kicked: é"}"#;
    assert_eq!(disconnect(&binary, &path, body), 1);
    let rest = client.rest_answering_close();
    assert_eq!(rest.closes, [(4100, "kicked: é".into())]);
    until("the client is gone", || {
        binary.get("/debug/clients").body == "[]"
    });
    assert_eq!(disconnect(&binary, &path, body), 0, "it is gone");
    // Without a body, and without a length.
    let mut client = binary.connect("/ws/t");
    let path = format!("/clients/{}/disconnect", only_client(&binary));
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        binary.address
    );
    assert_eq!(http(binary.address, request).status, 202);
    assert_eq!(client.expect_close(1008), "disconnected by the operator");
}

#[test]
fn client_that_does_not_read_is_disconnected() {
    let binary = Binary::start(&["--sndbuf", "16KiB"]);
    let connect = crate::support::Connect::to(binary.address).path("/ws/t");
    let mut client = connect.small_rcvbuf().connect();
    let number = only_client(&binary);
    let state = || -> Value {
        let clients: Value = serde_json::from_str(&binary.get("/debug/clients").body).unwrap();
        clients[0].clone()
    };
    let text = "x".repeat(32 << 10);
    let mut sent = 0;
    until("messages wait for the client", || {
        publish(&binary, &text);
        sent += 1;
        state()["queue"]["messages"].as_u64() > Some(1)
    });
    assert_eq!(
        disconnect(&binary, &format!("/clients/{number}/disconnect"), ""),
        1
    );
    let rest = client.rest_answering_close();
    let closes = [(1008, "disconnected by the operator".into())];
    assert_eq!(rest.closes, closes);
    let received = rest.messages.len();
    assert!(
        received < sent,
        "queued messages are not waited for: {received} of {sent}"
    );
}

#[test]
fn invalid_disconnects_are_answered_with_their_status() {
    let binary = Binary::start(&[]);
    let address = binary.address;
    let mut client = binary.connect("/ws/t");
    let path = format!("/clients/{}/disconnect", only_client(&binary));
    for body in [
        r#"{"code":1000}"#,
        r#"{"code":5000}"#,
        r#"{"reason":7}"#,
        r#"{"cause":"x"}"#,
        "[]",
        "x",
    ] {
        assert_eq!(post(address, &path, "", body).status, 400, "{body}");
    }
    let long = format!(r#"{{"reason":"{}"}}"#, "r".repeat(124));
    assert_eq!(post(address, &path, "", long).status, 400);
    assert_eq!(post(address, &path, "", vec![b' '; 4097]).status, 413);
    let gzip = "Content-Encoding: gzip\r\n";
    assert_eq!(post(address, &path, gzip, "{}").status, 415);
    let answer = get(address, &path, "");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    for path in [
        "/clients/x/disconnect",
        "/clients/-1/disconnect",
        "/users//disconnect",
    ] {
        assert_eq!(post(address, path, "", "{}").status, 400, "{path}");
    }
    for path in [
        "/clients/1",
        "/clients",
        "/users/ann",
        "/clients/1/disconnect/",
    ] {
        assert_eq!(post(address, path, "", "{}").status, 404, "{path}");
    }
    assert_eq!(disconnect(&binary, "/users/nobody/disconnect", "{}"), 0);
    client.text("still connected");
    client.expect_text("still connected");
}

#[test]
fn one_topic_is_shown_as_in_the_list() {
    let binary = Binary::start(&["--topic", "*:history=3"]);
    assert_eq!(binary.get("/topics/a%2Fb").status, 404);
    let mut client = JsonClient::connect(binary.address);
    client.subscribe("a/b");
    let list: Vec<Value> = serde_json::from_str(&binary.get("/topics").body).unwrap();
    let answer = binary.get("/topics/a%2Fb");
    assert_eq!(answer.status, 200, "{answer:?}");
    let topic: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(vec![topic.clone()], list);
    assert_eq!(
        (&topic["topic"], &topic["members"]),
        (&json!("a/b"), &json!(1))
    );
    for path in [format!("/topics/{}", "t".repeat(201)), "/topics/".into()] {
        assert_eq!(binary.get(&path).status, 400, "{path}");
    }
    let answer = post(binary.address, "/topics/t", "", "");
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET, HEAD"))
    );
}

#[test]
fn history_is_read_in_pages() {
    let binary = Binary::start(&["--topic", "*:history=10"]);
    let ids: Vec<u64> = ["a", "b", "c", "d"]
        .map(|data| publish(&binary, data))
        .into();
    assert_eq!(page(&binary, "?limit=3"), ["a", "b", "c"]);
    assert_eq!(page(&binary, &format!("?limit=3&since={}", ids[2])), ["d"]);
    assert_eq!(page(&binary, &format!("?since={}&limit=1", ids[0])), ["b"]);
    assert_eq!(page(&binary, "?limit=18446744073709551615").len(), 4);
    for limit in ["0", "-1", "x", "", "1.0", "18446744073709551616"] {
        let answer = binary.get(&format!("/topics/t/history?limit={limit}"));
        assert_eq!(answer.status, 400, "{limit}");
    }
}

#[test]
fn removed_history_is_gone_and_told_as_a_gap() {
    let binary = Binary::start(&["--topic", "*:history=10"]);
    let first = publish(&binary, "secret");
    publish(&binary, "secret too");
    assert_eq!(page(&binary, "").len(), 2);
    let answer = delete(&binary, "/topics/t/history", "");
    assert_eq!((answer.status, &*answer.body), (204, ""), "{answer:?}");
    assert_eq!(page(&binary, ""), [] as [Value; 0]);
    // The topic had nothing but its history.
    until("the topic has ended", || binary.get("/topics").body == "[]");
    assert_eq!(
        delete(&binary, "/topics/t/history", "").status,
        204,
        "it does not exist"
    );
    assert_eq!(publish(&binary, "new"), first + 2, "the ids continue");
    let mut client = JsonClient::connect(binary.address);
    let subscribe = json!({"sub": "t", "since": first, "ref": 1}).to_string();
    client.send(subscribe);
    let gap = client.receive();
    assert_eq!(gap["gap"], json!([first + 1, first + 1]), "{gap}");
    assert_eq!(client.receive()["data"], "new");
    let answer = post(binary.address, "/topics/t/history", "", "");
    assert_eq!(answer.header("allow"), Some("GET, HEAD, DELETE"));
    assert_eq!(delete(&binary, "/topics/t/presence", "").status, 405);
}

#[test]
fn members_stay_when_a_history_is_removed() {
    let binary = Binary::start(&["--topic", "*:history=10"]);
    let mut client = TestClient::connect(binary.address, "/ws/t");
    publish(&binary, "one");
    client.expect_text("one");
    assert_eq!(delete(&binary, "/topics/t/history", "").status, 204);
    publish(&binary, "two");
    client.expect_text("two");
    assert_eq!(page(&binary, ""), ["two"]);
}

/// Every admin request of this file, and how it is answered when it is allowed.
const REQUESTS: [(&str, &str, u16); 5] = [
    ("GET", "/topics/t", 404),
    ("DELETE", "/topics/t/history", 204),
    ("POST", "/clients/1/disconnect", 202),
    ("POST", "/users/ann/disconnect", 202),
    ("POST", "/publish", 400),
];

#[track_caller]
fn statuses(address: SocketAddr, headers: &str) -> [u16; 5] {
    REQUESTS.map(|(method, path, _)| {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        http(address, format!("{head}Content-Length: 0\r\n{headers}\r\n")).status
    })
}

#[test]
fn admin_requests_need_a_key_and_no_foreign_page() {
    let keys = File::new("admin-requests", "the key\n");
    let binary = Binary::start(&["--publish-key-file", keys.path()]);
    let right = "Authorization: Bearer the key\r\n";
    assert_eq!(statuses(binary.address, ""), [401; 5]);
    assert_eq!(
        statuses(binary.address, "Authorization: Bearer x\r\n"),
        [401; 5]
    );
    assert_eq!(
        statuses(binary.address, right),
        REQUESTS.map(|(.., status)| status)
    );
    let foreign = format!("{right}Origin: https://elsewhere.example\r\n");
    assert_eq!(statuses(binary.address, &foreign), [403; 5]);
    let binary = Binary::start(&["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    assert_eq!(
        statuses(binary.address, ""),
        [404; 5],
        "another listener serves them"
    );
}
