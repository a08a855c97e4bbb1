//! T33 to T36 and T40: what a client costs the process, and that nothing outlives it.

use std::process::Command;

use standpipe::{Config, Connection, Handler, Message, Reply, Request};

use super::spawned::Spawned;
use crate::support::{
    Failure, Frame, JsonClient, TestServer, get, op, post, until, with_both_flush_modes,
};

#[test]
fn t10_claims_of_gigabytes_cost_no_memory() {
    let spawned = Spawned::start(&[]);
    let (base, mut held) = (spawned.kib("VmRSS"), Vec::new());
    for n in 0..300 {
        let client = spawned.connect("/echo");
        let mut frame = Frame::new(op::BINARY, "");
        // The largest that is taken, and not a byte of it; and every other one more than there could be.
        frame.length =
            crate::support::Length::Eight(if n % 2 == 0 { 65_536 } else { (1 << 63) - 1 });
        client.bytes(frame.bytes());
        held.push(client);
    }
    for client in held.iter_mut().skip(1).step_by(2) {
        client.expect_close(1009);
    }
    let cost = spawned.kib("VmHWM").saturating_sub(base);
    assert!(cost / 300 < 128, "{cost} KiB for 300 claims");
}

#[test]
fn t10_claims_of_the_largest_message_take_no_addresses_either() {
    const CLIENTS: u64 = 64;
    let spawned = Spawned::start(&["--max-message", "16MiB"]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| spawned.connect("/echo")).collect();
    for client in &mut clients {
        // What an allocator sets aside for a thread, and memory for some bytes, is there before.
        client.binary(vec![0; 20 << 10]);
        client.read_message();
    }
    let (memory, addresses) = (spawned.kib("VmHWM"), spawned.kib("VmPeak"));
    let mut frame = Frame::new(op::BINARY, "");
    frame.length = crate::support::Length::Eight(16 << 20);
    let claim = [frame.bytes(), vec![0; 1000]].concat();
    for client in &clients {
        client.bytes(&claim);
        client.end();
    }
    until("all claims are read, to their end", || {
        spawned.clients().is_empty()
    });
    let memory = spawned.kib("VmHWM").saturating_sub(memory);
    let addresses = spawned.kib("VmPeak").saturating_sub(addresses);
    assert!(memory / CLIENTS < 64, "{memory} KiB for {CLIENTS} claims");
    assert!(
        addresses / CLIENTS < 1024,
        "{addresses} KiB of addresses for {CLIENTS} claims of 16 MiB"
    );
}

#[test]
fn t11_t13_fifteen_mebibytes_behind_a_bad_header_are_not_kept() {
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
        assert!(!sending.join().unwrap(), "15 MiB were read");
    }
    let cost = spawned.kib("VmHWM").saturating_sub(base);
    assert!(cost < 2048, "{cost} KiB");
}

#[test]
fn t14_a_million_pings_without_reading_cost_no_memory() {
    let spawned = Spawned::start(&[]);
    spawned.connect("/echo").leave();
    let base = spawned.kib("VmHWM");
    let client = spawned.client("/echo").small_rcvbuf().connect();
    let pings = Frame::new(op::PING, [b'p'; 125]).bytes().repeat(1000);
    let thousands = (0..1000).take_while(|_| client.try_bytes(&pings)).count();
    assert!(thousands < 1000, "a million pings were taken");
    let cost = spawned.kib("VmHWM").saturating_sub(base);
    assert!(cost < 1024, "{cost} KiB");
}

#[test]
fn t18_however_long_a_peer_takes_to_end_nobody_spins_meanwhile() {
    let flags = ["--close-timeout", "1s", "--handshake-timeout", "1s"];
    let small = ["--sndbuf", "16KiB", "--unsent", "16KiB"];
    let slow = ["--write-timeout", "1s"];
    let spawned = Spawned::start(&[&flags[..], &small, &slow].concat());
    let large = Frame::new(op::BINARY, vec![0; 60 << 10]).bytes();
    let mut held = Vec::new();
    for _ in 0..10 {
        for end in [
            // A fault, a Close, half of each, and no more than the end of one side.
            Some(vec![0xff]),
            Some(Frame::close(1000, "bye").bytes()),
            Some(Frame::close(1000, "bye").bytes()[..3].to_vec()),
            Some(Frame::new(op::TEXT, "half").bytes()[..8].to_vec()),
            None,
        ] {
            let client = spawned.connect("/echo");
            if let Some(bytes) = &end {
                client.bytes(bytes);
            }
            // Those with a Close stay, and never end their side.
            if end.is_none_or(|bytes| bytes.len() < 10) {
                client.end();
            }
            held.push(client);
        }
        // One whose writer waits when its other side ends, and one that never says what it wants.
        let stuck = spawned.client("/echo").small_rcvbuf().connect();
        while stuck.send_available(&large) == large.len() {}
        stuck.end();
        let head = spawned.client("/echo").open();
        head.bytes("GET /");
        let ended = spawned.client("/echo").open();
        ended.bytes("GET /");
        ended.end();
        held.extend([stuck, head, ended]);
    }
    let ticks = spawned.ticks();
    until("all are gone", || {
        spawned.process().client_threads().is_empty()
    });
    let worked = spawned.ticks() - ticks;
    assert!(worked < 40, "{worked} hundredths of a second of waiting");
    drop(held);
}

