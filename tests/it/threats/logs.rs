//! The log shows no secrets and no forged lines, and a log that is not read blocks nothing (SECURITY.md, T26 and T27).

use std::process::{Command, Stdio};

use super::spawned::{Spawned, standpipe};
use crate::support::{Frame, get, http, op, secure_command, until, ws_url};

const CANARY: &str = "canary-4f1d9a";

#[test]
fn token_is_never_logged_or_shown() {
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
    // The secrets are sent in requests that are upgraded, answered, and refused at every step.
    let client = |path: &str| {
        secret
            .iter()
            .fold(spawned.client(path), |client, line| client.header(line))
    };
    let query = format!("?token={CANARY}&other={CANARY}");
    let mut member = client(&format!("/ws/topic{query}")).connect();
    member.text("a message, which the level trace shows");
    member.expect_text("a message, which the level trace shows");
    let violator = client(&format!("/echo{query}")).connect();
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
    for invalid in [
        format!("GET /{query} HTTP/1.1\r\nHost: {address}\r\nHost: {address}\r\n{all}\r\n"),
        format!("GET /{query} HTTP/1.1\r\n{all}\r\n"),
        format!("BREW /{query} HTTP/1.1\r\nHost: {address}\r\n{all}\r\n"),
        format!("GET /%zz{query} HTTP/1.1\r\nHost: {address}\r\n{all}\r\n"),
        format!("GET /{query} HTTP/1.1\r\nHost: {address}\r\n{all}\0\r\n\r\n"),
    ] {
        let answer = http(address, invalid);
        assert!(
            answer.status >= 400 && !answer.body.contains(CANARY),
            "{answer:?}"
        );
    }
    // A protocol violation in the middle of a message that contains the secret.
    violator.frame(&Frame::new(op::TEXT, CANARY).unfinished());
    violator.frame(&Frame::new(op::TEXT, CANARY));
    member.leave();
    drop(violator);
    spawned.signal(&["TERM"]);
    assert_eq!(spawned.end().code(), Some(0));
    until("the last line is logged", || {
        spawned.log().contains("drained")
    });
    let (log, printed) = (spawned.log(), spawned.printed());
    assert!(
        log.contains("/ws/topic") || log.contains("opened"),
        "the log does not mention the connection: {log}"
    );
    assert!(!log.contains(CANARY), "{log}");
    assert!(!printed.contains(CANARY), "{printed}");
}

#[test]
fn command_line_url_is_shown_without_its_token() {
    let spawned = Spawned::start(&[]);
    let address = spawned.addr();
    for user in [String::new(), format!("{CANARY}:{CANARY}@")] {
        let url = ws_url(address, &format!("/nothing?token={CANARY}"))
            .replace("://", &format!("://{user}"));
        for command in ["client", "bench"] {
            let mut program = Command::new(env!("CARGO_BIN_EXE_standpipe"));
            secure_command(&mut program);
            let output = program
                .args([command, &url])
                .env("RUST_LOG", "trace,tungstenite=trace")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let output = format!("{output:?}");
            assert!(output.contains(&format!("{address}/nothing")), "{output}");
            assert!(!output.contains(CANARY), "{output}");
        }
    }
}

#[test]
fn client_text_cannot_forge_log_lines() {
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
    // The name of a topic after decoding, and a close reason that is valid UTF-8.
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
    until("the last line is logged", || {
        spawned.log().contains("drained")
    });
    let log = spawned.log();
    assert!(log.contains("4001"), "the close is not in the log: {log}");
    for line in log.lines() {
        assert!(line.starts_with("[20"), "a forged line: {line:?}");
        // C0 and C1 control characters, and characters that change the direction of text.
        let bad = |c: char| {
            c.is_control()
                || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!line.contains(bad), "{line:?}");
        assert!(line.chars().count() < 600, "{line:?}");
    }
}

#[test]
fn long_path_is_shortened_in_the_log() {
    let spawned = Spawned::tracing(&[]);
    for n in 0..50 {
        let path = format!("/{}", "long".repeat(1500));
        assert!(get(spawned.addr(), &format!("{path}{n}"), "").status >= 400);
    }
    until("all requests are logged", || {
        spawned.log().matches("404").count() >= 50
    });
    assert!(spawned.log().lines().all(|line| line.chars().count() < 600));
}

#[test]
fn unread_log_does_not_block_the_server() {
    // The witness is silent for the whole test, so it must not be pinged.
    let mut command = standpipe(&["-vv", "--ping-interval", "10m"]);
    command.env("RUST_LOG", "trace");
    let mut spawned = Spawned::unread(command);
    let mut witness = spawned.connect("/echo");
    // Far more lines than the pipe and the log queue hold.
    for n in 0..5400 {
        let (path, status) = if n % 2 == 0 {
            ("/nothing", 404)
        } else {
            ("/%zz", 400)
        };
        assert_eq!(spawned.get(path).status, status, "request {n}");
    }
    let mut violator = spawned.connect("/echo");
    violator.bytes([0xff, 0xff]);
    violator.expect_close(1002);
    witness.text("still connected");
    witness.expect_text("still connected");
    witness.leave();
    spawned.signal(&["TERM"]);
    assert_eq!(spawned.end().code(), Some(0));
}
