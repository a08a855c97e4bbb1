//! The program itself, over sockets.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use std::{env, fs, process, thread};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tungstenite::Message;

use super::client::{Client, Hello, Told};
use super::document::Edit;
use super::op;
use super::random::Random;
use super::text::{LONGEST, Op, PARTS};
use crate::support::{self, DEADLINE, Example, close_code, connect, text};

const KEY: &str = "0123456789abcdef";

fn path(document: &str, name: &str, key: &str) -> String {
    format!("/ws/{document}?name={name}&key={key}")
}

fn tell(client: &mut support::Client, what: &Value) {
    client.send(Message::text(what.to_string())).unwrap();
}

#[track_caller]
fn heard(client: &mut support::Client) -> Value {
    serde_json::from_str(&text(client)).unwrap()
}

/// What is said next that has `field`; the rest is passed over.
#[track_caller]
fn told(client: &mut support::Client, field: &str) -> Value {
    loop {
        let told = heard(client);
        if !told[field].is_null() {
            return told;
        }
    }
}

/// A person with a client of the example's own, on a connection.
struct Person {
    socket: support::Client,
    client: Client,
    name: &'static str,
}

impl Person {
    fn enter(address: SocketAddr, name: &'static str) -> Person {
        let key = format!("{KEY}{name}");
        let socket = connect(address, &path("notes", name, &key));
        let client = Client::default();
        let mut person = Person {
            socket,
            client,
            name,
        };
        person.greet();
        person
    }

    /// A connection breaks off, and there is another.
    fn come_back(&mut self, address: SocketAddr) {
        let (life, since) = (self.client.life, self.client.revision);
        let path = path("notes", self.name, &format!("{KEY}{}", self.name));
        self.socket = connect(address, &format!("{path}&life={life}&since={since}"));
        self.greet();
    }

    #[track_caller]
    fn greet(&mut self) {
        let said = told(&mut self.socket, "hello");
        let number = |value: &Value| value.as_u64().unwrap();
        let lives = said["lives"].as_array().unwrap().iter();
        let hello = Hello {
            you: number(&said["hello"]),
            life: number(&said["life"]),
            revision: number(&said["rev"]),
            text: said["text"].as_str().map(str::to_owned),
            applied: number(&said["applied"]),
            known: said["known"].as_bool().unwrap(),
            lives: lives
                .map(|life| (number(&life[0]), number(&life[1])))
                .collect(),
        };
        self.client.hello(&hello).unwrap();
        if let Some(edit) = self.client.again() {
            self.send(&edit);
        }
    }

    fn send(&mut self, Edit { n, revision, op }: &Edit) {
        tell(
            &mut self.socket,
            &json!({ "do": "edit", "n": n, "rev": revision, "op": op }),
        );
    }

    fn edit(&mut self, op: &Op) {
        self.client.edit(op).unwrap();
        if let Some(edit) = self.client.next() {
            self.send(&edit);
        }
    }

    /// The next edit of anybody.
    #[track_caller]
    fn hear(&mut self) {
        let said = told(&mut self.socket, "op");
        let number = |field: &str| said[field].as_u64().unwrap();
        let (revision, by, n) = (number("rev"), number("by"), number("n"));
        let op = op(&said["op"]);
        self.client
            .told(&Told {
                revision,
                by,
                n,
                op,
            })
            .unwrap();
        if let Some(edit) = self.client.next() {
            self.send(&edit);
        }
    }

    #[track_caller]
    fn settle(&mut self) {
        while self.client.sent.is_some() || self.client.typed.is_some() {
            self.hear();
        }
    }
}

