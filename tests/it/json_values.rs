//! JSON mode: values that JSON allows and that many parsers cannot represent.

use serde_json::json;

use crate::binary::Binary;
use crate::support::{JsonClient, TestClient, post};

/// Valid JSON of which no number, text or map can hold the value.
const UNUSUAL: [&str; 6] = [
    "1e400",
    "-123456789012345678901234567890.5e-99999",
    r#""\ud800""#,
    r#"{"\udc00":"\ud800"}"#,
    r#"{"same":1,"same":[2,1E400]}"#,
    "12345678901234567890",
];

#[test]
fn unusual_json_is_published_unchanged() {
    let binary = Binary::start(&["--topic", "t:history=10"]);
    let mut client = JsonClient::connect(binary.address);
    let mut raw = TestClient::connect(binary.address, "/ws/t");
    raw.text("the raw client is a member");
    raw.expect_text("the raw client is a member");
    let last = client.subscribe("t");
    for (data, id) in UNUSUAL.into_iter().zip((last + 1..).step_by(2)) {
        client.send(format!(r#"{{"pub":"t","data":{data}}}"#));
        let expected = |id| format!(r#"{{"topic":"t","id":{id},"data":{data}}}"#);
        assert_eq!(client.receive_text(), expected(id));
        raw.expect_text(data);
        let json = "Content-Type: application/json\r\n";
        assert_eq!(post(binary.address, "/publish/t", json, data).status, 202);
        assert_eq!(client.receive_text(), expected(id + 1));
        raw.expect_text(data);
        let history = binary.get(&format!("/topics/t/history?since={id}"));
        let expected = format!(r#"[{{"id":{},"data":{data}}}]"#, id + 1);
        assert_eq!(history.body, expected);
    }
}

/// The connection is closed at the third message that is not JSON.
#[test]
fn unusual_json_does_not_count_as_not_json() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    for value in UNUSUAL.into_iter().chain([&*deep]) {
        for field in ["sub", "pub", "since", "key"] {
            // A command that needs the field. `key` may be a string, but not one with half of a pair.
            let command = match field {
                "sub" | "pub" => format!(r#"{{"{field}":{value},"data":1,"ref":7}}"#),
                "since" => format!(r#"{{"sub":"t","since":{value},"ref":7}}"#),
                _ => format!(r#"{{"pub":"t","key":{value},"data":1,"ref":7}}"#),
            };
            // A large id is still an id.
            if field == "since" && value == "12345678901234567890" {
                continue;
            }
            let answer = client.request(&command);
            assert_eq!(answer["ref"], 7, "{command}: {answer}");
            assert!(answer["error"].is_string(), "{command}: {answer}");
        }
        for field in ["what", r"\ud800", "since", "presence", "base"] {
            let command = format!(r#"{{"pub":"t","data":1,"{field}":{value},"ref":7}}"#);
            let answer = client.request(&command);
            assert_eq!(answer["ack"], 7, "{command}: {answer}");
        }
    }
    client.assert_idle();
}

#[test]
fn ref_comes_back_as_it_was_written() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    for reference in [
        "1.0",
        "1e3",
        "-0",
        "12345678901234567890",
        "1e400",
        r#""\ud800""#,
    ] {
        client.send(format!(r#"{{"pub":"t","data":1,"ref":{reference}}}"#));
        let answer = client.receive_text();
        let ack = format!(r#"{{"ack":{reference},"#);
        assert!(answer.starts_with(&ack), "{answer}");
        client.send(format!(r#"{{"unsub":"t","ref":{reference}}}"#));
        let answer = client.receive_text();
        assert!(
            answer.ends_with(&format!(r#","ref":{reference}}}"#)),
            "{answer}"
        );
    }
}

#[test]
fn null_counts_as_absent_for_optional_fields() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    client.send(r#"{"sub":"t","since":null,"presence":null,"ref":null}"#);
    let published = r#"{"pub":"t","data":"text","key":null,"base64":null,"ref":1}"#;
    let message = client.request(published);
    assert_eq!(
        (&message["topic"], &message["data"]),
        (&json!("t"), &json!("text"))
    );
    assert_eq!(client.receive()["ack"], 1);
    client.assert_idle();
}

#[test]
fn since_is_a_number_or_a_string_of_digits() {
    let binary = Binary::start(&["--topic", "t:history=10"]);
    let mut client = JsonClient::connect(binary.address);
    let first = client.request(r#"{"pub":"t","data":1,"ref":1}"#)["id"].as_u64();
    let first = first.expect("the answer has an id");
    client.request(r#"{"pub":"t","data":2,"ref":2}"#);
    for since in [
        format!("{first}"),
        format!("{first}.0"),
        format!("\"{first}\""),
    ] {
        client.send(format!(r#"{{"sub":"t","since":{since},"ref":3}}"#));
        let mut received = [client.receive(), client.receive()];
        received.sort_by_key(|message| message["ack"] == 3);
        assert_eq!(
            received[0],
            json!({"topic": "t", "id": first + 1, "data": 2})
        );
        client.request(r#"{"unsub":"t","ref":4}"#);
    }
}
