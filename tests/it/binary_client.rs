//! `standpipe client`, `pub` and `top` against the real binary: their output, and how they end.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use crate::binary::Binary;
use crate::secrets::File;
use crate::support::{has_tls, http_url, secure_command, until, within, ws_url};

/// Returns the command with an empty environment and all three streams piped.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standpipe"));
    command.args(arguments).env_clear().stdin(Stdio::piped());
    secure_command(&mut command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[track_caller]
pub(crate) fn start(arguments: &[&str]) -> Child {
    command(arguments).spawn().unwrap()
}

/// Waits for the end of a command. Returns its exit code, standard output and standard error.
#[track_caller]
pub(crate) fn end(child: Child) -> (Option<i32>, String, String) {
    let output = output(child);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[track_caller]
pub(crate) fn output(child: Child) -> Output {
    within(30, "a command to end", move || {
        child.wait_with_output().unwrap()
    })
}

/// Runs a command with this standard input to its end.
#[track_caller]
pub(crate) fn run(arguments: &[&str], input: impl AsRef<[u8]>) -> (Option<i32>, String, String) {
    end(feed(start(arguments), input.as_ref()))
}

/// Writes the whole standard input of a command, and closes it.
pub(crate) fn feed(mut child: Child, input: &[u8]) -> Child {
    // A command that ends without reading everything is checked by its exit code.
    let _ = child.stdin.take().unwrap().write_all(input);
    child
}

pub(crate) fn ws(binary: &Binary, path: &str) -> String {
    ws_url(binary.address, path)
}

#[test]
fn end_of_input_closes_with_1000() {
    let binary = Binary::start(&[]);
    let (code, _, stderr) = run(&["client", &ws(&binary, "/echo")], "a\n");
    assert_eq!((code, stderr.as_str()), (Some(0), "closed with 1000\n"));
}

#[test]
fn client_sends_lines_and_waits_for_count_answers() {
    let binary = Binary::start(&[]);
    let file = File::new("client-lines", "first\n\nthird");
    let url = ws(&binary, "/echo");
    let (code, stdout, stderr) = run(&["client", &url, "--send", file.path(), "--count", "3"], "");
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout, "first\n\nthird\n");
    assert_eq!(stderr, "closed after receiving 3 messages\n");
}

#[test]
fn client_offers_json_mode_on_its_path() {
    let binary = Binary::start(&[]);
    let url = ws(&binary, "/ws");
    let arguments = ["client", &url, "--send", "-", "--count", "1"];
    let (code, stdout, stderr) = run(&arguments, "{\"sub\":\"t\",\"ref\":7}\n");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("{\"ack\":7"), "{stdout}");
    assert!(
        stderr.starts_with("subprotocol: standpipe.v1\n"),
        "{stderr}"
    );
}

#[test]
fn client_url_is_written_as_in_a_browser() {
    let binary = Binary::start(&["--topic", "*:history=10"]);
    let port = binary.address.port();
    // The name may have an address of each family, and the server listens on one of them.
    let scheme = if has_tls(binary.address) { "WSS" } else { "WS" };
    let url = format!("{scheme}://localhost:{port}/ws/ä topic%2F%C3%BC?name=é b");
    let arguments = ["client", &url, "--send", "-", "--count", "1"];
    let (code, stdout, stderr) = run(&arguments, "hello\n");
    assert_eq!((code, &*stdout), (Some(0), "hello\n"), "{stderr}");
    assert!(binary.get("/topics").body.contains("ä topic/ü"));
}

#[test]
fn client_reports_an_abnormal_close_and_exits_with_1() {
    let binary = Binary::start(&["--max-message", "1KiB"]);
    let (code, _, stderr) = run(&["client", &ws(&binary, "/echo")], "x".repeat(2000));
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("closed with 1009 "), "{stderr}");
    for (path, reason) in [
        ("/nothing", "404 Not Found: there is nothing at this path"),
        ("/ws/", "400 Bad Request: the topic in the path is empty"),
    ] {
        let (code, _, stderr) = run(&["client", &ws(&binary, path)], "");
        assert_eq!(code, Some(1));
        assert!(
            stderr.starts_with("no WebSocket at") && stderr.contains(reason),
            "{stderr}"
        );
    }
}

#[test]
fn client_notices_the_shutdown_while_waiting_for_input() {
    let binary = Binary::start(&[]);
    let mut child = start(&["client", &ws(&binary, "/ws/t")]);
    // The input stays open and empty until the client has ended.
    let stdin = child.stdin.take().unwrap();
    until("the client is a member", || {
        binary.get("/topics").body.contains("\"members\":1")
    });
    binary.signal("TERM");
    let (code, _, stderr) = end(child);
    drop(stdin);
    assert_eq!(code, Some(0));
    assert!(stderr.starts_with("closed with 1001"), "{stderr}");
}

#[test]
fn client_can_open_several_slow_connections() {
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
    until("both connections are members", || {
        binary.get("/topics").body.contains("\"members\":2")
    });
    let base = http_url(binary.address, "");
    let message = "x".repeat(60_000);
    until("messages are dropped", || {
        let published = run(&["pub", "slow", &message, "--url", &base], "");
        assert_eq!(published.0, Some(0), "{}", published.2);
        !published.1.ends_with("\"dropped\":0}\n")
    });
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn pub_publishes_each_line_of_standard_input() {
    let binary = Binary::start(&["--topic", "*:history=10"]);
    let base = http_url(binary.address, "");
    let arguments = ["pub", "a topic/ü", "-", "--url", &base, "--json"];
    let (code, stdout, stderr) = run(&arguments, "{\"n\":1}\n[2]\n");
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
    let history = binary.get("/topics/a%20topic%2F%C3%BC/history").body;
    assert!(history.contains("\"data\":{\"n\":1}") && history.contains("\"data\":[2]"));
    let (code, _, stderr) = run(&["pub", "t", "{", "--url", &base, "--json"], "");
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("not published: 400"), "{stderr}");
}

#[test]
fn pub_and_top_send_the_key_from_its_file() {
    let keys = File::new("client-keys", "s3cret\n");
    let binary = Binary::start(&["--publish-key-file", keys.path()]);
    let base = http_url(binary.address, "");
    for (arguments, flag) in [
        (vec!["pub", "t", "x", "--url", &base], "--publish-key-file"),
        (vec!["top", "--once", &base], "--key-file"),
    ] {
        let (code, _, stderr) = run(&arguments, "");
        assert_eq!(code, Some(1));
        assert!(stderr.contains("401"), "{stderr}");
        let (code, _, stderr) = run(&[arguments, vec![flag, keys.path()]].concat(), "");
        assert_eq!(code, Some(0), "{stderr}");
    }
}

#[test]
fn top_lists_clients_and_topics_and_escapes_their_names() {
    let binary = Binary::start(&[]);
    let mut member = binary.connect("/ws/%E2%80%AEevil");
    until("the client is a member", || {
        binary.get("/topics").body.contains("\"members\":1")
    });
    let (code, stdout, stderr) = run(&["top", &http_url(binary.address, ""), "--once"], "");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stdout.starts_with("standpipe: 2 clients, 1 topics"),
        "{stdout}"
    );
    assert!(
        stdout.contains(&member.local_addr().to_string()),
        "{stdout}"
    );
    assert!(
        stdout.contains("\\u{202e}evil: disconnect, 1 members"),
        "{stdout}"
    );
    assert!(!stdout.contains('\u{1b}') && !stdout.contains('\u{202e}'));
    member.close(1000, "");
    member.expect_close(1000);
}
