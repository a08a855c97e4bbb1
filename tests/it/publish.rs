//! Publishing over HTTP, and the requests about topics.

use std::time::Duration;

use crossbeam_channel::unbounded;
use serde_json::{Value, json};
use standpipe::{Message, Policy, Publication, PublishError, SubscribeOptions};

use crate::binary::{Binary, run};
use crate::support::{
    Answer, Connect, HubFixture, JsonClient, Reader, TestClient, get, http, post, until,
    with_both_flush_modes, within,
};

const JSON: &str = "Content-Type: application/json\r\n";
const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n";

#[track_caller]
fn published(answer: &Answer, status: u16) -> (u64, u64, u64) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"));
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
    let figure = |name: &str| body[name].as_u64().unwrap();
    (figure("id"), figure("receivers"), figure("dropped"))
}

#[track_caller]
fn row(binary: &Binary, topic: &str) -> Value {
    let rows: Value = serde_json::from_str(&binary.get("/topics").body).unwrap();
    let rows = rows.as_array().unwrap();
    let row = rows.iter().find(|row| row["topic"] == topic);
    row.unwrap_or_else(|| panic!("no {topic} in {rows:?}"))
        .clone()
}

#[test]
fn content_type_decides_what_members_receive() {
    let binary = Binary::start(&[]);
    let mut json = JsonClient::connect(binary.address);
    let last = json.subscribe("a topic/é");
    let mut raw = [0; 2].map(|_| TestClient::connect(binary.address, "/ws/a%20topic%2F%C3%A9"));
    until("all three are members", || {
        row(&binary, "a topic/é")["members"] == 3
    });
    let path = "/publish/a%20topic%2F%C3%A9";
    let texts = [TEXT, "Content-Type: TEXT/html\r\n"];
    let bytes = ["", "Content-Type: application/octet-stream\r\n"];
    let mut id = last;
    for (kind, body, data, message) in [
        (texts[0], "{}", json!("{}"), Message::text("{}")),
        (texts[1], "", json!(""), Message::text("")),
        (
            JSON,
            r#"{"a":1}"#,
            json!({"a": 1}),
            Message::text(r#"{"a":1}"#),
        ),
        (bytes[0], "abc", json!("YWJj"), Message::binary("abc")),
        (bytes[1], "abc", json!("YWJj"), Message::binary("abc")),
    ] {
        id += 1;
        let answer = post(binary.address, path, kind, body);
        assert_eq!(published(&answer, 202), (id, 3, 0), "{kind}");
        let received = json.receive();
        assert_eq!(
            (&received["id"], &received["data"]),
            (&json!(id), &data),
            "{kind}"
        );
        assert_eq!(
            received.get("base64").is_some(),
            bytes.contains(&kind),
            "{received}"
        );
        for raw in &mut raw {
            assert_eq!(raw.read_message(), message, "{kind}");
        }
    }
    let answer = post(binary.address, "/publish/nobody", TEXT, "x");
    let (_, receivers, dropped) = published(&answer, 202);
    assert_eq!((receivers, dropped), (0, 0));
}

#[test]
fn empty_body_is_an_empty_message_but_not_json() {
    let binary = Binary::start(&["--topic", "*:history=10"]);
    for kind in [TEXT, "Content-Type: application/octet-stream\r\n", ""] {
        let answer = post(binary.address, "/publish/t", kind, "");
        published(&answer, 202);
    }
    let answer = post(binary.address, "/publish/t", JSON, "");
    assert_eq!(answer.status, 400);
    assert!(answer.body.starts_with("not JSON"), "{answer:?}");
    let history: Value = serde_json::from_str(&binary.get("/topics/t/history").body).unwrap();
    let data: Vec<_> = history.as_array().unwrap().iter().collect();
    assert_eq!(data.len(), 3, "{history}");
    assert!(
        data.iter().all(|message| message["data"] == ""),
        "{history}"
    );
    let is_bytes = |n: usize| data[n].get("base64").is_some();
    assert_eq!([0, 1, 2].map(is_bytes), [false, true, true]);
}

#[test]
fn invalid_requests_are_answered_with_their_status() {
    let binary = Binary::start(&["--max-message", "1KiB"]);
    let address = binary.address;
    let large = vec![b'x'; 1025];
    assert_eq!(post(address, "/publish/t", TEXT, &large[1..]).status, 202);
    let long = format!("/publish/{}", "t".repeat(201));
    let key = format!("/publish/t?key={}", "k".repeat(201));
    for (path, headers, body, status) in [
        ("/publish/t", JSON, &b"{"[..], 400),
        ("/publish/t", JSON, b"", 400),
        ("/publish/t", JSON, b"1 2", 400),
        ("/publish/t", JSON, b"\"\xff\"", 400),
        ("/publish/t", TEXT, b"\xc3\x28", 400),
        ("/publish/t", TEXT, &large[..], 413),
        (&long, TEXT, b"x", 400),
        (&key, TEXT, b"x", 400),
        ("/publish/t?key=", TEXT, b"x", 400),
        ("/publish/a%00b", TEXT, b"x", 400),
        ("/publish", TEXT, b"x", 400),
        ("/topics", TEXT, b"x", 405),
        ("/topics/t/history", TEXT, b"x", 405),
    ] {
        let answer = post(address, path, headers, body);
        assert_eq!(answer.status, status, "{path} {headers} {answer:?}");
    }
    let without = format!("POST /publish/t HTTP/1.1\r\nHost: {address}\r\n\r\n");
    assert_eq!(http(address, without).status, 411);
    let answer = get(address, "/publish/t", "");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(get(address, "/topics/t/history?since=x", "").status, 400);
    assert_eq!(get(address, "/topics/nobody/history", "").body, "[]");
    assert_eq!(get(address, "/topics/nobody/presence", "").body, "[]");
    for (path, status) in [("/topics", 200), ("/metrics", 200), ("/publish/t", 405)] {
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let answer = http(address, head);
        assert_eq!((answer.status, &*answer.body), (status, ""), "{path}");
    }
}

#[test]
fn expect_100_continue_is_answered_unless_refused() {
    let binary = Binary::start(&["--max-message", "1KiB"]);
    let head = |length| {
        format!(
            "POST /publish/t HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n{TEXT}\
             Connection: close\r\nExpect: 100-continue\r\n\r\n",
            binary.address
        )
    };
    let mut client = Connect::to(binary.address).open();
    client.bytes(head(5));
    assert_eq!(client.read_head().status, 100);
    client.bytes("hello");
    let answer = Answer::parse(&client.read_to_eof());
    published(&answer, 202);

    let mut client = Connect::to(binary.address).open();
    client.bytes(head(5000));
    assert_eq!(client.read_head().status, 413);
}

/// Connects a member that does not read to a server with small buffers.
pub(crate) fn stalled(binary: &Binary, topic: &str) -> TestClient {
    let client = Connect::to(binary.address).small_rcvbuf();
    let client = client.path(&format!("/ws/{topic}")).connect();
    until("the client is a member", || {
        let topics = binary.get("/topics").body;
        topics.contains(&format!(r#""topic":"{topic}","members":1"#))
    });
    client
}

/// Flags for small socket buffers, so that a client that stops reading is blocked soon.
pub(crate) const SMALL: [&str; 4] = ["--sndbuf", "16KiB", "--unsent", "16KiB"];

#[test]
fn block_timeout_is_answered_with_503_and_the_outcome() {
    let binary = Binary::start(&[&SMALL[..], &["--topic", "t:policy=block:50ms,queue=4"]].concat());
    let mut client = stalled(&binary, "t");
    let mut sent = 0;
    let mut answer = None;
    until("the member is full", || {
        sent += 1;
        let response = post(binary.address, "/publish/t", "", vec![b'x'; 10_000]);
        if response.status == 202 {
            let (_, receivers, dropped) = published(&response, 202);
            assert_eq!((receivers, dropped), (1, 0));
            return false;
        }
        answer = Some(response);
        true
    });
    // The message was published and has an id, so a client should not send it again. The type tells this 503 from the
    // one that says that nothing was published.
    let answer = answer.expect("the last answer");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("retry-after"), None);
    let (id, receivers, dropped) = published(&answer, 503);
    assert_eq!((receivers, dropped), (0, 1));
    let rest = client.rest_answering_close();
    assert_eq!(rest.closes[0].0, 4008, "{:?}", rest.closes);
    assert!(rest.messages.len() < sent);
    let again = post(binary.address, "/publish/t", "", "x");
    // The topic may have been removed with its last member, or not yet. Its ids grow in both cases.
    let (next, receivers, dropped) = published(&again, 202);
    assert_eq!((receivers, dropped), (0, 0));
    assert!(next > id);
}

#[test]
fn topic_is_busy_while_a_publisher_waits() {
    with_both_flush_modes(|config| {
        let fixture = HubFixture::with(config, Policy::Block { timeout: None }, 4);
        let topic = fixture.topic("t");
        let (client, outbox) = fixture.small_client();
        let member = topic
            .subscribe(outbox.clone(), SubscribeOptions::new().with_envelope())
            .unwrap();
        let (numbers, to_publish) = unbounded();
        let (done, is_done) = unbounded();
        let publisher = {
            let topic = topic.clone();
            std::thread::spawn(move || {
                for n in to_publish {
                    let message = Message::text(format!("{n} {}", "x".repeat(1000)));
                    done.send(topic.publish(message).unwrap()).unwrap();
                }
            })
        };
        let mut sent = 0;
        until("the publisher waits and holds the publish token", || {
            let before = topic.last_id();
            numbers.send(sent).unwrap();
            sent += 1;
            // A publisher that has its id holds the publish token and has read the policy. Whether it waits is not
            // visible.
            until("the publisher has its id", || topic.last_id() > before);
            is_done.recv_timeout(Duration::from_millis(300)).is_err()
        });
        topic.set_policy(Policy::Block {
            timeout: Some(Duration::from_millis(20)),
        });
        // A message that was not published has no id.
        let last = topic.last_id();
        let refused = topic.publish("of another publisher");
        let unpublished = Publication::from("of another publisher");
        assert_eq!(refused, Err(PublishError::Busy(unpublished)));
        assert_eq!(topic.last_id(), last);
        let reader = Reader::start(client);
        reader.wait_for(sent);
        drop(numbers);
        within(20, "the publisher to end", || publisher.join()).unwrap();
        drop(member);
    });
}

#[test]
fn key_conflates_messages_published_over_http() {
    let binary = Binary::start(&[&SMALL[..], &["--topic", "t:policy=conflate,queue=4"]].concat());
    let mut client = stalled(&binary, "t");
    let mut sent = 0;
    until("some messages are conflated", || {
        sent += 1;
        let body = format!("{sent} {}", "x".repeat(10_000));
        let answer = post(binary.address, "/publish/t?key=k", TEXT, body);
        let (_, receivers, dropped) = published(&answer, 202);
        assert_eq!((receivers, dropped), (1, 0));
        row(&binary, "t")["dropped"].as_u64().unwrap() >= 5
    });
    let other = post(binary.address, "/publish/t?key=other", TEXT, "other");
    published(&other, 202);
    let dropped = row(&binary, "t")["dropped"].as_u64().unwrap();
    let mut numbers = Vec::new();
    loop {
        let message = client.read_message();
        let text = message.to_text().unwrap();
        if text == "other" {
            break;
        }
        numbers.push(text.split(' ').next().unwrap().parse::<u64>().unwrap());
    }
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert_eq!(
        numbers.last(),
        Some(&sent),
        "the last message is not the latest"
    );
    assert_eq!(numbers.len() as u64, sent - dropped);
}

#[test]
fn wrong_policy_or_topic_shows_the_correct_form() {
    let policy = "block:50ms, drop-newest, drop-oldest, conflate, disconnect";
    let topic = "PATTERN:policy=P,queue=N,history=N,max-age=TIME";
    for (flags, right) in [
        (["--policy", "drop"], policy),
        (["--policy", "block:"], policy),
        (["--policy", "block:soon"], policy),
        (["--policy", "conflate:1s"], policy),
        (["--policy", "disconnect:0%:1s"], policy),
        (["--policy", "disconnect:80:1s"], policy),
        (["--topic", "t"], topic),
        (["--topic", ":queue=1"], topic),
        (["--topic", "t:queue"], topic),
        (["--topic", "t:size=1"], topic),
        (["--topic", "t:queue=1,queue=2"], "queue: is given twice"),
        (["--topic", "t:policy=drop"], policy),
        (["--topic", "t:queue=0"], "at least 1"),
        (
            ["--topic", "t:history=many"],
            "a number of messages like 100",
        ),
        (["--topic", "t:history=1048577"], "at most 1048576"),
        (["--topic", "t:max-age=60"], "60s"),
    ] {
        let (code, stderr) = run(&flags);
        assert_eq!(code, Some(2), "{flags:?}: {stderr}");
        // The message is wrapped to the width of the terminal, if there is one.
        let stderr = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(stderr.contains(right), "{flags:?}: {stderr}");
    }
}

#[test]
fn long_history_comes_in_answers_of_1_mib() {
    const LIMIT: usize = 1 << 20;
    let flags = ["--topic", "*:history=100", "--max-message", "2MiB"];
    let binary = Binary::start(&flags);
    let large = "x".repeat(LIMIT + 1);
    let mut expected = Vec::new();
    let quarter = &large[..LIMIT / 4];
    for body in [quarter, quarter, quarter, quarter, quarter, &large, "last"] {
        let answer = post(binary.address, "/publish/t", TEXT, body);
        expected.push(published(&answer, 202).0);
    }
    let (mut pages, mut since) = (Vec::new(), 0);
    loop {
        let body = binary.get(&format!("/topics/t/history?since={since}")).body;
        let page: Value = serde_json::from_str(&body).unwrap();
        let ids: Vec<u64> = page
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["id"].as_u64().unwrap())
            .collect();
        let Some(last) = ids.last() else { break };
        assert!(body.len() <= LIMIT + 1 || ids.len() == 1, "{}", body.len());
        since = *last;
        pages.push(ids);
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2, 1, 1]);
    assert_eq!(pages.concat(), expected);
}
