//! T38 and T39: signals during load, and the end while some take nothing.

use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use super::spawned::Spawned;
use crate::support::{Frame, TestClient, op, until};

#[test]
fn t38_a_storm_of_harmless_signals_disconnects_nobody() {
    let spawned = Spawned::start(&[]);
    let talking: Vec<_> = (0..8)
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
    while talking.iter().any(|client| !client.is_finished()) {
        spawned.signal(&["WINCH", "CHLD", "URG", "STOP", "CONT"]);
    }
    for client in talking {
        client.join().unwrap();
    }
    assert!(!spawned.log().contains("reset"), "{}", spawned.log());
}

/// Sends to `/echo` and never reads, until the server waits for it.
fn zero_windows(spawned: &Spawned, count: usize) -> Vec<TestClient> {
    let clients: Vec<TestClient> = (0..count)
        .map(|_| spawned.client("/echo").small_rcvbuf().connect())
        .collect();
    let bytes = Frame::new(op::BINARY, vec![0; 60 << 10]).bytes();
    let mut sent: Vec<usize> = vec![0; count];
    until("the server waits for all of them", || {
        for (client, sent) in clients.iter().zip(&mut sent) {
            while let taken @ 1.. = client.send_available(&bytes[*sent..]) {
                *sent = (*sent + taken) % bytes.len();
            }
        }
        let blocked = |client: &&serde_json::Value| client["writer"]["state"] == "blocked in write";
        spawned.clients().iter().filter(blocked).count() == count
    });
    clients
}

#[test]
fn t39_ctrl_c_with_clients_that_take_nothing_ends_in_time_and_tells_the_others() {
    let mut spawned = Spawned::start(&["--shutdown-timeout", "1s"]);
    let stuck = zero_windows(&spawned, 10);
    let healthy: Vec<_> = (0..30)
        .map(|_| {
            let mut client = spawned.connect("/ws/room");
            thread::spawn(move || client.rest_answering_close())
        })
        .collect();
    until("all are in", || spawned.clients().len() == 40);
    let began = Instant::now();
    spawned.signal(&["INT"]);
    let status = spawned.end();
    let took = began.elapsed();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(3), "it took {took:?}");
    for client in healthy {
        let rest = client.join().unwrap();
        let codes: Vec<u16> = rest.closes.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, [1001]);
        assert!(!rest.reset && rest.after_close == 0, "{rest:?}");
    }
    until("the report is printed", || {
        spawned.printed().contains("drained 30, lost 10")
    });
    drop(stuck);
}

#[test]
fn t39_the_second_ctrl_c_ends_it_at_once() {
    let mut spawned = Spawned::start(&["--shutdown-timeout", "10m"]);
    let stuck = zero_windows(&spawned, 1);
    spawned.signal(&["INT"]);
    until("it shuts down", || {
        spawned.log().contains("closing 1 clients")
    });
    assert!(spawned.is_running());
    spawned.signal(&["INT"]);
    let status = spawned.end();
    assert_eq!((status.code(), status.signal()), (Some(130), None));
    drop(stuck);
}