#[test]
fn collab_editor_lets_three_people_type_at_once_and_all_get_the_same_text() {
    let mut editor = Example::start("collab_editor", &["127.0.0.1:0"]);
    let address = editor.address();
    let ready = Barrier::new(3);
    let last = AtomicU64::new(0);
    let write = |name: &'static str, seed: u64| {
        let mut person = Person::enter(address, name);
        let mut random = Random::new(seed);
        ready.wait();
        for round in 0..60 {
            let length = person.client.text.len();
            let cut = random.cut(&person.client.text);
            let gone = usize::from(
                random.below(4) == 0 && length > cut && person.client.text.may_be_cut(cut + 1),
            );
            let word = ["🙂", "é", name, "\n"][random.below(4)];
            person.edit(
                &Op::default()
                    .keep(cut)
                    .insert(word)
                    .delete(gone)
                    .keep(length - cut - gone),
            );
            if round == 30 {
                // With an edit on its way, of which nobody knows whether it arrives.
                person.come_back(address);
            }
            person.hear();
        }
        person.settle();
        last.fetch_max(person.client.revision, Ordering::SeqCst);
        ready.wait();
        while person.client.revision < last.load(Ordering::SeqCst) {
            person.hear();
        }
        assert_eq!(person.client.text, person.client.base);
        assert!(person.client.aside.is_empty());
        assert_eq!(person.client.mended, 0);
        person.client.text.to_string()
    };
    let texts: Vec<String> = thread::scope(|scope| {
        let people = [("ann", 1), ("bob", 2), ("eve", 3)];
        let threads = people.map(|(name, seed)| scope.spawn(move || write(name, seed)));
        threads.map(|thread| thread.join().unwrap()).into()
    });
    assert!(texts[0].len() > 200, "{:?}", texts[0]);
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0], texts[2]);
    editor.report();
}

#[test]
fn collab_editor_makes_an_edit_once_and_tells_who_is_where() {
    let mut editor = Example::start("collab_editor", &["127.0.0.1:0"]);
    let address = editor.address();
    let mut ann = connect(address, &path("notes", "ann", KEY));
    let hello = heard(&mut ann);
    let revision = hello["rev"].as_u64().unwrap();
    assert_eq!(
        (&hello["text"], &hello["known"], &hello["people"]),
        (&json!(""), &json!(false), &json!([]))
    );
    let hello_edit = json!({ "do": "edit", "n": 1, "rev": revision, "op": ["hello"] });
    tell(&mut ann, &hello_edit);
    let made = told(&mut ann, "op");
    assert_eq!(
        made,
        json!({ "rev": revision + 1, "by": hello["hello"], "n": 1, "op": ["hello"] })
    );
    tell(&mut ann, &hello_edit);
    assert_eq!(
        heard(&mut ann),
        json!({ "known": 1 }),
        "sent again, it is the same"
    );
    tell(
        &mut ann,
        &json!({ "do": "cursor", "rev": revision + 1, "from": 1, "to": 4 }),
    );
    // Its answer says that the cursor has been taken.
    tell(&mut ann, &hello_edit);
    told(&mut ann, "known");

    let mut bob = connect(address, &path("notes", "bob", "ffffffffffffffff"));
    let greeted = heard(&mut bob);
    assert_eq!(greeted["text"], "hello", "who comes late has the text");
    let at =
        json!({ "who": hello["hello"], "name": "ann", "rev": revision + 1, "from": 1, "to": 4 });
    assert_eq!(greeted["people"], json!([at]));
    let came = told(&mut ann, "who");
    assert_eq!(
        (&came["name"], &came["who"]),
        (&json!("bob"), &greeted["hello"])
    );

    // Made on an old revision, it is an edit of what the text is now.
    tell(
        &mut bob,
        &json!({ "do": "edit", "n": 1, "rev": revision, "op": [" world"] }),
    );
    assert_eq!(told(&mut ann, "op")["op"], json!([5, " world"]));
    // So is a place.
    tell(
        &mut bob,
        &json!({ "do": "edit", "n": 2, "rev": revision + 2, "op": ["Say ", 11] }),
    );
    tell(
        &mut bob,
        &json!({ "do": "cursor", "rev": revision + 2, "from": 0, "to": 11 }),
    );
    let place = told(&mut ann, "from");
    assert_eq!(
        (&place["from"], &place["to"], &place["rev"]),
        (&json!(0), &json!(15), &json!(revision + 3))
    );

    // The key is whose edits they are: the same page on another connection.
    let resumed = format!(
        "{}&life={}&since={}",
        path("notes", "ann", KEY),
        hello["life"],
        revision + 2
    );
    let mut again = connect(address, &resumed);
    let back = heard(&mut again);
    assert_eq!(
        (&back["hello"], &back["applied"], &back["text"]),
        (&hello["hello"], &json!(1), &Value::Null)
    );
    assert_eq!(
        told(&mut again, "op")["rev"],
        revision + 3,
        "what it has not"
    );
    assert_eq!(close_code(&mut ann), 4001);
    drop(again);
    let gone = loop {
        let said = told(&mut bob, "who");
        if said["gone"] == true {
            break said;
        }
    };
    assert_eq!(gone["who"], hello["hello"]);
    drop(bob);
    editor.report();
}

