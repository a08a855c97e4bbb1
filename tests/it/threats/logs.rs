//! T26 and T27: what the log may show of a client, and that nobody waits for whoever reads the log.

use std::process::{Command, Stdio};

use super::spawned::{Spawned, standpipe};
use crate::support::{Frame, get, http, op, until};

const CANARY: &str = "canary-4f1d9a";

#[test]
fn t26_a_token_is_shown_nowhere() {
    let mut command = standpipe(&["-vv"]);
    let every_line =
        "trace,tungstenite=trace,tungstenite::protocol=trace,tungstenite::protocol::frame=trace";
    command.env("RUST_LOG", every_line);
    let mut spawned = Spawned::of(command);
    let address = spawned.addr();
    let secret = [
        format!("Authorization: Bearer {CANARY}"),
        format!("Proxy-Authorization: Basic {CANARY}"),
        format!("Cookie: session={CANARY}"),
        format!("Sec-WebSocket-Protocol: standpipe.v1, {CANARY}"),
    ];
    let all = format!("{}\r\n", secret.join("\r\n"));
    // Upgraded, answered, and refused at every step that refuses.
    let client = |path: &str| {
        secret
            .iter()
            .fold(spawned.client(path), |client, line| client.header(line))
    };
    let query = format!("?token={CANARY}&other={CANARY}");
    let mut inside = client(&format!("/ws/topic{query}")).connect();
    inside.text(CANARY);
    inside.expect_text(CANARY);
    let held = client(&format!("/echo{query}")).connect();
    let debug = get(address, "/debug/clients", &all);
    assert!(
        debug.body.contains("\"topic\"") && !debug.body.contains(CANARY),
        "{debug:?}"
    );
    for (path, status) in [
        ("/", 200),
        ("/nothing", 404),
        ("/healthz", 200),
        ("/metrics", 200),
        ("/topics", 200),
        ("/topics/topic/history", 200),
        ("/topics/topic/presence", 200),
        ("/dashboard", 200),
        ("/ws/topic", 426),
    ] {
        let answer = get(address, &format!("{path}{query}"), &all);
        assert!(
            answer.status == status || path == "/ws/topic",
            "{path}: {answer:?}"
        );
        assert!(!answer.body.contains(CANARY), "{answer:?}");
    }
    let (_, foreign) = client(&format!("/echo{query}"))
        .header("Origin: https://elsewhere.example")
        .request();
    assert_eq!(foreign.status, 403);
    for wrong in [
        format!("GET /{query} HTTP/1.1\r\nHost: {address}\r\nHost: {address}\r\n{all}\r\n"),
        format!("GET /{query} HTTP/1.1\r\n{all}\r\n"),
        format!("BREW /{query} HTTP/1.1\r\nHost: {address}\r\n{all}\r\n"),
        format!("GET /%zz{query} HTTP/1.1\r\nHost: {address}\r\n{all}\r\n"),
        format!("GET /{query} HTTP/1.1\r\nHost: {address}\r\n{all}\0\r\n\r\n"),
    ] {
        let answer = http(address, wrong);
        assert!(
            answer.status >= 400 && !answer.body.contains(CANARY),
            "{answer:?}"
        );
    }
    // A fault in the middle of a message that holds it.
    held.frame(&Frame::new(op::TEXT, CANARY).unfinished());
    held.frame(&Frame::new(op::TEXT, CANARY));
    inside.leave();
    drop(held);
    spawned.signal(&["TERM"]);
    assert_eq!(spawned.end().code(), Some(0));
    until("the last line is there", || {
        spawned.log().contains("drained")
    });
    let (log, printed) = (spawned.log(), spawned.printed());
    assert!(
        log.contains("/ws/topic") || log.contains("opened"),
        "nothing was logged: {log}"
    );
    assert!(!log.contains(CANARY), "{log}");
    assert!(!printed.contains(CANARY), "{printed}");
}

#[test]
fn t26_a_url_on_the_command_line_is_shown_without_the_token_in_it() {
    let spawned = Spawned::start(&[]);
    let address = spawned.addr();
    for user in [String::new(), format!("{CANARY}:{CANARY}@")] {
        let url = format!("ws://{user}{address}/nothing?token={CANARY}");
        for command in ["client", "bench"] {
            let said = Command::new(env!("CARGO_BIN_EXE_standpipe"))
                .args([command, &url])
                .env("RUST_LOG", "trace,tungstenite=trace")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = format!("{said:?}");
            assert!(said.contains(&format!("{address}/nothing")), "{said}");
            assert!(!said.contains(CANARY), "{said}");
        }
    }
}