#[test]
fn t33_a_client_costs_one_descriptor_and_two_threads_with_its_number() {
    let spawned = Spawned::start(&[]);
    spawned.connect("/echo").leave();
    let process = spawned.process();
    until("the first is gone", || process.client_threads().is_empty());
    let (base, threads) = (process.descriptors(), process.threads().len());
    let clients: Vec<_> = (0..100).map(|_| spawned.connect("/echo")).collect();
    assert_eq!(process.descriptors(), base + 100);
    let mut expected: Vec<String> = (2..102)
        .flat_map(|n| [format!("sp-{n}-read"), format!("sp-{n}-write")])
        .collect();
    expected.sort();
    // Each gives itself its name as it begins.
    until("all have their names", || {
        process.client_threads() == expected
    });
    assert_eq!(process.threads().len(), threads + 200);
    // As people see it.
    let shown = Command::new("ps")
        .args(["-T", "-o", "comm=", "-p", &spawned.pid().to_string()])
        .output();
    if let Ok(shown) = shown {
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(
            shown.contains("sp-101-read") && shown.contains("sp-101-write"),
            "{shown}"
        );
    } else {
        eprintln!("skipped: there is no ps here");
    }
    drop(clients);
    until("all are gone", || {
        process.descriptors() == base && process.threads().len() == threads
    });
}

#[test]
fn t34_clients_that_leave_at_any_moment_leave_nothing_behind() {
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
            // Without having read the 101.
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
                raw.text("to all, and gone");
                drop(raw);
            }
            _ => client.connect().leave(),
        }
    };
    // The first round fills what is kept for good.
    (0..400).for_each(cycle);
    let settled = || spawned.clients().is_empty() && process.client_threads().len() <= 1;
    until("the first round is gone", settled);
    let (descriptors, threads, memory) = (
        process.descriptors(),
        process.threads().len(),
        spawned.kib("VmRSS"),
    );
    (0..1600).for_each(cycle);
    until("all are gone", settled);
    until("descriptors and threads are back", || {
        process.descriptors() <= descriptors && process.threads().len() <= threads
    });
    assert_eq!(spawned.get("/topics").body, "[]");
    let grown = spawned.kib("VmRSS").saturating_sub(memory);
    assert!(grown < 4096, "{grown} KiB for 1600 clients that are gone");
}

#[test]
fn t35_a_panic_costs_its_own_client_and_nothing_else() {
    struct Panics;
    impl Handler for Panics {
        fn request(&self, request: &mut Request) -> Reply {
            assert!(request.path() != "/no", "a panic in request");
            Reply::upgrade()
        }
        fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
            while let Some(message) = conn.recv()? {
                if message == Message::text("panic") {
                    // Not even a text.
                    std::panic::panic_any(conn.number());
                }
                conn.send(message)?;
            }
            Ok(())
        }
    }
    with_both_flush_modes(|config| {
        let server = TestServer::start(config, Panics);
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
        witness.text("still here");
        witness.expect_text("still here");
        until("only the witness is left", || {
            server.handle().clients() == 1
        });
        until("all are counted", || {
            server
                .handle()
                .disconnects()
                .contains(&("handler_failed", 20))
        });
    });
}

#[test]
fn t36_the_largest_head_and_the_deepest_text_fit_the_stack() {
    let mut spawned = Spawned::start(&[]);
    let mut client = spawned.client("/ws/deep");
    // With the five of every upgrade, 64 headers; with the line, close to 16 KiB.
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
fn t36_the_deepest_json_fits_the_stack_wherever_it_comes() {
    let mut spawned = Spawned::start(&[]);
    let kind = "Content-Type: application/json\r\n";
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":[", "]}]")] {
        // As deep as the largest message can be, whole and without its end.
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
                // Anew each time: three messages that are no JSON are another protocol's.
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
fn t40_an_idle_client_costs_what_the_documents_say() {
    let spawned = Spawned::start(&[]);
    let warm: Vec<_> = (0..50).map(|_| spawned.connect("/echo")).collect();
    let base = spawned.kib("VmRSS");
    let clients: Vec<_> = (0..300).map(|_| spawned.connect("/echo")).collect();
    let each = (spawned.kib("VmRSS") - base) / 300;
    // About 42 KiB in a release build; unoptimised code touches more of its stacks.
    assert!(each < 84, "{each} KiB each");
    drop((warm, clients));
}

#[test]
fn t40_what_many_wait_for_is_in_memory_once() {
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
    let waiting = |client: &serde_json::Value| client["queue"]["bytes"].as_u64().unwrap();
    until("all members wait for forty messages", || {
        spawned
            .clients()
            .iter()
            .filter(|client| waiting(client) > 2 << 20)
            .count()
            == 60
    });
    let cost = spawned.kib("VmRSS").saturating_sub(base);
    // 2.3 MiB once; for each member its own, it would be 140.
    assert!(cost < 20 << 10, "{cost} KiB");
    drop(members);
}

#[test]
fn t35_a_panic_leaves_no_lock_behind_that_shutdown_waits_for() {
    let server = TestServer::start(Config::default(), |_: &mut Connection| panic!("at once"));
    for _ in 0..10 {
        server.connect().expect_close(1011);
    }
    assert_eq!(server.shut_down().lost, 0);
}