#[test]
fn collab_editor_answers_what_is_wrong_and_its_text_stays_as_it_is() {
    let mut editor = Example::start("collab_editor", &["127.0.0.1:0"]);
    let address = editor.address();
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
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        match tungstenite::client(format!("ws://{address}{path}"), stream) {
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(reply))) => {
                assert_eq!(reply.status().as_u16(), status, "{path}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }

    let mut ann = connect(address, &path("notes", "ann", KEY));
    let hello = heard(&mut ann);
    let revision = hello["rev"].as_u64().unwrap();
    tell(
        &mut ann,
        &json!({ "do": "edit", "n": 1, "rev": revision, "op": ["a🙂b"] }),
    );
    told(&mut ann, "op");
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
        edit(json!(vec![1; PARTS + 1])),
        edit(json!(["x".repeat(LONGEST + 1), 4])),
    ];
    for wrong in errors {
        ann.send(Message::text(wrong.clone())).unwrap();
        let said = heard(&mut ann);
        let (why, wrong) = (said["error"].as_str(), &wrong[..wrong.len().min(80)]);
        assert!(
            why.is_some_and(|why| why.chars().count() <= 200),
            "{wrong}: {said}"
        );
    }
    let mut refused = vec![
        (edit(json!([2, "x", 2])), "surrogate"),
        (edit(json!([1, -1, 2])), "surrogate"),
        (edit(json!([3])), "of 3 units"),
        (edit(json!(["x".repeat(LONGEST - 3), 4])), "longer"),
    ];
    let future = json!({ "do": "edit", "n": 2, "rev": u64::MAX, "op": [4] }).to_string();
    let past = json!({ "do": "edit", "n": 2, "rev": 5, "op": [4] }).to_string();
    refused.extend([(future, "no such revision"), (past, "not remembered")]);
    for (wrong, why) in refused {
        ann.send(Message::text(wrong.clone())).unwrap();
        let said = heard(&mut ann);
        let wrong = &wrong[..wrong.len().min(80)];
        assert!(
            said["why"].as_str().is_some_and(|said| said.contains(why)),
            "{wrong}: {said}"
        );
        assert_eq!(
            (&said["refused"], &said["anew"]),
            (&json!(2), &json!(why == "not remembered")),
            "{wrong}"
        );
    }
    ann.send(Message::binary(vec![1])).unwrap();
    assert_eq!(close_code(&mut ann), 1003);
    let mut bob = connect(address, &path("notes", "bob", KEY));
    assert_eq!(heard(&mut bob)["text"], "a🙂b");
    bob.send(Message::text("x".repeat(100_000))).unwrap();
    assert_eq!(close_code(&mut bob), 1009);
    let mut flood = connect(address, &path("notes", "bob", KEY));
    let mut sent = 0;
    while sent < 2000 && flood.send(Message::text("x")).is_ok() {
        sent += 1;
    }
    // It is closed in the middle of what it sends: it may meet the Close or the reset that follows.
    let end = loop {
        match flood.read() {
            Ok(Message::Close(frame)) => break frame.map(|frame| u16::from(frame.code)),
            Ok(_) => {}
            Err(_) => break None,
        }
    };
    assert!(matches!(end, None | Some(1008)), "{end:?}");
    drop((ann, bob, flood));
    editor.report();
}

