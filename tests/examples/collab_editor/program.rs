//! Tests of the program over sockets.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use std::{env, fs, process, thread};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tungstenite::Message;

use super::client::{Client, Hello, PublishedEdit};
use super::document::Edit;
use super::op;
use super::random::Random;
use super::text::{MAX_LENGTH, MAX_PARTS, Op};
use crate::support::{self, DEADLINE, Example, close_code, connect, text};

const KEY: &str = "0123456789abcdef";

fn path(document: &str, name: &str, key: &str) -> String {
    format!("/ws/{document}?name={name}&key={key}")
}

fn start() -> (Example, SocketAddr) {
    let mut editor = Example::start("collab_editor", &["127.0.0.1:0"]);
    let address = editor.address();
    (editor, address)
}

fn send(client: &mut support::Client, message: &Value) {
    client
        .send(Message::text(message.to_string()))
        .expect("the example reads until it closes");
}

#[track_caller]
fn receive(client: &mut support::Client) -> Value {
    serde_json::from_str(&text(client)).expect("the example sends JSON")
}

/// Returns the next message that has `field`, and skips all others.
#[track_caller]
fn receive_with(client: &mut support::Client, field: &str) -> Value {
    loop {
        let message = receive(client);
        if !message[field].is_null() {
            return message;
        }
    }
}

/// A person with the example's own client, on a connection.
struct Person {
    socket: support::Client,
    client: Client,
    name: &'static str,
}

impl Person {
    fn join(address: SocketAddr, name: &'static str) -> Person {
        let key = format!("{KEY}{name}");
        let socket = connect(address, &path("notes", name, &key));
        let client = Client::default();
        let mut person = Person {
            socket,
            client,
            name,
        };
        person.receive_hello();
        person
    }

    /// Drops the connection and opens another one.
    fn reconnect(&mut self, address: SocketAddr) {
        let (life, since) = (self.client.life, self.client.revision);
        let path = path("notes", self.name, &format!("{KEY}{}", self.name));
        self.socket = connect(address, &format!("{path}&life={life}&since={since}"));
        self.receive_hello();
    }

    #[track_caller]
    fn receive_hello(&mut self) {
        let json = receive_with(&mut self.socket, "hello");
        let number = |value: &Value| value.as_u64().expect("a hello has whole numbers here");
        let lives = json["lives"]
            .as_array()
            .expect("a hello lists the lives")
            .iter();
        let hello = Hello {
            you: number(&json["hello"]),
            life: number(&json["life"]),
            revision: number(&json["rev"]),
            text: json["text"].as_str().map(str::to_owned),
            applied: number(&json["applied"]),
            known: json["known"]
                .as_bool()
                .expect("a hello says whether it knows the client"),
            lives: lives
                .map(|life| (number(&life[0]), number(&life[1])))
                .collect(),
        };
        self.client
            .hello(&hello)
            .expect("the hello fits the document");
        if let Some(edit) = self.client.pending() {
            self.send(&edit);
        }
    }

    fn send(&mut self, Edit { n, revision, op }: &Edit) {
        send(
            &mut self.socket,
            &json!({ "do": "edit", "n": n, "rev": revision, "op": op }),
        );
    }

    fn edit(&mut self, op: &Op) {
        self.client
            .edit(op)
            .expect("the operation fits the document");
        if let Some(edit) = self.client.next() {
            self.send(&edit);
        }
    }

    /// Receives the next edit, of any author.
    #[track_caller]
    fn receive_edit(&mut self) {
        let json = receive_with(&mut self.socket, "op");
        let number = |field: &str| json[field].as_u64().expect("an op has whole numbers here");
        let (revision, by, n) = (number("rev"), number("by"), number("n"));
        let op = op(&json["op"]);
        self.client
            .receive(&PublishedEdit {
                revision,
                by,
                n,
                op,
            })
            .expect("the client accepts what the server has ordered");
        if let Some(edit) = self.client.next() {
            self.send(&edit);
        }
    }

    /// Receives edits until all own edits have been published.
    #[track_caller]
    fn receive_own_edits(&mut self) {
        while self.client.sent.is_some() || self.client.typed.is_some() {
            self.receive_edit();
        }
    }
}

