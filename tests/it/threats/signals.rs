//! Signals under load, signals that are ignored, and Ctrl-C while some clients never read (SECURITY.md, T38, T39 and
//! T47).

use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use standpipe::Config;

use super::spawned::{Spawned, with_limits};
use crate::support::{Frame, TestClient, bind, in_own_process, op, until};

#[test]
fn harmless_signals_disconnect_no_client() {
    let mut spawned = Spawned::start(&[]);
    let senders: Vec<_> = (0..8)
        .map(|n| {
            let mut client = spawned.connect(if n % 2 == 0 {
                "/echo"
            } else {
                "/ws/storm?echo=false"
            });
            let mut own = if n % 2 == 0 {
                None
            } else {
                Some(spawned.connect("/ws/own"))
            };
            thread::spawn(move || {
                for message in 0..300 {
                    let text = format!("{n}: {message}");
                    let echo = own.as_mut().unwrap_or(&mut client);
                    echo.text(&text);
                    while echo.read_message() != standpipe::Message::text(&text) {}
                }
            })
        })
        .collect();
    while senders.iter().any(|client| !client.is_finished()) {
        let stop = ["STOP", "CONT"];
        spawned.signal(&[&["HUP", "USR1", "USR2", "WINCH", "CHLD", "URG"], &stop[..]].concat());
    }
    for client in senders {
        client.join().unwrap();
    }
    until("the figures are logged", || {
        spawned.log().contains("figures: ")
    });
    assert!(!spawned.log().contains("reset"), "{}", spawned.log());
    spawned.signal(&["TERM"]);
    assert_eq!(spawned.end().code(), Some(0));
    until("the report is printed", || {
        spawned.printed().contains("lost 0")
    });
}

/// Connects `count` clients that send to `/echo` and never read. Returns when the server's writers are blocked.
fn blocked_clients(spawned: &Spawned, count: usize) -> Vec<TestClient> {
    let clients: Vec<TestClient> = (0..count)
        .map(|_| spawned.client("/echo").small_rcvbuf().connect())
        .collect();
    let bytes = Frame::new(op::BINARY, vec![0; 60 << 10]).bytes();
    let mut sent: Vec<usize> = vec![0; count];
    until("all writers are blocked", || {
        for (client, sent) in clients.iter().zip(&mut sent) {
            while let accepted @ 1.. = client.send_available(&bytes[*sent..]) {
                *sent = (*sent + accepted) % bytes.len();
            }
        }
        let blocked = |client: &&serde_json::Value| client["writer"]["state"] == "blocked in write";
        spawned.clients().iter().filter(blocked).count() == count
    });
    clients
}

#[test]
fn ctrl_c_ends_in_time_despite_blocked_clients() {
    let mut spawned = Spawned::start(&["--shutdown-timeout", "1s"]);
    let blocked = blocked_clients(&spawned, 10);
    let healthy: Vec<_> = (0..30)
        .map(|_| {
            let mut client = spawned.connect("/ws/room");
            thread::spawn(move || client.rest_answering_close())
        })
        .collect();
    until("all clients are connected", || {
        spawned.clients().len() == 40
    });
    let began = Instant::now();
    spawned.signal(&["INT"]);
    let status = spawned.end();
    let took = began.elapsed();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(3), "the shutdown took {took:?}");
    for client in healthy {
        let rest = client.join().unwrap();
        let codes: Vec<u16> = rest.closes.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, [1001]);
        assert!(!rest.reset && rest.after_close == 0, "{rest:?}");
    }
    until("the report is printed", || {
        spawned.printed().contains("drained 30, lost 10")
    });
    drop(blocked);
}

#[test]
fn second_ctrl_c_exits_immediately() {
    let mut spawned = Spawned::start(&["--shutdown-timeout", "10m"]);
    let blocked = blocked_clients(&spawned, 1);
    spawned.signal(&["INT"]);
    until("the shutdown has begun", || {
        spawned.log().contains("a second signal exits immediately")
    });
    assert!(spawned.is_running());
    spawned.signal(&["INT"]);
    let status = spawned.end();
    assert_eq!((status.code(), status.signal()), (Some(130), None));
    drop(blocked);
}

#[test]
fn usr1_logs_one_line_of_figures() {
    let spawned = Spawned::start(&[]);
    let mut client = spawned.connect("/ws/topic");
    client.text("to all");
    client.expect_text("to all");
    spawned.signal(&["USR1"]);
    until("the figures are logged", || {
        spawned.log().contains("disconnects: none")
    });
    let log = spawned.log();
    let figures = log.lines().find(|line| line.contains("figures: ")).unwrap();
    for expected in [
        "clients 1, blocked 0,",
        "topics 1,",
        "accepted 1, delivered 1,",
    ] {
        assert!(figures.contains(expected), "{expected:?}: {figures}");
    }
}

