//! JSON mode: fields, answers and error texts that the document shows.

use serde_json::{Value, json};

use super::{JSON, TEXT, parsed, publish};
use crate::binary::Binary;
use crate::support::{Frame, JsonClient, op, until};

/// The session at the beginning of the document.
#[test]
fn session_of_the_document_runs_as_shown() {
    let binary = Binary::start(&["--topic", "news:history=100"]);
    let mut client = JsonClient::connect(binary.address);
    let ack = client.request(r#"{"sub":"news","ref":1}"#);
    let last = ack["id"].as_u64().expect("an id");
    let epoch = ack["epoch"].as_str().expect("an epoch");
    assert_eq!(ack, json!({"ack": 1, "id": last, "epoch": epoch}));
    client.send(r#"{"pub":"news","data":{"temp":21.5},"ref":2}"#);
    let mut answers = [client.receive(), client.receive()];
    answers.sort_by_key(|answer| answer.get("ack").is_some());
    assert_eq!(
        answers,
        [
            json!({"topic": "news", "id": last + 1, "data": {"temp": 21.5}}),
            json!({"ack": 2, "id": last + 1}),
        ]
    );
    client.0.leave();
    publish(&binary, "news", TEXT, "back again?");
    let mut client = JsonClient::connect(binary.address);
    let since = json!({"sub": "news", "since": last + 1, "epoch": epoch, "ref": 1});
    client.send(since.to_string());
    let mut answers = [client.receive(), client.receive()];
    answers.sort_by_key(|answer| answer.get("ack").is_some());
    assert_eq!(
        answers,
        [
            json!({"topic": "news", "id": last + 2, "data": "back again?"}),
            json!({"ack": 1, "id": last + 2, "epoch": epoch}),
        ]
    );
}

#[test]
fn null_counts_as_an_absent_field() {
    let binary = Binary::start(&["--topic", "t:history=10"]);
    publish(&binary, "t", TEXT, "old");
    let mut client = JsonClient::connect(binary.address);
    // With a `ref`, there would be an answer. With a `since`, the old message would come.
    client.send(r#"{"sub":"t","since":null,"presence":null,"ref":null}"#);
    client.send(r#"{"pub":"t","data":"new","key":null,"ref":null}"#);
    assert_eq!(client.receive()["data"], "new");
    client.assert_idle();
}

#[test]
fn last_value_of_a_repeated_field_counts() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    client.subscribe("b");
    client.send(r#"{"pub":"a","data":1,"ref":1,"pub":"b","data":2,"ref":2}"#);
    let mut answers = [client.receive(), client.receive()];
    answers.sort_by_key(|answer| answer.get("ack").is_some());
    assert_eq!(
        (&answers[0]["topic"], &answers[0]["data"]),
        (&json!("b"), &json!(2))
    );
    assert_eq!(answers[1]["ack"], 2);
    client.assert_idle();
}

#[test]
fn membership_without_since_begins_with_the_next_message() {
    let binary = Binary::start(&["--topic", "t:history=10"]);
    let ids: Vec<u64> = ["one", "two"]
        .map(|text| publish(&binary, "t", TEXT, text))
        .into();
    let mut client = JsonClient::connect(binary.address);
    assert_eq!(client.subscribe("t"), ids[1]);
    let id = publish(&binary, "t", TEXT, "three");
    let next = json!({"topic": "t", "id": id, "data": "three"});
    assert_eq!(client.receive(), next);
    // `0` asks for everything that the topic still has.
    let mut client = JsonClient::connect(binary.address);
    client.send(r#"{"sub":"t","since":0,"ref":1}"#);
    let mut received: Vec<Value> = (0..5).map(|_| client.receive()).collect();
    received.retain(|message| message.get("data").is_some());
    let data: Vec<&Value> = received.iter().map(|message| &message["data"]).collect();
    assert_eq!(data, ["one", "two", "three"]);
}

#[test]
fn resume_from_0_ends_with_the_latest_of_each_key() {
    let binary = Binary::start(&["--topic", "t:policy=conflate,history=3"]);
    for (key, text) in [("a", "1"), ("b", "2"), ("a", "3"), ("b", "4")] {
        publish(&binary, &format!("t?key={key}"), TEXT, text);
    }
    let mut client = JsonClient::connect(binary.address);
    client.send(r#"{"sub":"t","since":0,"ref":1}"#);
    // No gap comes for the message that the history has dropped.
    let mut received: Vec<Value> = (0..4).map(|_| client.receive()).collect();
    received.retain(|message| message["ack"] != 1);
    let data: Vec<&Value> = received.iter().map(|message| &message["data"]).collect();
    assert_eq!(data, ["2", "3", "4"]);
    client.assert_idle();
}

#[test]
fn messages_queued_before_an_unsub_still_arrive() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    let last = client.subscribe("t");
    let commands = (0..50).map(|n| format!(r#"{{"pub":"t","data":{n}}}"#));
    let commands = commands.chain([r#"{"unsub":"t","ref":"end"}"#.into()]);
    let frames = commands.flat_map(|command| Frame::new(op::TEXT, command).bytes());
    client.0.bytes(frames.collect::<Vec<u8>>());
    let mut received: Vec<Value> = (0..51).map(|_| client.receive()).collect();
    let ack = received.iter().position(|one| one.get("ack").is_some());
    let ack = received.remove(ack.expect("an answer"));
    assert_eq!(ack, json!({"ack": "end", "id": last + 50}));
    for (n, message) in received.iter().enumerate() {
        let id = last + 1 + n as u64;
        assert_eq!(*message, json!({"topic": "t", "id": id, "data": n}));
    }
    publish(&binary, "t", TEXT, "for nobody");
    client.assert_idle();
}

#[test]
fn error_texts_are_the_documented_ones() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    for (command, answer) in [
        (
            json!({"sub": "", "ref": 9}),
            json!({"error": "a topic has 1 to 200 bytes", "ref": 9}),
        ),
        (
            json!({"what": 1}),
            json!({"error": "a command is one of sub, unsub, pub, token"}),
        ),
    ] {
        assert_eq!(client.request(command.to_string()), answer);
        let shown = answer.to_string();
        let document = include_str!("../../../src/PROTOCOL.md");
        assert!(document.contains(&shown), "{shown} is not in the document");
    }
}

#[test]
fn kind_of_a_message_decides_its_data() {
    let binary = Binary::start(&["--topic", "t:history=10"]);
    let mut client = JsonClient::connect(binary.address);
    client.subscribe("t");
    let raw = binary.connect("/ws/t");
    until("the raw client is a member", || {
        binary.get("/topics").body.contains(r#""members":2"#)
    });
    raw.text("21.50");
    let first = client.receive_text();
    let text = publish(&binary, "t", TEXT, "21.50");
    let json = publish(&binary, "t", JSON, "21.50");
    let bytes = publish(&binary, "t", "", "x");
    let expected = [
        format!(r#"{{"topic":"t","id":{},"data":"21.50"}}"#, text - 1),
        format!(r#"{{"topic":"t","id":{text},"data":"21.50"}}"#),
        format!(r#"{{"topic":"t","id":{json},"data":21.50}}"#),
        format!(r#"{{"topic":"t","id":{bytes},"data":"eA==","base64":true}}"#),
    ];
    assert_eq!(first, expected[0]);
    for expected in &expected[1..] {
        assert_eq!(client.receive_text(), *expected);
    }
    // The history has the same, without the topic, the oldest first.
    let history = binary.get("/topics/t/history");
    let expected = expected.map(|message| message.replace(r#""topic":"t","#, ""));
    parsed(&history);
    assert_eq!(history.body, format!("[{}]", expected.join(",")));
    let history = binary.get(&format!("/topics/t/history?since={json}"));
    assert_eq!(history.body, format!("[{}]", expected[3]));
}
