//! What `standpipe client`, `pub` and `top` print: every byte to a pipe, nothing harmful to a terminal.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::binary::Binary;
use crate::binary_client::{command, end, feed, output, run, start, ws};
use crate::secrets::File;
use crate::support::{http_url, secure_command, until};

#[test]
fn pipe_gets_every_byte_of_a_message() {
    let binary = Binary::start(&[]);
    let url = ws(&binary, "/echo");
    let text = "\u{1b}[2Jgone\r\u{202e}\0\n";
    let (code, stdout, stderr) = run(&["client", &url], text);
    assert_eq!((code, &*stdout), (Some(0), text), "{stderr}");
    let child = start(&["client", &url, "--binary"]);
    let bytes = output(feed(child, b"\xff\x00\r\n\x1b")).stdout;
    assert_eq!(bytes, b"\xff\x00\r\x1b");
}

#[test]
fn terminal_gets_control_characters_escaped() {
    const PTY: &str = "import os, pty, sys\n\
        sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let binary = Binary::start(&[]);
    let file = File::new("terminal", "\u{1b}[2Jgone\n");
    for (flags, shown) in [
        (&[][..], "\\u{1b}[2Jgone\r\n"),
        (&["--binary"], "[binary, 8 bytes]\r\n"),
    ] {
        let mut terminal = Command::new("python3");
        terminal.args(["-c", PTY, env!("CARGO_BIN_EXE_standpipe"), "client"]);
        secure_command(&mut terminal);
        terminal.args([&ws(&binary, "/echo"), "--send", file.path()]);
        terminal.args(flags);
        let streams = terminal.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = streams.stderr(Stdio::piped()).spawn().unwrap();
        let (code, stdout, stderr) = end(child);
        assert_eq!(code, Some(0), "{stdout} {stderr}");
        assert!(stdout.starts_with(shown), "{stdout:?}");
        assert!(!stdout.contains('\u{1b}'), "{stdout:?}");
    }
}

#[test]
fn client_ends_quietly_when_nobody_reads_its_output() {
    let binary = Binary::start(&[]);
    let mut child = start(&["client", &ws(&binary, "/echo")]);
    let mut stdin = child.stdin.take().unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    std::io::Write::write_all(&mut stdin, b"first\n").unwrap();
    stdout.read_line(&mut first).unwrap();
    // No further message arrives.
    drop(stdout);
    let (code, _, stderr) = end(child);
    drop(stdin);
    assert_eq!((&*first, code, &*stderr), ("first\n", Some(0), ""));
}

#[test]
fn pub_says_where_it_stopped_when_nobody_reads_its_output() {
    let binary = Binary::start(&[]);
    let base = http_url(binary.address, "");
    let mut child = start(&["pub", "t", "--url", &base]);
    drop(child.stdout.take());
    let (code, _, stderr) = end(feed(child, b"first\nsecond\n"));
    assert_eq!(code, Some(1));
    let expected = "standard output was closed; the lines after line 1 are not published\n";
    assert_eq!(stderr, expected);
}

#[test]
fn full_disk_is_an_error() {
    let binary = Binary::start(&[]);
    let full = std::fs::File::options().write(true).open("/dev/full");
    let mut command = command(&["client", &ws(&binary, "/echo")]);
    let child = command.stdout(full.unwrap()).spawn().unwrap();
    let (code, _, stderr) = end(feed(child, b"hello\n"));
    assert_eq!(code, Some(1));
    assert!(
        stderr.starts_with("cannot write to standard output"),
        "{stderr}"
    );
}

#[test]
fn top_leaves_nothing_out_of_a_pipe() {
    let binary = Binary::start(&[]);
    let topics: Vec<String> = (0..12)
        .map(|n| format!("{n:02}-{}", "t".repeat(60)))
        .collect();
    let members: Vec<_> = (topics.iter())
        .map(|topic| binary.connect(&format!("/ws/{topic}")))
        .collect();
    until("all clients are members", || {
        binary.get("/topics").body.matches("\"members\":1").count() == 12
    });
    let base = http_url(binary.address, "");
    let (code, stdout, stderr) = run(&["top", &base, "--once"], "");
    assert_eq!(code, Some(0), "{stderr}");
    for topic in &topics {
        // Once in the line of the topic, once in the line of its client.
        assert_eq!(stdout.matches(topic.as_str()).count(), 2, "{stdout}");
    }
    drop(members);
}
