use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, Example, close_code, connect, connect_small, text};

/// Sends a command.
#[track_caller]
fn tell(client: &mut Client, command: Value) {
    let sent = client.send(Message::text(command.to_string()));
    sent.expect("the server takes commands until it closes");
}

/// What one text message says.
#[track_caller]
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("the chat speaks JSON")
}

/// What the client is told next that has `field`; the rest is passed over.
#[track_caller]
fn told(client: &mut Client, field: &str) -> Value {
    loop {
        let told = parsed(&text(client));
        if !told[field].is_null() {
            return told;
        }
    }
}

#[track_caller]
fn say(client: &mut Client, word: &str, reference: &str) -> u64 {
    tell(
        client,
        json!({ "do": "say", "say": word, "room": "lobby", "ref": reference }),
    );
    told(client, "ack")["id"]
        .as_u64()
        .expect("an ack has an id")
}

#[test]
fn chat_remembers_a_room_and_says_a_word_once_however_often_it_is_sent() {
    let mut chat = Example::start("chat", &["127.0.0.1:0"]);
    let address = chat.address();
    let mut ann = connect(address, "/ws?name=ann");
    tell(&mut ann, json!({ "do": "join", "room": "lobby" }));
    told(&mut ann, "joined");
    let id = say(&mut ann, "hello", "a1");
    assert_eq!(
        say(&mut ann, "hello", "a1"),
        id,
        "sent again, it is the same"
    );
    assert!(say(&mut ann, "again", "a2") > id);

    let mut bob = connect(address, "/ws?name=bob");
    tell(&mut bob, json!({ "do": "join", "room": "lobby" }));
    assert_eq!(told(&mut bob, "say")["say"], "hello");
    let second = told(&mut bob, "say");
    assert_eq!(
        (&second["say"], &second["from"]),
        (&json!("again"), &json!("ann"))
    );
    assert_eq!(told(&mut bob, "joined")["here"], json!(["ann", "bob"]));
    assert_eq!(told(&mut ann, "came")["came"], "bob");
    tell(&mut bob, json!({ "do": "rooms" }));
    assert_eq!(
        told(&mut bob, "rooms")["rooms"][0],
        json!({ "name": "lobby", "members": 2 })
    );

    chat.type_line("kick bob");
    assert_eq!(close_code(&mut bob), 4003);
    assert_eq!(told(&mut ann, "went")["went"], "bob");
    drop((ann, bob));
    chat.report();
}

#[test]
fn chat_keeps_apart_two_people_of_one_name_and_knows_a_key_on_another_connection() {
    let mut chat = Example::start("chat", &["127.0.0.1:0"]);
    let address = chat.address();
    let paths = [
        "/ws?name=zoe&key=1",
        "/ws?name=zoe&key=2",
        "/ws?name=zoe&key=1",
    ];
    let ids = paths.map(|path| {
        let mut zoe = connect(address, path);
        tell(&mut zoe, json!({ "do": "join", "room": "lobby" }));
        told(&mut zoe, "joined");
        say(&mut zoe, path, "r1")
    });
    assert_ne!(ids[0], ids[1], "another person's word");
    assert_eq!(ids[0], ids[2], "the same, sent again");
    chat.report();
}

#[test]
fn chat_answers_what_is_wrong_and_stays() {
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
        tell(&mut ann, wrong.clone());
        assert!(told(&mut ann, "error")["error"].is_string(), "{wrong}");
    }
    // Deep JSON in every place where it could be parsed: a client's stack is small, and its overflow is everybody's end.
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
        sent.expect("the server takes it, and says what it thinks of it");
        told(&mut ann, answer);
    }
    tell(&mut ann, json!({ "do": "join", "room": "lobby" }));
    told(&mut ann, "joined");
    tell(
        &mut ann,
        json!({ "do": "say", "say": "x".repeat(1001), "room": "lobby", "ref": "1" }),
    );
    told(&mut ann, "error");
    for n in 0..7 {
        tell(
            &mut ann,
            json!({ "do": "join", "room": format!("room {n}") }),
        );
        told(&mut ann, "joined");
    }
    tell(&mut ann, json!({ "do": "join", "room": "one too many" }));
    told(&mut ann, "error");
    let sent = ann.send(Message::binary(vec![1]));
    sent.expect("the server reads it, and closes then");
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
fn chat_cuts_who_does_not_read_and_gives_it_all_it_missed_when_it_is_back() {
    let mut chat = Example::start("chat", &["127.0.0.1:0", "1000000/s"]);
    let address = chat.address();
    let mut ann = connect(address, "/ws?name=ann");
    tell(&mut ann, json!({ "do": "join", "room": "lobby" }));
    told(&mut ann, "joined");
    let mut slow = connect_small(address, "/ws?name=slow");
    tell(&mut slow, json!({ "do": "join", "room": "lobby" }));
    told(&mut slow, "joined");

    // It reads nothing. The kernel hides some 100 KiB of that, then its queue fills, and it is cut; Ann does not notice.
    let said: Vec<u64> = (0..300)
        .map(|n| say(&mut ann, &format!("{n:0>900}"), &format!("s{n}")))
        .collect();
    let mut got = Vec::new();
    let code = loop {
        match slow.read() {
            Ok(Message::Text(text)) => {
                let told = parsed(&text);
                got.extend(told["id"].as_u64());
            }
            Ok(Message::Close(frame)) => break frame.map(|frame| u16::from(frame.code)),
            Ok(_) => {}
            Err(error) => panic!("waited for the Close, and {error} came after {}", got.len()),
        }
    };
    assert_eq!(code, Some(4008));
    assert!(got.len() < said.len(), "it missed something");

    let mut back = connect(address, "/ws?name=slow");
    tell(
        &mut back,
        json!({ "do": "join", "room": "lobby", "since": got.last() }),
    );
    loop {
        let told = parsed(&text(&mut back));
        assert!(told["gap"].is_null(), "{told}");
        got.extend(told["id"].as_u64());
        if !told["joined"].is_null() {
            break;
        }
    }
    assert_eq!(got, said, "each once, in order");
    chat.report();
}
