use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, Example, close_code, connect, connect_small, text};

/// Sends a command.
#[track_caller]
fn command(client: &mut Client, command: Value) {
    let sent = client.send(Message::text(command.to_string()));
    sent.expect("the server reads commands until it closes");
}

/// Parses one text message.
#[track_caller]
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("the chat speaks JSON")
}

/// Returns the next event that has `field`. Skips other events.
#[track_caller]
fn event_with(client: &mut Client, field: &str) -> Value {
    loop {
        let event = parsed(&text(client));
        if !event[field].is_null() {
            return event;
        }
    }
}

#[track_caller]
fn say(client: &mut Client, line: &str, reference: &str) -> u64 {
    command(
        client,
        json!({ "do": "say", "say": line, "room": "lobby", "ref": reference }),
    );
    event_with(client, "ack")["id"]
        .as_u64()
        .expect("an ack has an id")
}

#[test]
fn chat_keeps_history_and_drops_duplicates() {
    let mut chat = Example::start("chat", &["127.0.0.1:0"]);
    let address = chat.address();
    let mut ann = connect(address, "/ws?name=ann");
    command(&mut ann, json!({ "do": "join", "room": "lobby" }));
    event_with(&mut ann, "joined");
    let id = say(&mut ann, "hello", "a1");
    assert_eq!(
        say(&mut ann, "hello", "a1"),
        id,
        "sent again, it has the same id"
    );
    assert!(say(&mut ann, "again", "a2") > id);

    let mut bob = connect(address, "/ws?name=bob");
    command(&mut bob, json!({ "do": "join", "room": "lobby" }));
    assert_eq!(event_with(&mut bob, "say")["say"], "hello");
    let second = event_with(&mut bob, "say");
    assert_eq!(
        (&second["say"], &second["from"]),
        (&json!("again"), &json!("ann"))
    );
    assert_eq!(
        event_with(&mut bob, "joined")["here"],
        json!(["ann", "bob"])
    );
    assert_eq!(event_with(&mut ann, "came")["came"], "bob");
    command(&mut bob, json!({ "do": "rooms" }));
    assert_eq!(
        event_with(&mut bob, "rooms")["rooms"][0],
        json!({ "name": "lobby", "members": 2 })
    );

    chat.type_line("kick bob");
    assert_eq!(close_code(&mut bob), 4103);
    assert_eq!(event_with(&mut ann, "went")["went"], "bob");
    drop((ann, bob));
    chat.report();
}

#[test]
fn chat_recognizes_clients_by_key_not_name() {
    let mut chat = Example::start("chat", &["127.0.0.1:0"]);
    let address = chat.address();
    let paths = [
        "/ws?name=zoe&key=1",
        "/ws?name=zoe&key=2",
        "/ws?name=zoe&key=1",
    ];
    let ids = paths.map(|path| {
        let mut zoe = connect(address, path);
        command(&mut zoe, json!({ "do": "join", "room": "lobby" }));
        event_with(&mut zoe, "joined");
        say(&mut zoe, path, "r1")
    });
    assert_ne!(ids[0], ids[1], "the message of another client");
    assert_eq!(ids[0], ids[2], "the same message, sent again");
    chat.report();
}

