//! `standpipe bench` against the real binary: its output, its counts, and how it ends.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};

use crate::binary::Binary;
use crate::support::{secure_command, within, ws_url};

#[track_caller]
fn bench(address: SocketAddr, path: &str, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standpipe"));
    command
        .arg("bench")
        .arg(ws_url(address, path))
        .args(["--time", "300ms"])
        .args(flags)
        .env_clear()
        .stdin(Stdio::null());
    secure_command(&mut command);
    within(30, "a benchmark to end", move || command.output().unwrap())
}

/// Returns the numbers in a text, in order. `300ms` counts as 300.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap())
        .collect()
}

/// Checks that a benchmark succeeded. Returns its first line, and the numbers of each further line.
#[track_caller]
fn successful_output(output: &Output) -> (String, Vec<Vec<u64>>) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let mut lines = stdout.lines().map(str::to_owned);
    let sentence = lines.next().unwrap();
    (sentence, lines.map(|line| numbers(&line)).collect())
}

/// Returns the number of messages, after checking that it fits the rate and that the latencies are ordered.
#[track_caller]
fn messages(lines: &[Vec<u64>]) -> u64 {
    let [counts, latency] = lines else {
        panic!("{lines:?}")
    };
    let [messages, rate] = counts[..] else {
        panic!("{lines:?}")
    };
    // The benchmark ran for 0.3 s, and the rate is rounded.
    assert!((messages * 10).abs_diff(rate * 3) <= 3, "{lines:?}");
    // 50 and 99 are the numbers in the labels "p50" and "p99".
    let [50, p50, 99, p99, max] = latency[..] else {
        panic!("{lines:?}")
    };
    assert!(p50 <= p99 && p99 <= max && max > 0, "{lines:?}");
    messages
}

#[test]
fn echo_benchmark_counts_and_times_messages() {
    let binary = Binary::start(&[]);
    let flags = ["--clients", "3", "--window", "4", "--size", "1KiB"];
    let (sentence, lines) = successful_output(&bench(binary.address, "/echo", &flags));
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
    // The benchmark does not count the answers to the messages in flight at its end.
    let delivered: u64 = delivered.parse().unwrap();
    assert!(
        (messages..=messages + 3 * 4).contains(&delivered),
        "{messages} {delivered}"
    );
}

#[test]
fn fanout_benchmark_waits_until_all_clients_have_a_message() {
    let binary = Binary::start(&[]);
    let flags = ["--kind", "fanout", "--clients", "5"];
    let (sentence, lines) = successful_output(&bench(binary.address, "/ws/bench", &flags));
    assert_eq!(
        sentence,
        "fanout: 1 client publishes, 5 receive, including itself, 1 message in flight, 64B, 300ms: a message is in \
         flight until all have received it"
    );
    assert!(messages(&lines) >= 5);
}

#[test]
fn idle_benchmark_counts_clients_that_stayed_connected() {
    let binary = Binary::start(&[]);
    let flags = ["--kind", "idle", "--clients", "7"];
    let (sentence, lines) = successful_output(&bench(binary.address, "/echo", &flags));
    assert!(
        sentence.starts_with("idle: 7 of 7 clients stayed connected for 300ms"),
        "{sentence}"
    );
    assert!(lines.is_empty());
}

#[test]
fn benchmark_that_fails_exits_with_1() {
    let unused = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = bench(unused, "/echo", &[]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("client 0: cannot connect"), "{stderr}");

    let binary = Binary::start(&["--max-message", "1KiB"]);
    let output = bench(binary.address, "/echo", &["--size", "2KiB"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("10 of 10 clients failed"), "{stderr}");

    let output = bench(binary.address, "/nothing", &[]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("no WebSocket at"), "{stderr}");
}

#[test]
fn wrong_benchmark_flag_exits_with_2() {
    let unused = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (flags, right) in [
        (["--size", "7"], "at least 8"),
        (["--clients", "0"], "at least 1"),
        (["--kind", "chat"], "fanout"),
    ] {
        let output = bench(unused, "/echo", &flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(right), "{stderr}");
    }
}
