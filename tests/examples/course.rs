use tungstenite::Message;

use crate::support::{Example, close_code, connect, text};

/// Returns the numbers in a line, in order.
fn numbers(line: &str) -> Vec<u64> {
    let digits = line.split(|c: char| !c.is_ascii_digit());
    digits.filter_map(|digits| digits.parse().ok()).collect()
}

#[test]
fn push_sends_unasked_to_every_client() {
    let mut push = Example::start("02_push", &["127.0.0.1:0"]);
    let address = push.address();
    let mut listener = connect(address, "/");
    assert!(text(&mut listener).starts_with("second "));
    let mut sender = connect(address, "/");
    sender.send(Message::text("hello")).unwrap();
    for client in [&mut listener, &mut sender] {
        while text(client) != "hello" {}
    }
    push.interrupt();
    assert_eq!(close_code(&mut listener), 1001);
    assert_eq!(close_code(&mut sender), 1001);
    assert_eq!(push.end().last().unwrap(), "drained 2, lost 0");
}

#[test]
fn backpressure_makes_send_wait_until_client_reads() {
    let mut example = Example::start("03_backpressure", &["127.0.0.1:0"]);
    assert!(numbers(&example.line("the kernels hold"))[0] > 0);
    example.line("writer: blocked in write");
    example.line("the queue is full: 64 of 64");
    example.line("reader: waiting for room in client 1's queue");
    example.line("send returned");
    let counts = numbers(&example.line("accepted"));
    assert_eq!(counts[0], counts[1], "accepted, delivered");
    assert_eq!(counts[1], counts[2], "delivered, read");
    example.end();
}

#[test]
fn full_queue_table_rows_add_up() {
    let mut example = Example::start("04_full_queue", &["127.0.0.1:0"]);
    for verb in ["try_send", "send_timeout", "send  "] {
        example.line(verb);
    }
    example.line("policy");
    for (policy, code) in [
        ("block:50ms", 4008),
        ("drop-newest", 1000),
        ("drop-oldest", 1000),
        ("conflate", 1000),
        ("disconnect", 4008),
    ] {
        let line = example.line(policy);
        let row = numbers(line.trim_start_matches("block:50ms"));
        let [accepted, delivered, dropped, discarded, got, _, close] = row[..7] else {
            panic!("{line}");
        };
        assert_eq!(accepted, delivered + dropped + discarded, "{line}");
        assert_eq!(got, delivered, "{line}");
        assert_eq!(close, code, "{line}");
    }
    example.end();
}

#[test]
fn shutdown_reports_how_each_client_ends() {
    let mut example = Example::start("05_shutdown", &["127.0.0.1:0"]);
    example.address();
    let output = example.end().join("\n");
    for line in [
        "reads and answers: 0 messages, Close 1001",
        "50 messages to read: 50 messages, Close 1001",
        "half a request: HTTP/1.1 503 Service Unavailable",
        "send fails from now on: true",
        "refused = true",
        "drained 2, lost 1",
    ] {
        assert!(output.contains(line), "no {line:?} in\n{output}");
    }
}

#[test]
fn embed_serves_clients_and_stdin_in_one_loop() {
    let mut embed = Example::start("06_embed", &["127.0.0.1:0"]);
    let address = embed.address();
    let mut client = connect(address, "/here");
    embed.line("client 1 connected, path /here");
    client.send(Message::text("12345")).unwrap();
    assert_eq!(text(&mut client), "message 1 in all");
    embed.line("client 1: 5 bytes");
    embed.type_line("to all of you");
    assert_eq!(text(&mut client), "to all of you");
    embed.line("1 clients, 1 messages");
    embed.interrupt();
    assert_eq!(close_code(&mut client), 1001);
    assert_eq!(embed.end().last().unwrap(), "drained 1, lost 0");
}

#[test]
fn websocket_round_trip_takes_fewest_bytes() {
    let mut example = Example::start("07_http_vs_websocket", &["127.0.0.1:0"]);
    let bytes = numbers(&example.line("one round trip"));
    let [new, kept, socket] = bytes[..] else {
        panic!("{bytes:?}");
    };
    assert!(socket < kept && kept < new, "{bytes:?}");
    // Two frames; only the frame of the client is masked: 2 + 4 + 32 and 2 + 32 bytes (RFC 6455 §5.2).
    assert_eq!(socket, 72);
    example.end();
}