#[test]
fn collab_editor_skips_cursors_for_who_does_not_read_and_cuts_it_before_it_skips_an_edit() {
    let mut editor = Example::start("collab_editor", &["127.0.0.1:0"]);
    let address = editor.address();
    // A client whose window is so small that the kernel hides little of its slowness.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let slow_path = path("notes", "slow", KEY);
    let url = format!("ws://{address}{slow_path}");
    let mut slow = tungstenite::client(url, stream).unwrap().0;
    let hello = heard(&mut slow);
    let revision = hello["rev"].as_u64().unwrap();

    // Ten people with long names move about, more than the kernel holds for one of them.
    let mut movers: Vec<_> = (0..10)
        .map(|n| {
            let name = format!("{n}{}", "%F0%9F%99%82".repeat(20));
            let mut mover = connect(address, &path("notes", &name, &format!("{n}{KEY}")));
            let number = heard(&mut mover)["hello"].clone();
            (mover, number)
        })
        .collect();
    tell(
        &mut movers[0].0,
        &json!({ "do": "edit", "n": 1, "rev": revision, "op": ["x".repeat(1000)] }),
    );
    for (mover, _) in &mut movers {
        told(mover, "op");
    }
    for place in 1..=200 {
        for (mover, _) in &mut movers {
            tell(
                mover,
                &json!({ "do": "cursor", "rev": revision + 1, "from": place, "to": place }),
            );
            // All that the others say is read, so that none of them is slow: their own last place comes last.
            if place % 20 == 0 {
                tell(
                    mover,
                    &json!({ "do": "edit", "n": 0, "rev": revision, "op": [] }),
                );
            }
        }
        if place % 20 == 0 {
            for (mover, _) in &mut movers {
                told(mover, "known");
            }
        }
    }
    let mut newest = vec![0; movers.len()];
    let mut cursors = 0;
    while newest.iter().any(|place| *place < 200) {
        let said = told(&mut slow, "who");
        cursors += 1;
        if let Some(at) = movers.iter().position(|(_, number)| *number == said["who"]) {
            let place = said["from"].as_u64().unwrap_or(0);
            assert!(place >= newest[at], "no place comes after a newer one");
            newest[at] = place;
        }
    }
    assert!(cursors < 2000, "{cursors} of 2000: it was never slow");

    // Now an edit each, which cannot be skipped.
    let mut writer = connect(address, &path("notes", "writer", "eeeeeeeeeeeeeeee"));
    let number = heard(&mut writer)["hello"].clone();
    let mut revision = revision + 1;
    let before = revision;
    let long = "漢".repeat(2000);
    for n in 1..=259_u64 {
        let op = if n % 2 == 1 {
            json!([1000, long])
        } else {
            json!([1000, -2000])
        };
        tell(
            &mut writer,
            &json!({ "do": "edit", "n": n, "rev": revision, "op": op }),
        );
        revision = told(&mut writer, "op")["rev"].as_u64().unwrap();
    }
    let mut seen = Vec::new();
    let code = loop {
        match slow.read().expect("waited for edits, or a Close") {
            Message::Text(text) => {
                let said: Value = serde_json::from_str(&text).unwrap();
                assert!(said["gap"].is_null(), "{said}");
                if said["by"] == number {
                    seen.push(said["rev"].as_u64().unwrap());
                }
            }
            Message::Close(frame) => break u16::from(frame.unwrap().code),
            _ => {}
        }
    };
    // The answer goes out with the next read.
    while slow.read().is_ok() {}
    assert_eq!(code, 4008, "after {} edits", seen.len());
    let missed = seen.last().copied().unwrap_or(before);
    assert!(missed < revision, "it missed something");
    let back = format!("{slow_path}&life={}&since={missed}", hello["life"]);
    let mut slow = connect(address, &back);
    assert!(
        heard(&mut slow)["text"].is_null(),
        "its revision is remembered"
    );
    while seen.last() != Some(&revision) {
        seen.push(told(&mut slow, "op")["rev"].as_u64().unwrap());
    }
    let all: Vec<u64> = (revision - (seen.len() as u64 - 1)..=revision).collect();
    assert_eq!(seen, all, "each once, in order");
    drop((slow, writer, movers));
    editor.report();
}

