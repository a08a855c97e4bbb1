//! The public test tools: requests without a socket, and a server that ends with its test.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use standpipe::http::{HeaderValue, Method};
use standpipe::testing::{self, TestServer};
use standpipe::{Client, Config, ConnectError, Connection, Handler, Message, Peer, Reply, Request};

use crate::support::{Failure, echo, within};

/// Runs code that must panic, and returns the text of the panic.
fn panic_of(code: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(code)).expect_err("it must panic");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a text")).to_owned(),
    }
}

#[test]
fn request_is_what_the_server_would_read() {
    let peer = Peer::Tcp("192.0.2.7:5".parse().unwrap());
    let address = "192.0.2.1:80".parse().unwrap();
    let mut request = testing::request("/a%2Fb/c?d=e+f")
        .method(Method::PUT)
        .header("X-Name", "ann")
        .peer(peer.clone())
        .local_addr(address)
        .listener("admin")
        .body("hello")
        .build();
    assert_eq!(request.method(), Method::PUT);
    assert_eq!(request.segments(), ["a/b", "c"]);
    assert_eq!(request.query("d"), Some("e f"));
    assert_eq!(
        (request.host(), request.header("x-name")),
        (Some("localhost"), Some("ann"))
    );
    assert_eq!(
        (request.peer(), request.local_addr()),
        (&peer, Some(address))
    );
    assert_eq!(request.listener(), Some("admin"));
    assert_eq!(request.read_body(4).unwrap_err().code(), 413);
    let mut request = testing::request("/").body("hello").build();
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.read_body(5).unwrap(), b"hello");

    let mut request = testing::request("/ws")
        .header("Host", "a.example")
        .upgrade()
        .build();
    assert!(request.wants_upgrade() && request.peer().is_loopback());
    assert_eq!(request.host(), Some("a.example"));
    assert_eq!(request.read_body(5).unwrap_err().code(), 411);
    assert_eq!((request.listener(), request.local_addr()), (None, None));
}

