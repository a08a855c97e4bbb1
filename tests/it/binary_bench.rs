//! `standpipe bench`, against the binary itself: what it prints, what it counts, and how it ends.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};

use crate::binary::Binary;
use crate::support::within;

#[track_caller]
fn bench(address: SocketAddr, path: &str, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standpipe"));
    command
        .arg("bench")
        .arg(format!("ws://{address}{path}"))
        .args(["--time", "300ms"])
        .args(flags)
        .env_clear()
        .stdin(Stdio::null());
    within(30, "a benchmark to end", move || command.output().unwrap())
}

/// The numbers of a text, in order; with `300ms` taken for 300.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap())
        .collect()
}

/// What it printed, when it went well: the sentence, and the numbers of each line below.
#[track_caller]
fn printed(output: &Output) -> (String, Vec<Vec<u64>>) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said, "");
    let printed = String::from_utf8_lossy(&output.stdout);
    let mut lines = printed.lines().map(str::to_owned);
    let sentence = lines.next().unwrap();
    (sentence, lines.map(|line| numbers(&line)).collect())
}

/// Messages in all; the rate and the latencies are checked against each other.
#[track_caller]
fn messages(lines: &[Vec<u64>]) -> u64 {
    let [counts, latency] = lines else {
        panic!("{lines:?}")
    };
    let [messages, rate] = counts[..] else {
        panic!("{lines:?}")
    };
    // 0.3 s, rounded.
    assert!((messages * 10).abs_diff(rate * 3) <= 3, "{lines:?}");
    // p50 and p99 say so themselves.
    let [50, p50, 99, p99, max] = latency[..] else {
        panic!("{lines:?}")
    };
    assert!(p50 <= p99 && p99 <= max && max > 0, "{lines:?}");
    messages
}

#[test]
fn an_echo_is_counted_and_timed() {
    let binary = Binary::start(&[]);
    let flags = ["--clients", "3", "--window", "4", "--size", "1KiB"];
    let (sentence, lines) = printed(&bench(binary.address, "/echo", &flags));
    assert_eq!(
        sentence,
        "echo: 3 clients, 4 messages in flight each, 1KiB, 300ms: every message waits for its echo"
    );
    let messages = messages(&lines);
    assert!(messages >= 3, "{messages}");
    let metrics = binary.get("/metrics").body;
    let delivered = metrics
        .lines()
        .find_map(|line| line.strip_prefix("standpipe_messages_delivered_total "))
        .unwrap();
    // Of those in flight at the end nobody counts the answers.
    let delivered: u64 = delivered.parse().unwrap();
    assert!(
        (messages..=messages + 3 * 4).contains(&delivered),
        "{messages} {delivered}"
    );
}

#[test]
fn a_fan_out_reaches_all_before_the_next() {
    let binary = Binary::start(&[]);
    let flags = ["--kind", "fanout", "--clients", "5"];
    let (sentence, lines) = printed(&bench(binary.address, "/ws/bench", &flags));
    assert_eq!(
        sentence,
        "fanout: 1 client publishes, 5 receive, itself among them, 1 message in flight, 64B, 300ms: a message is in \
         flight until all have received it"
    );
    assert!(messages(&lines) >= 5);
}

#[test]
fn idle_clients_are_counted_when_they_have_stayed() {
    let binary = Binary::start(&[]);
    let flags = ["--kind", "idle", "--clients", "7"];
    let (sentence, lines) = printed(&bench(binary.address, "/echo", &flags));
    assert!(
        sentence.starts_with("idle: 7 of 7 clients stayed connected for 300ms"),
        "{sentence}"
    );
    assert!(lines.is_empty());
}

#[test]
fn a_server_that_is_not_there_or_cuts_is_1() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = bench(nobody, "/echo", &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("client 0: cannot connect"), "{said}");

    let binary = Binary::start(&["--max-message", "1KiB"]);
    let output = bench(binary.address, "/echo", &["--size", "2KiB"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("10 of 10 clients failed"), "{said}");

    let output = bench(binary.address, "/nothing", &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no WebSocket at"), "{said}");
}

#[test]
fn a_wrong_flag_is_2() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (flags, right) in [
        (["--size", "7"], "at least 8"),
        (["--clients", "0"], "at least 1"),
        (["--kind", "chat"], "fanout"),
    ] {
        let output = bench(nobody, "/echo", &flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(right), "{said}");
    }
}
