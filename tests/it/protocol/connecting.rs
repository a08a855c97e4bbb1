//! The opening handshake: subprotocols, names, limits that hold without a flag.

use serde_json::json;

use crate::binary::Binary;
use crate::secrets::start_with_secrets;
use crate::support::{Connect, Frame, JsonClient, get, op, post, until};

#[test]
fn raw_subprotocol_is_selected_only_if_offered() {
    let binary = Binary::start(&[]);
    for path in ["/ws/t", "/echo"] {
        for (offered, selected) in [
            (None, None),
            (Some("standpipe.raw"), Some("standpipe.raw")),
            (Some("x, standpipe.raw, y"), Some("standpipe.raw")),
            (Some("standpipe.v1"), None),
        ] {
            let mut client = Connect::to(binary.address).path(path);
            if let Some(offered) = offered {
                client = client.header(&format!("Sec-WebSocket-Protocol: {offered}"));
            }
            let (_, answer) = client.request();
            assert_eq!(answer.status, 101, "{path} {offered:?}");
            let header = answer.header("sec-websocket-protocol");
            assert_eq!(header, selected, "{path} {offered:?}");
        }
    }
}

#[test]
fn json_mode_requires_its_subprotocol() {
    let binary = Binary::start(&[]);
    for offered in ["standpipe.raw", "standpipe.v2", "STANDPIPE.V1", "x"] {
        let client = Connect::to(binary.address).path("/ws");
        let client = client.header(&format!("Sec-WebSocket-Protocol: {offered}"));
        assert_eq!(client.request().1.status, 400, "{offered}");
    }
    let client = Connect::to(binary.address).path("/ws");
    let client = client.header("Sec-WebSocket-Protocol: x, standpipe.v1, standpipe.raw");
    let (_, answer) = client.request();
    let selected = answer.header("sec-websocket-protocol");
    assert_eq!((answer.status, selected), (101, Some("standpipe.v1")));
}

#[test]
fn token_is_required_for_the_presence_list() {
    let binary = start_with_secrets("presence", "s3cret", "key");
    let path = "/topics/t/presence";
    let refused = get(binary.address, path, "");
    let challenge = refused.header("www-authenticate");
    assert_eq!((refused.status, challenge), (401, Some("Bearer")));
    let header = "Authorization: Bearer s3cret\r\n";
    assert_eq!(get(binary.address, path, header).body, "[]");
    let answer = get(binary.address, "/topics/t/presence?token=s3cret", "");
    assert_eq!(answer.body, "[]");
}

#[test]
fn several_clients_may_use_the_same_name() {
    let binary = Binary::start(&[]);
    let mut watcher = JsonClient::connect(binary.address);
    watcher.request(r#"{"sub":"t","presence":true,"ref":1}"#);
    let first = binary.connect("/ws/t?name=ann");
    assert_eq!(watcher.receive(), json!({"presence": "t", "join": "ann"}));
    let mut second = JsonClient::at(binary.address, "/ws?name=ann");
    second.subscribe("t");
    assert_eq!(binary.get("/topics/t/presence").body, r#"["ann"]"#);
    first.leave();
    // The second connection keeps the name, so the next event is about another one.
    let _bob = binary.connect("/ws/t?name=bob");
    assert_eq!(watcher.receive(), json!({"presence": "t", "join": "bob"}));
    assert_eq!(binary.get("/topics/t/presence").body, r#"["ann","bob"]"#);
}

#[test]
fn default_limits_of_a_message_are_exact() {
    let binary = Binary::start(&[]);
    let mut client = binary.connect("/echo");
    client.binary(vec![b'x'; 64 << 10]);
    assert_eq!(client.read_message().len(), 64 << 10);
    client.binary(vec![b'x'; (64 << 10) + 1]);
    client.expect_close(1009);

    let fragments = |count: usize| -> Vec<u8> {
        let frames = (1..=count).map(|n| {
            let opcode = if n == 1 { op::TEXT } else { op::CONTINUATION };
            let mut frame = Frame::new(opcode, "x");
            frame.fin = n == count;
            frame.bytes()
        });
        frames.flatten().collect()
    };
    let mut client = binary.connect("/echo");
    client.bytes(fragments(1024));
    assert_eq!(client.read_message().len(), 1024);
    client.bytes(fragments(1025));
    client.expect_close(1008);
}

#[test]
fn server_pings_a_silent_client() {
    let binary = Binary::start(&["--ping-interval", "100ms", "--ping-timeout", "60s"]);
    let mut client = binary.connect("/ws/t");
    for _ in 0..2 {
        let ping = client.next_frame();
        assert_eq!(ping.opcode, op::PING);
        client.frame(&Frame::new(op::PONG, &ping.payload));
    }
    // In milliseconds, with a fraction.
    until("the round trip is shown", || {
        let body = binary.get("/debug/clients").body;
        let shown = body.split("\"round_trip_ms\":").nth(1);
        shown.is_some_and(|shown| shown.split('}').next().is_some_and(|ms| ms.contains('.')))
    });
}

#[test]
fn tokens_and_keys_are_separate() {
    let binary = start_with_secrets("separate", "a-token", "a-key");
    for (secret, joins, publishes) in [("a-token", 101, 401), ("a-key", 401, 202)] {
        let header = format!("Authorization: Bearer {secret}");
        let client = Connect::to(binary.address).path("/ws/t").header(&header);
        assert_eq!(client.request().1.status, joins, "{secret}");
        let answer = post(binary.address, "/publish/t", &format!("{header}\r\n"), "x");
        assert_eq!(answer.status, publishes, "{secret}");
    }
}
