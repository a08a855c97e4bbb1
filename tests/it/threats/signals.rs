//! Signals under load, and Ctrl-C while some clients never read (SECURITY.md, T38 and T39).

use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use super::spawned::Spawned;
use crate::support::{Frame, TestClient, op, until};

#[test]
fn harmless_signals_disconnect_no_client() {
    let spawned = Spawned::start(&[]);
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
        spawned.signal(&["WINCH", "CHLD", "URG", "STOP", "CONT"]);
    }
    for client in senders {
        client.join().unwrap();
    }
    assert!(!spawned.log().contains("reset"), "{}", spawned.log());
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
        spawned.log().contains("closing 1 clients")
    });
    assert!(spawned.is_running());
    spawned.signal(&["INT"]);
    let status = spawned.end();
    assert_eq!((status.code(), status.signal()), (Some(130), None));
    drop(blocked);
}
