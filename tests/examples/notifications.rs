use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, DEADLINE, Example, close_code, connect, connect_small, text};

// The mailbox rules are tested without the program.
#[allow(dead_code)]
#[path = "../../examples/notifications/mailbox.rs"]
mod mailbox;
#[allow(dead_code)]
#[path = "../../examples/notifications/notice.rs"]
mod notice;

use mailbox::{KEEP, Mailbox};
use notice::Notice;

fn start() -> (Example, SocketAddr) {
    let mut example = Example::start("notifications", &["127.0.0.1:0"]);
    let address = example.address();
    (example, address)
}

/// Sends a request as `curl` does, and returns the whole answer.
fn http(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Returns the status and the JSON body of an answer.
fn parts(answer: &str) -> (u16, Value) {
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// Publishes a notice that must be accepted. Returns its id and its number of tabs.
#[track_caller]
fn post(address: SocketAddr, notice: &Value) -> (u64, u64) {
    let body = notice.to_string();
    let answer = http(address, "POST", "/publish", "", body.as_bytes());
    let (status, receipt) = parts(&answer);
    assert_eq!(status, 202, "{answer}");
    (
        receipt["id"].as_u64().unwrap(),
        receipt["tabs"].as_u64().unwrap(),
    )
}

/// Returns the next event of this type. Skips other events.
#[track_caller]
fn event_of(tab: &mut Client, kind: &str) -> Value {
    loop {
        let event: Value = serde_json::from_str(&text(tab)).unwrap();
        if event["type"] == kind {
            return event;
        }
    }
}

/// Opens a tab, and returns it with its `hello`.
fn open(address: SocketAddr, user: &str) -> (Client, Value) {
    let mut tab = connect(address, &format!("/ws?user={user}"));
    let hello: Value = serde_json::from_str(&text(&mut tab)).unwrap();
    assert_eq!(hello["type"], "hello");
    (tab, hello)
}

/// Closes a tab, and waits until the server has closed the connection.
fn leave(mut tab: Client) {
    tab.close(None).unwrap();
    while tab.read().is_ok() {}
}

fn ids(hello: &Value) -> Vec<u64> {
    let unread = hello["unread"].as_array().unwrap();
    unread
        .iter()
        .map(|one| one["id"].as_u64().unwrap())
        .collect()
}

fn command(tab: &mut Client, command: &Value) {
    tab.send(Message::text(command.to_string())).unwrap();
}

#[test]
fn notification_read_in_one_tab_is_read_in_all() {
    let (example, address) = start();
    let (mut one, _) = open(address, "ann");
    let (mut two, _) = open(address, "ann");
    let (id, tabs) = post(
        address,
        &json!({ "user": "ann", "text": "build failed", "urgent": true }),
    );
    assert_eq!(tabs, 2);
    for tab in [&mut one, &mut two] {
        let new = event_of(tab, "new");
        assert_eq!(
            (new["id"].as_u64(), &new["text"]),
            (Some(id), &json!("build failed"))
        );
        assert_eq!(new["urgent"], true);
        assert_eq!(event_of(tab, "badge")["unread"], 1);
    }
    command(&mut one, &json!({ "ack": [id] }));
    for tab in [&mut one, &mut two] {
        assert_eq!(event_of(tab, "read")["ids"], json!([id]));
        assert_eq!(event_of(tab, "badge")["unread"], 0);
    }
    // An ack that is repeated gets the same answer. An unknown id is reported, to this tab alone.
    command(&mut two, &json!({ "ack": [id, 1] }));
    assert_eq!(event_of(&mut two, "read")["ids"], json!([id]));
    let gone = event_of(&mut two, "gone");
    assert_eq!(
        (&gone["ids"], &gone["why"]),
        (&json!([1]), &json!("unknown"))
    );
    // A tab that connects later learns that it was read.
    let (_three, hello) = open(address, "ann");
    assert_eq!(hello["unread"], json!([]));
    assert_eq!(hello["read"], json!([id]));
    // Another user does not see it, and cannot mark it as read.
    let (mut bob, hello) = open(address, "bob");
    assert_eq!(hello["read"], json!([]));
    command(&mut bob, &json!({ "ack": [id] }));
    assert_eq!(event_of(&mut bob, "gone")["why"], "unknown");
    example.report();
}

#[test]
fn notifications_are_kept_and_resent_until_read() {
    let (example, address) = start();
    let (one, _) = open(address, "ann");
    let (two, _) = open(address, "ann");
    leave(one);
    leave(two);
    let first = post(address, &json!({ "user": "ann", "text": "one" })).0;
    let second = post(address, &json!({ "user": "ann", "text": "two" })).0;
    let urgent = post(
        address,
        &json!({ "user": "ann", "text": "three", "urgent": true }),
    );
    let expected = [urgent.0, first, second];
    let (mut tab, hello) = open(address, "ann");
    assert_eq!(ids(&hello), expected, "each once, the urgent one first");
    command(&mut tab, &json!({ "ack": [first] }));
    event_of(&mut tab, "read");
    leave(tab);
    let (mut tab, hello) = open(address, "ann");
    assert_eq!(ids(&hello), [urgent.0, second]);
    assert!(hello["unread"][0]["tries"].as_u64().unwrap() >= 2);
    // A connected tab that sends no ack gets them again too.
    let again = event_of(&mut tab, "new");
    assert_eq!(again["id"], urgent.0);
    assert!(again["tries"].as_u64().unwrap() >= 3, "{again}");
    assert_eq!(event_of(&mut tab, "new")["id"], second);
    example.interrupt();
    assert_eq!(close_code(&mut tab), 1001);
    assert_eq!(example.end().last().unwrap(), "drained 1, lost 0");
}

#[test]
fn dedupe_id_makes_repeated_post_harmless() {
    let (_example, address) = start();
    let (mut tab, _) = open(address, "ann");
    let notice = json!({ "user": "ann", "text": "deployed", "id": "ci-812" });
    let first = post(address, &notice);
    assert_eq!(first.1, 1);
    assert_eq!(post(address, &notice), first);
    // The same dedupe id for another user is independent.
    let other = json!({ "user": "bob", "text": "deployed", "id": "ci-812" });
    assert_ne!(post(address, &other).0, first.0);
    assert_eq!(event_of(&mut tab, "new")["id"], first.0);
    // The dedupe id is recognized even after the notification was read.
    command(&mut tab, &json!({ "ack": [first.0] }));
    event_of(&mut tab, "read");
    assert_eq!(post(address, &notice), first);
    let next = post(address, &json!({ "user": "ann", "text": "next" })).0;
    assert_eq!(
        event_of(&mut tab, "new")["id"],
        next,
        "nothing was sent in between"
    );
}

#[test]
fn dropped_and_expired_notifications_count_as_missed() {
    let (_example, address) = start();
    let posted: Vec<u64> = (0..KEEP + 3)
        .map(|n| post(address, &json!({ "user": "ann", "text": n.to_string() })).0)
        .collect();
    let (mut tab, hello) = open(address, "ann");
    assert_eq!(ids(&hello), posted[3..], "the oldest were dropped");
    assert_eq!(hello["missed"], 3);
    // A connected tab is notified immediately of the ids, the total number missed, and the number unread.
    let last = post(
        address,
        &json!({ "user": "ann", "text": "short", "ttl": 1, "urgent": true }),
    );
    let gone = event_of(&mut tab, "gone");
    assert_eq!(
        (&gone["ids"], &gone["why"]),
        (&json!([posted[3]]), &json!("dropped"))
    );
    assert_eq!(event_of(&mut tab, "missed")["missed"], 4);
    let expired = event_of(&mut tab, "gone");
    assert_eq!(
        (&expired["ids"], &expired["why"]),
        (&json!([last.0]), &json!("expired"))
    );
    assert_eq!(event_of(&mut tab, "missed")["missed"], 5);
    assert_eq!(event_of(&mut tab, "badge")["unread"], KEEP - 1);
    command(&mut tab, &json!({ "dismiss": 5 }));
    assert_eq!(event_of(&mut tab, "missed")["missed"], 0);
    let (_other, hello) = open(address, "ann");
    assert_eq!(hello["missed"], 0);
}

#[test]
fn malformed_notices_are_rejected_with_reason() {
    let (example, address) = start();
    for (body, reason) in [
        (&b""[..], "one JSON object"),
        (b"\xff\xfe", "one JSON object"),
        (br#"["ann","text"]"#, "one JSON object"),
        (br#"{"user":"ann""#, "EOF"),
        (b"{\"user\":\"\xff\"}", "invalid unicode"),
        (br#"{"text":"x"}"#, "missing field `user`"),
        (br#"{"user":"ann"}"#, "missing field `text`"),
        (br#"{"user":7,"text":"x"}"#, "expected a string"),
        (br#"{"user":"","text":"x"}"#, "`user` must be a name"),
        (br#"{"user":"a b","text":"x"}"#, "`user` must be a name"),
        (br#"{"user":"ann","text":" "}"#, "`text` must have"),
        (br#"{"user":"ann","text":"\u0007"}"#, "control"),
        (br#"{"user":"ann","text":"x","id":""}"#, "`id` must have"),
        (
            br#"{"user":"ann","text":"x","urgent":"yes"}"#,
            "expected a boolean",
        ),
        (br#"{"user":"ann","text":"x","ttl":0}"#, "`ttl` must be"),
        (br#"{"user":"ann","text":"x","ttl":-5}"#, "expected u64"),
        (
            br#"{"user":"ann","text":"x","urgnet":true}"#,
            "unknown field `urgnet`",
        ),
    ] {
        let answer = http(address, "POST", "/publish", "", body);
        let (status, json) = parts(&answer);
        assert_eq!(status, 400, "{answer}");
        let error = json["error"].as_str().unwrap();
        assert!(error.contains(reason), "{reason} in {answer}");
    }
    let long = json!({ "user": "ann", "text": "x".repeat(1001) }).to_string();
    let (status, _) = parts(&http(address, "POST", "/publish", "", long.as_bytes()));
    assert_eq!(status, 400);
    let (status, _) = parts(&http(address, "POST", "/publish", "", &[b' '; 9000]));
    assert_eq!(status, 413);
    // Deeply nested JSON must not overflow the stack of a thread.
    for before in ["", "{\"user\":", "{\"x\":"] {
        let body = format!("{before}{}", "[".repeat(8000));
        let answer = http(address, "POST", "/publish", "", body.as_bytes());
        assert_eq!(parts(&answer).0, 400, "{answer}");
    }
    for method in ["GET", "PUT", "DELETE", "BREW"] {
        let answer = http(address, method, "/publish", "", b"");
        assert_eq!(parts(&answer).0, 405, "{answer}");
        assert!(answer.contains("\r\nAllow: POST\r\n"), "{answer}");
    }
    assert_eq!(parts(&http(address, "POST", "/", "", b"")).0, 405);
    assert_eq!(parts(&http(address, "GET", "/nothing", "", b"")).0, 404);
    assert_eq!(
        parts(&http(address, "GET", "/ws?user=a%20b", "", b"")).0,
        400
    );
    assert_eq!(parts(&http(address, "GET", "/ws", "", b"")).0, 400);
    // A page of another site, opened on this machine, may not publish.
    let body = json!({ "user": "ann", "text": "x" }).to_string();
    let foreign = "Origin: http://evil.example\r\n";
    let answer = http(address, "POST", "/publish", foreign, body.as_bytes());
    assert_eq!(parts(&answer).0, 403, "{answer}");
    example.report();
}

#[test]
fn publish_with_secret_needs_bearer_token() {
    let mut example = Example::start("notifications", &["127.0.0.1:0", "s3cret"]);
    let address = example.address();
    let body = json!({ "user": "ann", "text": "x" }).to_string();
    let status = |headers: &str| {
        let answer = http(address, "POST", "/publish", headers, body.as_bytes());
        parts(&answer).0
    };
    assert_eq!(status(""), 401);
    assert_eq!(status("Authorization: Bearer s3creT\r\n"), 401);
    assert_eq!(status("Authorization: s3cret\r\n"), 401);
    assert_eq!(status("Authorization: Bearer s3cret\r\n"), 202);
}

#[test]
fn bad_commands_get_errors_and_floods_1008() {
    let (example, address) = start();
    let (mut tab, _) = open(address, "ann");
    let many: Vec<usize> = (0..=KEEP).collect();
    for invalid in [
        Message::text("hello"),
        Message::binary(vec![1, 2, 3]),
        Message::text("{\"ack\":7}"),
        Message::text("{\"read\":[7]}"),
        Message::text("[".repeat(4000)),
        Message::text(format!("{{\"ack\":{}", "[".repeat(4000))),
        Message::text("{\"ack\":[-1]}"),
        Message::text("{\"dismiss\":\"all\"}"),
        Message::text(json!({ "ack": many }).to_string()),
    ] {
        tab.send(invalid).unwrap();
        assert!(event_of(&mut tab, "error")["why"].is_string());
    }
    // The tab still works.
    post(address, &json!({ "user": "ann", "text": "still here" }));
    event_of(&mut tab, "new");
    for _ in 0..200 {
        // The server may have closed by now.
        let _ = tab.send(Message::text("{}"));
    }
    assert_eq!(close_code(&mut tab), 1008);
    let (mut large, _) = open(address, "ann");
    large.send(Message::text("x".repeat(5000))).unwrap();
    assert_eq!(close_code(&mut large), 1009);
    let mut tabs: Vec<_> = (0..16).map(|_| open(address, "bob").0).collect();
    let mut one_more = connect(address, "/ws?user=bob");
    assert_eq!(close_code(&mut one_more), 1013);
    assert_eq!(post(address, &json!({ "user": "bob", "text": "x" })).1, 16);
    tabs.iter_mut().for_each(|tab| {
        event_of(tab, "new");
    });
    drop(tabs);
    example.report();
}

#[test]
fn slow_tab_is_disconnected_and_loses_nothing() {
    let (mut example, address) = start();
    let mut slow = connect_small(address, "/ws?user=ann");
    event_of(&mut slow, "hello");
    let (mut quick, _) = open(address, "ann");
    // Publishes until the slow tab is disconnected. The loop ends because the kernel buffers are bounded.
    let long = "x".repeat(1000);
    let (mut posted, mut unread) = (0, Vec::new());
    loop {
        let (id, tabs) = post(address, &json!({ "user": "ann", "text": long }));
        posted += 1;
        assert!(posted < 5_000, "the slow tab was never disconnected");
        while event_of(&mut quick, "new")["id"] != id {}
        // The quick tab reads them, so the mailbox stays small and nothing is missed. It reads several at once, because the
        // example limits the rate of a client, and how fast this loop is depends on the machine.
        if unread.len() >= 10 || (tabs == 1 && !unread.is_empty()) {
            command(&mut quick, &json!({ "ack": unread }));
            while event_of(&mut quick, "read")["ids"] != json!(unread) {}
            unread.clear();
        }
        if tabs == 1 {
            break;
        }
        unread.push(id);
    }
    example.line("disconnected 1 slow tabs");
    while slow.read().is_ok() {}
    let (_back, hello) = open(address, "ann");
    assert_eq!(
        ids(&hello).len(),
        1,
        "the notification that the tab was disconnected for"
    );
    assert_eq!(hello["missed"], 0);
}

fn notice(text: &str) -> Notice {
    Notice::parse(
        json!({ "user": "ann", "text": text, "ttl": 60 })
            .to_string()
            .as_bytes(),
    )
    .unwrap()
}

#[test]
fn full_mailbox_drops_read_then_not_urgent() {
    let (now, mut mailbox) = (Instant::now(), Mailbox::default());
    for id in 0..KEEP as u64 {
        let urgent = id == 0;
        let notice = Notice {
            urgent,
            ..notice("x")
        };
        assert_eq!(mailbox.add(id, notice, now, 0), None);
    }
    mailbox.ack(&[7]);
    assert_eq!(mailbox.add(100, notice("x"), now, 0), None, "7 was read");
    assert!(mailbox.read().is_empty());
    assert_eq!(mailbox.add(101, notice("x"), now, 0), Some(1));
    assert_eq!((mailbox.missed(), mailbox.unread_count()), (1, KEEP));
    mailbox.dismiss(9);
    assert_eq!(mailbox.missed(), 0);
}

#[test]
fn resend_interval_doubles_and_urgent_comes_first() {
    let (now, mut mailbox) = (Instant::now(), Mailbox::default());
    mailbox.add(1, notice("calm"), now, 0);
    let urgent = Notice {
        urgent: true,
        ..notice("pressing")
    };
    mailbox.add(2, urgent, now, 0);
    let due = |mailbox: &mut Mailbox, seconds: u64| -> Vec<u64> {
        let now = now + Duration::from_secs(seconds);
        let due = mailbox.due(now).into_iter();
        due.map(|item| {
            item.sent(now);
            item.id
        })
        .collect()
    };
    assert_eq!(due(&mut mailbox, 0), [2, 1]);
    assert!(due(&mut mailbox, 1).is_empty());
    assert_eq!(due(&mut mailbox, 2), [2, 1]);
    assert!(due(&mut mailbox, 5).is_empty());
    mailbox.ack(&[2]);
    assert_eq!(due(&mut mailbox, 6), [1]);
    assert!(mailbox.expire(now + Duration::from_secs(59)).is_empty());
    assert_eq!(mailbox.expire(now + Duration::from_secs(60)), [1]);
    assert_eq!(mailbox.missed(), 1, "2 was read, so it is not missed");
    assert!(!mailbox.is_empty() && mailbox.unread_count() == 0);
}
