//! Names of topics, keys and clients: their lengths, their characters, and how a path writes them.

use serde_json::json;

use super::{TEXT, assert_refusal, publish};
use crate::binary::Binary;
use crate::support::{Connect, JsonClient, post};

/// Returns `name` for a path or a query, with every byte escaped.
fn escaped(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Returns the status of a raw client's handshake.
fn raw_status(binary: &Binary, path: &str) -> u16 {
    let (_, answer) = Connect::to(binary.address).path(path).request();
    answer.status
}

#[test]
fn topics_keys_and_names_have_up_to_200_bytes() {
    let binary = Binary::start(&["--topic", "*:policy=conflate,history=10"]);
    for longest in ["t".repeat(200), "é".repeat(100), "漢".repeat(66) + "ab"] {
        assert_eq!(longest.len(), 200);
        let path = escaped(&longest);
        let mut client = JsonClient::at(binary.address, &format!("/ws?name={path}"));
        let last = client.subscribe(&longest);
        assert_eq!(raw_status(&binary, &format!("/ws/{path}?name={path}")), 101);
        let id = publish(&binary, &format!("{path}?key={path}"), TEXT, "x");
        assert_eq!(id, last + 1);
        assert_eq!(
            client.receive(),
            json!({"topic": longest, "id": id, "data": "x"})
        );
        let command = json!({"pub": longest, "data": 1, "key": longest});
        client.send(command.to_string());
        assert_eq!(client.receive()["id"], id + 1);
        let names = binary.get(&format!("/topics/{path}/presence"));
        assert_eq!(names.body, json!([longest]).to_string());
        assert_eq!(
            binary.get(&format!("/topics/{path}/history")).status,
            200,
            "{longest}"
        );
    }
    for wrong in [
        "t".repeat(201),
        "é".repeat(101),
        "a\0b".into(),
        "a\nb".into(),
        "\u{7f}".into(),
        "\u{85}".into(),
    ] {
        let path = escaped(&wrong);
        for path in [
            format!("/ws/{path}"),
            format!("/ws/t?name={path}"),
            format!("/ws?name={path}"),
        ] {
            let client = Connect::to(binary.address).path(&path);
            let client = client.header("Sec-WebSocket-Protocol: standpipe.v1");
            assert_eq!(client.request().1.status, 400, "{path}");
        }
        for path in [
            format!("/topics/{path}/history"),
            format!("/topics/{path}/presence"),
        ] {
            assert_refusal(&binary.get(&path), 400);
        }
        for path in [format!("/publish/{path}"), format!("/publish/t?key={path}")] {
            assert_refusal(&post(binary.address, &path, TEXT, "x"), 400);
        }
        let mut client = JsonClient::connect(binary.address);
        for command in [
            json!({"sub": wrong, "ref": 1}),
            json!({"pub": wrong, "data": 1, "ref": 1}),
            json!({"pub": "t", "data": 1, "key": wrong, "ref": 1}),
        ] {
            let answer = client.request(command.to_string());
            assert!(answer["error"].is_string(), "{command}: {answer}");
        }
    }
    // An empty name is no name.
    for path in ["/ws/t?name=", "/ws/"] {
        assert_ne!(raw_status(&binary, path), 101, "{path}");
    }
}

#[test]
fn path_segment_is_decoded_once() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    for (topic, path) in [
        ("a/b", "a%2Fb"),
        ("a/b", "a%2fb"),
        ("a%2Fb", "a%252Fb"),
        ("a+b", "a+b"),
        ("a b", "a%20b"),
        ("?#", "%3F%23"),
        ("...", "..."),
        ("a/.b/c..", "a%2F.b%2Fc.."),
    ] {
        let last = client.subscribe(topic);
        let id = publish(&binary, path, TEXT, "x");
        assert_eq!(id, last + 1, "{path}");
        assert_eq!(
            client.receive(),
            json!({"topic": topic, "id": id, "data": "x"})
        );
        client.request(json!({"unsub": topic, "ref": 0}).to_string());
    }
    // Two segments are not a topic with a slash.
    assert_refusal(&post(binary.address, "/publish/a/b", TEXT, "x"), 404);
}

#[test]
fn dot_segments_in_a_path_are_refused() {
    let binary = Binary::start(&[]);
    for topic in [".", "..", "%2E", "%2e%2E", "a%2F..%2Fb", ".%2Fa", "a%2F."] {
        let answer = post(binary.address, &format!("/publish/{topic}"), TEXT, "x");
        assert_refusal(&answer, 400);
        assert_eq!(raw_status(&binary, &format!("/ws/{topic}")), 400, "{topic}");
    }
    // In JSON such a name is a name like any other.
    let mut client = JsonClient::connect(binary.address);
    client.subscribe("a/../b");
    client.subscribe("..");
}

#[test]
fn plus_in_the_query_is_a_space() {
    let binary = Binary::start(&[]);
    let _ann = binary.connect("/ws/t?name=Ann+B%2BC");
    crate::support::until("the name is listed", || {
        binary.get("/topics/t/presence").body == r#"["Ann B+C"]"#
    });
}