#[test]
fn t27_what_a_client_says_cannot_end_a_line_or_speak_to_a_terminal() {
    let mut spawned = Spawned::tracing(&[]);
    let address = spawned.addr();
    let evil = "\x1b[2J\u{202e}\u{2066}\u{200f}\u{85}\u{9b}31m";
    let encoded = "%0d%0a%1b[2J%00%e2%80%ae%c2%9b%7f";
    for path in [
        format!("/{encoded}"),
        format!("/ws/{encoded}"),
        "/ws/%e2%80%ae%e2%81%a6x".into(),
        format!("/{evil}"),
    ] {
        let answer = get(address, &path, "");
        assert!(answer.status >= 400, "{path:?}: {answer:?}");
    }
    for header in [
        "Origin: http://",
        "Host: ",
        "User-Agent: ",
        "Sec-WebSocket-Protocol: ",
        "X-Forwarded-For: ",
    ] {
        for tail in [evil, "\r\n\x1b[2J", "a\0b", "\u{202e}", "\rX-Other: 1"] {
            let request =
                format!("GET /echo HTTP/1.1\r\nHost: {address}\r\n{header}{tail}\r\n\r\n");
            let answer = http(address, request);
            assert!(answer.status >= 400, "{header:?}{tail:?}: {answer:?}");
        }
    }
    // What a topic may be called after decoding, and a reason that is UTF-8.
    let name = "/ws/%e2%80%ae%e2%80%8f%e2%81%a7name";
    for (path, reason) in [
        ("/echo", format!("\r\n{evil}\0")),
        (name, "\u{2067}\r\n".into()),
    ] {
        let (mut client, answer) = spawned.client(path).request();
        if answer.status != 101 {
            continue;
        }
        client.close(4001, &reason);
        let rest = client.rest();
        assert_eq!(rest.closes, [(4001, reason)]);
    }
    spawned.signal(&["TERM"]);
    assert_eq!(spawned.end().code(), Some(0));
    until("the last line is there", || {
        spawned.log().contains("drained")
    });
    let log = spawned.log();
    assert!(log.contains("4001"), "the close was logged: {log}");
    for line in log.lines() {
        assert!(
            line.starts_with("[20"),
            "a line that nobody logged: {line:?}"
        );
        // The terminal's own, the C1 set, and what turns the direction round.
        let bad = |c: char| {
            c.is_control()
                || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!line.contains(bad), "{line:?}");
        assert!(line.chars().count() < 600, "{line:?}");
    }
}

#[test]
fn t27_a_long_path_fills_no_log() {
    let spawned = Spawned::tracing(&[]);
    for n in 0..50 {
        let path = format!("/{}", "long".repeat(1500));
        assert!(get(spawned.addr(), &format!("{path}{n}"), "").status >= 400);
    }
    until("all are logged", || {
        spawned.log().matches("404").count() >= 50
    });
    assert!(spawned.log().lines().all(|line| line.chars().count() < 600));
}

#[test]
fn f20_a_log_that_nobody_reads_stops_nobody() {
    // The witness says nothing for as long as all this takes.
    let mut command = standpipe(&["-vv", "--ping-interval", "10m"]);
    command.env("RUST_LOG", "trace");
    let mut spawned = Spawned::unread(command);
    let mut witness = spawned.connect("/echo");
    // Far more than a pipe and the queue of lines hold.
    for n in 0..5400 {
        let (path, status) = if n % 2 == 0 {
            ("/nothing", 404)
        } else {
            ("/%zz", 400)
        };
        assert_eq!(spawned.get(path).status, status, "request {n}");
    }
    let mut faulty = spawned.connect("/echo");
    faulty.bytes([0xff, 0xff]);
    faulty.expect_close(1002);
    witness.text("still here");
    witness.expect_text("still here");
    witness.leave();
    spawned.signal(&["TERM"]);
    assert_eq!(spawned.end().code(), Some(0));
}
