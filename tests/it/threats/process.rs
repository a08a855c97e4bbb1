//! What a client costs the process, and that nothing remains of it afterwards (SECURITY.md, T10 to T18, T33 to T36 and
//! T40).

use std::process::Command;

use standpipe::{Config, Connection, Disconnect, Handler, Message, Reply, Request};

use super::spawned::Spawned;
use crate::support::{
    Failure, Frame, JsonClient, TestServer, get, op, post, until, with_both_flush_modes,
};

#[test]
fn declared_gigabytes_cost_no_memory() {
    let spawned = Spawned::start(&[]);
    let (base, mut clients) = (spawned.kib("VmRSS"), Vec::new());
    for n in 0..300 {
        let client = spawned.connect("/echo");
        let mut frame = Frame::new(op::BINARY, "");
        // Half of the clients declare the largest accepted message, the others an impossible one. None sends payload.
        frame.length =
            crate::support::Length::Eight(if n % 2 == 0 { 65_536 } else { (1 << 63) - 1 });
        client.bytes(frame.bytes());
        clients.push(client);
    }
    for client in clients.iter_mut().skip(1).step_by(2) {
        client.expect_close(1009);
    }
    let cost = spawned.kib("VmHWM").saturating_sub(base);
    assert!(cost / 300 < 128, "{cost} KiB for 300 declared lengths");
}

#[test]
fn declared_length_reserves_no_address_space() {
    const CLIENTS: u64 = 64;
    let spawned = Spawned::start(&["--max-message", "16MiB"]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| spawned.connect("/echo")).collect();
    for client in &mut clients {
        // The allocator reserves an arena for the thread and a small buffer before the measurement.
        client.binary(vec![0; 20 << 10]);
        client.read_message();
    }
    let (memory, addresses) = (spawned.kib("VmHWM"), spawned.kib("VmPeak"));
    let mut frame = Frame::new(op::BINARY, "");
    frame.length = crate::support::Length::Eight(16 << 20);
    let start = [frame.bytes(), vec![0; 1000]].concat();
    for client in &clients {
        client.bytes(&start);
        client.end();
    }
    until("all clients are gone", || spawned.clients().is_empty());
    let memory = spawned.kib("VmHWM").saturating_sub(memory);
    let addresses = spawned.kib("VmPeak").saturating_sub(addresses);
    assert!(
        memory / CLIENTS < 64,
        "{memory} KiB for {CLIENTS} declared lengths"
    );
    assert!(
        addresses / CLIENTS < 1024,
        "{addresses} KiB of address space for {CLIENTS} declared lengths of 16 MiB"
    );
}

#[test]
fn payload_after_a_bad_header_is_not_kept() {
    let spawned = Spawned::start(&["--max-message", "16MiB"]);
    spawned.connect("/echo").leave();
    let base = spawned.kib("VmHWM");
    let payload = vec![0; 15 << 20];
    let mut unmasked = Frame::new(op::BINARY, &payload);
    unmasked.masked = false;
    for frame in [unmasked, Frame::new(op::PING, &payload)] {
        let mut client = spawned.connect("/echo");
        let send_half = client.send_half();
        let bytes = frame.bytes();
        let sending = std::thread::spawn(move || send_half.try_bytes(bytes));
        client.expect_close(1002);
        assert!(!sending.join().unwrap(), "the server read all 15 MiB");
    }
    let cost = spawned.kib("VmHWM").saturating_sub(base);
    assert!(cost < 2048, "{cost} KiB");
}

#[test]
fn million_unread_pings_cost_no_memory() {
    let spawned = Spawned::start(&[]);
    spawned.connect("/echo").leave();
    let base = spawned.kib("VmHWM");
    let client = spawned.client("/echo").small_rcvbuf().connect();
    let pings = Frame::new(op::PING, [b'p'; 125]).bytes().repeat(1000);
    let thousands = (0..1000).take_while(|_| client.try_bytes(&pings)).count();
    assert!(thousands < 1000, "the server accepted a million pings");
    let cost = spawned.kib("VmHWM").saturating_sub(base);
    assert!(cost < 1024, "{cost} KiB");
}

