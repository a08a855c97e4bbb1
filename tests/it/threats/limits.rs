//! Limits on clients and handshakes, and the behaviour without threads or descriptors (SECURITY.md, T28 and T30 to
//! T32).

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use standpipe::{Config, Connection, Disconnect, Handler, Rate, Reply, Request};

use super::spawned::{Spawned, standpipe, with_limits};
use crate::support::{
    Answer, Connect, Failure, LogLines, Process, Stream, StreamOptions, TestClient, TestServer,
    bind, in_own_process, let_time_pass, lines_and_left_out, over_tls, unread_refusal, until,
};

#[test]
fn excessive_max_clients_is_lowered_and_logged() {
    let spawned = Spawned::start(&["--max-clients", "100000000"]);
    until("the limit is logged", || {
        spawned.log().contains("connection limit: ")
    });
    let log = spawned.log();
    let warned = "max_clients 100000000 is more than this machine can hold: ";
    let (_, rest) = log.split_once(warned).expect(&log);
    let (fits, _) = rest.split_once(" (set by ").expect(&log);
    assert!(fits.parse::<u64>().unwrap() > 0, "{log}");
    assert!(
        log.contains(&format!("connection limit: {fits} (set by ")),
        "{log}"
    );
    spawned.connect("/echo").leave();
}

#[test]
fn clients_above_the_limit_get_503_with_retry_after() {
    let spawned = Spawned::start(&["--max-clients", "5"]);
    let mut admitted: Vec<_> = (0..5).map(|_| spawned.connect("/echo")).collect();
    for _ in 0..60 {
        let (mut refused, answer) = spawned.client("/echo").request();
        assert_eq!(answer.status, 503);
        let retry = answer.header("Retry-After").unwrap();
        assert!(retry.parse::<u32>().unwrap() > 0, "{answer:?}");
        assert_eq!(answer.header("Connection"), Some("close"));
        refused.read_to_eof();
        assert_eq!(spawned.get("/healthz").status, 200);
    }
    for client in &mut admitted {
        client.text("still connected");
        client.expect_text("still connected");
    }
    admitted.pop().unwrap().leave();
    until("a client is admitted again", || {
        spawned.client("/echo").request().1.status == 101
    });
}

/// Returns whether a tracer is attached to every thread of the process.
fn is_traced(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().all(|task| {
        let status = std::fs::read_to_string(task.path().join("status"));
        status.is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
    })
}