/// A directory that is gone with this.
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
fn collab_editor_comes_back_with_its_texts_and_takes_what_was_typed_meanwhile_once() {
    let directory = Directory::new("shelf");
    let mut editor = Example::start("collab_editor", &["127.0.0.1:0", directory.path()]);
    let address = editor.address();
    let mut ann = Person::enter(address, "ann");
    let mut bob = Person::enter(address, "bob");
    ann.edit(&op(&json!(["saved"])));
    ann.settle();
    bob.hear();
    // Bob's edit arrives, and he does not hear of it; Ann's does not arrive.
    let before = bob.client.revision;
    bob.edit(&op(&json!([5, " by Bob"])));
    ann.hear();
    assert_eq!(bob.client.revision, before);
    ann.client.edit(&op(&json!(["Ann: ", 12]))).unwrap();
    editor.interrupt();
    for person in [&mut ann, &mut bob] {
        assert_eq!(close_code(&mut person.socket), 1001);
    }
    assert_eq!(editor.end().last().unwrap(), "drained 2, lost 0");

    let mut editor = Example::start("collab_editor", &["127.0.0.1:0", directory.path()]);
    let address = editor.address();
    bob.come_back(address);
    assert_eq!(bob.client.text.to_string(), "saved by Bob");
    ann.come_back(address);
    let edit = ann.client.next().unwrap();
    ann.send(&edit);
    ann.settle();
    bob.hear();
    assert_eq!(bob.client.text.to_string(), "Ann: saved by Bob");
    assert_eq!(ann.client.text, bob.client.text);
    assert!(ann.client.aside.is_empty() && bob.client.aside.is_empty());
    drop((ann, bob));
    editor.report();

    // A file that cannot be read is no empty text.
    let file = directory.0.join("notes.json");
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains("Ann: saved by Bob")
    );
    fs::write(&file, "{").unwrap();
    let mut editor = Example::start("collab_editor", &["127.0.0.1:0", directory.path()]);
    let mut eve = connect(editor.address(), &path("notes", "eve", KEY));
    assert_eq!(close_code(&mut eve), 1013);
    drop(eve);
    editor.report();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "{",
        "it is left for somebody to look at"
    );
}

#[test]
fn collab_editor_has_room_for_so_many_people_and_texts_and_says_so_to_the_next() {
    let mut editor = Example::start("collab_editor", &["127.0.0.1:0"]);
    let address = editor.address();
    let mut here: Vec<_> = (0..32)
        .map(|n| connect(address, &path("notes", "ann", &format!("{n:016}"))))
        .collect();
    for one in &mut here {
        heard(one);
    }
    let mut next = connect(address, &path("notes", "bob", KEY));
    assert_eq!(close_code(&mut next), 1013);
    // Who was here may come again, on another connection.
    let mut again = connect(address, &path("notes", "ann", &format!("{:016}", 0)));
    heard(&mut again);
    assert_eq!(close_code(&mut here[0]), 4001);

    let mut others: Vec<_> = (1..50)
        .map(|n| connect(address, &path(&format!("text-{n}"), "ann", KEY)))
        .collect();
    for one in &mut others {
        heard(one);
    }
    let mut next = connect(address, &path("one-more", "bob", KEY));
    assert_eq!(close_code(&mut next), 1013);
    // An empty one that nobody has open makes room. When its handler has ended is told to nobody: we ask until it has.
    drop(others.pop());
    let deadline = Instant::now() + DEADLINE;
    let next = loop {
        let mut next = connect(address, &path("one-more", "bob", KEY));
        match next.read() {
            Ok(Message::Text(said)) => {
                assert!(said.contains(r#""text":"""#), "{said}");
                break next;
            }
            told => assert!(matches!(told, Ok(Message::Close(_))), "{told:?}"),
        }
        assert!(
            Instant::now() < deadline,
            "waited for a text to be forgotten"
        );
    };
    drop((here, again, others, next));
    editor.report();
}