#[test]
fn waiting_for_slow_closes_uses_no_cpu() {
    let flags = ["--close-timeout", "1s", "--handshake-timeout", "1s"];
    let small = ["--sndbuf", "16KiB", "--unsent", "16KiB"];
    let slow = ["--write-timeout", "1s"];
    let spawned = Spawned::start(&[&flags[..], &small, &slow].concat());
    let large = Frame::new(op::BINARY, vec![0; 60 << 10]).bytes();
    let mut held = Vec::new();
    for _ in 0..10 {
        for ending in [
            // A violation, a Close, a part of a Close and of a message, and a half-closed connection.
            Some(vec![0xff]),
            Some(Frame::close(1000, "bye").bytes()),
            Some(Frame::close(1000, "bye").bytes()[..3].to_vec()),
            Some(Frame::new(op::TEXT, "half").bytes()[..8].to_vec()),
            None,
        ] {
            let client = spawned.connect("/echo");
            if let Some(bytes) = &ending {
                client.bytes(bytes);
            }
            // The clients that sent a whole Close keep their side open.
            if ending.is_none_or(|bytes| bytes.len() < 10) {
                client.end();
            }
            held.push(client);
        }
        // A half-closed client whose writer is blocked, and two with an incomplete request, one of them half-closed.
        let blocked = spawned.client("/echo").small_rcvbuf().connect();
        while blocked.send_available(&large) == large.len() {}
        blocked.end();
        let incomplete = spawned.client("/echo").open();
        incomplete.bytes("GET /");
        let half_closed = spawned.client("/echo").open();
        half_closed.bytes("GET /");
        half_closed.end();
        held.extend([blocked, incomplete, half_closed]);
    }
    let ticks = spawned.ticks();
    until("all clients are gone", || {
        spawned.process().client_threads().is_empty()
    });
    let cpu = spawned.ticks() - ticks;
    assert!(cpu < 40, "{cpu} hundredths of a second of CPU time");
    drop(held);
}

#[test]
fn client_costs_one_descriptor_and_two_threads() {
    let spawned = Spawned::start(&[]);
    spawned.connect("/echo").leave();
    let process = spawned.process();
    until("the first client is gone", || {
        process.client_threads().is_empty()
    });
    let (base, threads) = (process.descriptors(), process.threads().len());
    let clients: Vec<_> = (0..100).map(|_| spawned.connect("/echo")).collect();
    assert_eq!(process.descriptors(), base + 100);
    let mut expected: Vec<String> = (2..102)
        .flat_map(|n| [format!("sp-{n}-read"), format!("sp-{n}-write")])
        .collect();
    expected.sort();
    // Each thread sets its name when it starts.
    until("all threads have their names", || {
        process.client_threads() == expected
    });
    assert_eq!(process.threads().len(), threads + 200);
    // The names as `ps` shows them.
    let output = Command::new("ps")
        .args(["-T", "-o", "comm=", "-p", &spawned.pid().to_string()])
        .output();
    if let Ok(output) = output {
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(
            shown.contains("sp-101-read") && shown.contains("sp-101-write"),
            "{shown}"
        );
    } else {
        eprintln!("skipped: ps is not installed");
    }
    drop(clients);
    until("all clients are gone", || {
        process.descriptors() == base && process.threads().len() == threads
    });
}

#[test]
fn clients_leaving_at_any_moment_leave_nothing_behind() {
    let spawned = Spawned::start(&["--close-timeout", "500ms"]);
    let process = spawned.process();
    let cycle = |n: usize| {
        let topic = format!("/ws/topic-{}", n % 7);
        let client = spawned.client(&topic);
        let head = client.head();
        match n % 8 {
            0 => client.open().reset(),
            1 => drop(client.open()),
            2 | 3 => {
                let raw = client.open();
                raw.bytes(&head[..n * 31 % head.len()]);
                if n % 8 == 2 {
                    raw.reset()
                }
            }
            // The 101 is not read.
            4 => {
                let raw = client.open();
                raw.bytes(head);
                raw.reset();
            }
            5 => {
                let raw = client.connect();
                let frame = Frame::new(op::TEXT, "half a message").bytes();
                raw.bytes(&frame[..n * 7 % frame.len()]);
                raw.reset();
            }
            6 => {
                let raw = client.connect();
                raw.text("published just before leaving");
                drop(raw);
            }
            _ => client.connect().leave(),
        }
    };
    // The first round fills caches and allocator arenas, which are kept.
    (0..400).for_each(cycle);
    let settled = || spawned.clients().is_empty() && process.client_threads().len() <= 1;
    until("the clients of the first round are gone", settled);
    let (descriptors, threads, memory) = (
        process.descriptors(),
        process.threads().len(),
        spawned.kib("VmRSS"),
    );
    (0..1600).for_each(cycle);
    until("all clients are gone", settled);
    until("descriptors and threads are released", || {
        process.descriptors() <= descriptors && process.threads().len() <= threads
    });
    assert_eq!(spawned.get("/topics").body, "[]");
    let grown = spawned.kib("VmRSS").saturating_sub(memory);
    assert!(grown < 4096, "{grown} KiB remain after 1600 clients");
}

