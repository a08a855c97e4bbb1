//! Resuming with `since` and `epoch`, after a restart of the server and after a topic was removed.

use serde_json::{Value, json};

use crate::binary::Binary;
use crate::support::{JsonClient, TestClient, get};

const HISTORY: [&str; 2] = ["--topic", "t:history=10"];

fn publish(client: &mut JsonClient, data: u64) -> u64 {
    let answer = client.request(format!(r#"{{"pub":"t","data":{data},"ref":"pub"}}"#));
    assert_eq!(answer["ack"], "pub", "{answer}");
    answer["id"].as_u64().unwrap()
}

/// Subscribes with these fields. Returns the acknowledgement, and the `messages` that come with it.
fn subscribe(client: &mut JsonClient, fields: &str, messages: usize) -> (Value, Vec<Value>) {
    client.send(format!(r#"{{"sub":"t",{fields}"ref":"sub"}}"#));
    let mut received: Vec<Value> = (0..=messages).map(|_| client.receive()).collect();
    let is_ack = |message: &Value| message["ack"] == "sub";
    let ack = received.iter().position(is_ack);
    let ack = received.remove(ack.unwrap_or_else(|| panic!("no answer in {received:?}")));
    client.assert_idle();
    (ack, received)
}

/// The second server has used the ids that the client asks for, as if its clock had been set back.
#[test]
fn since_of_an_earlier_server_is_a_gap_and_everything() {
    let before = Binary::start(&HISTORY);
    let (ack, _) = subscribe(&mut JsonClient::connect(before.address), "", 0);
    let earlier = ack["epoch"].as_str().unwrap().to_owned();
    drop(before);

    let after = Binary::start(&HISTORY);
    let mut publisher = JsonClient::connect(after.address);
    let ids = [1, 2, 3].map(|data| publish(&mut publisher, data));
    let since = format!(r#""since":{},"#, ids[1]);
    let in_epoch = |epoch: &str| format!(r#"{since}"epoch":"{epoch}","#);

    let mut client = JsonClient::connect(after.address);
    let (ack, received) = subscribe(&mut client, &in_epoch(&earlier), 4);
    let epoch = ack["epoch"].as_str().unwrap();
    assert_ne!(epoch, earlier);
    assert_eq!(
        received[0],
        json!({"topic": "t", "gap": [1, ids[0] - 1], "epoch": epoch})
    );
    let data: Vec<&Value> = received[1..]
        .iter()
        .map(|message| &message["data"])
        .collect();
    assert_eq!(data, [1, 2, 3]);

    for fields in [
        in_epoch(epoch),
        since.clone(),
        format!(r#"{since}"epoch":null,"#),
    ] {
        let mut client = JsonClient::connect(after.address);
        let (_, received) = subscribe(&mut client, &fields, 1);
        assert_eq!(received, [json!({"topic": "t", "id": ids[2], "data": 3})]);
    }
    // An id that no message of this server has reached is from another server, without an epoch too.
    let mut client = JsonClient::connect(after.address);
    let (_, received) = subscribe(&mut client, &format!(r#""since":{},"#, ids[2] + 1), 4);
    assert_eq!(received[0]["gap"], json!([1, ids[0] - 1]));

    // Raw mode and the history follow the same rule.
    let texts = |query: String| {
        let mut raw = TestClient::connect(after.address, &format!("/ws/t?{query}"));
        let history = get(after.address, &format!("/topics/t/history?{query}"), "");
        let history: Value = serde_json::from_str(&history.body).unwrap();
        let history = history.as_array().unwrap();
        for message in history {
            raw.expect_text(&message["data"].to_string());
        }
        history.len()
    };
    assert_eq!(texts(format!("since={}&epoch={earlier}", ids[1])), 3);
    assert_eq!(texts(format!("since={}&epoch={epoch}", ids[1])), 1);
    assert_eq!(texts(format!("since={}", ids[1])), 1);
    assert_eq!(texts(format!("since={}", ids[2] + 1)), 3);
}

#[test]
fn topic_that_was_removed_meanwhile_is_no_gap() {
    let binary = Binary::start(&[]);
    let mut client = JsonClient::connect(binary.address);
    let (ack, _) = subscribe(&mut client, "", 0);
    client.send(r#"{"pub":"t","data":1}"#);
    let last = client.receive()["id"].as_u64().unwrap();
    client.request(r#"{"unsub":"t","ref":1}"#);
    assert_eq!(binary.get("/topics").body, "[]");
    let resume = format!(r#""since":{last},"epoch":{},"#, ack["epoch"]);
    let (ack, received) = subscribe(&mut client, &resume, 0);
    assert_eq!((ack["id"].as_u64(), received.len()), (Some(last), 0));
    client.send(r#"{"pub":"t","data":2}"#);
    assert_eq!(
        client.receive(),
        json!({"topic": "t", "id": last + 1, "data": 2})
    );
    client.request(r#"{"unsub":"t","ref":1}"#);
    // The message that was published meanwhile is a gap, and only that message.
    let (_, received) = subscribe(&mut client, &resume, 1);
    assert_eq!(received[0]["gap"], json!([last + 1, last + 1]));
}