#[test]
fn chat_answers_bad_commands_with_errors() {
    let mut chat = Example::start("chat", &["127.0.0.1:0"]);
    let address = chat.address();
    let mut ann = connect(address, "/ws?name=ann");
    for wrong in [
        json!("lobby"),
        json!({ "do": "join", "room": "" }),
        json!({ "do": "join", "room": "x".repeat(33) }),
        json!({ "do": "leave", "room": "lobby" }),
        json!({ "do": "say", "say": "hello", "room": "lobby", "ref": "1" }),
    ] {
        command(&mut ann, wrong.clone());
        assert!(
            event_with(&mut ann, "error")["error"].is_string(),
            "{wrong}"
        );
    }
    // Deeply nested JSON in every place where it could be parsed. The stack of a client thread is small, and an
    // overflow would abort the whole process.
    for (deep, answer) in [
        ("[".repeat(5000), "error"),
        (
            format!(r#"{{"do":"rooms","x":{}"#, "[".repeat(5000)),
            "error",
        ),
        (
            format!(
                r#"{{"x":{}{},"do":"rooms"}}"#,
                "[".repeat(120),
                "]".repeat(120)
            ),
            "rooms",
        ),
    ] {
        let sent = ann.send(Message::text(deep));
        sent.expect("the server reads the command and answers");
        event_with(&mut ann, answer);
    }
    command(&mut ann, json!({ "do": "join", "room": "lobby" }));
    event_with(&mut ann, "joined");
    command(
        &mut ann,
        json!({ "do": "say", "say": "x".repeat(1001), "room": "lobby", "ref": "1" }),
    );
    event_with(&mut ann, "error");
    for n in 0..7 {
        command(
            &mut ann,
            json!({ "do": "join", "room": format!("room {n}") }),
        );
        event_with(&mut ann, "joined");
    }
    command(&mut ann, json!({ "do": "join", "room": "one too many" }));
    event_with(&mut ann, "error");
    let sent = ann.send(Message::binary(vec![1]));
    sent.expect("the server reads the message before it closes");
    assert_eq!(close_code(&mut ann), 1003);

    let mut flood = connect(address, "/ws?name=flood");
    for _ in 0..100 {
        // The server may have closed by now.
        let _ = flood.send(Message::text("{\"do\":\"rooms\"}"));
    }
    assert_eq!(close_code(&mut flood), 1008);
    for name in ["%20", "bob%20", "%E2%80%AEbob"] {
        let hidden = tungstenite::connect(format!("ws://{address}/ws?name={name}"));
        assert!(
            hidden.is_err_and(|error| error.to_string().contains("400")),
            "{name}"
        );
    }
    let nameless = tungstenite::connect(format!("ws://{address}/ws"));
    assert!(nameless.is_err_and(|error| error.to_string().contains("400")));
    chat.report();
}

#[test]
fn chat_client_that_was_disconnected_resumes_without_loss() {
    let mut chat = Example::start("chat", &["127.0.0.1:0", "1000000/s"]);
    let address = chat.address();
    let mut ann = connect(address, "/ws?name=ann");
    command(&mut ann, json!({ "do": "join", "room": "lobby" }));
    event_with(&mut ann, "joined");
    let mut slow = connect_small(address, "/ws?name=slow");
    command(&mut slow, json!({ "do": "join", "room": "lobby" }));
    event_with(&mut slow, "joined");

    // `slow` reads nothing. The kernel holds about 100 KiB for it, then its queue fills, and it is disconnected. Ann is
    // not affected.
    let sent: Vec<u64> = (0..300)
        .map(|n| say(&mut ann, &format!("{n:0>900}"), &format!("s{n}")))
        .collect();
    let mut got = Vec::new();
    let code = loop {
        match slow.read() {
            Ok(Message::Text(text)) => {
                let event = parsed(&text);
                got.extend(event["id"].as_u64());
            }
            Ok(Message::Close(frame)) => break frame.map(|frame| u16::from(frame.code)),
            Ok(_) => {}
            Err(error) => panic!(
                "waited for the Close, got {error} after {} messages",
                got.len()
            ),
        }
    };
    assert_eq!(code, Some(4008));
    assert!(got.len() < sent.len(), "`slow` missed messages");

    let mut back = connect(address, "/ws?name=slow");
    command(
        &mut back,
        json!({ "do": "join", "room": "lobby", "since": got.last() }),
    );
    loop {
        let event = parsed(&text(&mut back));
        assert!(event["gap"].is_null(), "{event}");
        got.extend(event["id"].as_u64());
        if !event["joined"].is_null() {
            break;
        }
    }
    assert_eq!(got, sent, "every message once, in order");
    chat.report();
}