#[test]
fn three_people_type_concurrently_and_get_the_same_text() {
    let (editor, address) = start();
    let ready = Barrier::new(3);
    let last = AtomicU64::new(0);
    let write = |name: &'static str, seed: u64| {
        let mut person = Person::join(address, name);
        let mut random = Random::new(seed);
        ready.wait();
        for round in 0..60 {
            let length = person.client.text.len();
            let at = random.position(&person.client.text);
            let deleted = usize::from(
                random.below(4) == 0 && length > at && person.client.text.can_split(at + 1),
            );
            let inserted = ["🙂", "é", name, "\n"][random.below(4)];
            person.edit(
                &Op::default()
                    .keep(at)
                    .insert(inserted)
                    .delete(deleted)
                    .keep(length - at - deleted),
            );
            if round == 30 {
                // An edit is pending, and may or may not have arrived.
                person.reconnect(address);
            }
            person.receive_edit();
        }
        person.receive_own_edits();
        last.fetch_max(person.client.revision, Ordering::SeqCst);
        ready.wait();
        while person.client.revision < last.load(Ordering::SeqCst) {
            person.receive_edit();
        }
        assert_eq!(person.client.text, person.client.base);
        assert!(person.client.aside.is_empty());
        assert_eq!(person.client.corrected, 0);
        person.client.text.to_string()
    };
    let texts: Vec<String> = thread::scope(|scope| {
        let people = [("ann", 1), ("bob", 2), ("eve", 3)];
        let threads = people.map(|(name, seed)| scope.spawn(move || write(name, seed)));
        threads
            .map(|thread| thread.join().expect("the person has typed to the end"))
            .into()
    });
    assert!(texts[0].len() > 200, "{:?}", texts[0]);
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0], texts[2]);
    editor.report();
}

/// Connects a person to the document `notes`, and returns the connection and the hello.
#[track_caller]
fn join(address: SocketAddr, name: &str, key: &str) -> (support::Client, Value) {
    let mut client = connect(address, &path("notes", name, key));
    let hello = receive(&mut client);
    (client, hello)
}

#[test]
fn repeated_edit_is_applied_once() {
    let (editor, address) = start();
    let (mut ann, hello) = join(address, "ann", KEY);
    let revision = hello["rev"].as_u64().expect("a hello has the revision");
    assert_eq!(
        (&hello["text"], &hello["known"], &hello["people"]),
        (&json!(""), &json!(false), &json!([]))
    );
    let hello_edit = json!({ "do": "edit", "n": 1, "rev": revision, "op": ["hello"] });
    send(&mut ann, &hello_edit);
    let made = receive_with(&mut ann, "op");
    assert_eq!(
        made,
        json!({ "rev": revision + 1, "by": hello["hello"], "n": 1, "op": ["hello"] })
    );
    send(&mut ann, &hello_edit);
    assert_eq!(
        receive(&mut ann),
        json!({ "known": 1 }),
        "the second edit is known"
    );
    drop(ann);
    editor.report();
}

#[test]
fn edits_and_cursors_reach_others_at_their_new_positions() {
    let (editor, address) = start();
    let (mut ann, hello) = join(address, "ann", KEY);
    let revision = hello["rev"].as_u64().expect("a hello has the revision");
    let hello_edit = json!({ "do": "edit", "n": 1, "rev": revision, "op": ["hello"] });
    send(&mut ann, &hello_edit);
    receive_with(&mut ann, "op");
    send(
        &mut ann,
        &json!({ "do": "cursor", "rev": revision + 1, "from": 1, "to": 4 }),
    );
    // The answer to this repeated edit shows that the cursor has been processed.
    send(&mut ann, &hello_edit);
    receive_with(&mut ann, "known");

    let (mut bob, bob_hello) = join(address, "bob", "ffffffffffffffff");
    assert_eq!(bob_hello["text"], "hello");
    let cursor =
        json!({ "who": hello["hello"], "name": "ann", "rev": revision + 1, "from": 1, "to": 4 });
    assert_eq!(bob_hello["people"], json!([cursor]));
    let joined = receive_with(&mut ann, "who");
    assert_eq!(
        (&joined["name"], &joined["who"]),
        (&json!("bob"), &bob_hello["hello"])
    );

    // An edit of an old revision is transformed to the current text.
    send(
        &mut bob,
        &json!({ "do": "edit", "n": 1, "rev": revision, "op": [" world"] }),
    );
    assert_eq!(receive_with(&mut ann, "op")["op"], json!([5, " world"]));
    // A cursor position is transformed too.
    send(
        &mut bob,
        &json!({ "do": "edit", "n": 2, "rev": revision + 2, "op": ["Say ", 11] }),
    );
    send(
        &mut bob,
        &json!({ "do": "cursor", "rev": revision + 2, "from": 0, "to": 11 }),
    );
    let cursor = receive_with(&mut ann, "from");
    assert_eq!(
        (&cursor["from"], &cursor["to"], &cursor["rev"]),
        (&json!(0), &json!(15), &json!(revision + 3))
    );
    drop((ann, bob));
    editor.report();
}

