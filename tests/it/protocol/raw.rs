//! Raw mode: its parameters, and what its members receive.

use serde_json::json;
use standpipe::Message;

use super::{JSON, TEXT, publish};
use crate::binary::Binary;
use crate::support::{Connect, JsonClient, TestClient, until};

fn wait_for_members(binary: &Binary, members: usize) {
    let row = format!(r#""members":{members},"#);
    until("the clients are members", || {
        binary.get("/topics").body.contains(&row)
    });
}

#[test]
fn raw_since_replays_without_notice_of_a_loss() {
    let binary = Binary::start(&["--topic", "t*:history=2"]);
    for (n, expected) in [
        (0, &["two", "three"][..]),
        (1, &["two", "three"]),
        (2, &["three"]),
        (3, &[]),
    ] {
        // A topic of its own, because the client publishes into it.
        let topic = format!("t{n}");
        let texts = ["one", "two", "three"];
        let ids = texts.map(|text| publish(&binary, &topic, TEXT, text));
        // `0` asks for everything; otherwise the client has the first `n` messages.
        let since = if n == 0 { 0 } else { ids[n - 1] };
        let mut client = binary.connect(&format!("/ws/{topic}?since={since}"));
        for text in expected {
            client.expect_text(text);
        }
        client.text("live");
        client.expect_text("live");
        client.leave();
    }
}

#[test]
fn json_values_arrive_as_their_text() {
    let binary = Binary::start(&[]);
    let mut raw = binary.connect("/ws/t");
    wait_for_members(&binary, 1);
    let publisher = JsonClient::connect(binary.address);
    for (command, received) in [
        (
            r#"{"pub":"t","data":{"a": 21.50}}"#,
            Message::text(r#"{"a": 21.50}"#),
        ),
        (r#"{"pub":"t","data":"a\nb"}"#, Message::text("a\nb")),
        (r#"{"pub":"t","data":null}"#, Message::text("null")),
        (
            r#"{"pub":"t","data":"eA==","base64":true}"#,
            Message::binary("x"),
        ),
    ] {
        publisher.send(command);
        assert_eq!(raw.read_message(), received, "{command}");
    }
    publish(&binary, "t", JSON, "[1.0]");
    raw.expect_text("[1.0]");
}

#[test]
fn raw_name_is_in_the_presence_list() {
    let binary = Binary::start(&[]);
    let mut watcher = JsonClient::connect(binary.address);
    watcher.request(r#"{"sub":"t","presence":true,"ref":1}"#);
    let _ann: TestClient = binary.connect("/ws/t?name=ann&echo=false&since=0");
    assert_eq!(watcher.receive(), json!({"presence": "t", "join": "ann"}));
    assert_eq!(binary.get("/topics/t/presence").body, r#"["ann"]"#);
}

#[test]
fn wrong_raw_parameter_is_answered_400() {
    let binary = Binary::start(&[]);
    for query in [
        "since=x",
        "since=-1",
        "since=1.5",
        "since=",
        "since=18446744073709551616",
        "name=",
        "name=a%00b",
        "echo=",
        "echo=maybe",
    ] {
        let client = Connect::to(binary.address).path(&format!("/ws/t?{query}"));
        let (mut client, answer) = client.request();
        assert_eq!(answer.status, 400, "{query}");
        let line = String::from_utf8(client.read_to_eof()).expect("a text");
        assert_eq!(line.lines().count(), 1, "{query}: {line:?}");
    }
}

#[test]
fn unknown_parameter_is_ignored() {
    let binary = Binary::start(&[]);
    let mut client = binary.connect("/ws/t?colour=red&echo=true&&x");
    client.text("hello");
    client.expect_text("hello");
}
