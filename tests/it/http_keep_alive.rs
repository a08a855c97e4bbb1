//! Several requests on one connection: which answers keep it, in which order they come, and what ends it.

use std::time::{Duration, Instant};

use standpipe::{Config, Connection, Handler, Reply, Request};

use crate::support::{Connect, Failure, TestClient, TestServer, echo, unread_refusal, until};

/// Answers with the path and the body, and upgrades `/echo`. Each request may store a value once.
struct Site;

impl Handler for Site {
    fn request(&self, request: &mut Request) -> Reply {
        let before = request.extensions_mut().insert("stored");
        assert_eq!(before, None, "a request has the values of another one");
        match request.path() {
            "/echo" => Reply::upgrade(),
            "/unread" => Reply::text(401, "unread\n"),
            "/empty" => Reply::status(204),
            "/upgrade-required" => Reply::status(426),
            path => {
                let path = path.to_owned();
                match request.content_length() {
                    None if !request.headers().contains_key("transfer-encoding") => {
                        Reply::text(200, path)
                    }
                    _ => match request.read_body(1 << 20) {
                        Ok(body) => {
                            Reply::text(200, format!("{path} {}", String::from_utf8_lossy(&body)))
                        }
                        Err(refusal) => refusal,
                    },
                }
            }
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        echo(conn)
    }
}

fn site() -> TestServer {
    TestServer::start(Config::default(), Site)
}

fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// Sends a request, and checks the body of its answer and that the connection is kept.
#[track_caller]
fn exchange(client: &mut TestClient, path: &str) {
    client.bytes(request(&format!("GET {path}"), ""));
    let answer = client.read_answer();
    assert_eq!((answer.status, &*answer.body), (200, path));
    assert_eq!(answer.header("Connection"), Some("keep-alive"));
    assert_eq!(answer.header("Keep-Alive"), Some("timeout=10"));
}

#[test]
fn connection_is_kept_for_further_requests() {
    let server = site();
    let mut client = server.client().open();
    for path in ["/a", "/b", "/c"] {
        exchange(&mut client, path);
    }
    for (line, headers, body, want) in [
        ("HEAD /d", "", "", ""),
        ("OPTIONS /e", "", "", "/e"),
        ("POST /f", "Content-Length: 3\r\n", "abc", "/f abc"),
        (
            "PUT /g",
            "Transfer-Encoding: chunked\r\n",
            "3\r\nabc\r\n0\r\nA: b\r\n\r\n",
            "/g abc",
        ),
        ("DELETE /empty", "", "", ""),
        ("POST /h", "Content-Length: 0\r\n", "", "/h "),
    ] {
        client.bytes(request(line, headers) + body);
        let answer = match line.starts_with("HEAD") {
            true => client.read_head(),
            false => client.read_answer(),
        };
        assert_eq!(answer.body, want, "{line}");
        assert_eq!(answer.header("Connection"), Some("keep-alive"), "{line}");
    }
    until("the idle connection is no pending request", || {
        server.handle().pending_handshakes() == 0
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = site();
    let mut client = server.client().open();
    let mut bytes = String::new();
    for n in 0..20 {
        bytes += &request(&format!("GET /{n}"), "");
        bytes += &request(&format!("POST /{n}"), "Content-Length: 2\r\n");
        bytes += "\r\n";
        bytes += &request(&format!("POST /{n}"), "Transfer-Encoding: chunked\r\n");
        bytes += "1;x\r\nz\r\n0\r\n\r\n";
    }
    bytes += &request("GET /last", "Connection: close\r\n");
    bytes += &request("GET /never", "");
    client.bytes(bytes);
    for n in 0..20 {
        assert_eq!(client.read_answer().body, format!("/{n}"));
        assert_eq!(client.read_answer().body, format!("/{n} \r\n"));
        assert_eq!(client.read_answer().body, format!("/{n} z"));
    }
    let last = client.read_answer();
    assert_eq!(
        (&*last.body, last.header("Connection")),
        ("/last", Some("close"))
    );
    assert!(
        client.read_to_eof().is_empty(),
        "a request after close was answered"
    );
}

#[test]
fn requests_may_arrive_in_single_bytes() {
    let server = site();
    let mut client = server.client().open();
    for _ in 0..2 {
        let bytes = request("POST /x", "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n";
        for byte in bytes.bytes() {
            client.bytes([byte]);
        }
        assert_eq!(client.read_answer().body, "/x abc");
    }
}

#[test]
fn unread_body_does_not_become_a_request() {
    let server = site();
    let mut client = server.client().open();
    let hidden = request("GET /hidden", "");
    let head = request(
        "POST /unread",
        &format!("Content-Length: {}\r\n", hidden.len()),
    );
    client.bytes(&head);
    assert_eq!(client.read_answer().status, 401);
    // The body is discarded, although it arrives after the answer.
    client.bytes(&hidden);
    exchange(&mut client, "/next");
    client.bytes(head + &hidden);
    assert_eq!(client.read_answer().status, 401);
    exchange(&mut client, "/next");
}

#[test]
fn some_answers_end_the_connection() {
    let server = site();
    let second = request("GET /second", "");
    let hundred = 100_000;
    for (head, status) in [
        (request("GET /a", "Connection: close\r\n"), 200),
        (request("GET /a", "Connection: x, Close\r\n"), 200),
        ("GET /a HTTP/1.0\r\n\r\n".into(), 200),
        (
            "GET /a HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n".into(),
            200,
        ),
        (request("BREW /a", ""), 200),
        (request("GET /upgrade-required", ""), 426),
        (request("GET /echo", ""), 426),
        (
            request("GET /a", "Upgrade: h2c\r\nConnection: Upgrade\r\n"),
            200,
        ),
        (
            request("DELETE /a", "Origin: https://elsewhere.example\r\n"),
            403,
        ),
        (request("GET /a b", ""), 400),
        // A large body that nobody reads, one of unknown length, and one that the client has not begun to send.
        (
            request("POST /unread", &format!("Content-Length: {hundred}\r\n")),
            401,
        ),
        (
            request("POST /unread", "Transfer-Encoding: chunked\r\n"),
            401,
        ),
        (
            request(
                "POST /unread",
                "Content-Length: 5\r\nExpect: 100-continue\r\n",
            ),
            401,
        ),
        (
            request(
                "POST /a",
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            ),
            400,
        ),
    ] {
        let mut client = server.client().open();
        client.bytes([&head, &second].map(String::as_str).concat());
        let answer = client.read_answer();
        assert_eq!(answer.status, status, "{head}");
        let connection = answer.header("Connection").unwrap();
        assert!(connection.starts_with("close"), "{head}: {connection}");
        assert_eq!(answer.header("Keep-Alive"), None, "{head}");
        assert!(client.read_to_eof().is_empty(), "{head}");
    }
}

#[test]
fn http_1_0_client_may_ask_to_keep_the_connection() {
    let server = site();
    let mut client = server.client().open();
    for path in ["/a", "/b"] {
        client.bytes(format!(
            "GET {path} HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
        ));
        let answer = client.read_answer();
        assert_eq!(
            (&*answer.body, answer.header("Connection")),
            (path, Some("keep-alive"))
        );
    }
}

#[test]
fn connection_carries_at_most_100_requests() {
    let server = site();
    let mut client = server.client().open();
    for _ in 1..100 {
        exchange(&mut client, "/x");
    }
    client.bytes(request("GET /x", "").repeat(2));
    assert_eq!(client.read_answer().header("Connection"), Some("close"));
    assert!(client.read_to_eof().is_empty());
}

#[test]
fn kept_connection_can_still_be_upgraded() {
    let server = site();
    let mut client = server.client().open();
    exchange(&mut client, "/a");
    client.bytes(server.client().path("/echo").head());
    assert_eq!(client.read_head().status, 101);
    assert_eq!(server.handle().clients(), 1);
    client.text("hello");
    client.expect_text("hello");
    client.leave();
}

#[test]
fn frames_follow_an_upgrade_with_an_empty_body() {
    let server = site();
    let connect = server.client().path("/echo").header("Content-Length: 0");
    let head = connect.head();
    let mut client = connect.open();
    let frame = crate::support::Frame::new(crate::support::op::TEXT, "early").bytes();
    client.bytes([head.as_bytes(), &frame].concat());
    assert_eq!(client.read_head().status, 101);
    client.expect_text("early");
    client.leave();
}

#[test]
fn idle_connection_is_ended_without_a_reset() {
    let timeout = Duration::from_millis(300);
    let config = Config::default().handshake_timeout(timeout);
    let server = TestServer::start(config, Site);
    let mut client = server.client().open();
    client.bytes(request("GET /a", ""));
    assert_eq!(client.read_answer().status, 200);
    let began = Instant::now();
    assert!(client.read_to_eof().is_empty());
    assert!(
        began.elapsed() + Duration::from_millis(50) >= timeout,
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        server.disconnects("handshake_timeout"),
        0,
        "idling is no failure"
    );
    // A head that has begun has the time of a head, and is then reset.
    let mut client = server.client().open();
    client.bytes(request("GET /a", "") + "GET /b HT");
    assert_eq!(client.read_answer().status, 200);
    client.expect_reset();
    assert_eq!(server.disconnects("handshake_timeout"), 1);
}

#[test]
fn idle_connections_give_way_to_newcomers() {
    let server = site();
    let mut idle: Vec<TestClient> = (0..256)
        .map(|_| {
            let mut client = server.client().open();
            client.bytes(request("GET /a", ""));
            assert_eq!(client.read_answer().status, 200);
            client
        })
        .collect();
    // All slots are in use, and all by this address.
    for _ in 0..3 {
        assert_eq!(server.get("/b").status, 200);
    }
    server.client().path("/echo").connect().leave();
    // The oldest connections were ended, and were not reset.
    assert!(idle[0].read_to_eof().is_empty());
    exchange(&mut idle[255], "/c");
    assert_eq!(server.disconnects("refused_unread"), 0);
}

#[test]
fn pending_requests_do_not_give_way_to_own_newcomers() {
    let config = Config::default().handshake_timeout(Duration::from_secs(60));
    let server = TestServer::start(config, Site);
    let mut idle = server.client().open();
    exchange(&mut idle, "/a");
    let pending: Vec<TestClient> = (0..255).map(|_| server.client().open()).collect();
    until("all but one slot are pending", || {
        server.handle().pending_handshakes() == 255
    });
    // A next request has begun, so the connection is pending too.
    idle.bytes("GET /b HTTP/1.1\r\n");
    until("all slots are pending", || {
        server.handle().pending_handshakes() == 256
    });
    assert_eq!(server.client().open().read_status(), unread_refusal());
    idle.bytes("Host: localhost\r\n\r\n");
    assert_eq!(idle.read_answer().body, "/b");
    drop(pending);
}

#[test]
fn shutdown_ends_idle_connections_immediately() {
    let server = site();
    let mut idle = server.client().open();
    exchange(&mut idle, "/a");
    let mut begun = server.client().open();
    exchange(&mut begun, "/a");
    begun.bytes("GET /b HTTP/1.1\r\n");
    until("the second request has begun", || {
        server.handle().pending_handshakes() == 1
    });
    let began = Instant::now();
    server.handle().shutdown();
    assert!(idle.read_to_eof().is_empty(), "nothing was asked");
    let answer = begun.read_answer();
    assert_eq!(
        (answer.status, answer.header("Connection")),
        (503, Some("close"))
    );
    drop((idle, begun));
    server.report();
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn unix_clients_keep_their_connection_too() {
    let path = std::env::temp_dir().join(format!("standpipe-kept-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let listeners = vec![listener.try_into().unwrap()];
    let server = standpipe::Server::from_listeners(listeners, Config::default()).unwrap();
    let server = TestServer::of(server, Site);
    let mut client = Connect::to_unix(&path).open();
    exchange(&mut client, "/a");
    exchange(&mut client, "/b");
    drop(client);
    server.shut_down();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn drain_ends_kept_connections_after_their_next_answer() {
    let config = Config::default().drain_delay(Duration::from_secs(5));
    let server = TestServer::start(config, Site);
    let mut kept = server.client().open();
    exchange(&mut kept, "/a");
    let handle = server.handle().clone();
    handle.shutdown();
    kept.bytes(request("GET /b", ""));
    let answer = kept.read_answer();
    assert_eq!((answer.status, &*answer.body), (200, "/b"));
    assert_eq!(answer.header("Connection"), Some("close"));
    assert!(kept.read_to_eof().is_empty());
}
