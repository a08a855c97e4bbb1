//! `standpipe exec`: one command for all clients of a topic. The commands of the tests are shell scripts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use standpipe::Message;

use crate::binary::{Binary, run, standpipe};
use crate::secrets::File;
use crate::support::{Connect, Frame, JsonClient, TestClient, op, post, until};

/// Keeps the lines of the topic, so that a client that comes later gets the first line too.
const KEEP: [&str; 2] = ["--topic-settings", "lobby:history=1000"];

fn command(flags: &[&str], script: &str) -> Command {
    let start = ["exec", "--listen", "127.0.0.1:0", "--admin-open"];
    let end = ["--", "sh", "-c", script];
    let mut command = standpipe(&[&start, flags, &end].concat());
    command.env("PATH", "/usr/bin:/bin");
    command
}

#[track_caller]
fn exec(flags: &[&str], script: &str) -> Binary {
    Binary::of(command(flags, script))
}

/// Connects a client that gets all lines that the command has printed so far, and those to come.
#[track_caller]
fn member(binary: &Binary) -> TestClient {
    binary.connect("/ws/lobby?since=0")
}

#[track_caller]
fn line(client: &mut TestClient) -> String {
    client.read_message().to_text().expect("a text").to_owned()
}

/// Reads a line with numbers of processes.
#[track_caller]
fn pids(client: &mut TestClient) -> Vec<u32> {
    let line = line(client);
    let pids = line.split_whitespace().map(|word| word.parse().ok());
    pids.collect::<Option<_>>()
        .unwrap_or_else(|| panic!("{line:?} are no processes"))
}

/// Whether the process runs. One that has ended and was not asked for its exit code does not.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// A process that the command has left behind. It is killed when this is dropped.
struct Orphan(u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .args(["-s", "KILL", &self.0.to_string()])
            .status();
    }
}

/// A named pipe.
struct Fifo(PathBuf);

