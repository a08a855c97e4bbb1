//! The programs in `examples/embed/`, each an application that embeds the library.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use tungstenite::Message;

use crate::support::{
    Client, DEADLINE, Example, close_code, connect, connect_small, http, text, try_connect, until,
};

#[track_caller]
fn say(client: &mut Client, line: &str) {
    client
        .send(Message::text(line))
        .expect("the example reads until it closes");
}

/// Returns the next text that contains `what`. Skips others.
#[track_caller]
fn text_with(client: &mut Client, what: &str) -> String {
    loop {
        let text = text(client);
        if text.contains(what) {
            return text;
        }
    }
}

/// Interrupts an example, and checks that it closes this client with 1001. Returns its report.
#[track_caller]
fn report_after_close(example: Example, mut client: Client) -> String {
    let closed = thread::spawn(move || close_code(&mut client));
    let report = example.report();
    assert_eq!(closed.join().expect("the client is closed"), 1001);
    report
}

/// Checks that each client has two threads and no more: its reader and its writer.
#[track_caller]
fn assert_two_threads_per_client(example: &Example, connect: impl Fn() -> Client) {
    const CLIENTS: usize = 5;
    /// Returns how many threads belong to no client, if each client has its reader and its writer.
    fn count(threads: &[String], clients: usize) -> Option<usize> {
        let of = |suffix: &str| threads.iter().filter(|name| name.ends_with(suffix)).count();
        let is_settled = (of("-read"), of("-write"), of("-open")) == (clients, clients, 0);
        is_settled.then(|| threads.len() - 2 * clients)
    }
    let others = |clients: usize, what: &str| {
        let mut others = 0;
        until(what, || {
            let count = count(&example.threads(), clients);
            others = count.unwrap_or_default();
            count.is_some()
        });
        others
    };
    // The first client may start what all clients share, such as the thread `sp-ready`.
    let first = connect();
    others(1, "the first client has two threads");
    let clients: Vec<Client> = (0..CLIENTS).map(|_| connect()).collect();
    let with_clients = others(1 + CLIENTS, "each client has two threads");
    drop(clients);
    let without = others(1, "the threads of the clients have ended");
    // A further thread of a client would have ended with it. The example may still have been starting its own threads.
    assert!(
        without >= with_clients,
        "clients had more than two threads: {with_clients} others with them, {without} without"
    );
    drop(first);
}

#[test]
fn robot_applies_newest_command_of_each_operator() {
    let mut robot = Example::start("robot", &["127.0.0.1:0"]);
    let address = robot.address();
    let operator = || try_connect(address, "/", &[("authorization", "Bearer secret")]);
    assert_eq!(try_connect(address, "/", &[]).err(), Some(401));
    let wrong = [("authorization", "Bearer other")];
    assert_eq!(try_connect(address, "/", &wrong).err(), Some(401));

    let mut ann = operator().expect("the token is right");
    let mut bob = operator().expect("the token is right");
    text_with(&mut bob, " 0.0");
    say(&mut ann, "1.5");
    say(&mut bob, "1");
    say(&mut bob, "2");
    text_with(&mut ann, " 3.5");
    // A command is valid for half a second.
    text_with(&mut bob, " 0.0");
    say(&mut ann, "fast");
    assert_eq!(close_code(&mut ann), 4000);
    robot.line("operator 3 left: ");
    assert_eq!(report_after_close(robot, bob), "drained 1, lost 0");
}

