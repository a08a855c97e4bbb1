//! `standpipe client`, `pub` and `top`, against the binary itself: what they print, and how they end.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use crate::binary::Binary;
use crate::secrets::File;
use crate::support::{until, within};

#[track_caller]
fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standpipe"));
    command.args(arguments).env_clear().stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Its end: exit code, what it printed, what it said.
#[track_caller]
fn end(child: Child) -> (Option<i32>, String, String) {
    let output: Output = within(30, "a command to end", move || {
        child.wait_with_output().unwrap()
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[track_caller]
fn run(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = start(arguments);
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    end(child)
}

fn ws(binary: &Binary, path: &str) -> String {
    format!("ws://{}{path}", binary.address)
}

#[test]
fn what_is_typed_is_sent_and_its_end_is_a_goodbye() {
    let binary = Binary::start(&[]);
    let (code, _, said) = run(&["client", &ws(&binary, "/echo")], "a\n");
    assert_eq!((code, said.as_str()), (Some(0), "closed with 1000\n"));
}

#[test]
fn a_file_is_sent_line_by_line_and_so_many_answers_are_waited_for() {
    let binary = Binary::start(&[]);
    let file = File::new("client-lines", "first\n\nthird");
    let url = ws(&binary, "/echo");
    let (code, printed, said) = run(&["client", &url, "--send", file.path(), "--count", "3"], "");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(printed, "first\n\nthird\n");
    assert_eq!(said, "closed after receiving 3 messages\n");
}

#[test]
fn no_escape_sequence_of_a_peer_reaches_the_terminal() {
    let binary = Binary::start(&[]);
    let url = ws(&binary, "/echo");
    let arguments = ["client", &url, "--send", "-", "--count", "1"];
    let (code, printed, _) = run(&arguments, "\u{1b}[2Jgone\n");
    assert_eq!((code, printed.as_str()), (Some(0), "\\u{1b}[2Jgone\n"));
}

#[test]
fn json_mode_is_offered_where_it_is_spoken() {
    let binary = Binary::start(&[]);
    let url = ws(&binary, "/ws");
    let arguments = ["client", &url, "--send", "-", "--count", "1"];
    let (code, printed, said) = run(&arguments, "{\"sub\":\"t\",\"ref\":7}\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(printed.starts_with("{\"ack\":7"), "{printed}");
    assert!(said.starts_with("subprotocol: standpipe.v1\n"), "{said}");
}

#[test]
fn a_bad_end_is_told_with_its_code_and_exits_1() {
    let binary = Binary::start(&["--max-message", "1KiB"]);
    let (code, _, said) = run(&["client", &ws(&binary, "/echo")], &"x".repeat(2000));
    assert_eq!(code, Some(1));
    assert!(said.starts_with("closed with 1009 "), "{said}");
    let (code, _, said) = run(&["client", &ws(&binary, "/nothing")], "");
    assert_eq!(code, Some(1));
    assert!(said.contains("no WebSocket at"), "{said}");
}

#[test]
fn a_client_hears_of_the_shutdown_though_nothing_more_is_typed() {
    let binary = Binary::start(&[]);
    let mut child = start(&["client", &ws(&binary, "/ws/t")]);
    // Open, and silent, until the client is gone.
    let typed = child.stdin.take().unwrap();
    until("a member", || {
        binary.get("/topics").body.contains("\"members\":1")
    });
    binary.signal("TERM");
    let (code, _, said) = end(child);
    drop(typed);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("closed with 1001"), "{said}");
}

#[test]
fn several_clients_that_stop_reading_are_the_slow_ones() {
    let binary = Binary::start(&["--policy", "drop-newest", "--queue", "4"]);
    let url = ws(&binary, "/ws/slow");
    let arguments = [
        "client",
        &url,
        "--clients",
        "2",
        "--pause-after",
        "1",
        "--rcvbuf",
        "4KiB",
    ];
    let mut child = start(&arguments);
    until("two members", || {
        binary.get("/topics").body.contains("\"members\":2")
    });
    let base = format!("http://{}", binary.address);
    let message = "x".repeat(60_000);
    until("messages that were dropped", || {
        let published = run(&["pub", "slow", &message, "--url", &base], "");
        assert_eq!(published.0, Some(0), "{}", published.2);
        !published.1.ends_with("\"dropped\":0}\n")
    });
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_line_of_standard_input_is_published_as_a_message() {
    let binary = Binary::start(&["--topic", "*:history=10"]);
    let base = format!("http://{}", binary.address);
    let arguments = ["pub", "a topic/ü", "-", "--url", &base, "--json"];
    let (code, printed, said) = run(&arguments, "{\"n\":1}\n[2]\n");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(printed.lines().count(), 2, "{printed}");
    let history = binary.get("/topics/a%20topic%2F%C3%BC/history").body;
    assert!(history.contains("\"data\":{\"n\":1}") && history.contains("\"data\":[2]"));
    let (code, _, said) = run(&["pub", "t", "{", "--url", &base, "--json"], "");
    assert_eq!(code, Some(1));
    assert!(said.starts_with("not published: 400"), "{said}");
}

#[test]
fn a_key_is_brought_from_its_file() {
    let keys = File::new("client-keys", "s3cret\n");
    let binary = Binary::start(&["--publish-key-file", keys.path()]);
    let base = format!("http://{}", binary.address);
    for (arguments, flag) in [
        (vec!["pub", "t", "x", "--url", &base], "--publish-key-file"),
        (vec!["top", "--once", &base], "--key-file"),
    ] {
        let (code, _, said) = run(&arguments, "");
        assert_eq!(code, Some(1));
        assert!(said.contains("401"), "{said}");
        let (code, _, said) = run(&[arguments, vec![flag, keys.path()]].concat(), "");
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn top_prints_every_client_and_topic_once_and_no_escape_sequence() {
    let binary = Binary::start(&[]);
    let mut member = binary.connect("/ws/%E2%80%AEevil");
    until("a member", || {
        binary.get("/topics").body.contains("\"members\":1")
    });
    let (code, printed, said) = run(
        &["top", &format!("http://{}", binary.address), "--once"],
        "",
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(
        printed.starts_with("standpipe: 2 clients, 1 topics"),
        "{printed}"
    );
    assert!(
        printed.contains(&member.local_addr().to_string()),
        "{printed}"
    );
    assert!(
        printed.contains("\\u{202e}evil: disconnect, 1 members"),
        "{printed}"
    );
    assert!(!printed.contains('\u{1b}') && !printed.contains('\u{202e}'));
    member.close(1000, "");
    member.expect_close(1000);
}