/// Checks that the signal closes all clients with 1001 and ends the process with code 0, without a core file.
fn ends_cleanly_on(signal: &str) {
    let mut spawned = Spawned::of(with_limits("ulimit -c unlimited", &[]));
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let mut client = spawned.connect("/ws/room");
            thread::spawn(move || client.rest_answering_close())
        })
        .collect();
    until("all clients are connected", || {
        spawned.clients().len() == 10
    });
    spawned.signal(&[signal]);
    let status = spawned.end();
    assert_eq!(
        (status.code(), status.signal()),
        (Some(0), None),
        "{signal}"
    );
    assert!(!status.core_dumped(), "{signal}");
    for client in clients {
        let rest = client.join().unwrap();
        let codes: Vec<u16> = rest.closes.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, [1001], "{signal}");
    }
}

#[test]
fn quit_and_term_drain_without_a_core_file() {
    ends_cleanly_on("QUIT");
    ends_cleanly_on("TERM");
}

#[test]
fn second_signal_of_any_kind_exits_immediately() {
    for (first, second) in [("TERM", "QUIT"), ("QUIT", "INT"), ("INT", "TERM")] {
        let mut spawned = Spawned::start(&["--shutdown-timeout", "10m"]);
        let blocked = blocked_clients(&spawned, 1);
        spawned.signal(&[first]);
        until("the shutdown has begun", || {
            spawned.log().contains("a second signal exits immediately")
        });
        spawned.signal(&["HUP", "USR1", "USR2"]);
        assert!(spawned.is_running(), "{first}");
        spawned.signal(&[second]);
        let status = spawned.end();
        assert_eq!(
            (status.code(), status.signal()),
            (Some(130), None),
            "{first}, {second}"
        );
        drop(blocked);
    }
}

#[test]
fn signal_ignored_at_the_start_stays_ignored() {
    for (ignored, ending) in [
        ("INT", "TERM"),
        ("HUP", "INT"),
        ("QUIT", "TERM"),
        ("TERM", "QUIT"),
    ] {
        let mut spawned = Spawned::of(with_limits(&format!("trap '' {ignored}"), &["-v"]));
        let mut client = spawned.connect("/echo");
        spawned.signal(&[ignored, ignored, "USR1"]);
        // The line of figures shows that the signals before it have been handled.
        until("the figures are logged", || {
            spawned.log().contains("figures: ")
        });
        client.text("still connected");
        client.expect_text("still connected");
        assert!(
            !spawned.log().contains("shutting down"),
            "{ignored}: {}",
            spawned.log()
        );
        assert!(
            !spawned.log().contains(&format!("SIG{ignored}:")),
            "{}",
            spawned.log()
        );
        spawned.signal(&[ending]);
        client.rest_answering_close();
        assert_eq!(spawned.end().code(), Some(0), "{ignored}");
    }
}

#[test]
fn server_under_nohup_survives_a_hangup() {
    let command = with_limits("exec nohup \"$0\" \"$@\"", &[]);
    let mut spawned = Spawned::of(command);
    let mut client = spawned.connect("/echo");
    spawned.signal(&["HUP", "USR1"]);
    until("the figures are logged", || {
        spawned.log().contains("figures: ")
    });
    client.text("still connected");
    client.expect_text("still connected");
    assert!(!spawned.log().contains("SIGHUP"), "{}", spawned.log());
    spawned.signal(&["TERM"]);
    client.rest_answering_close();
    assert_eq!(spawned.end().code(), Some(0));
}

#[test]
fn library_installs_no_signal_handler() {
    let name = "threats::signals::library_installs_no_signal_handler";
    in_own_process(name, || {
        let signals = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            // The signals that are ignored, and those that have a handler.
            let masks = status
                .lines()
                .filter(|line| line.starts_with("SigIgn:") || line.starts_with("SigCgt:"));
            masks.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = signals();
        assert_eq!(before.len(), 2, "{before:?}");
        let server = bind("127.0.0.1:0", Config::default()).unwrap();
        let handle = server.handle();
        let running = server.spawn(crate::support::echo).unwrap();
        TestClient::connect(handle.local_addr().expect("a TCP address"), "/").leave();
        assert_eq!(signals(), before);
        handle.shutdown();
        running.join().unwrap();
        assert_eq!(signals(), before);
    });
}