#[test]
fn same_key_resumes_and_closes_the_older_connection() {
    let (editor, address) = start();
    let (mut ann, hello) = join(address, "ann", KEY);
    let (mut bob, _) = join(address, "bob", "ffffffffffffffff");
    let revision = hello["rev"].as_u64().expect("a hello has the revision");
    send(
        &mut ann,
        &json!({ "do": "edit", "n": 1, "rev": revision, "op": ["hello"] }),
    );
    receive_with(&mut bob, "op");
    send(
        &mut bob,
        &json!({ "do": "edit", "n": 1, "rev": revision + 1, "op": [5, " world"] }),
    );
    receive_with(&mut bob, "op");

    // Ann's page connects again, with the first of the two revisions.
    let resume = format!(
        "{}&life={}&since={}",
        path("notes", "ann", KEY),
        hello["life"],
        revision + 1
    );
    let mut again = connect(address, &resume);
    let resumed = receive(&mut again);
    assert_eq!(
        (&resumed["hello"], &resumed["applied"], &resumed["text"]),
        (&hello["hello"], &json!(1), &Value::Null)
    );
    assert_eq!(
        receive_with(&mut again, "op")["rev"],
        revision + 2,
        "the missed edit"
    );
    assert_eq!(close_code(&mut ann), 4101);
    drop(again);
    let gone = loop {
        let message = receive_with(&mut bob, "who");
        if message["gone"] == true {
            break message;
        }
    };
    assert_eq!(gone["who"], hello["hello"]);
    drop(bob);
    editor.report();
}