impl Fifo {
    fn new(name: &str) -> Fifo {
        let name = format!("standpipe-it-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo runs").success());
        Fifo(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn messages_go_to_the_command_and_its_lines_to_all() {
    let binary = exec(&KEEP, "echo ready; exec sed -u 's/^/got /'");
    let (mut one, mut other) = (member(&binary), member(&binary));
    one.expect_text("ready");
    other.expect_text("ready");
    one.text("a");
    for client in [&mut one, &mut other] {
        // The message itself reaches nobody.
        client.expect_text("got a");
    }
    // A message with line ends is several lines, and a binary message is bytes. An empty message is an empty line.
    other.binary(b"b\nc\r");
    other.text("");
    for client in [&mut one, &mut other] {
        client.expect_text("got b");
        client.expect_text("got c\r");
        client.expect_text("got ");
    }
    // The server's own messages, published over HTTP, go to the members.
    let answer = post(
        binary.address,
        "/publish/lobby",
        "Content-Type: text/plain\r\n",
        "hi",
    );
    assert_eq!(answer.status, 202, "{answer:?}");
    for client in [&mut one, &mut other] {
        client.expect_text("hi");
    }
}

#[test]
fn json_mode_acknowledges_what_the_command_gets() {
    let binary = exec(&[], "exec sed -u 's/^/got /'");
    let mut client = JsonClient::connect(binary.address);
    let before = client.subscribe("lobby");
    let ack = client.request(r#"{"pub":"lobby","data":{"x":1},"ref":7}"#);
    // The message has no id: the last line of the command has this one.
    assert_eq!(
        (&ack["ack"], ack["id"].as_u64()),
        (&7.into(), Some(before)),
        "{ack}"
    );
    let line = client.receive();
    assert_eq!(line["data"], r#"got {"x":1}"#, "{line}");
    assert_eq!(line["id"].as_u64(), Some(before + 1), "{line}");
    // Other topics have no command.
    let mut other = binary.connect("/ws/other");
    other.text("a");
    other.expect_text("a");
}

#[test]
fn line_that_is_not_utf8_is_a_binary_message() {
    let binary = exec(&KEEP, r"printf 'a\377\n\nlast'; exec cat");
    let mut client = member(&binary);
    assert_eq!(client.read_message(), Message::binary(b"a\xff".to_vec()));
    client.expect_text("");
    client.text("");
    client.expect_text("last");
}

#[test]
fn line_beyond_max_message_is_skipped() {
    let script = "printf '%02000d\\n' 7; echo short; read -r _";
    let binary = exec(&[&KEEP[..], &["--max-message", "1KiB"]].concat(), script);
    let mut client = member(&binary);
    client.expect_text("short");
    binary.signal("TERM");
    let (_, _, log) = binary.end();
    assert!(
        log.contains("1 lines of the command have more than 1024 bytes"),
        "{log}"
    );
}

#[test]
fn topic_rules_decide_who_may_talk_to_the_command() {
    let settings = "cmd:history=10,publish=server,subscribe=anyone";
    let flags = ["--topic", "cmd", "--topic-settings", settings];
    let binary = exec(&flags, "echo ready; read -r x; echo \"got $x\"");
    let mut client = binary.connect("/ws/cmd?since=0");
    client.expect_text("ready");
    client.text("a");
    client.expect_close(4003);
    let refusal =
        JsonClient::connect(binary.address).request(r#"{"pub":"cmd","data":"a","ref":1}"#);
    let error = refusal["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("forbidden"), "{refusal}");
}

#[test]
fn client_that_floods_waits_until_the_command_reads() {
    const MESSAGES: usize = 3_000;
    // More than the kernel's buffers hold, with both ends of the connection on this machine.
    const TEXT: usize = 8 << 10;
    let gate = Fifo::new("gate");
    let script = format!("read -r _ <'{}'; exec cat", gate.path().display());
    let binary = exec(&["--rcvbuf", "64KiB"], &script);
    let mut reader = binary.connect("/ws/lobby");
    // In JSON mode, a client need not subscribe. So it need not read either.
    let sender = JsonClient::connect(binary.address);
    let text = |n: usize| format!("{n:05} {}", "x".repeat(TEXT));
    let frame = |n| {
        let command = serde_json::json!({"pub": "lobby", "data": text(n)});
        Frame::new(op::TEXT, command.to_string()).bytes()
    };
    let bytes: Vec<u8> = (0..MESSAGES).flat_map(frame).collect();
    let mut sent = 0;
    let mut since = std::time::Instant::now();
    // The server has stopped reading when nothing more is accepted for a second.
    until("the sender's socket accepts nothing more", || {
        let more = sender.0.send_available(&bytes[sent..]);
        sent += more;
        if more > 0 {
            since = std::time::Instant::now();
        }
        since.elapsed() > Duration::from_secs(1)
    });
    assert!(
        sent < bytes.len(),
        "the command reads nothing, but everything was accepted"
    );
    // Other clients are not affected.
    assert_eq!(binary.get("/readyz").status, 200);
    let half = sender.0.send_half();
    let rest = std::thread::spawn(move || half.bytes(&bytes[sent..]));
    fs::write(gate.path(), "go\n").expect("the command opens the gate");
    for n in 0..MESSAGES {
        let line = line(&mut reader);
        assert!(line == text(n), "message {n} is {}…", &line[..5]);
    }
    rest.join().expect("the rest is accepted");
}

#[test]
fn command_waits_while_a_member_is_slow() {
    const LINES: usize = 300_000;
    let done = File::new("exec-done", "");
    let script = format!(
        "read -r _; seq 1 {LINES}; echo done >'{}'; read -r _",
        done.path()
    );
    let flags = [
        "--sndbuf",
        "16KiB",
        "--queue",
        "16",
        "--write-timeout",
        "60s",
    ];
    let binary = exec(&flags, &script);
    let mut client = Connect::to(binary.address)
        .path("/ws/lobby")
        .small_rcvbuf()
        .connect();
    client.text("go");
    until("the client's queue is full", || {
        let clients: Value = serde_json::from_str(&binary.get("/debug/clients").body).unwrap();
        clients[0]["queue"]["messages"].as_u64() >= Some(16)
    });
    let is_done = || fs::read_to_string(done.path()).is_ok_and(|text| text == "done\n");
    assert!(
        !is_done(),
        "the command has printed everything although nobody has read it"
    );
    for n in 1..=LINES {
        client.expect_text(&n.to_string());
    }
    until("the command goes on", is_done);
}

#[test]
fn command_is_started_again_and_gets_what_waited() {
    let binary = exec(&KEEP, "echo $$; read -r x; echo \"got $x\"; exit 3");
    let mut client = member(&binary);
    let first = pids(&mut client)[0];
    client.text("a");
    client.expect_text("got a");
    until("the first process has ended", || !runs(first));
    // This arrives in the pause before the next start, or later.
    client.text("b");
    let second = pids(&mut client)[0];
    assert_ne!(first, second);
    client.expect_text("got b");
    binary.signal("TERM");
    let (_, _, log) = binary.end();
    let end = "the command sh has ended: exit status: 3; next start in 100ms";
    assert!(log.contains(end), "{log}");
}

#[test]
fn restarts_leave_no_thread_and_no_descriptor() {
    let binary = exec(&KEEP, "echo $$; read -r _");
    let mut client = member(&binary);
    pids(&mut client);
    let resources = || {
        let process = binary.process();
        let mut threads = process.threads();
        threads.retain(|name| name.starts_with("sp-exec"));
        (threads, process.descriptors())
    };
    let before = resources();
    assert_eq!(before.0, ["sp-exec", "sp-exec-in", "sp-exec-out"]);
    for _ in 0..3 {
        client.text("again");
        pids(&mut client);
    }
    // The line of a process may come before its threads have their names.
    until("the resources are as before", || resources() == before);
}

#[test]
fn server_ends_with_a_command_that_is_not_restarted() {
    for (restart, script, code) in [
        ("never", "read -r _; echo bye", 0),
        ("never", "read -r _; echo bye; exit 3", 1),
        ("on-failure", "read -r _; echo bye", 0),
    ] {
        let binary = exec(&["--restart", restart], script);
        let mut client = binary.connect("/ws/lobby");
        client.text("go");
        client.expect_text("bye");
        client.expect_close(1001);
        client.close(1001, "");
        let (status, last, log) = binary.end();
        assert_eq!(status.code(), Some(code), "{log}");
        assert_eq!(last.as_deref(), Some("drained 1, lost 0"), "{log}");
    }
}

/// During `--drain-delay`, the server still serves its clients.
#[test]
fn message_after_the_end_of_the_command_is_refused() {
    let flags = ["--restart", "never", "--drain-delay", "10s"];
    let binary = exec(&flags, "read -r _");
    let mut raw = binary.connect("/ws/lobby");
    let mut json = JsonClient::connect(binary.address);
    raw.text("go");
    until("the command has ended", || {
        binary.get("/readyz").status == 503
    });
    let answer = json.request(r#"{"pub":"lobby","data":"a","ref":7}"#);
    assert_eq!(answer["error"], "the command has ended", "{answer}");
    raw.text("b");
    assert_eq!(raw.expect_close(1013), "the command has ended");
}

#[test]
fn command_that_cannot_be_started_is_an_error() {
    let flags = [
        "exec",
        "--listen",
        "127.0.0.1:0",
        "--",
        "/nonexistent/program",
        "s3cret",
    ];
    let (code, error) = run(&flags);
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains("cannot run /nonexistent/program: No such file"),
        "{error}"
    );
    assert!(
        !error.contains("s3cret"),
        "an argument may be a secret: {error}"
    );
    let (code, error) = run(&["exec", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(2), "{error}");
}

#[test]
fn command_has_our_environment_without_our_sockets() {
    let script = "echo \"$COLOUR,$NOTIFY_SOCKET,$LISTEN_FDS\"; read -r _";
    let mut command = command(&KEEP, script);
    command
        .env("COLOUR", "blue")
        .env("NOTIFY_SOCKET", "/nonexistent/notify");
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let binary = Binary::of(command);
    member(&binary).expect_text("blue,,");
}

#[test]
fn command_may_clean_up_when_the_server_ends() {
    let done = File::new("exec-cleaned", "");
    let script = format!(
        "trap 'echo cleaned >\"{}\"; exit' TERM; echo ready; while :; do read -r _ || sleep 0.01; done",
        done.path()
    );
    let binary = exec(&KEEP, &script);
    member(&binary).expect_text("ready");
    binary.signal("TERM");
    let (status, _, log) = binary.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(fs::read_to_string(done.path()).unwrap(), "cleaned\n");
    assert!(!log.contains("killed"), "{log}");
}

#[test]
fn process_group_that_ignores_sigterm_is_killed() {
    let script = "trap '' TERM; sleep 1000 & echo $$ $!; wait; sleep 1000";
    let binary = exec(&[&KEEP[..], &["--stop-timeout", "200ms"]].concat(), script);
    let pids = pids(&mut member(&binary));
    assert!(pids.iter().all(|pid| runs(*pid)));
    binary.signal("TERM");
    let (status, _, log) = binary.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(
        log.contains("the command has not ended after 200ms; its processes are killed"),
        "{log}"
    );
    until("both processes have ended", || {
        !pids.iter().any(|pid| runs(*pid))
    });
}

#[test]
fn rest_of_the_group_ends_with_the_command() {
    // The rest does not hold the output, so nothing waits for it.
    let script = "sleep 1000 >/dev/null & echo $!; read -r _";
    let binary = exec(&KEEP, script);
    let mut client = member(&binary);
    let rest = pids(&mut client)[0];
    client.text("go");
    until("the rest has ended", || !runs(rest));
}

#[test]
fn escaped_process_with_the_pipe_does_not_hold_the_shutdown() {
    let script = "setsid sleep 1000 2>/dev/null & echo $$ $!; read -r _; wait";
    let binary = exec(&[&KEEP[..], &["--stop-timeout", "200ms"]].concat(), script);
    let pids = pids(&mut member(&binary));
    let orphan = Orphan(pids[1]);
    binary.signal("TERM");
    let (status, _, log) = binary.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(
        runs(orphan.0),
        "the process has left the group, so no signal reaches it"
    );
    assert!(!runs(pids[0]));
    assert!(
        log.contains("something still holds the output of the command"),
        "{log}"
    );
}

#[test]
fn second_signal_kills_the_command_immediately() {
    let script = "trap '' TERM; echo $$; while :; do sleep 1000; done";
    let binary = exec(&[&KEEP[..], &["--stop-timeout", "1h"]].concat(), script);
    let mut client = member(&binary);
    let command = pids(&mut client)[0];
    binary.signal("TERM");
    client.expect_close(1001);
    binary.signal("TERM");
    let (status, _, log) = binary.end();
    assert_eq!(status.code(), Some(130), "{log}");
    until("the command has ended", || !runs(command));
}

#[test]
fn shutdown_ends_while_the_pipe_is_full() {
    let binary = exec(
        &[&KEEP[..], &["--rcvbuf", "64KiB"]].concat(),
        "echo $$; exec sleep 1000",
    );
    let mut reader = member(&binary);
    let command = pids(&mut reader)[0];
    let sender = JsonClient::connect(binary.address);
    let data = "x".repeat(32 << 10);
    let frame = Frame::new(op::TEXT, format!(r#"{{"pub":"lobby","data":"{data}"}}"#)).bytes();
    // The pipe and the queue hold less than this, so its reader waits.
    let flood = frame.repeat(100);
    let mut sent = 0;
    let mut idle = 0;
    until("the sender's socket accepts nothing more", || {
        let more = sender.0.send_available(&flood[sent..]);
        (sent, idle) = (sent + more, if more > 0 { 0 } else { idle + 1 });
        idle > 100 || sent == flood.len()
    });
    binary.signal("TERM");
    reader.expect_close(1001);
    reader.close(1001, "");
    let (status, _, log) = binary.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!runs(command));
}