#[test]
fn failed_thread_start_refuses_one_client_cleanly() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: strace is not installed");
        return;
    }
    let mut spawned = Spawned::start(&[]);
    let mut witness = spawned.connect("/echo");
    until("only the witness is connected", || {
        spawned.process().client_threads().len() == 2
    });
    // Counted without names, because a thread that has just started may not have its name yet.
    let count = |process: Process| (process.descriptors(), process.threads().len());
    let before = count(spawned.process());
    // strace fails the first thread start of each thread, and then the second. The acceptor starts a handshake thread
    // for each connection, and a handshake thread starts the reader and the writer.
    let missing = [
        ("1", ["a handshake thread", "a reader", "a reader"]),
        ("2", ["a writer", "a handshake thread", "a writer"]),
    ];
    for (which, missing) in missing {
        let mut strace = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=clone3,clone"])
            .args([
                "-e",
                &format!("inject=clone3,clone:error=EAGAIN:when={which}"),
            ])
            .args(["-p", &spawned.pid().to_string()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut attached = false;
        until("strace is attached to every thread, or has failed", || {
            attached = is_traced(spawned.pid());
            attached || strace.try_wait().unwrap().is_some()
        });
        if !attached {
            eprintln!("skipped: strace has no permission to trace");
            return;
        }
        for missing in missing {
            if missing == "a handshake thread" {
                let status = spawned.client("/echo").open().read_status();
                assert_eq!(status, unread_refusal(), "without {missing}");
                continue;
            }
            let (_, answer) = spawned.client("/echo").request();
            assert_eq!(answer.status, 503, "without {missing}: {answer:?}");
            assert!(answer.header("Retry-After").is_some(), "without {missing}");
        }
        let stop = Command::new("kill").arg(strace.id().to_string()).status();
        assert!(stop.unwrap().success());
        strace.wait().unwrap();
    }
    witness.text("still connected");
    witness.expect_text("still connected");
    until("threads and descriptors are released", || {
        count(spawned.process()) == before
    });
    spawned.connect("/echo").leave();
    spawned.signal(&["TERM"]);
    assert_eq!(spawned.end().code(), Some(0));
    until("the last line is logged", || {
        spawned.log().contains("drained")
    });
    let (log, why) = (spawned.log(), "cannot start a thread:");
    let (lines, left_out) = lines_and_left_out(log.lines(), why, why);
    assert_eq!(lines + left_out, 6, "{log}");
}

#[test]
fn handshakes_beyond_256_are_refused_unread() {
    let config = Config::default().handshake_timeout(Duration::from_secs(60));
    let server = TestServer::echo(config);
    let mut pending: Vec<TestClient> = (0..256).map(|_| server.client().open()).collect();
    // This client sends nothing and still gets an answer.
    let mut refused = server.client().open();
    if over_tls() {
        assert_eq!(refused.read_status(), None);
    } else {
        let answer = refused.read_head();
        assert_eq!(answer.status, 503);
        assert!(answer.header("Retry-After").is_some());
        assert_eq!(refused.read_to_eof(), b"too busy to read this");
    }
    // A client that has its 101 no longer holds a handshake slot.
    let mut last = pending.pop().unwrap();
    last.bytes(server.client().head());
    assert_eq!(last.read_head().status, 101);
    until("a healthy client is admitted", || {
        let mut client = server.client().open();
        client.try_bytes(server.client().head());
        client.read_status() == Some(101)
    });
    drop(pending);
}

#[test]
fn one_address_cannot_hold_all_handshake_slots() {
    let config = Config::default().handshake_timeout(Duration::from_secs(60));
    let server = TestServer::echo(config);
    let attackers: Vec<Stream> = (0..256)
        .map(|_| connect_from("127.0.0.2", server.addr()))
        .collect();
    until("all handshake slots are taken", || {
        server.handle().pending_handshakes() == 256
    });
    assert_eq!(ask_from("127.0.0.2", server.addr()).1, 503);
    let admitted: Vec<_> = (0..20)
        .map(|_| ask_from("127.0.0.1", server.addr()))
        .collect();
    assert!(admitted.iter().all(|(_, status)| *status == 101));
    // The attacker's oldest handshake has been reset, and its newest still has its slot.
    let (oldest, youngest) = (&attackers[0], &attackers[255]);
    let mut oldest = oldest;
    let ended = oldest.read(&mut [0]);
    let ended = ended.map_err(|error| error.kind());
    assert!(
        matches!(ended, Ok(0) | Err(ErrorKind::ConnectionReset)),
        "{ended:?}"
    );
    assert_eq!(ask(youngest, server.addr()), 101);
    let counts = server.handle().disconnects();
    let unread = counts
        .iter()
        .find(|(by, _)| *by == Disconnect::RefusedUnread);
    assert!(unread.unwrap().1 > 1, "{counts:?}");
}

/// More than the kernel buffers for a client with a small send buffer.
static PAGE: LazyLock<String> = LazyLock::new(|| "x".repeat(4 << 20));

/// Reads the body of a POST, and answers a GET of `/page` with a large page. Upgrades every other GET.
struct Reads;

impl Handler for Reads {
    fn request(&self, request: &mut Request) -> Reply {
        if request.method() == http::Method::GET {
            return match request.path() {
                "/page" => Reply::html(PAGE.as_str()),
                _ => Reply::upgrade(),
            };
        }
        match request.read_body(100) {
            Ok(_) => Reply::status(204),
            Err(refusal) => refusal,
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        while conn.recv()?.is_some() {}
        Ok(())
    }
}

#[test]
fn withheld_bodies_cannot_hold_all_handshake_slots() {
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
    hold_all_slots(head, "message_timeout");
}

#[test]
fn unread_answers_cannot_hold_all_handshake_slots() {
    hold_all_slots(
        "GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "write_timeout",
    );
}

/// Sends `request` from 256 clients of one address, and connects another client before their deadline.
#[track_caller]
fn hold_all_slots(request: &str, deadline: &str) {
    let long = Duration::from_secs(300);
    let config = Config::default().message_timeout(long).write_timeout(long);
    let server = TestServer::start(config.sndbuf(Some(4 << 10)), Reads);
    let attackers: Vec<Stream> = (0..256)
        .map(|_| {
            let socket = connect_from("127.0.0.2", server.addr());
            (&socket).write_all(request.as_bytes()).unwrap();
            socket
        })
        .collect();
    until("all handshake slots are taken", || {
        server.handle().pending_handshakes() == 256
    });
    until("a client of another address is admitted", || {
        ask_from("127.0.0.1", server.addr()).1 == 101
    });
    assert_eq!(server.disconnects(deadline), 0);
    drop(attackers);
}

/// Opens a connection from this loopback address.
#[track_caller]
fn connect_from(ip: &str, server: SocketAddr) -> Stream {
    let options = StreamOptions {
        from: Some(ip.parse().unwrap()),
        ..StreamOptions::default()
    };
    Stream::connect_with(&server.into(), &options).unwrap()
}

/// Requests an upgrade from this loopback address. Returns the open connection and the status of the answer.
#[track_caller]
fn ask_from(ip: &str, server: SocketAddr) -> (Stream, u16) {
    let socket = connect_from(ip, server);
    let status = ask(&socket, server);
    (socket, status)
}

/// Requests an upgrade and returns the status of the answer: 503 also if a client with TLS is refused unread.
#[track_caller]
fn ask(mut socket: &Stream, server: SocketAddr) -> u16 {
    // A client that is refused unread may already be closed.
    let _ = socket.write_all(Connect::to(server).head().as_bytes());
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ if head.is_empty() && over_tls() => return 503,
            end => panic!("{end:?} after {:?}", String::from_utf8_lossy(&head)),
        }
    }
    Answer::parse(&head).status
}

