//! JSON mode: every shape of a command and of a message, and the answers to malformed commands.

use std::time::Duration;

use serde_json::{Value, json};

use crate::binary::Binary;
use crate::publish::{SMALL, stalled};
use crate::support::{Frame, JsonClient, Seen, TestClient, get, op, post, until};

#[track_caller]
fn is_error(answer: &Value, reference: Option<Value>) {
    let error = answer["error"].as_str();
    assert!(error.is_some_and(|error| !error.is_empty()), "{answer}");
    let keys = 1 + usize::from(reference.is_some());
    assert_eq!(answer.as_object().unwrap().len(), keys, "{answer}");
    assert_eq!(answer.get("ref"), reference.as_ref(), "{answer}");
}

#[test]
fn commands_and_messages_have_the_documented_shapes() {
    let binary = Binary::start(&[]);
    let mut ann = JsonClient::at(binary.address, "/ws?name=ann");
    let mut bob = JsonClient::connect(binary.address);

    let ack = bob.request(r#"{"sub":"t","presence":true,"ref":1}"#);
    let last = ack["id"].as_u64().unwrap();
    let epoch = ack["epoch"].as_str().unwrap();
    assert_eq!(ack, json!({"ack": 1, "id": last, "epoch": epoch}));
    let ack = ann.request(r#"{"sub":"t","ref":"a string","unknown":"is ignored"}"#);
    assert_eq!(ack, json!({"ack": "a string", "id": last, "epoch": epoch}));
    assert_eq!(bob.receive(), json!({"presence": "t", "join": "ann"}));
    let presence = binary.get("/topics/t/presence");
    assert_eq!((presence.status, &*presence.body), (200, r#"["ann"]"#));

    // A command without `ref` has no answer. The sender is also a member, and receives its message before the answer.
    ann.send(r#"{"pub":"t","data":"text"}"#);
    ann.send(r#"{"pub":"t","data":{"a":[1,2]},"key":"k","ref":2}"#);
    let messages = [
        json!({"topic": "t", "id": last + 1, "data": "text"}),
        json!({"topic": "t", "id": last + 2, "data": {"a": [1, 2]}}),
    ];
    assert_eq!([bob.receive(), bob.receive()], messages);
    assert_eq!([ann.receive(), ann.receive()], messages);
    assert_eq!(ann.receive(), json!({"ack": 2, "id": last + 2}));
    assert_eq!(
        ann.request(r#"{"unsub":"t","ref":3}"#),
        json!({"ack": 3, "id": last + 2})
    );
    bob.send(r#"{"pub":"t","data":null}"#);
    assert_eq!(
        bob.receive(),
        json!({"topic": "t", "id": last + 3, "data": null})
    );
    ann.assert_idle();

    ann.0.leave();
    until("ann has left", || {
        binary.get("/topics/t/presence").body == "[]"
    });
}

#[test]
fn raw_mode_and_json_mode_share_a_topic() {
    let binary = Binary::start(&[]);
    let mut json = JsonClient::connect(binary.address);
    let last = json.subscribe("t");
    let mut raw = TestClient::connect(binary.address, "/ws/t");
    raw.text("{\"not\": \"a value\"}");
    // Text of a raw client is a JSON string, even if it looks like JSON.
    assert_eq!(
        json.receive(),
        json!({"topic": "t", "id": last + 1, "data": "{\"not\": \"a value\"}"})
    );
    raw.expect_text("{\"not\": \"a value\"}");
    raw.binary([0, 255, 7]);
    assert_eq!(
        json.receive(),
        json!({"topic": "t", "id": last + 2, "data": "AP8H", "base64": true})
    );
    raw.read_message();
    json.send(r#"{"pub":"t","data":"AP8H","base64":true}"#);
    let bytes = standpipe::Message::binary(vec![0, 255, 7]);
    assert_eq!(raw.read_message(), bytes);
}

#[test]
fn since_replays_history_after_a_gap_notice() {
    let binary = Binary::start(&["--topic", "h*:history=2"]);
    let mut client = JsonClient::connect(binary.address);
    let answer = client.request(r#"{"pub":"h","data":1,"ref":0}"#);
    let first = answer["id"].as_u64().unwrap();
    for data in 2..=5 {
        client.send(format!(r#"{{"pub":"h","data":{data}}}"#));
    }
    client.send(format!(r#"{{"sub":"h","since":{},"ref":9}}"#, first - 1));
    let mut received = [0; 4].map(|_| client.receive());
    // The position of the answer among the replayed messages is not specified.
    received.sort_by_key(|one| one["ack"] == 9);
    let epoch = received[3]["epoch"].as_str().unwrap();
    assert_eq!(
        received,
        [
            json!({"topic": "h", "gap": [first, first + 2], "epoch": epoch}),
            json!({"topic": "h", "id": first + 3, "data": 4}),
            json!({"topic": "h", "id": first + 4, "data": 5}),
            json!({"ack": 9, "id": first + 4, "epoch": epoch}),
        ]
    );
    let history = binary.get(&format!("/topics/h/history?since={}", first + 3));
    let expected = format!(r#"[{{"id":{},"data":5}}]"#, first + 4);
    assert_eq!(history.body, expected);
    let topics: Value = serde_json::from_str(&binary.get("/topics").body).unwrap();
    let rows = topics.as_array().unwrap();
    let row = rows.iter().find(|row| row["topic"] == "h").unwrap();
    assert_eq!(
        (&row["members"], &row["id"], &row["policy"]),
        (&json!(1), &json!(first + 4), &json!("disconnect"))
    );
    assert_eq!(row["epoch"], epoch);
}

#[test]
fn malformed_command_is_answered_with_an_error() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    for command in ["[]", "1", "\"sub\"", "null", "true"] {
        is_error(&client.request(command), None);
        client.assert_idle();
    }
    client.0.binary(r#"{"sub":"t","ref":1}"#);
    is_error(&client.receive(), None);
    for reference in ["[]", "{}", "true"] {
        let answer = client.request(format!(r#"{{"sub":"t","ref":{reference}}}"#));
        is_error(&answer, None);
    }
    client.assert_idle();
    let long = "t".repeat(201);
    let wrong = [
        r#"{"what":"t"}"#,
        r#"{"data":1}"#,
        r#"{"sub":1}"#,
        r#"{"sub":null}"#,
        r#"{"sub":["t"]}"#,
        r#"{"sub":""}"#,
        r#"{"sub":"a\u0000b"}"#,
        r#"{"sub":"a\nb"}"#,
        &format!(r#"{{"sub":"{long}"}}"#),
        &format!(r#"{{"pub":"{long}","data":1}}"#),
        r#"{"sub":"t","since":-1}"#,
        r#"{"sub":"t","since":1.5}"#,
        r#"{"sub":"t","since":"seven"}"#,
        r#"{"sub":"t","since":18446744073709551616}"#,
        r#"{"sub":"t","since":1,"epoch":7}"#,
        r#"{"sub":"t","since":1,"epoch":"\ud800"}"#,
        r#"{"sub":"t","presence":1}"#,
        r#"{"sub":"t","pub":"t","data":1}"#,
        r#"{"unsub":"t"}"#,
        r#"{"unsub":7}"#,
        r#"{"pub":"t"}"#,
        r#"{"pub":7,"data":1}"#,
        r#"{"pub":"t","data":1,"key":7}"#,
        r#"{"pub":"t","data":1,"key":""}"#,
        r#"{"pub":"t","data":"AP8","base64":true}"#,
        r#"{"pub":"t","data":"%?!","base64":true}"#,
        r#"{"pub":"t","data":7,"base64":true}"#,
        r#"{"pub":"t","data":"AP8H","base64":"yes"}"#,
    ];
    for (n, command) in wrong.into_iter().enumerate() {
        is_error(&client.request(command), None);
        let (open, _) = command.rsplit_once('}').unwrap();
        is_error(
            &client.request(format!(r#"{open},"ref":{n}}}"#)),
            Some(json!(n)),
        );
    }
    client.assert_idle();
    client.subscribe("t");
    is_error(&client.request(r#"{"sub":"t","ref":1}"#), Some(json!(1)));
    // The client is still a member, and only once.
    client.send(r#"{"pub":"t","data":1}"#);
    assert_eq!(client.receive()["data"], 1);
    client.assert_idle();
    client.0.leave();
}

#[test]
fn answers_come_once_and_in_command_order() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    let commands = (0..500).map(|n| {
        let command = match n % 4 {
            0 => format!(r#"{{"sub":"t{n}","ref":{n}}}"#),
            1 => format!(r#"{{"pub":"no members","data":[{n}],"ref":{n}}}"#),
            2 => format!(r#"{{"sub":"","ref":{n}}}"#),
            _ => format!(r#"{{"unsub":"t{}","ref":{n}}}"#, n - 3),
        };
        Frame::new(op::TEXT, command).bytes()
    });
    client.0.bytes(commands.flatten().collect::<Vec<u8>>());
    for n in 0..500 {
        let answer = client.receive();
        if n % 4 == 2 {
            is_error(&answer, Some(json!(n)));
        } else {
            assert_eq!(answer["ack"], n, "{answer}");
            assert!(answer["id"].is_u64(), "{answer}");
        }
    }
    client.assert_idle();
}

#[test]
fn three_messages_that_are_not_json_close_with_1008() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    for (n, wrong) in ["CONNECT", "{\"sub\":", ""].into_iter().enumerate() {
        if n > 0 {
            client.assert_idle();
        }
        is_error(&client.request(wrong), None);
    }
    client.0.expect_close(1008);
}

#[test]
fn exceeded_limit_is_an_error_then_close_1013() {
    let binary = Binary::start(&["--max-subscriptions", "3", "--max-topics", "4"]);
    let mut client = JsonClient::connect(binary.address);
    for n in 0..3 {
        client.subscribe(&format!("t{n}"));
    }
    // Ending a subscription makes room for another one.
    client.request(r#"{"unsub":"t0","ref":0}"#);
    client.subscribe("t3");
    is_error(&client.request(r#"{"sub":"t4","ref":4}"#), Some(json!(4)));
    let reason = client.0.expect_close(1013);
    assert!(reason.contains('3'), "{reason}");
    client.0.close(1013, "");
    client.0.expect_eof();
    until("the topics of the client are removed", || {
        binary.get("/topics").body == "[]"
    });

    let mut holders = [
        JsonClient::connect(binary.address),
        JsonClient::connect(binary.address),
    ];
    for n in 0..4 {
        holders[n % 2].subscribe(&format!("t{n}"));
    }
    for command in [
        r#"{"sub":"one more","ref":1}"#,
        r#"{"pub":"one more","data":1,"ref":1}"#,
    ] {
        let mut client = JsonClient::connect(binary.address);
        is_error(&client.request(command), Some(json!(1)));
        client.0.expect_close(1013);
    }
    TestClient::connect(binary.address, "/ws/one%20more").expect_close(1013);
    let answer = post(binary.address, "/publish/one%20more", "", "x");
    assert_eq!(answer.status, 503, "{answer:?}");
    let kind = answer.header("Content-Type").unwrap_or_default();
    assert!(kind.starts_with("text/plain"), "published: {answer:?}");
    assert!(answer.header("Retry-After").is_some());
    // The existing topics still work.
    holders[0].send(r#"{"pub":"t1","data":1}"#);
    assert_eq!(holders[1].receive()["topic"], "t1");
}

#[test]
fn numbers_and_nested_data_are_not_rewritten() {
    let binary = Binary::start(&["--topic", "t:history=100"]);
    let mut client = JsonClient::connect(binary.address);
    let last = client.subscribe("t");
    let data = [
        "123456789012345678901234567890",
        "0.1000",
        "1E2",
        "-0",
        "9007199254740993",
        r#"{"z":1,"a":{"b":[[],{},[null,true,"\u00e9\ud83d\ude00"]]},"z2":1.0}"#,
        r#"[{"same":1,"same":2}]"#,
    ];
    for (n, data) in data.into_iter().enumerate() {
        let id = last + 2 * n as u64 + 1;
        client.send(format!(r#"{{"pub":"t","data":{data}}}"#));
        let expected = format!(r#"{{"topic":"t","id":{id},"data":{data}}}"#);
        assert_eq!(client.receive_text(), expected);
        let json = "Content-Type: application/json; charset=utf-8\r\n";
        let answer = post(binary.address, "/publish/t", json, format!(" {data}\n"));
        assert_eq!(answer.status, 202, "{answer:?}");
        let expected = format!(r#"{{"topic":"t","id":{},"data":{data}}}"#, id + 1);
        assert_eq!(client.receive_text(), expected);
        let history = binary.get(&format!("/topics/t/history?since={id}"));
        assert_eq!(
            history.body,
            format!(r#"[{{"id":{},"data":{data}}}]"#, id + 1)
        );
    }
}

#[test]
fn ten_thousand_brackets_are_an_error() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    client.subscribe("t");
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    is_error(
        &client.request(format!(r#"{{"pub":"t","data":{deep}}}"#)),
        None,
    );
    is_error(&client.request(&deep), None);
    client.assert_idle();
    // The same holds in any field, and for brackets that are not closed.
    client.request(format!(r#"{{"sub":"u","what":{deep},"ref":1}}"#));
    is_error(
        &client.request(format!(r#"{{"sub":"v","ref":{deep}}}"#)),
        None,
    );
    is_error(&client.request("[".repeat(10_000)), None);
    let json = "Content-Type: application/json\r\n";
    assert_eq!(post(binary.address, "/publish/t", json, &deep).status, 400);
    // A depth of 100 is accepted, because real documents can be that deep.
    let document = r#"{"a":"#.repeat(100) + "1" + &"}".repeat(100);
    client.send(format!(r#"{{"pub":"t","data":{document}}}"#));
    assert!(client.receive_text().contains(&document));
    assert_eq!(
        post(binary.address, "/publish/t", json, &document).status,
        202
    );
    assert!(client.receive_text().contains(&document));
    client.assert_idle();
    assert_eq!(get(binary.address, "/healthz", "").status, 200);
}

/// Commands as frames, to be sent in one write.
fn together(commands: impl IntoIterator<Item = String>) -> Vec<u8> {
    let frames = commands
        .into_iter()
        .map(|command| Frame::new(op::TEXT, command).bytes());
    frames.collect::<Vec<_>>().concat()
}

#[test]
fn batch_of_publishes_is_one_write_per_receiver() {
    let binary = Binary::start(&[]);
    let mut receiver = JsonClient::connect(binary.address);
    receiver.subscribe("t");
    let mut publisher = JsonClient::connect(binary.address);
    for round in 0..20 {
        let publish = |n| format!(r#"{{"pub":"t","data":{n},"ref":{n}}}"#);
        publisher.0.bytes(together((0..16).map(publish)));
        assert_eq!(publisher.receive()["ack"], 0);
        let answers = publisher.0.buffered_frames();
        assert_eq!(answers.len(), 15, "answers, round {round}");
        assert_eq!(receiver.receive()["data"], 0);
        let messages = receiver.0.buffered_frames();
        assert_eq!(messages.len(), 15, "messages, round {round}");
    }
}

#[test]
fn error_in_a_batch_keeps_the_publish_order() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    let mut receiver = JsonClient::connect(binary.address);
    let [t, u] = ["t", "u"].map(|topic| receiver.subscribe(topic));
    client.0.bytes(together([
        r#"{"pub":"t","data":1,"ref":1}"#.into(),
        r#"{"pub":"t","data":2}"#.into(),
        r#"{"pub":"t","ref":3}"#.into(),
        r#"{"pub":"t","data":4,"ref":4}"#.into(),
        r#"{"pub":"u","data":5,"ref":5}"#.into(),
        r#"{"pub":"t","data":6,"ref":6}"#.into(),
    ]));
    assert_eq!(client.receive(), json!({"ack": 1, "id": t + 1}));
    is_error(&client.receive(), Some(json!(3)));
    assert_eq!(client.receive(), json!({"ack": 4, "id": t + 3}));
    assert_eq!(client.receive(), json!({"ack": 5, "id": u + 1}));
    assert_eq!(client.receive(), json!({"ack": 6, "id": t + 4}));
    client.assert_idle();
    let data: Vec<Value> = (0..5).map(|_| receiver.receive()["data"].take()).collect();
    assert_eq!(data, [1, 2, 4, 5, 6]);
}

#[test]
fn command_after_one_that_closes_is_not_carried_out() {
    let binary = Binary::start(&["--max-subscriptions", "1"]);
    let mut receiver = JsonClient::connect(binary.address);
    receiver.subscribe("t");
    let mut client = JsonClient::connect(binary.address);
    client.0.bytes(together([
        r#"{"sub":"t","ref":1}"#.into(),
        r#"{"sub":"u","ref":2}"#.into(),
        r#"{"pub":"t","data":"too late","ref":3}"#.into(),
    ]));
    assert_eq!(client.receive()["ack"], 1);
    is_error(&client.receive(), Some(json!(2)));
    client.0.expect_close(1013);
    receiver.assert_idle();
}

#[test]
fn answers_do_not_wait_for_a_publish_that_blocks() {
    let topic = ["--topic", "b:policy=block,queue=4"];
    let binary = Binary::start(&[&SMALL[..], &topic].concat());
    let stalled = stalled(&binary, "b");
    let mut client = JsonClient::connect(binary.address);
    let data = "x".repeat(10_000);
    let blocked = (0..1000).find(|n| {
        client.0.bytes(together([
            format!(r#"{{"pub":"free","data":1,"ref":{n}}}"#),
            format!(r#"{{"pub":"b","data":"{data}","ref":"b"}}"#),
        ]));
        assert_eq!(client.receive()["ack"], *n);
        match client.0.next_within(Duration::from_millis(300)) {
            Some(Seen::Frame(_)) => false,
            None => true,
            end => panic!("waited for an answer, got {end:?}"),
        }
    });
    assert!(blocked.is_some(), "no publish was blocked");
    drop(stalled);
    assert_eq!(client.receive()["ack"], "b");
}
