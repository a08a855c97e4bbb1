//! Presence events and lists, as a client of JSON mode sees them.

use serde_json::json;

use crate::binary::Binary;
use crate::support::JsonClient;

#[test]
fn own_join_is_reported_and_a_leave_follows() {
    let binary = Binary::start(&[]);
    let mut ann = JsonClient::at(binary.address, "/ws?name=ann");
    ann.send(r#"{"sub":"t","presence":true,"ref":1}"#);
    let mut answers = [ann.receive(), ann.receive()];
    answers.sort_by_key(|answer| answer.get("ack").is_some());
    assert_eq!(answers[0], json!({"presence": "t", "join": "ann"}));
    assert_eq!(answers[1]["ack"], 1);

    // Bob reconnects within two seconds, which causes neither a leave nor a join.
    let bob = binary.connect("/ws/t?name=bob");
    assert_eq!(ann.receive(), json!({"presence": "t", "join": "bob"}));
    bob.leave();
    let bob = binary.connect("/ws/t?name=bob");
    assert_eq!(binary.get("/topics/t/presence").body, r#"["ann","bob"]"#);
    bob.leave();
    // Without another event in between, two seconds later:
    assert_eq!(ann.receive(), json!({"presence": "t", "leave": "bob"}));
    assert_eq!(binary.get("/topics/t/presence").body, r#"["ann"]"#);
}

#[test]
fn presence_events_have_no_ids_and_are_not_replayed() {
    let binary = Binary::start(&["--topic", "t:history=10"]);
    let mut watcher = JsonClient::connect(binary.address);
    let first = watcher.request(r#"{"sub":"t","presence":true,"ref":1}"#);
    let last = &first["id"];
    let _ann = binary.connect("/ws/t?name=ann");
    assert_eq!(watcher.receive(), json!({"presence": "t", "join": "ann"}));
    let mut late = JsonClient::connect(binary.address);
    let command = json!({"sub": "t", "since": last, "presence": true, "ref": 1});
    let ack = late.request(command.to_string());
    assert_eq!(ack, first);
    late.assert_idle();
}

#[test]
fn names_are_sorted() {
    let binary = Binary::start(&[]);
    let mut watcher = JsonClient::connect(binary.address);
    watcher.request(r#"{"sub":"t","presence":true,"ref":1}"#);
    let names = ["b", "a", "%C3%A9", "B"];
    let clients = names.map(|name| {
        let mut client = JsonClient::at(binary.address, &format!("/ws?name={name}"));
        client.subscribe("t");
        client
    });
    assert_eq!(
        binary.get("/topics/t/presence").body,
        r#"["B","a","b","é"]"#
    );
    drop(clients);
}