#[test]
fn client_limit_applies_per_address() {
    let server = TestServer::echo(Config::default().max_clients_per_ip(Some(3)));
    let mut admitted = Vec::new();
    for ip in ["127.0.0.2", "127.0.0.3"] {
        for _ in 0..3 {
            let (client, status) = ask_from(ip, server.addr());
            assert_eq!(status, 101);
            admitted.push(client);
        }
        assert_eq!(ask_from(ip, server.addr()).1, 503);
    }
    admitted.remove(0);
    until("the address may connect again", || {
        ask_from("127.0.0.2", server.addr()).1 == 101
    });
}

#[test]
fn forwarding_headers_do_not_change_the_address() {
    let server = TestServer::echo(Config::default().max_clients_per_ip(Some(3)));
    let from = |n: u32| {
        let named = IpAddr::V4((0xc633_6400 + n).into());
        let client = server.client();
        let client = client.header(&format!("X-Forwarded-For: {named}, 192.0.2.{}", n % 256));
        let client = client.header(&format!("Forwarded: for={named}"));
        client.header(&format!("X-Real-IP: {named}")).request()
    };
    let admitted: Vec<_> = (0..3).map(from).collect();
    assert!(admitted.iter().all(|(_, answer)| answer.status == 101));
    for n in 3..300 {
        assert_eq!(from(n).1.status, 503, "with {n} addresses in the headers");
    }
}

