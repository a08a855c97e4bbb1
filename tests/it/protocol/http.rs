//! The HTTP paths: methods, refusals, and the JSON of the answers.

use serde_json::{Value, json};

use super::{JSON, TEXT, assert_refusal, parsed, publish};
use crate::binary::Binary;
use crate::support::{JsonClient, get, http, post, until};

fn keys(object: &Value) -> Vec<&str> {
    let object = object.as_object().expect("an object");
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn every_get_path_answers_head() {
    let binary = Binary::start(&[]);
    for path in [
        "/",
        "/topics",
        "/topics/t/history",
        "/topics/t/presence",
        "/healthz",
        "/readyz",
        "/metrics",
        "/debug/clients",
        "/dashboard",
    ] {
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: {}\r\n\r\n", binary.address);
        let (head, whole) = (http(binary.address, head), binary.get(path));
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
        assert_eq!(whole.status, 200, "{path}");
        assert_eq!(
            head.header("content-type"),
            whole.header("content-type"),
            "{path}"
        );
    }
}

#[test]
fn every_refusal_is_one_line_of_text() {
    let binary = Binary::start(&["--max-message", "1KiB"]);
    let address = binary.address;
    for (path, status) in [
        ("/nothing", 404),
        ("/ws/t", 426),
        ("/ws", 426),
        ("/echo", 426),
        ("/topics/t/history?since=x", 400),
        ("/publish/t", 405),
    ] {
        assert_refusal(&get(address, path, ""), status);
    }
    for (path, body, status) in [
        ("/publish/t", &[b'x'; 1025][..], 413),
        ("/publish/a%00", b"x", 400),
        ("/topics", b"x", 405),
        ("/", b"x", 405),
    ] {
        assert_refusal(&post(address, path, TEXT, body), status);
    }
    let foreign = "Origin: http://evil.example\r\n";
    assert_refusal(&post(address, "/", foreign, "x"), 403);
    assert_refusal(&get(address, "/topics", foreign), 403);
    let foreign = http(address, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_refusal(&foreign, 421);
    let version = http(
        address,
        format!("GET / HTTP/2.0\r\nHost: {address}\r\n\r\n"),
    );
    assert_refusal(&version, 505);
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(9000));
    assert_refusal(&http(address, long), 414);
    let lines = "A: b\r\n".repeat(70);
    assert_refusal(&get(address, "/", &lines), 431);
}

#[test]
fn refusals_name_what_is_supported() {
    let binary = Binary::start(&[]);
    let address = binary.address;
    let answer = get(address, "/ws/t", "");
    assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    for (path, allowed) in [("/topics", "GET, HEAD"), ("/healthz", "GET, HEAD")] {
        let answer = post(address, path, TEXT, "x");
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some(allowed))
        );
    }
    let put = format!("PUT /publish/t HTTP/1.1\r\nHost: {address}\r\nContent-Length: 1\r\n\r\nx");
    let answer = http(address, put);
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
}

#[test]
fn asking_does_not_create_a_topic() {
    let binary = Binary::start(&[]);
    for path in ["/topics/t/history", "/topics/t/presence"] {
        assert_eq!(parsed(&binary.get(path)), json!([]), "{path}");
    }
    assert_eq!(parsed(&binary.get("/topics")), json!([]));
}

#[test]
fn topics_have_the_documented_fields_and_are_sorted() {
    let binary = Binary::start(&["--topic", "h*:history=2,queue=7,policy=conflate"]);
    let mut client = JsonClient::connect(binary.address);
    for topic in ["news", "b", "a"] {
        client.subscribe(topic);
    }
    let [_, _, last] = ["one", "two", "three"].map(|text| publish(&binary, "h", TEXT, text));
    let id = publish(&binary, "news", TEXT, "x");
    client.receive();
    let mut rows = Value::Null;
    until("the message is counted as delivered", || {
        rows = parsed(&binary.get("/topics"));
        rows[3]["delivered"] == 1
    });
    let names: Vec<&Value> = rows
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| &row["topic"])
        .collect();
    assert_eq!(names, ["a", "b", "h", "news"]);
    let epoch = &rows[2]["epoch"];
    assert!(epoch.is_string(), "{epoch}");
    assert_eq!(
        rows[3],
        json!({"topic": "news", "members": 1, "id": id, "epoch": epoch, "policy": "disconnect", "queue": 64, "history": 0,
               "accepted": 1, "delivered": 1, "dropped": 0, "discarded": 0})
    );
    assert_eq!(
        rows[2],
        json!({"topic": "h", "members": 0, "id": last, "epoch": epoch, "policy": "conflate", "queue": 7, "history": 2,
               "accepted": 0, "delivered": 0, "dropped": 0, "discarded": 0})
    );
}

#[test]
fn published_answer_has_the_documented_fields() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    let last = client.subscribe("news");
    for (kind, body) in [(TEXT, "hello"), (JSON, r#"{"temperature":21.5}"#)] {
        let answer = post(binary.address, "/publish/news?key=kitchen", kind, body);
        assert_eq!(answer.status, 202);
        assert_eq!(keys(&parsed(&answer)), ["dropped", "id", "receivers"]);
        client.receive();
    }
    assert_eq!(publish(&binary, "news", TEXT, "x"), last + 3);
}
