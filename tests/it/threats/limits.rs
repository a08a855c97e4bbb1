//! T28 and T30 to T32: no more clients than fit, no more heads than are read, and what happens when the kernel has no more.

use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use standpipe::{Config, Rate};

use super::spawned::{Spawned, standpipe, with_limits};
use crate::support::{Answer, Connect, DEADLINE, Process, TestServer, let_time_pass, until};

#[test]
fn t30_more_clients_than_fit_are_not_promised_and_the_log_says_what_binds() {
    let spawned = Spawned::start(&["--max-clients", "100000000"]);
    until("it has said so", || {
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
fn t30_over_the_cap_clients_are_told_503_and_when_to_come_again() {
    let spawned = Spawned::start(&["--max-clients", "5"]);
    let mut inside: Vec<_> = (0..5).map(|_| spawned.connect("/echo")).collect();
    for _ in 0..60 {
        let (mut refused, answer) = spawned.client("/echo").request();
        assert_eq!(answer.status, 503);
        let retry = answer.header("Retry-After").unwrap();
        assert!(retry.parse::<u32>().unwrap() > 0, "{answer:?}");
        assert_eq!(answer.header("Connection"), Some("close"));
        refused.read_to_eof();
        assert_eq!(spawned.get("/healthz").status, 200);
    }
    for client in &mut inside {
        client.text("here");
        client.expect_text("here");
    }
    inside.pop().unwrap().leave();
    until("there is a place again", || {
        spawned.client("/echo").request().1.status == 101
    });
}

/// Whether the tracer has every thread of the process.
fn is_traced(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().all(|task| {
        let status = std::fs::read_to_string(task.path().join("status"));
        status.is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
    })
}

#[test]
fn t30_when_no_thread_can_be_had_one_client_is_refused_and_nothing_leaks() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: there is no strace here");
        return;
    }
    let mut spawned = Spawned::start(&[]);
    let mut witness = spawned.connect("/echo");
    until("only the witness is there", || {
        spawned.process().client_threads().len() == 2
    });
    // By number: a thread that has just begun may not have its name yet.
    let count = |process: Process| (process.descriptors(), process.threads().len());
    let before = count(spawned.process());
    // Of each thread the first, and then the second: the acceptor's begin doors, and a door's the reader and the writer.
    let missing = [
        ("1", ["a door", "a reader", "a reader"]),
        ("2", ["a writer", "a door", "a writer"]),
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
        until("strace holds every thread, or cannot", || {
            attached = is_traced(spawned.pid());
            attached || strace.try_wait().unwrap().is_some()
        });
        if !attached {
            eprintln!("skipped: strace may not trace here");
            return;
        }
        for missing in missing {
            let (_, answer) = spawned.client("/echo").request();
            assert_eq!(answer.status, 503, "without {missing}: {answer:?}");
            assert!(answer.header("Retry-After").is_some(), "without {missing}");
        }
        let stop = Command::new("kill").arg(strace.id().to_string()).status();
        assert!(stop.unwrap().success());
        strace.wait().unwrap();
    }
    witness.text("not touched");
    witness.expect_text("not touched");
    until("nothing of them is left", || {
        count(spawned.process()) == before
    });
    assert_eq!(spawned.log().matches("cannot start a thread").count(), 6);
    spawned.connect("/echo").leave();
    assert!(spawned.is_running());
}

#[test]
fn t31_beyond_256_heads_a_client_is_refused_unread_and_the_next_gets_in() {
    let config = Config::default().handshake_timeout(Duration::from_secs(60));
    let server = TestServer::echo(config);
    let mut heads: Vec<TcpStream> = (0..256)
        .map(|_| TcpStream::connect(server.addr()).unwrap())
        .collect();
    // Nothing was asked, and it is answered.
    let mut refused = server.client().open();
    let answer = refused.read_head();
    assert_eq!(answer.status, 503);
    assert!(answer.header("Retry-After").is_some());
    assert_eq!(refused.read_to_eof(), b"too busy to read this");
    // Who has its 101 no longer counts.
    let mut last = heads.pop().unwrap();
    last.write_all(server.client().head().as_bytes()).unwrap();
    let mut status = [0; 12];
    last.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 101");
    until("a healthy one gets in", || {
        let mut client = server.client().open();
        client.try_bytes(server.client().head());
        client.read_head().status == 101
    });
    drop(heads);
}

#[test]
fn t31_an_address_that_takes_all_places_for_requests_keeps_no_other_out() {
    let config = Config::default().handshake_timeout(Duration::from_secs(60));
    let server = TestServer::echo(config);
    let siege: Vec<Socket> = (0..256)
        .map(|_| connect_from("127.0.0.2", server.addr()))
        .collect();
    until("all places are taken", || {
        server.handle().pending_handshakes() == 256
    });
    assert_eq!(ask_from("127.0.0.2", server.addr()).1, 503);
    let inside: Vec<_> = (0..20)
        .map(|_| ask_from("127.0.0.1", server.addr()))
        .collect();
    assert!(inside.iter().all(|(_, status)| *status == 101));
    // Of those that take all of them the oldest has been reset, and the youngest has its place still.
    let (oldest, youngest) = (&siege[0], &siege[255]);
    let ended = oldest.peek(&mut [MaybeUninit::uninit()]);
    let ended = ended.map_err(|error| error.kind());
    assert!(
        matches!(ended, Ok(0) | Err(ErrorKind::ConnectionReset)),
        "{ended:?}"
    );
    assert_eq!(ask(youngest, server.addr()), 101);
    let endings = server.handle().disconnects();
    let unread = endings.iter().find(|(name, _)| *name == "refused_unread");
    assert!(unread.unwrap().1 > 1, "{endings:?}");
}

/// A connection from this loopback address.
#[track_caller]
fn connect_from(ip: &str, server: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 0);
    socket.bind(&from.into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// Asks for an upgrade from this loopback address; the connection is kept.
#[track_caller]
fn ask_from(ip: &str, server: SocketAddr) -> (Socket, u16) {
    let socket = connect_from(ip, server);
    let status = ask(&socket, server);
    (socket, status)
}

/// The status of the answer to an upgrade.
#[track_caller]
fn ask(mut socket: &Socket, server: SocketAddr) -> u16 {
    // One that is refused unread may be closed already.
    let _ = socket.write_all(Connect::to(server).head().as_bytes());
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            end => panic!("{end:?} after {:?}", String::from_utf8_lossy(&head)),
        }
    }
    Answer::parse(&head).status
}