#[test]
fn connect_rate_applies_per_address() {
    let rate = Rate::per_second(1).burst(3);
    let server = TestServer::echo(Config::default().connect_rate(Some(rate)));
    for ip in ["127.0.0.2", "127.0.0.3"] {
        for n in 0..3 {
            assert_eq!(ask_from(ip, server.addr()).1, 101, "{ip}, client {n}");
        }
        // At one per second, even a slow machine admits only a few of these.
        let refused = (0..100)
            .filter(|_| ask_from(ip, server.addr()).1 == 503)
            .count();
        assert!(refused >= 50, "{refused} of 100 were refused");
    }
    until("the address may connect again", || {
        ask_from("127.0.0.2", server.addr()).1 == 101
    });
}

/// Starts a server with 64 descriptors, and 100 silent clients that take all of them. The rest wait in the backlog.
fn exhausted() -> (Spawned, Vec<TcpStream>) {
    let flags = ["--handshake-timeout", "60s"];
    let spawned = Spawned::of(with_limits("ulimit -n 64", &flags));
    let silent_clients = (0..100)
        .map(|_| Stream::connect_tcp(spawned.addr()).unwrap())
        .collect();
    until("accepting has failed", || {
        spawned.log().contains("next try in")
    });
    (spawned, silent_clients)
}

#[test]
fn accept_backs_off_without_descriptors() {
    let (spawned, silent_clients) = exhausted();
    let (ticks, began) = (spawned.ticks(), Instant::now());
    let lines = spawned.log().matches("next try in").count();
    // The test measures one second of work.
    let_time_pass(Duration::from_secs(1));
    let (cpu, lines) = (
        spawned.ticks() - ticks,
        spawned.log().matches("next try in").count() - lines,
    );
    assert!(
        cpu < 20,
        "{cpu} hundredths of a second in {:?}",
        began.elapsed()
    );
    assert!(lines <= 8, "{lines} lines in {:?}", began.elapsed());
    drop(silent_clients);
    until("the server accepts again", || {
        let mut client = Connect::to(spawned.addr()).open();
        client.try_bytes("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.read_status() == Some(200)
    });
}

#[test]
fn shutdown_works_without_descriptors() {
    let (mut spawned, silent_clients) = exhausted();
    spawned.signal(&["TERM"]);
    assert_eq!(spawned.end().code(), Some(0));
    drop(silent_clients);
}

#[test]
fn low_descriptor_limit_sets_the_connection_limit() {
    let mut command = standpipe(&[]);
    command.env("RUST_LOG", "info");
    let plain = Spawned::of(command);
    let limit = std::fs::read_to_string(format!("/proc/{}/limits", plain.pid())).unwrap();
    let open = limit
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let fields: Vec<&str> = open.split_whitespace().collect();
    assert_eq!(
        fields[3], fields[4],
        "the soft limit should equal the hard limit: {open}"
    );
    let limited = Spawned::of(with_limits("ulimit -n 400", &[]));
    until("the limit is logged", || {
        limited.log().contains("(set by ulimit -n")
    });
    limited.connect("/echo").leave();
    assert!(Process::of(limited.pid()).descriptors() < 20);
}

#[test]
fn bind_changes_no_process_limit() {
    let name = "threats::limits::bind_changes_no_process_limit";
    in_own_process(name, || {
        let lines = LogLines::keep(log::LevelFilter::Info);
        let (_, hard) = rlimit::Resource::NOFILE.get().unwrap();
        rlimit::Resource::NOFILE.set(600, hard).unwrap();
        let limits = || std::fs::read_to_string("/proc/self/limits").unwrap();
        let before = limits();
        let server = bind("127.0.0.1:0", Config::default()).unwrap();
        assert_eq!(limits(), before);
        drop(server);
        // 416 descriptors are reserved, or half of a low limit.
        let expected = "connection limit: 300 (set by ulimit -n (soft) = 600)";
        let lines = lines.get();
        assert!(
            lines.iter().any(|line| line.starts_with(expected)),
            "{lines:?}"
        );
        assert_eq!(standpipe::raise_descriptor_limit().unwrap(), hard);
        assert_eq!(rlimit::Resource::NOFILE.get().unwrap(), (hard, hard));
    });
}