#[test]
fn robot_needs_two_threads_per_operator() {
    let mut robot = Example::start("robot", &["127.0.0.1:0"]);
    let address = robot.address();
    let token = [("authorization", "Bearer secret")];
    assert_two_threads_per_client(&robot, || {
        try_connect(address, "/", &token).expect("the token is right")
    });
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// Logs in, and returns the session as a `Cookie` line without its CRLF.
#[track_caller]
fn log_in(address: SocketAddr) -> String {
    let body = "name=J%C3%BCrgen+B&password=open+sesame";
    let answer = http(address, "POST /login", FORM, body);
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    let (_, cookie) = answer.split_once("session=").expect("a cookie is set");
    let (session, attributes) = cookie.split_once(';').expect("it has attributes");
    assert!(attributes.contains("HttpOnly"), "{attributes}");
    format!("session={session}")
}

#[test]
fn web_app_lets_users_with_a_session_in() {
    let mut app = Example::start("web_app", &["127.0.0.1:0"]);
    let address = app.address();
    let front = http(address, "GET /", "", "");
    assert!(front.contains("\r\nLocation: /login\r\n"), "{front}");
    let wrong = http(address, "POST /login", FORM, "name=a&password=b");
    assert!(wrong.starts_with("HTTP/1.1 403"), "{wrong}");
    assert_eq!(try_connect(address, "/ws", &[]).err(), Some(401));
    let nobody = http(address, "GET /api/me", "", "");
    assert!(nobody.starts_with("HTTP/1.1 401"), "{nobody}");

    let cookie = log_in(address);
    let line = format!("Cookie: theme=dark; {cookie}\r\n");
    let page = http(address, "GET /", &line, "");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let me = http(address, "GET /api/me", &line, "");
    assert!(me.ends_with("{\"name\":\"Jürgen B\"}"), "{me}");
    let script = http(address, "GET /app.js", "", "");
    assert!(script.contains("text/javascript"), "{script}");
    let mut client = try_connect(address, "/ws", &[("cookie", &cookie)]).expect("a session");
    say(&mut client, "hi");
    assert_eq!(text(&mut client), "Jürgen B: hi");

    // Another site cannot end the session with the visitor's cookie.
    let other = format!("Origin: http://evil.example\r\n{line}");
    let refused = http(address, "POST /logout", &other, "");
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let left = http(address, "POST /logout", &line, "");
    assert!(left.starts_with("HTTP/1.1 303"), "{left}");
    let again = try_connect(address, "/ws", &[("cookie", &cookie)]);
    assert_eq!(again.err(), Some(401));
    assert_eq!(report_after_close(app, client), "drained 1, lost 0");
}

#[test]
fn web_app_needs_two_threads_per_client() {
    let mut app = Example::start("web_app", &["127.0.0.1:0"]);
    let address = app.address();
    let cookie = log_in(address);
    assert_two_threads_per_client(&app, || {
        try_connect(address, "/ws", &[("cookie", &cookie)]).expect("a session")
    });
}

#[test]
fn tenants_are_separate_and_users_have_several_connections() {
    let mut chat = Example::start("tenants", &["127.0.0.1:0"]);
    let address = chat.address();
    assert_eq!(try_connect(address, "/red", &[]).err(), Some(400));
    let mut ann = connect(address, "/red?user=ann");
    let mut ann_too = connect(address, "/red?user=ann");
    let mut bob = connect(address, "/red?user=bob");
    let mut eve = connect(address, "/blue?user=eve");
    for client in [&mut ann, &mut ann_too, &mut bob, &mut eve] {
        say(client, "/join lobby");
        assert_eq!(text(client), "joined lobby");
    }
    // A room joined twice delivers once.
    say(&mut bob, "/join lobby");
    assert_eq!(text(&mut bob), "joined lobby");
    for line in ["hello", "again"] {
        say(&mut ann, &format!("/say lobby {line}"));
        for client in [&mut ann, &mut ann_too, &mut bob] {
            assert_eq!(text(client), format!("lobby ann: {line}"));
        }
    }
    say(&mut bob, "/dm ann psst");
    assert_eq!(text(&mut bob), "sent to 2");
    for client in [&mut ann, &mut ann_too] {
        assert_eq!(text(client), "dm bob: psst");
    }
    say(&mut eve, "/who");
    assert_eq!(text(&mut eve), "here eve");
    say(&mut eve, "/dm ann psst");
    assert_eq!(text(&mut eve), "sent to 0");
    say(&mut bob, "/kick ann");
    assert!(text(&mut bob).starts_with("error"), "only admin may kick");

    let mut admin = connect(address, "/red?user=admin");
    say(&mut admin, "/who");
    assert_eq!(text(&mut admin), "here admin ann bob");
    say(&mut admin, "/kick ann");
    assert_eq!(text(&mut admin), "kicked 2");
    assert_eq!(close_code(&mut ann), 4100);
    assert_eq!(close_code(&mut ann_too), 4100);
    until("the user has left", || {
        say(&mut admin, "/who");
        text(&mut admin) == "here admin bob"
    });
}

#[test]
fn tenants_kick_shows_code_to_a_slow_user() {
    let mut chat = Example::start("tenants", &["127.0.0.1:0"]);
    let address = chat.address();
    let mut slow = connect_small(address, "/red?user=slow");
    say(&mut slow, "/join lobby");
    let mut admin = connect(address, "/red?user=admin");
    say(&mut admin, "/join lobby");
    // The slow user reads nothing. These messages fill the buffers, but not the queue.
    let long = "x".repeat(8 << 10);
    for _ in 0..60 {
        say(&mut admin, &format!("/say lobby {long}"));
    }
    say(&mut admin, "/kick slow");
    assert_eq!(text_with(&mut admin, "kicked "), "kicked 1");
    // The Close does not wait until the slow user has read what is queued.
    let mut read = 0;
    let frame = loop {
        match slow.read().expect("waited for a Close") {
            Message::Close(frame) => break frame.expect("the Close has a code"),
            _ => read += 1,
        }
    };
    assert_eq!(u16::from(frame.code), 4100);
    assert!(read < 60, "the queue was written before the Close");
}

#[test]
fn tenants_need_two_threads_per_client() {
    let mut chat = Example::start("tenants", &["127.0.0.1:0"]);
    let address = chat.address();
    assert_two_threads_per_client(&chat, || connect(address, "/red?user=ann"));
}

#[test]
fn rpc_answers_out_of_order_and_cancels() {
    let mut rpc = Example::start("rpc", &["127.0.0.1:0"]);
    let address = rpc.address();
    let mut client = connect(address, "/");
    say(&mut client, "1 sleep 300");
    say(&mut client, "2 square 7");
    assert_eq!(text(&mut client), "2 ok 49");
    assert_eq!(text(&mut client), "1 ok 300");
    // More than the workers and their queue take.
    for n in 0..24 {
        say(&mut client, &format!("{n} sleep 60000"));
    }
    text_with(&mut client, "error busy");
    client.close(None).expect("the example answers the Close");
    while client.read().is_ok() {}
    // The workers are free again, long before a minute has passed.
    rpc.line("cancelled ");
    let mut client = connect(address, "/");
    until("the queue has room", || {
        say(&mut client, "3 square 3");
        text(&mut client) == "3 ok 9"
    });
}

#[test]
fn rpc_finishes_what_is_in_flight_at_shutdown() {
    let mut rpc = Example::start("rpc", &["127.0.0.1:0"]);
    let address = rpc.address();
    let mut client = connect(address, "/");
    let mut idle = connect(address, "/");
    say(&mut client, "1 sleep 1000");
    say(&mut client, "2 square 3");
    assert_eq!(text(&mut client), "2 ok 9");
    rpc.interrupt();
    // New work is refused, and what is in flight is finished.
    let mut refused = false;
    loop {
        say(&mut client, "3 square 2");
        match &*text(&mut client) {
            "3 ok 4" => assert!(!refused, "work was accepted after the drain began"),
            "3 error draining" => refused = true,
            "1 ok 1000" => break,
            other => panic!("{other}"),
        }
    }
    assert!(refused, "the drain began before the job ended");
    assert_eq!(close_code(&mut client), 1001);
    assert_eq!(close_code(&mut idle), 1001);
    let output = rpc.end();
    assert_eq!(output.last().map(String::as_str), Some("drained 2, lost 0"));
}

#[test]
fn rpc_needs_two_threads_per_client() {
    let mut rpc = Example::start("rpc", &["127.0.0.1:0"]);
    let address = rpc.address();
    assert_two_threads_per_client(&rpc, || connect(address, "/"));
}

/// A bridge, and the listener of its backend.
fn start_bridge() -> (Example, SocketAddr, TcpListener) {
    let backend = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let to = backend.local_addr().expect("it is bound").to_string();
    let mut bridge = Example::start("bridge", &["127.0.0.1:0", &to]);
    let address = bridge.address();
    (bridge, address, backend)
}

fn accept(backend: &TcpListener) -> TcpStream {
    let (stream, _) = backend.accept().expect("the bridge connects");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("the deadline is not zero");
    stream
}

#[test]
fn bridge_passes_bytes_both_ways_and_ends_both_sides() {
    let (bridge, address, backend) = start_bridge();
    let mut client = connect(address, "/");
    let mut server = accept(&backend);
    client
        .send(Message::binary(b"ping".to_vec()))
        .expect("the bridge reads");
    let mut four = [0; 4];
    server
        .read_exact(&mut four)
        .expect("the bridge passes bytes on");
    assert_eq!(&four, b"ping");
    server.write_all(b"pong").expect("the bridge reads");
    let answer = client.read().expect("the bridge passes bytes back");
    assert_eq!(answer.into_data(), &b"pong"[..]);

    // The backend sends its last bytes and ends.
    server.write_all(b"last").expect("the bridge reads");
    drop(server);
    let last = client.read().expect("what came before the end");
    assert_eq!(last.into_data(), &b"last"[..]);
    assert_eq!(close_code(&mut client), 1000);

    // A client closes, breaks off, or breaks off while the backend does not read.
    for way in ["close", "break off", "break off, full"] {
        let mut client = connect(address, "/");
        let mut server = accept(&backend);
        match way {
            "close" => client.close(None).expect("sent"),
            "break off" => {}
            _ => {
                let _ = client
                    .get_ref()
                    .set_write_timeout(Some(Duration::from_millis(500)));
                let chunk = Message::binary(vec![0; 32 << 10]);
                while client.send(chunk.clone()).is_ok() {}
            }
        }
        drop(client);
        let mut buffer = vec![0; 64 << 10];
        // The end is a FIN, or a reset if bytes were left.
        while server.read(&mut buffer).is_ok_and(|count| count > 0) {}
    }

    // There is no backend any more.
    drop(backend);
    assert_eq!(try_connect(address, "/", &[]).err(), Some(502));
    assert!(bridge.report().starts_with("drained 0"));
}

#[test]
fn bridge_slows_each_side_down_for_the_other() {
    const MUCH: usize = 64 << 20;
    let (_bridge, address, backend) = start_bridge();
    let mut client = connect_small(address, "/");
    let mut server = accept(&backend);
    let slow = Some(Duration::from_millis(500));
    let chunk = vec![7; 32 << 10];

    // The client does not read, so the backend's writes wait.
    server.set_write_timeout(slow).expect("not zero");
    let mut sent = 0;
    while sent < MUCH {
        match server.write(&chunk) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent < MUCH, "the bridge has no bound");
    // Meanwhile the other direction works.
    client
        .send(Message::binary(b"ping".to_vec()))
        .expect("the bridge reads");
    let mut four = [0; 4];
    server
        .read_exact(&mut four)
        .expect("a slow client can still send");
    let mut got = 0;
    while got < sent {
        got += client.read().expect("the bridge passes bytes on").len();
    }
    assert_eq!(got, sent);

    // The backend does not read, so the client's sends wait.
    client.get_ref().set_write_timeout(slow).expect("not zero");
    let message = Message::binary(chunk);
    let mut sent = 0;
    while sent < MUCH && client.send(message.clone()).is_ok() {
        sent += message.len();
    }
    assert!(sent < MUCH, "the bridge has no bound");
}

#[test]
fn bridge_needs_two_threads_per_client() {
    let (bridge, address, _backend) = start_bridge();
    assert_two_threads_per_client(&bridge, || connect(address, "/"));
}

#[test]
fn beside_serves_page_and_websocket_on_one_port() {
    let mut beside = Example::start("beside", &["127.0.0.1:0"]);
    let address = beside.address();
    let page = http(address, "GET /", "", "");
    assert!(page.ends_with("\r\n\r\nOld page.\n"), "{page}");
    let mut client = connect(address, "/ws");
    say(&mut client, "hi");
    assert_eq!(text(&mut client), "hi");
    let plain = http(address, "GET /ws", "", "");
    assert!(plain.starts_with("HTTP/1.1 426"), "{plain}");
    assert_eq!(report_after_close(beside, client), "drained 1, lost 0");
}

#[test]
fn beside_needs_two_threads_per_client() {
    let mut beside = Example::start("beside", &["127.0.0.1:0"]);
    let address = beside.address();
    assert_two_threads_per_client(&beside, || connect(address, "/ws"));
}