#[test]
fn impossible_requests_panic_with_the_reason() {
    for (builder, reason) in [
        (testing::request("/../a"), "would refuse"),
        (testing::request("no-slash"), "would refuse"),
        (testing::request("/").header("a b", "c"), "not valid HTTP"),
        (
            testing::request("/").header("a", "b\r\n\r\nGET /"),
            "ends too early",
        ),
        (
            testing::request("/").body("a").method(Method::GET),
            "must not have a body",
        ),
        (
            testing::request("/")
                .header("Host", "a")
                .header("Host", "b"),
            "more than one Host",
        ),
    ] {
        let text = panic_of(move || drop(builder.build()));
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn reply_can_be_looked_at() {
    let reply = Reply::json(201, "{}").header(
        standpipe::http::header::ETAG,
        HeaderValue::from_static("\"1\""),
    );
    assert_eq!((reply.code(), reply.is_upgrade()), (201, false));
    assert_eq!(reply.header_value("ETag"), Some("\"1\""));
    assert_eq!(
        reply.header_value("x-content-type-options"),
        Some("nosniff")
    );
    assert_eq!(
        (reply.header_value("date"), reply.body()),
        (None, Some(&b"{}"[..]))
    );
    assert_eq!(
        (reply.selected_subprotocol(), reply.failure()),
        (None, None)
    );
    let html = HeaderValue::from_static("text/html");
    let stream = Reply::stream(200, html, std::io::repeat(b'x'), 9);
    assert_eq!(stream.body(), None);
    let upgrade = Reply::upgrade().subprotocol("b");
    assert_eq!(
        (upgrade.code(), upgrade.selected_subprotocol()),
        (101, Some("b"))
    );
}

/// Accepts `/ws` with a subprotocol, and counts what it has seen.
#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    peers: Mutex<Vec<Peer>>,
}

impl Handler for Seen {
    fn request(&self, request: &mut Request) -> Reply {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match request.path() {
            "/ws" => Reply::upgrade().subprotocol("chat"),
            _ => Reply::status(404),
        }
    }

    fn opening(&self, conn: &Connection) -> Result<(), Reply> {
        self.peers
            .lock()
            .unwrap()
            .push(conn.request().peer().clone());
        conn.outbox()
            .send("welcome")
            .map_err(|_| Reply::status(503))
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        echo(conn)
    }
}

#[test]
fn whole_handler_runs_without_a_network() {
    let seen = Seen::default();
    let report = TestServer::scope(Config::default(), &seen, |server| {
        let refused = server.client("/other").connect();
        assert!(matches!(refused, Err(ConnectError::Refused(answer)) if answer.status() == 404));
        let mut client = server.client("/ws").subprotocol("chat").connect().unwrap();
        assert_eq!(client.subprotocol(), Some("chat"));
        assert_eq!(client.recv().unwrap(), Some(Message::text("welcome")));
        client.send("hello").unwrap();
        assert_eq!(client.recv().unwrap(), Some(Message::text("hello")));
        client.close(1000, "").unwrap();
        server.handle().clone()
    });
    assert!(report.is_shutting_down());
    assert_eq!(seen.requests.into_inner(), 2);
    assert_eq!(seen.peers.into_inner().unwrap(), [Peer::Unix]);
}

#[test]
fn other_clients_use_the_url() {
    let server = TestServer::start(Seen::default());
    let mut client = Client::connect(&server.url("/ws")).unwrap();
    assert_eq!(client.recv().unwrap(), Some(Message::text("welcome")));
    client.close(1000, "").unwrap();
    // Leaves before the shutdown, so the report counts nobody.
    drop(client);
    assert_eq!(server.handle().local_addrs().len(), 1);
}

#[test]
fn dropped_server_has_ended() {
    let server = TestServer::with_config(Config::default().max_clients(Some(1)), echo);
    let mut client = server.connect("/");
    assert_eq!(server.handle().clients(), 1);
    assert!(matches!(
        server.client("/").connect(),
        Err(ConnectError::Refused(_))
    ));
    let handle = server.handle().clone();
    let received = std::thread::spawn(move || (client.recv(), client));
    within(20, "the server to end", move || drop(server));
    let (received, client) = received.join().unwrap();
    assert_eq!(received.unwrap(), None);
    assert_eq!(client.peer_close().map(|close| close.code), Some(1001));
    assert_eq!(handle.clients(), 0);
}

/// Panics in the method that the path names.
struct Panics;

impl Handler for Panics {
    fn request(&self, request: &mut Request) -> Reply {
        assert!(request.path() != "/request", "in {}", request.path());
        Reply::upgrade()
    }

    fn opening(&self, conn: &Connection) -> Result<(), Reply> {
        assert!(
            conn.request().path() != "/opening",
            "in {}",
            conn.request().path()
        );
        Ok(())
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        assert!(
            conn.request().path() != "/run",
            "in {}",
            conn.request().path()
        );
        echo(conn)
    }
}

#[test]
fn panic_of_the_handler_fails_the_test() {
    for path in ["/request", "/opening", "/run"] {
        let visit = |server: &TestServer| match server.client(path).connect() {
            // The server does what it always does.
            Err(ConnectError::Refused(answer)) => assert_eq!(answer.status(), 500),
            Ok(mut client) => {
                let ended = client.recv();
                assert!(ended.is_ok(), "{ended:?}");
                assert_eq!(client.peer_close().map(|close| close.code), Some(1011));
            }
            Err(error) => panic!("{error}"),
        };
        let dropped = panic_of(|| {
            let server = TestServer::start(Panics);
            visit(&server);
        });
        let shut_down = panic_of(|| {
            let server = TestServer::start(Panics);
            visit(&server);
            let _ = server.shutdown();
        });
        let scoped = panic_of(|| TestServer::scope(Config::default(), &Panics, visit));
        for text in [dropped, shut_down, scoped] {
            assert_eq!(text, format!("in {path}"));
        }
    }
}

#[test]
fn panic_of_the_test_ends_the_server() {
    let text = within(20, "both servers to end", || {
        let owned = panic_of(|| {
            let server = TestServer::start(echo);
            let _client = server.connect("/");
            panic!("the test failed");
        });
        let scoped = panic_of(|| {
            TestServer::scope(Config::default(), &echo, |server| {
                let _client = server.connect("/");
                panic!("the test failed");
            });
        });
        assert_eq!(owned, scoped);
        owned
    });
    assert_eq!(text, "the test failed");
}

#[test]
fn limits_of_the_configuration_apply() {
    let server = TestServer::with_config(Config::default().max_message(10), echo);
    let mut client = server.connect("/");
    client.send("more than ten bytes").unwrap();
    assert_eq!(client.recv().unwrap(), None);
    assert_eq!(client.peer_close().map(|close| close.code), Some(1009));
}
