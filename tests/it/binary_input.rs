//! What `standpipe client` and `pub` do with their input: every byte is sent, or its line is named.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use crossbeam_channel::bounded;
use serde_json::Value;
use standpipe::{Config, Connection};

use crate::binary::Binary;
use crate::binary_client::{end, feed, run, start, ws};
use crate::secrets::File;
use crate::support::{DEADLINE, Failure, Plain, TestServer, http_url, until, within, ws_url};

const LONG: usize = 2000;

/// Publishes the input to the topic `t`.
#[track_caller]
fn publish(
    address: SocketAddr,
    flags: &[&str],
    input: impl AsRef<[u8]>,
) -> (Option<i32>, String, String) {
    let base = http_url(address, "");
    run(&[&["pub", "t", "-", "--url", &base], flags].concat(), input)
}

/// Returns the data of the messages in the history of `t`.
#[track_caller]
fn history(binary: &Binary) -> Vec<Value> {
    let history: Value = serde_json::from_str(&binary.get("/topics/t/history").body).unwrap();
    let messages = history.as_array().unwrap().iter();
    messages.map(|message| message["data"].clone()).collect()
}

/// A server that gives one answer, whatever it is asked, after it has read the head of the request.
fn answer_once(answer: &'static str) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let plain = Plain::at(&[address]);
    let thread = std::thread::spawn(move || {
        let _plain = plain;
        let (mut tcp, _) = listener.accept().unwrap();
        read_request(&mut tcp);
        tcp.write_all(answer.as_bytes()).unwrap();
    });
    (address, thread)
}

/// Reads one request with the body `x`. Returns its head.
fn read_request(tcp: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\nx") {
        tcp.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn pub_keeps_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _plain = Plain::at(&[address]);
    let base = http_url(address, "");
    let (answer, answers) = bounded(0);
    let (read, requests) = bounded(0);
    let (end_connection, ended) = bounded(3);
    let server = std::thread::spawn(move || {
        // The end of each inner loop ends the connection. The last answer of the second one announces it.
        for (connection, count) in [2, 2, 1].into_iter().enumerate() {
            let (mut tcp, _) = listener.accept().unwrap();
            for _ in 0..count {
                let head = read_request(&mut tcp);
                assert!(!head.contains("Connection: close"), "{head}");
                read.send(connection).unwrap();
                let header: &str = answers.recv().unwrap();
                let answer =
                    format!("HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n{header}\r\n{{}}");
                tcp.write_all(answer.as_bytes()).unwrap();
            }
            // A process that another test is just starting may hold a copy of the descriptor, so dropping it is not enough.
            // An error means that the connection has ended already.
            let _ = tcp.shutdown(Shutdown::Both);
            end_connection.send(()).unwrap();
        }
    });
    let mut child = start(&["pub", "t", "-", "--url", &base]);
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut publish = |header: &'static str| {
        stdin.write_all(b"x\n").unwrap();
        let connection = requests.recv_timeout(DEADLINE);
        let connection = connection.expect("the line is published before the deadline");
        answer.send(header).unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "{}\n");
        connection
    };
    let keep = "Connection: keep-alive\r\n";
    assert_eq!(["", keep].map(&mut publish), [0, 0]);
    // The server ends the connection without having said so.
    ended.recv_timeout(DEADLINE).expect("the connection ends");
    let connections = [keep, "Connection: close\r\n", keep].map(&mut publish);
    assert_eq!(connections, [1, 1, 2]);
    drop(stdin);
    let (code, _, stderr) = end(child);
    assert_eq!((code, &*stderr), (Some(0), ""));
    within(20, "the server to end", move || server.join()).unwrap();
}

#[test]
fn pub_uses_a_new_connection_after_100_messages() {
    let binary = Binary::start(&["--topic", "*:history=1000"]);
    let lines: Vec<String> = (0..250).map(|n| n.to_string()).collect();
    let (code, stdout, stderr) = publish(binary.address, &[], lines.join("\n"));
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert_eq!(stdout.lines().count(), 250);
    assert_eq!(history(&binary), lines);
}