#[test]
fn invalid_request_is_rejected() {
    let (editor, address) = start();
    for (path, status) in [
        ("/ws/notes", 400),
        ("/ws/notes?name=ann", 400),
        ("/ws/notes?name=ann&key=short", 400),
        ("/ws/notes?name=%20ann&key=0123456789abcdef", 400),
        ("/ws/notes?name=%E2%80%AEann&key=0123456789abcdef", 400),
        ("/ws/No?name=ann&key=0123456789abcdef", 400),
        ("/ws/%2e%2e?name=ann&key=0123456789abcdef", 400),
        ("/ws/?name=ann&key=0123456789abcdef", 400),
        ("/ws?name=ann&key=0123456789abcdef", 404),
        ("/other", 404),
    ] {
        let stream = TcpStream::connect(address).expect("the example listens");
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("the deadline is not zero");
        match tungstenite::client(format!("ws://{address}{path}"), stream) {
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(reply))) => {
                assert_eq!(reply.status().as_u16(), status, "{path}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    editor.report();
}

/// Connects a person, sets the text to `a🙂b`, and returns the connection and the revision before the edit.
#[track_caller]
fn join_with_text(address: SocketAddr) -> (support::Client, u64) {
    let (mut ann, hello) = join(address, "ann", KEY);
    let revision = hello["rev"].as_u64().expect("a hello has the revision");
    send(
        &mut ann,
        &json!({ "do": "edit", "n": 1, "rev": revision, "op": ["a🙂b"] }),
    );
    receive_with(&mut ann, "op");
    (ann, revision)
}

/// Checks that the text is still the one of [`join_with_text`].
#[track_caller]
fn assert_text_is_unchanged(address: SocketAddr) {
    let (_bob, hello) = join(address, "bob", "ffffffffffffffff");
    assert_eq!(hello["text"], "a🙂b");
}

#[test]
fn malformed_message_is_answered_with_an_error() {
    let (editor, address) = start();
    let (mut ann, revision) = join_with_text(address);
    let edit =
        |op: Value| json!({ "do": "edit", "n": 2, "rev": revision + 1, "op": op }).to_string();
    let deep = format!("{{\"do\":\"edit\",\"rev\":1,\"op\":{}", "[".repeat(60_000));
    let errors = [
        "".to_owned(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        "\u{0}".into(),
        deep,
        "[".repeat(60_000),
        "{\"a\":".repeat(10_000),
        r#"{"do":"edit","rev":1,"x":1}"#.into(),
        r#"{"do":"delete","rev":1}"#.into(),
        r#"{"do":"edit","rev":1,"n":2}"#.into(),
        r#"{"do":"cursor","rev":1,"from":1}"#.into(),
        r#"{"do":"cursor","rev":-1,"from":1,"to":1}"#.into(),
        format!(r#"{{"do":"cursor","rev":{revision},"from":99999,"to":1}}"#),
        format!(
            r#"{{"do":"cursor","rev":{},"from":0,"to":1}}"#,
            revision + 9
        ),
        format!(r#"{{"do":"edit","n":2,"rev":{revision},"op":["\ud83d"]}}"#),
        edit(json!(["\r", 4])),
        edit(json!(["\u{7}", 4])),
        edit(json!([0, 4])),
        edit(json!([4.5])),
        edit(json!([[4]])),
        edit(json!(vec![1; MAX_PARTS + 1])),
        edit(json!(["x".repeat(MAX_LENGTH + 1), 4])),
    ];
    for message in errors {
        ann.send(Message::text(message.clone()))
            .expect("ann is connected");
        let answer = receive(&mut ann);
        let (error, message) = (answer["error"].as_str(), &message[..message.len().min(80)]);
        assert!(
            error.is_some_and(|error| error.chars().count() <= 200),
            "{message}: {answer}"
        );
    }
    assert_text_is_unchanged(address);
    drop(ann);
    editor.report();
}

#[test]
fn edit_that_does_not_fit_gets_a_reason() {
    let (editor, address) = start();
    let (mut ann, revision) = join_with_text(address);
    let edit =
        |op: Value| json!({ "do": "edit", "n": 2, "rev": revision + 1, "op": op }).to_string();
    let future = json!({ "do": "edit", "n": 2, "rev": u64::MAX, "op": [4] }).to_string();
    let past = json!({ "do": "edit", "n": 2, "rev": 5, "op": [4] }).to_string();
    for (message, reason) in [
        (edit(json!([2, "x", 2])), "surrogate"),
        (edit(json!([1, -1, 2])), "surrogate"),
        (edit(json!([3])), "of 3 units"),
        (edit(json!(["x".repeat(MAX_LENGTH - 3), 4])), "longer"),
        (future, "does not exist yet"),
        (past, "too old"),
    ] {
        ann.send(Message::text(message.clone()))
            .expect("ann is connected");
        let answer = receive(&mut ann);
        let message = &message[..message.len().min(80)];
        assert!(
            answer["why"]
                .as_str()
                .is_some_and(|why| why.contains(reason)),
            "{message}: {answer}"
        );
        assert_eq!(
            (&answer["refused"], &answer["anew"]),
            (&json!(2), &json!(reason == "too old")),
            "{message}"
        );
    }
    assert_text_is_unchanged(address);
    drop(ann);
    editor.report();
}

#[test]
fn binary_or_long_message_and_flood_close_the_connection() {
    let (editor, address) = start();
    let (mut ann, _) = join_with_text(address);
    ann.send(Message::binary(vec![1]))
        .expect("ann is connected");
    assert_eq!(close_code(&mut ann), 1003);
    let (mut bob, _) = join(address, "bob", KEY);
    bob.send(Message::text("x".repeat(100_000)))
        .expect("bob is connected");
    assert_eq!(close_code(&mut bob), 1009);
    let mut flood = connect(address, &path("notes", "bob", KEY));
    let mut sent = 0;
    while sent < 2000 && flood.send(Message::text("x")).is_ok() {
        sent += 1;
    }
    // The server closes while the client is still sending. The client may receive the Close, or the reset that follows.
    let code = loop {
        match flood.read() {
            Ok(Message::Close(frame)) => break frame.map(|frame| u16::from(frame.code)),
            Ok(_) => {}
            Err(_) => break None,
        }
    };
    assert!(matches!(code, None | Some(1008)), "{code:?}");
    drop((ann, bob, flood));
    editor.report();
}

/// Connects a client with a small receive buffer, so that the kernel buffers little while the test does not read.
#[track_caller]
fn join_slow(address: SocketAddr) -> (support::Client, Value) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is free");
    socket
        .set_recv_buffer_size(4 << 10)
        .expect("the socket is open");
    socket.connect(&address.into()).expect("the editor listens");
    let stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("the deadline is not zero");
    let url = format!("ws://{address}{}", path("notes", "slow", KEY));
    let mut slow = tungstenite::client(url, stream)
        .expect("the editor accepts the key")
        .0;
    let hello = receive(&mut slow);
    (slow, hello)
}

#[test]
fn slow_client_skips_cursors_and_keeps_the_newest() {
    let (editor, address) = start();
    let (mut slow, hello) = join_slow(address);
    let revision = hello["rev"].as_u64().expect("a hello has the revision");

    // Ten people with long names move their cursors. This is more data than the kernel buffers for a client.
    let mut movers: Vec<_> = (0..10)
        .map(|n| {
            let name = format!("{n}{}", "%F0%9F%99%82".repeat(20));
            let mut mover = connect(address, &path("notes", &name, &format!("{n}{KEY}")));
            let number = receive(&mut mover)["hello"].clone();
            (mover, number)
        })
        .collect();
    send(
        &mut movers[0].0,
        &json!({ "do": "edit", "n": 1, "rev": revision, "op": ["x".repeat(1000)] }),
    );
    for (mover, _) in &mut movers {
        receive_with(mover, "op");
    }
    for place in 1..=200 {
        for (mover, _) in &mut movers {
            send(
                mover,
                &json!({ "do": "cursor", "rev": revision + 1, "from": place, "to": place }),
            );
            // Every 20 moves, each person reads everything up to an answer, so that none of them is slow.
            if place % 20 == 0 {
                send(
                    mover,
                    &json!({ "do": "edit", "n": 0, "rev": revision, "op": [] }),
                );
            }
        }
        if place % 20 == 0 {
            for (mover, _) in &mut movers {
                receive_with(mover, "known");
            }
        }
    }
    let mut newest = vec![0; movers.len()];
    let mut cursors = 0;
    while newest.iter().any(|place| *place < 200) {
        let cursor = receive_with(&mut slow, "who");
        cursors += 1;
        if let Some(at) = movers
            .iter()
            .position(|(_, number)| *number == cursor["who"])
        {
            let place = cursor["from"].as_u64().unwrap_or(0);
            assert!(place >= newest[at], "an older cursor follows a newer one");
            newest[at] = place;
        }
    }
    assert!(cursors < 2000, "no cursor was skipped: {cursors} of 2000");
    drop((slow, movers));
    editor.report();
}

#[test]
fn slow_client_is_disconnected_and_resumes_without_a_gap() {
    let (editor, address) = start();
    let (mut slow, hello) = join_slow(address);
    let (mut writer, writer_hello) = join(address, "writer", "eeeeeeeeeeeeeeee");
    let number = writer_hello["hello"].clone();
    let before = hello["rev"].as_u64().unwrap();
    send(
        &mut writer,
        &json!({ "do": "edit", "n": 1, "rev": before, "op": ["x".repeat(1000)] }),
    );
    let mut revision = receive_with(&mut writer, "op")["rev"].as_u64().unwrap();
    let long = "漢".repeat(2000);
    for n in 2..=260_u64 {
        let op = if n % 2 == 0 {
            json!([1000, long])
        } else {
            json!([1000, -2000])
        };
        send(
            &mut writer,
            &json!({ "do": "edit", "n": n, "rev": revision, "op": op }),
        );
        revision = receive_with(&mut writer, "op")["rev"].as_u64().unwrap();
    }
    let mut received = Vec::new();
    let code = loop {
        match slow.read().expect("waited for edits, or a Close") {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                assert!(message["gap"].is_null(), "{message}");
                if message["by"] == number {
                    received.push(message["rev"].as_u64().unwrap());
                }
            }
            Message::Close(frame) => break u16::from(frame.unwrap().code),
            _ => {}
        }
    };
    // The next read sends the answer to the Close.
    while slow.read().is_ok() {}
    assert_eq!(code, 4008, "after {} edits", received.len());
    let last = received.last().copied().unwrap_or(before);
    assert!(last < revision, "the slow client missed no edit");
    let slow_path = path("notes", "slow", KEY);
    let resume = format!("{slow_path}&life={}&since={last}", hello["life"]);
    let mut slow = connect(address, &resume);
    assert!(
        receive(&mut slow)["text"].is_null(),
        "the history still has the client's revision"
    );
    while received.last() != Some(&revision) {
        received.push(receive_with(&mut slow, "op")["rev"].as_u64().unwrap());
    }
    let all: Vec<u64> = (before + 1..=revision).collect();
    assert_eq!(received, all, "each edit once and in order");
    drop((slow, writer));
    editor.report();
}

/// A temporary directory that is removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        Directory(env::temp_dir().join(format!("standpipe-{name}-{}", process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn texts_survive_a_restart_and_pending_edits_apply_once() {
    let directory = Directory::new("restart");
    let mut editor = Example::start("collab_editor", &["127.0.0.1:0", directory.path()]);
    let address = editor.address();
    let mut ann = Person::join(address, "ann");
    let mut bob = Person::join(address, "bob");
    ann.edit(&op(&json!(["saved"])));
    ann.receive_own_edits();
    bob.receive_edit();
    // Bob's edit is applied, but he does not receive it back. Ann's edit is not sent.
    let before = bob.client.revision;
    bob.edit(&op(&json!([5, " by Bob"])));
    ann.receive_edit();
    assert_eq!(bob.client.revision, before);
    ann.client.edit(&op(&json!(["Ann: ", 12]))).unwrap();
    editor.interrupt();
    for person in [&mut ann, &mut bob] {
        assert_eq!(close_code(&mut person.socket), 1001);
    }
    assert_eq!(editor.end().last().unwrap(), "drained 2, lost 0");

    let mut editor = Example::start("collab_editor", &["127.0.0.1:0", directory.path()]);
    let address = editor.address();
    bob.reconnect(address);
    assert_eq!(bob.client.text.to_string(), "saved by Bob");
    ann.reconnect(address);
    let edit = ann.client.next().unwrap();
    ann.send(&edit);
    ann.receive_own_edits();
    bob.receive_edit();
    assert_eq!(bob.client.text.to_string(), "Ann: saved by Bob");
    assert_eq!(ann.client.text, bob.client.text);
    assert!(ann.client.aside.is_empty() && bob.client.aside.is_empty());
    drop((ann, bob));
    editor.report();
    let file = directory.0.join("notes.json");
    let saved = fs::read_to_string(&file).unwrap();
    assert!(saved.contains("Ann: saved by Bob"), "{saved}");
}

#[test]
fn damaged_file_is_not_overwritten() {
    let directory = Directory::new("damaged");
    fs::create_dir_all(&directory.0).unwrap();
    let file = directory.0.join("notes.json");
    fs::write(&file, "{").unwrap();
    let mut editor = Example::start("collab_editor", &["127.0.0.1:0", directory.path()]);
    let mut eve = connect(editor.address(), &path("notes", "eve", KEY));
    assert_eq!(close_code(&mut eve), 1013);
    drop(eve);
    editor.report();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "{",
        "the damaged file is kept"
    );
}

#[test]
fn number_of_people_in_a_text_is_limited() {
    let (editor, address) = start();
    let mut people: Vec<_> = (0..32)
        .map(|n| connect(address, &path("notes", "ann", &format!("{n:016}"))))
        .collect();
    for person in &mut people {
        receive(person);
    }
    let mut next = connect(address, &path("notes", "bob", KEY));
    assert_eq!(close_code(&mut next), 1013);
    // A person who is already present may reconnect.
    let mut again = connect(address, &path("notes", "ann", &format!("{:016}", 0)));
    receive(&mut again);
    assert_eq!(close_code(&mut people[0]), 4101);
    drop((people, again));
    editor.report();
}

#[test]
fn number_of_open_texts_is_limited() {
    let (editor, address) = start();
    let mut people: Vec<_> = (0..50)
        .map(|n| connect(address, &path(&format!("text-{n}"), "ann", KEY)))
        .collect();
    for person in &mut people {
        receive(person);
    }
    let mut next = connect(address, &path("one-more", "bob", KEY));
    assert_eq!(close_code(&mut next), 1013);
    // An empty text that nobody has open is closed to make room. The test retries, because nothing reports the moment
    // at which the handler of the dropped connection has ended.
    drop(people.pop());
    let deadline = Instant::now() + DEADLINE;
    let next = loop {
        let mut next = connect(address, &path("one-more", "bob", KEY));
        match next.read() {
            Ok(Message::Text(hello)) => {
                assert!(hello.contains(r#""text":"""#), "{hello}");
                break next;
            }
            other => assert!(matches!(other, Ok(Message::Close(_))), "{other:?}"),
        }
        assert!(
            Instant::now() < deadline,
            "waited for an unused text to be closed"
        );
    };
    drop((people, next));
    editor.report();
}
