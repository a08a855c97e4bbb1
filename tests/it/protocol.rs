//! What `src/PROTOCOL.md` promises to the author of a client, section by section. `protocol/promises.txt` lists every
//! sentence that promises an answer, with the tests that hold it to that, here and elsewhere.

mod connecting;
mod http;
mod json;
mod names;
mod presence;
mod promises;
mod raw;

use serde_json::Value;

use crate::binary::Binary;
use crate::support::{Answer, post};

const TEXT: &str = "Content-Type: text/plain\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

/// Publishes over HTTP, and returns the id.
#[track_caller]
fn publish(binary: &Binary, topic: &str, kind: &str, body: impl AsRef<[u8]>) -> u64 {
    let answer = post(binary.address, &format!("/publish/{topic}"), kind, body);
    assert_eq!(answer.status, 202, "{answer:?}");
    parsed(&answer)["id"].as_u64().expect("an id")
}

#[track_caller]
fn parsed(answer: &Answer) -> Value {
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("application/json"), "{answer:?}");
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// Checks that a refusal has this status and is one line of text.
#[track_caller]
fn assert_refusal(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/plain"), "{answer:?}");
    let line = answer.body.strip_suffix('\n').unwrap_or_default();
    assert!(
        !line.is_empty() && !line.contains(['\n', '\r']),
        "not one line: {answer:?}"
    );
}