#[test]
fn handler_panic_closes_only_its_client() {
    struct PanickingHandler;
    impl Handler for PanickingHandler {
        fn request(&self, request: &mut Request) -> Reply {
            assert!(request.path() != "/no", "a panic in request");
            Reply::upgrade()
        }
        fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
            while let Some(message) = conn.recv()? {
                if message == Message::text("panic") {
                    // The panic payload is a number, not a text.
                    std::panic::panic_any(conn.number());
                }
                conn.send(message)?;
            }
            Ok(())
        }
    }
    with_both_flush_modes(|config| {
        let server = TestServer::start(config, PanickingHandler);
        let mut witness = server.connect();
        for _ in 0..20 {
            let (_, answer) = server.client().path("/no").request();
            assert_eq!(answer.status, 500);
            assert_eq!(get(server.addr(), "/no", "").status, 500);
            let mut client = server.connect();
            client.text("panic");
            client.expect_close(1011);
            client.expect_eof();
        }
        witness.text("still connected");
        witness.expect_text("still connected");
        until("only the witness is connected", || {
            server.handle().clients() == 1
        });
        until("all panics are counted", || {
            server
                .handle()
                .disconnects()
                .contains(&(Disconnect::HandlerFailed, 20))
        });
    });
}

#[test]
fn largest_head_and_deepest_text_fit_the_stack() {
    let mut spawned = Spawned::start(&[]);
    let mut client = spawned.client("/ws/deep");
    // Together with the five headers of every upgrade these are 64 headers and close to 16 KiB.
    for n in 0..59 {
        client = client.header(&format!("X-{n}: {}", "v".repeat(240)));
    }
    let mut raw = client.connect();
    for text in [
        "[".repeat(60_000),
        "{\"a\":".repeat(10_000),
        "\\\"".repeat(30_000),
    ] {
        raw.text(&text);
        raw.expect_text(&text);
    }
    let (_, answer) = client.header("X-One-Too-Many: v").request();
    assert_eq!(answer.status, 431);
    let path = format!("/ws/{}", "%61".repeat(200));
    spawned.connect(&path).leave();
    assert!(spawned.is_running());
}

#[test]
fn deeply_nested_json_fits_the_stack() {
    let mut spawned = Spawned::start(&[]);
    let kind = "Content-Type: application/json\r\n";
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":[", "]}]")] {
        // The deepest nesting that fits into one message, complete and cut in the middle.
        let depth = (60 << 10) / (open.len() + close.len());
        for close in [close, ""] {
            let deep = format!("{}0{}", open.repeat(depth), close.repeat(depth));
            let posted = post(spawned.addr(), "/publish/deep", kind, &deep);
            assert_eq!(posted.status, 400, "{open}{close}");
            for command in [
                deep.clone(),
                format!(r#"{{"pub":"deep","data":{deep},"ref":1}}"#),
                format!(r#"{{"pub":"deep","ref":{deep}}}"#),
            ] {
                assert!(command.len() <= 64 << 10);
                // A new connection each time, because the server closes one that sends three messages that are not
                // JSON.
                let mut json = JsonClient::connect(spawned.addr());
                let answer = json.request(&command);
                assert!(answer["error"].is_string(), "{open}{close}: {answer}");
                json.assert_idle();
            }
        }
    }
    assert_eq!(spawned.get("/topics").body, "[]");
    assert!(spawned.is_running());
}

#[test]
fn idle_client_memory_is_bounded() {
    let spawned = Spawned::start(&[]);
    let earlier: Vec<_> = (0..50).map(|_| spawned.connect("/echo")).collect();
    let base = spawned.kib("VmRSS");
    let clients: Vec<_> = (0..300).map(|_| spawned.connect("/echo")).collect();
    let each = (spawned.kib("VmRSS") - base) / 300;
    // A release build takes about 27 KiB. Unoptimised code touches more of its stacks.
    assert!(each < 84, "{each} KiB per client");
    drop((earlier, clients));
}

#[test]
fn message_queued_for_many_is_in_memory_once() {
    let flags = [
        "--sndbuf",
        "8KiB",
        "--unsent",
        "8KiB",
        "--queue",
        "64",
        "--queue-bytes",
        "4MiB",
    ];
    let spawned = Spawned::start(&flags);
    let publisher = spawned.connect("/ws/pub?echo=false");
    let members: Vec<_> = (0..60)
        .map(|_| spawned.client("/ws/pub").small_rcvbuf().connect())
        .collect();
    let base = spawned.kib("VmRSS");
    for _ in 0..40 {
        publisher.binary(vec![1; 60 << 10]);
    }
    let queued = |client: &serde_json::Value| client["queue"]["bytes"].as_u64().unwrap();
    until("all members have forty messages queued", || {
        spawned
            .clients()
            .iter()
            .filter(|client| queued(client) > 2 << 20)
            .count()
            == 60
    });
    let cost = spawned.kib("VmRSS").saturating_sub(base);
    // The messages take 2.3 MiB once. A copy for each member would take 140 MiB.
    assert!(cost < 20 << 10, "{cost} KiB");
    drop(members);
}

#[test]
fn shutdown_completes_after_handler_panics() {
    let server = TestServer::start(Config::default(), |_: &mut Connection| {
        panic!("immediately")
    });
    for _ in 0..10 {
        server.connect().expect_close(1011);
    }
    assert_eq!(server.shut_down().lost, 0);
}
