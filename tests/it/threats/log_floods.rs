//! Clients cannot flood the log: lines of one kind are throttled, and their counts add up (SECURITY.md, T46a and T46b).

use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use standpipe::{Config, Connection, Hub, SubscribeOptions};

use super::spawned::Spawned;
use crate::support::{
    DEADLINE, Frame, LogLines, TestServer, http, in_own_process, lines_and_left_out, op, until,
};

/// Three seconds pass between two lines of a kind.
const INTERVAL: Duration = Duration::from_secs(3);

/// Returns the most lines of one kind in the time since `began`: one at its beginning, one for each interval, and the
/// count at the end.
fn most_lines(began: Instant) -> u64 {
    2 + began.elapsed().as_secs() / INTERVAL.as_secs()
}

/// Checks that a line was logged for each client or counted as left out, and that the lines were throttled. `line` is in
/// each line, and `rest` begins the line that has only a count.
#[track_caller]
fn assert_throttled(lines: &[String], line: &str, rest: &str, clients: u64, began: Instant) {
    let all = lines.iter().map(String::as_str);
    let (count, left_out) = lines_and_left_out(all, line, rest);
    assert_eq!(count + left_out, clients, "{lines:?}");
    assert!(count <= most_lines(began), "{lines:?}");
}

#[test]
fn refusals_of_one_kind_are_logged_once_in_3_s() {
    let began = Instant::now();
    let mut spawned = Spawned::start(&[]);
    let address = spawned.addr();
    // Each thread sends requests that are refused with three statuses.
    let clients: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(move || {
                for _ in 0..250 {
                    let garbage = http(address, "garbage\r\n\r\n");
                    assert_eq!(garbage.status, 400);
                    let foreign = http(address, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
                    assert_eq!(foreign.status, 421);
                    let origin = "Origin: http://a.example\r\n";
                    let request = format!("PUT / HTTP/1.1\r\nHost: {address}\r\n{origin}\r\n");
                    assert_eq!(http(address, request).status, 403);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let metrics = spawned.get("/metrics").body;
    assert!(
        metrics.contains("standpipe_refused_total{reason=\"request\"} 6000"),
        "{metrics}"
    );
    spawned.signal(&["TERM"]);
    assert_eq!(spawned.end().code(), Some(0));
    until("the last line is logged", || {
        spawned.log().contains("drained")
    });
    let log = spawned.log();
    for status in [400, 421, 403] {
        let kind = format!("requests refused with {status}:");
        let (lines, left_out) = lines_and_left_out(log.lines(), &format!(": {status}, "), &kind);
        assert_eq!(lines + left_out, 2000, "{log}");
        let all = lines + log.matches(&kind).count() as u64;
        assert!(all <= most_lines(began), "{log}");
    }
    assert!(log.len() < 8 << 10, "{} bytes: {log}", log.len());
}

#[test]
fn left_out_lines_are_reported_without_a_further_refusal() {
    let spawned = Spawned::start(&[]);
    for _ in 0..5 {
        assert_eq!(http(spawned.addr(), "garbage\r\n\r\n").status, 400);
    }
    until("the watchdog reports the lines that were left out", || {
        spawned
            .log()
            .contains("requests refused with 400: left out: 4 of this kind")
    });
}

#[test]
fn violations_are_logged_once_in_3_s() {
    let mut spawned = Spawned::start(&[]);
    for _ in 0..100 {
        let mut violator = spawned.connect("/echo");
        violator.bytes([0xff, 0xff]);
        violator.expect_close(1002);
    }
    spawned.signal(&["TERM"]);
    assert_eq!(spawned.end().code(), Some(0));
    until("the last line is logged", || {
        spawned.log().contains("drained")
    });
    let log = spawned.log();
    let (lines, left_out) = lines_and_left_out(log.lines(), " violation: 1002", "violations:");
    assert_eq!(lines + left_out, 100, "{log}");
    assert!(lines <= 10, "{log}");
}

#[test]
fn refused_publishes_are_logged_once_in_3_s() {
    let began = Instant::now();
    let mut spawned = Spawned::start(&["--topic", "news:publish=server"]);
    for _ in 0..50 {
        let mut client = spawned.connect("/ws/news");
        client.text("not allowed");
        client.expect_close(4003);
    }
    spawned.signal(&["TERM"]);
    assert_eq!(spawned.end().code(), Some(0));
    until("the last line is logged", || {
        spawned.log().contains("drained")
    });
    let log = spawned.log();
    let (lines, left_out) =
        lines_and_left_out(log.lines(), " publish refused: ", "publish refused:");
    assert_eq!(lines + left_out, 50, "{log}");
    assert!(lines <= most_lines(began), "{log}");
    assert!(!log.contains("not allowed"), "{log}");
}

#[test]
fn overdue_client_with_a_busy_handler_is_logged_once() {
    let name = "threats::log_floods::overdue_client_with_a_busy_handler_is_logged_once";
    in_own_process(name, || {
        // At this level nothing is throttled, so a second line would be seen.
        let lines = LogLines::keep(log::LevelFilter::Debug);
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let config = Config::default().close_timeout(Duration::from_millis(100));
        let server = TestServer::start(config, move |conn: &mut Connection| {
            conn.close(4000, "not answered");
            // The handler is busy until the test ends.
            let _ = released.lock().unwrap().recv_timeout(DEADLINE);
            Ok(())
        });
        let client = server.connect();
        let overdue = "reset: close_timeout passed";
        let count = || {
            lines
                .get()
                .iter()
                .filter(|line| line.contains(overdue))
                .count()
        };
        until("the client is reset", || count() > 0);
        // The callback runs on every fourth tick, so this is a hundred ticks.
        let (tick, ticks) = mpsc::sync_channel(0);
        let tick = Mutex::new(tick);
        let _ticks = server.handle().on_tick(move || {
            let _ = tick.lock().unwrap().try_send(());
        });
        for _ in 0..25 {
            ticks.recv_timeout(DEADLINE).expect("the watchdog ticks");
        }
        assert_eq!(count(), 1, "{:?}", lines.get());
        drop((release, client));
    });
}

#[test]
fn clients_overdue_together_are_logged_as_one_line_and_a_count() {
    const CLIENTS: u64 = 1000;
    let name = "threats::log_floods::clients_overdue_together_are_logged_as_one_line_and_a_count";
    in_own_process(name, || {
        let lines = LogLines::keep(log::LevelFilter::Info);
        let config = Config::default().close_timeout(Duration::from_millis(500));
        let (open, opened) = crossbeam_channel::bounded::<()>(0);
        let server = TestServer::start(config, move |_: &mut Connection| {
            // Disconnected when all clients are connected. Then all are closed together.
            let _ = opened.recv_timeout(DEADLINE);
            Ok(())
        });
        let clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
        let began = Instant::now();
        drop(open);
        until("all clients are reset", || server.handle().clients() == 0);
        assert_eq!(server.disconnects("close_timeout"), CLIENTS);
        server.shut_down();
        drop(clients);
        let (line, rest) = (
            "reset: close_timeout passed",
            "because close_timeout passed:",
        );
        assert_throttled(&lines.get(), line, rest, CLIENTS, began);
    });
}

#[test]
fn slow_consumers_are_logged_once_in_3_s() {
    const CLIENTS: u64 = 60;
    let name = "threats::log_floods::slow_consumers_are_logged_once_in_3_s";
    in_own_process(name, || {
        let lines = LogLines::keep(log::LevelFilter::Info);
        let hub = Hub::default();
        let topic = hub.topic("topic\n").unwrap();
        let joined = topic.clone();
        let config = Config::default()
            .queue(64)
            .sndbuf(Some(4096))
            .close_timeout(Duration::from_millis(500));
        let server = TestServer::start(config, move |conn: &mut Connection| {
            let _member = joined.subscribe(conn.outbox(), SubscribeOptions::new())?;
            while conn.recv()?.is_some() {}
            Ok(())
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| server.client().rcvbuf(4096).connect())
            .collect();
        until("all are members", || topic.members() as u64 == CLIENTS);
        let began = Instant::now();
        let message = "x".repeat(32 << 10);
        until("all are disconnected", || {
            topic.publish(message.as_str()).unwrap();
            topic.members() == 0
        });
        server.shut_down();
        drop(clients);
        let (line, rest) = (
            "disconnected by topic topic\\n: 4008, slow consumer",
            "slow consumers disconnected:",
        );
        assert_throttled(&lines.get(), line, rest, CLIENTS, began);
    });
}

#[test]
fn verbose_log_has_every_refusal() {
    let spawned = Spawned::start(&["-v"]);
    for _ in 0..20 {
        assert_eq!(http(spawned.addr(), "garbage\r\n\r\n").status, 400);
    }
    until("each refusal is logged", || {
        spawned.log().matches(": 400, ").count() == 20
    });
}

#[test]
fn verbose_log_shows_each_message_only_at_vv() {
    for (flag, shows) in [("-vv", true), ("-v", false)] {
        let mut spawned = Spawned::start(&[flag]);
        let mut client = spawned.connect("/echo");
        let address = client.local_addr();
        for text in ["hello", "a\x1b[2J\r\nb", &"long ".repeat(100)] {
            client.text(text);
            client.expect_text(text);
        }
        client.binary([1, 2, 3]);
        client.read_message();
        // A message in two fragments, and one through a topic.
        client.bytes(Frame::new(op::TEXT, "in two ").unfinished().bytes());
        client.bytes(Frame::new(op::CONTINUATION, "parts").bytes());
        client.expect_text("in two parts");
        let mut member = spawned.connect("/ws/topic");
        let member_address = member.local_addr();
        member.text("to all");
        member.expect_text("to all");
        member.leave();
        client.leave();
        spawned.signal(&["TERM"]);
        assert_eq!(spawned.end().code(), Some(0));
        until("the last line is logged", || {
            spawned.log().contains("drained")
        });
        let log = spawned.log();
        let long = format!(", 500 bytes: {}…", &"long ".repeat(40));
        for direction in ["received", "sent"] {
            for message in [
                " text, 5 bytes: hello\n",
                " text, 8 bytes: a\\u{1b}[2J\\r\\nb\n",
                &format!(" text{long}\n"),
                " binary, 3 bytes\n",
                " text, 12 bytes: in two parts\n",
            ] {
                let line = format!("#1 {address} {direction}{message}");
                assert_eq!(log.contains(&line), shows, "{flag}, {line:?}: {log}");
            }
        }
        assert_eq!(
            log.contains(&format!(
                "#2 {member_address} received text, 6 bytes: to all\n"
            )),
            shows,
            "{log}"
        );
        assert_eq!(
            log.contains(&format!("#2 {member_address} sent text, 6 bytes: to all\n")),
            shows,
            "{log}"
        );
        assert!(shows || !log.contains("hello"), "{log}");
        let end = "closed by the peer: 1000 (normal closure); received 5 messages, ";
        assert!(log.contains(end), "{log}");
        let ended = log
            .lines()
            .find(|line| line.contains("#1 ") && line.contains(end));
        assert!(
            ended
                .is_some_and(|line| line.contains(" ended after ")
                    && line.contains("; sent 5 of 5 messages, ")),
            "{log}"
        );
    }
}

#[test]
fn tls_on_the_plain_port_is_named_in_the_log() {
    let spawned = Spawned::start(&[]);
    let mut client = spawned.client("/").open();
    // The beginning of a ClientHello, in two writes.
    client.bytes([0x16]);
    client.bytes(*b"\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    assert_eq!(client.read_head().status, 400);
    until("the log names TLS", || {
        spawned
            .log()
            .contains("unreadable request: 400, the client speaks TLS, and this port does not")
    });
}