#[test]
fn t31_an_address_has_so_many_clients_and_its_neighbour_as_many() {
    let server = TestServer::echo(Config::default().max_clients_per_ip(Some(3)));
    let mut inside = Vec::new();
    for ip in ["127.0.0.2", "127.0.0.3"] {
        for _ in 0..3 {
            let (client, status) = ask_from(ip, server.addr());
            assert_eq!(status, 101);
            inside.push(client);
        }
        assert_eq!(ask_from(ip, server.addr()).1, 503);
    }
    inside.remove(0);
    until("a place of its address is free", || {
        ask_from("127.0.0.2", server.addr()).1 == 101
    });
}

#[test]
fn t28_a_client_that_names_other_addresses_counts_as_its_own() {
    let server = TestServer::echo(Config::default().max_clients_per_ip(Some(3)));
    let from = |n: u32| {
        let named = IpAddr::V4((0xc633_6400 + n).into());
        let client = server.client();
        let client = client.header(&format!("X-Forwarded-For: {named}, 192.0.2.{}", n % 256));
        let client = client.header(&format!("Forwarded: for={named}"));
        client.header(&format!("X-Real-IP: {named}")).request()
    };
    let inside: Vec<_> = (0..3).map(from).collect();
    assert!(inside.iter().all(|(_, answer)| answer.status == 101));
    for n in 3..300 {
        assert_eq!(from(n).1.status, 503, "with {n} addresses named");
    }
}

#[test]
fn t31_an_address_connects_so_often_and_its_neighbour_as_often() {
    let rate = Rate {
        per_second: 1,
        burst: 3,
    };
    let server = TestServer::echo(Config::default().connect_rate(Some(rate)));
    for ip in ["127.0.0.2", "127.0.0.3"] {
        for n in 0..3 {
            assert_eq!(ask_from(ip, server.addr()).1, 101, "{ip}, client {n}");
        }
        // Some seconds' worth at most, however slow this machine is.
        let refused = (0..100)
            .filter(|_| ask_from(ip, server.addr()).1 == 503)
            .count();
        assert!(refused >= 50, "{refused} of 100 were refused");
    }
    until("its second is over", || {
        ask_from("127.0.0.2", server.addr()).1 == 101
    });
}

/// All descriptors of a process with so few are taken by clients that say nothing, and more stand in line.
fn exhausted() -> (Spawned, Vec<TcpStream>) {
    let flags = ["--handshake-timeout", "60s"];
    let spawned = Spawned::of(with_limits("ulimit -n 64", &flags));
    let silent = (0..100)
        .map(|_| TcpStream::connect(spawned.addr()).unwrap())
        .collect();
    until("accepting has failed", || {
        spawned.log().contains("next try in")
    });
    (spawned, silent)
}

#[test]
fn t32_without_descriptors_it_rests_says_so_once_and_goes_on() {
    let (spawned, silent) = exhausted();
    let (ticks, began) = (spawned.ticks(), Instant::now());
    let lines = spawned.log().matches("next try in").count();
    // What is measured is a second's work.
    let_time_pass(Duration::from_secs(1));
    let (worked, lines) = (
        spawned.ticks() - ticks,
        spawned.log().matches("next try in").count() - lines,
    );
    assert!(worked < 20, "{worked} hundredths in {:?}", began.elapsed());
    assert!(lines <= 8, "{lines} lines in {:?}", began.elapsed());
    drop(silent);
    until("it accepts again", || {
        let mut client = Connect::to(spawned.addr()).open();
        client.try_bytes("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.read_head().status == 200
    });
}

#[test]
fn t32_without_descriptors_it_still_ends_when_it_is_told() {
    let (mut spawned, silent) = exhausted();
    spawned.signal(&["TERM"]);
    assert_eq!(spawned.end().code(), Some(0));
    drop(silent);
}

#[test]
fn t32_with_a_low_hard_limit_it_begins_and_says_what_binds() {
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
        "the soft limit is the hard one: {open}"
    );
    let few = Spawned::of(with_limits("ulimit -n 400", &[]));
    until("it says so", || few.log().contains("(set by ulimit -n"));
    few.connect("/echo").leave();
    assert!(Process::of(few.pid()).descriptors() < 20);
}