#[test]
fn pub_keeps_every_byte_of_a_line() {
    let binary = Binary::start(&["--topic", "*:history=10"]);
    let (code, stdout, stderr) = publish(binary.address, &[], "\u{feff}a\r\n\n \0\u{1b}\nlast");
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert_eq!(stdout.lines().count(), 4, "{stdout}");
    assert_eq!(history(&binary), ["\u{feff}a\r", "", " \0\u{1b}", "last"]);
}

#[test]
fn pub_names_each_line_that_it_cannot_publish() {
    let flags = ["--topic", "*:history=10", "--max-message", "1KiB"];
    let binary = Binary::start(&flags);
    let mut input = b"first\na\xff\n".to_vec();
    input.extend(vec![b'x'; LONG]);
    input.extend(b"\n");
    // The server answers before it has received so much.
    input.extend(vec![b'y'; 5_000_000]);
    input.extend(b"\nlast\n");
    let (code, stdout, stderr) = publish(binary.address, &[], input);
    assert_eq!(code, Some(1));
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
    let limit = "not published: 413 the body is larger than the limit of 1024 bytes";
    let expected = format!(
        "line 2 is not UTF-8 at byte 2 (--binary publishes bytes): not published\n\
         line 3 (2000 bytes): {limit}\n\
         line 4 (5000000 bytes): {limit}\n\
         not published: 3 of 5 lines\n"
    );
    assert_eq!(stderr, expected);
    assert_eq!(history(&binary), ["first", "last"]);
}

#[test]
fn pub_json_skips_blank_lines_and_says_so() {
    let binary = Binary::start(&["--topic", "*:history=10"]);
    let (code, _, stderr) = publish(binary.address, &["--json"], "1\n \r\n{\"a\":2}\n\n");
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(
        stderr,
        "line 2 is blank: skipped\nline 4 is blank: skipped\n"
    );
    assert_eq!(
        history(&binary),
        [serde_json::json!(1), serde_json::json!({"a": 2})]
    );
    let (code, stdout, stderr) = publish(binary.address, &["--json"], "{\n3\n");
    assert_eq!((code, stdout.lines().count()), (Some(1), 1));
    assert!(
        stderr.starts_with("line 1 (1 bytes): not published: 400 not JSON"),
        "{stderr}"
    );
}

#[test]
fn pub_binary_publishes_any_bytes() {
    let binary = Binary::start(&["--topic", "*:history=10"]);
    let (code, _, stderr) = publish(binary.address, &["--binary"], b"\xff\x00\r\n\n");
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert_eq!(history(&binary), ["/wAN", ""]);
    let body = binary.get("/topics/t/history").body;
    assert_eq!(body.matches("\"base64\":true").count(), 2, "{body}");
}

#[test]
fn pub_stops_when_the_server_refuses_every_message() {
    let keys = File::new("input-keys", "s3cret\n");
    let binary = Binary::start(&["--publish-key-file", keys.path()]);
    let (code, stdout, stderr) = publish(binary.address, &[], "a\nb\n");
    assert_eq!((code, &*stdout), (Some(1), ""));
    let expected = "line 1: not published: 401 a key is required (use --key-file); the lines after it are not published\n";
    assert_eq!(stderr, expected);
}

#[test]
fn pub_does_not_call_a_published_message_unpublished() {
    let (address, server) = answer_once(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n\r\n\
         {\"id\":7,\"receivers\":1,\"dropped\":1}",
    );
    let (code, stdout, stderr) = publish(address, &[], "x");
    server.join().unwrap();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout, "{\"id\":7,\"receivers\":1,\"dropped\":1}\n");
    assert!(
        stderr.starts_with("line 1: published, but members"),
        "{stderr}"
    );

    let (address, server) = answer_once("");
    let (code, _, stderr) = publish(address, &[], "x");
    server.join().unwrap();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("may be published or not"), "{stderr}");
}

#[test]
fn pub_checks_topic_and_key_before_it_connects() {
    let long = "t".repeat(201);
    for (arguments, reason) in [
        (
            ["pub", "", "x", "--timeout", "1s"],
            "a topic has 1 to 200 bytes",
        ),
        (
            ["pub", &long, "x", "--timeout", "1s"],
            "a topic has 1 to 200 bytes",
        ),
        (["pub", "a/../b", "x", "--timeout", "1s"], "may be . or .."),
        (["pub", "t", "x", "--key", ""], "a key has 1 to 200 bytes"),
        (["pub", "t", "x", "--url", "http://a/?b"], "has no query"),
        (
            ["pub", "t", "x", "--url", "http://a/#key=secret"],
            "--key-file",
        ),
        (
            ["pub", "t", "x", "--url", "http://me:secret@a"],
            "a user in the URL",
        ),
    ] {
        let (code, _, stderr) = run(&arguments, "");
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(reason), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("secret"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn client_names_a_line_that_is_not_utf8() {
    let binary = Binary::start(&[]);
    let (code, stdout, stderr) = run(&["client", &ws(&binary, "/echo")], b"a\xff\nb\r\n\nc");
    assert_eq!((code, &*stdout), (Some(1), "b\r\n\nc\n"));
    let expected = "line 1 is not UTF-8 at byte 2 (--binary sends bytes): not sent\n\
                    closed with 1000; 1 line was not sent\n";
    assert_eq!(stderr, expected);
}

#[test]
fn client_names_the_line_behind_1009() {
    let binary = Binary::start(&["--max-message", "1KiB"]);
    let input = format!("short\n{}\nnext\n", "x".repeat(LONG));
    let (code, _, stderr) = run(&["client", &ws(&binary, "/echo")], input);
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("closed with 1009 "), "{stderr}");
    assert!(
        stderr.contains("the longest line is line 2 with 2000 bytes"),
        "{stderr}"
    );
}

#[test]
fn client_says_that_a_file_was_not_sent_to_its_end() {
    // The handler reads nothing and returns, so the server closes with 1000.
    let handler = |_: &mut Connection| -> Result<(), Failure> { Ok(()) };
    let server = TestServer::start(Config::default(), handler);
    let line = format!("{}\n", "x".repeat(1000));
    let file = File::new("client-unsent", &line.repeat(20_000));
    let url = ws_url(server.addr(), "/");
    let (code, _, stderr) = run(&["client", &url, "--send", file.path()], "");
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("the lines from line") && stderr.contains("were not sent"),
        "{stderr}"
    );
}

#[test]
fn client_reports_input_that_cannot_be_read() {
    let binary = Binary::start(&[]);
    let arguments = ["client", &ws(&binary, "/echo"), "--send", "/"];
    let (code, _, stderr) = run(&arguments, "");
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("the input could not be read to its end"),
        "{stderr}"
    );
}

#[test]
fn client_stays_connected_after_its_input() {
    let binary = Binary::start(&[]);
    let child = start(&["client", &ws(&binary, "/ws/t"), "--stay"]);
    let child = feed(child, b"hello\n");
    until(
        "the client is a member and its message was published",
        || {
            let topics = binary.get("/topics").body;
            topics.contains("\"members\":1") && topics.contains("\"accepted\":1")
        },
    );
    let (code, _, stderr) = publish(binary.address, &[], "after the end\n");
    assert_eq!(code, Some(0), "{stderr}");
    binary.signal("TERM");
    let (code, stdout, stderr) = end(child);
    assert_eq!(
        (code, &*stdout),
        (Some(0), "hello\nafter the end\n"),
        "{stderr}"
    );
    assert!(stderr.starts_with("closed with 1001"), "{stderr}");
}

#[test]
fn clients_cannot_share_standard_input() {
    let arguments = [
        "client",
        "ws://127.0.0.1:1/",
        "--clients",
        "2",
        "--send",
        "-",
    ];
    let (code, _, stderr) = run(&arguments, "");
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("--clients 1"), "{stderr}");
}
