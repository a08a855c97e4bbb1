//! The opening handshake: which requests are answered with 101, and how all others are answered.

use std::time::Duration;

use standpipe::{Config, Connection, Handler, Reply, Request};

use crate::support::{
    Answer, Failure, Frame, TestClient, TestServer, echo, get, http, let_time_pass, op, until,
    with_both_flush_modes,
};

/// The header lines of an upgrade request, without request line and Host.
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// A handler that serves plain pages and an echo.
struct Site;

impl Handler for Site {
    fn request(&self, request: &mut Request) -> Reply {
        match request.path() {
            "/echo" => Reply::upgrade(),
            "/page" => Reply::text(200, "a page\n"),
            "/panics" => panic!("deliberate test failure"),
            _ => Reply::status(404),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        echo(conn)
    }
}

fn site() -> TestServer {
    TestServer::start(Config::default(), Site)
}

#[test]
fn upgrade_is_answered_with_101_and_the_accept_key() {
    let server = site();
    let (_client, answer) = server.client().path("/echo").request();
    assert_eq!(answer.status, 101);
    // The key and the accept value are the example of RFC 6455 §1.3.
    let key = answer.header("Sec-WebSocket-Accept");
    assert_eq!(key, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let upgrade = answer.header("Upgrade").unwrap();
    assert!(upgrade.eq_ignore_ascii_case("websocket"));
    let connection = answer.header("Connection").unwrap();
    assert!(connection.eq_ignore_ascii_case("upgrade"));
    assert_eq!(answer.header("Sec-WebSocket-Protocol"), None);
    assert_eq!(answer.header("Sec-WebSocket-Extensions"), None);
}

#[test]
fn refusals_are_complete_responses_that_end_the_connection() {
    let server = site();
    let host = format!("Host: {}", server.addr());
    let long = "a".repeat(20_000);
    let refused = |status, request: String| {
        // `http` reads to the end of the stream, so a connection that stays open or is reset fails the test.
        let answer = http(server.addr(), &request);
        let start = &request[..request.len().min(200)];
        assert_eq!(answer.status, status, "{start:?}: {answer:?}");
        let connection = answer.header("Connection").unwrap();
        let is_upgrade_required = status == 426;
        assert!(connection.starts_with("close"), "{start:?}: {connection}");
        // RFC 9110 §7.8: `Connection` names `Upgrade` where that header is sent.
        assert_eq!(connection.ends_with(", Upgrade"), is_upgrade_required);
        let upgrade = answer.header("Upgrade");
        assert_eq!(upgrade, is_upgrade_required.then_some("websocket"));
        let length = answer.header("Content-Length").map(str::parse);
        assert_eq!(length, Some(Ok(answer.body.len())), "{start:?}");
        answer
    };
    refused(400, "hello\r\n\r\n".into());
    refused(400, "GET /echo HTTP/1.1\r\n\r\n".into());
    refused(
        400,
        format!("GET /echo HTTP/1.1\r\n{host}\r\n{host}\r\n{UPGRADE}\r\n"),
    );
    let no_key = UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "short");
    refused(400, format!("GET /echo HTTP/1.1\r\n{host}\r\n{no_key}\r\n"));
    refused(
        403,
        format!("GET /echo HTTP/1.1\r\n{host}\r\n{UPGRADE}Origin: https://evil.example\r\n\r\n"),
    );
    refused(
        404,
        format!("GET /nothing HTTP/1.1\r\n{host}\r\n{UPGRADE}\r\n"),
    );
    let answer = refused(
        405,
        format!("POST /echo HTTP/1.1\r\n{host}\r\n{UPGRADE}\r\n"),
    );
    assert_eq!(answer.header("Allow"), Some("GET"));
    refused(414, format!("GET /{long} HTTP/1.1\r\n{host}\r\n\r\n"));
    refused(
        421,
        format!("GET /echo HTTP/1.1\r\nHost: evil.example\r\n{UPGRADE}\r\n"),
    );
    let old = UPGRADE.replace("Version: 13", "Version: 8");
    let answer = refused(426, format!("GET /echo HTTP/1.1\r\n{host}\r\n{old}\r\n"));
    assert_eq!(answer.header("Sec-WebSocket-Version"), Some("13"));
    let answer = refused(426, format!("GET /echo HTTP/1.1\r\n{host}\r\n\r\n"));
    assert_eq!(answer.header("Sec-WebSocket-Version"), Some("13"));
    refused(
        431,
        format!("GET /echo HTTP/1.1\r\n{host}\r\nX: {long}\r\n\r\n"),
    );
    let many = "X: 1\r\n".repeat(100);
    refused(431, format!("GET /echo HTTP/1.1\r\n{host}\r\n{many}\r\n"));
}

#[test]
fn peer_that_reads_late_still_receives_the_refusal() {
    let server = site();
    let head = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let bytes = [head.as_bytes(), &[b'x'; 150_000]].concat();
    for _ in 0..50 {
        let mut client = server.client().open();
        for piece in bytes.chunks(10_000) {
            client.bytes(piece);
        }
        assert_eq!(client.read_head().status, 404);
        client.end();
        client.read_to_eof();
    }
}

#[test]
fn frames_sent_with_the_request_are_served() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let client = server.client();
        let mut bytes = client.head().into_bytes();
        bytes.extend(Frame::new(op::TEXT, "one").bytes());
        bytes.extend(Frame::new(op::PING, "two").bytes());
        // The request is also followed by the first half of another frame.
        let last = Frame::new(op::TEXT, "three").bytes();
        bytes.extend(&last[..5]);
        let mut client = client.open();
        client.bytes(&bytes);
        assert_eq!(client.read_head().status, 101);
        let mut got = [client.next_frame(), client.next_frame()];
        // A pong may overtake data.
        got.sort_by_key(|frame| frame.opcode);
        assert_eq!(
            (got[0].opcode, &got[0].payload[..]),
            (op::TEXT, &b"one"[..])
        );
        assert_eq!(
            (got[1].opcode, &got[1].payload[..]),
            (op::PONG, &b"two"[..])
        );
        client.bytes(&last[5..]);
        client.expect_text("three");
        client.leave();
    });
}

#[test]
fn violation_sent_with_the_request_gets_its_close() {
    let server = TestServer::echo(Config::default());
    let client = server.client();
    let mut bytes = client.head().into_bytes();
    bytes.extend([0x81, 0x01, b'x']);
    let mut client = client.open();
    client.bytes(&bytes);
    assert_eq!(client.read_head().status, 101);
    client.expect_close(1002);
    client.expect_eof();
}

#[test]
fn request_may_arrive_one_byte_at_a_time() {
    let server = TestServer::echo(Config::default());
    let client = server.client();
    let head = client.head();
    let mut client = client.open();
    for byte in head.as_bytes() {
        client.bytes([*byte]);
    }
    assert_eq!(client.read_head().status, 101);
    client.text("here");
    client.expect_text("here");
}

#[test]
fn incomplete_request_is_reset_at_handshake_timeout() {
    let config = Config::default().handshake_timeout(Duration::from_millis(300));
    let server = TestServer::echo(config);
    // One client sends nothing, one stops in the middle, and one sends slowly. The timeout covers the whole head.
    let mut silent = server.client().open();
    let mut half = server.client().open();
    half.bytes("GET / HTTP/1.1\r\nHost: localhost\r\n");
    let mut trickling = server.client().open();
    let send_half = trickling.send_half();
    let trickle = std::thread::spawn(move || {
        while send_half.try_bytes("X") {
            // The slow pace is what this test is about. At full speed, the head would be too large before the timeout.
            let_time_pass(Duration::from_millis(2));
        }
    });
    silent.expect_reset();
    half.expect_reset();
    assert_eq!(
        trickling.next_byte(),
        None,
        "the server answered an incomplete request"
    );
    trickle.join().unwrap();
    until("all three are counted", || {
        server.disconnects("handshake_timeout") == 3
    });
}

#[test]
fn client_that_leaves_during_its_request_is_harmless() {
    let server = site();
    for bytes in ["", "GET", "GET /echo HTTP/1.1\r\n"] {
        let client = server.client().open();
        client.bytes(bytes);
        client.reset();
        let mut client = server.client().open();
        client.bytes(bytes);
        client.end();
        client.expect_eof();
    }
    server.client().path("/echo").connect().leave();
}

/// A handler that supports the subprotocol "b", and sends the chosen subprotocol to the client.
struct SpeaksB;

impl Handler for SpeaksB {
    fn request(&self, _: &mut Request) -> Reply {
        Reply::upgrade().subprotocol("b")
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        let chosen = format!("{:?}", conn.subprotocol());
        conn.send(standpipe::Message::text(chosen))?;
        echo(conn)
    }
}

#[test]
fn subprotocol_is_chosen_only_from_the_clients_list() {
    let server = TestServer::start(Config::default(), SpeaksB);
    for (offers, chosen) in [
        (&["a, b"][..], Some("b")),
        (&["a", "b"], Some("b")),
        (&["b"], Some("b")),
        (&["a, c"], None),
        (&["B"], None),
        (&[], None),
    ] {
        let mut client = server.client();
        for offer in offers {
            client = client.header(&format!("Sec-WebSocket-Protocol: {offer}"));
        }
        let (mut client, answer) = client.request();
        assert_eq!(answer.status, 101, "{offers:?}");
        assert_eq!(
            answer.header("Sec-WebSocket-Protocol"),
            chosen,
            "{offers:?}"
        );
        client.expect_text(&format!("{chosen:?}"));
    }
}

#[test]
fn handler_answers_plain_http() {
    let server = site();
    let answer = server.get("/page");
    assert_eq!((answer.status, &*answer.body), (200, "a page\n"));
    assert_eq!(answer.header("Connection"), Some("close"));
    let request = format!(
        "HEAD /page HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        server.addr()
    );
    let head = http(server.addr(), request);
    assert_eq!((head.status, &*head.body), (200, ""));
    assert_eq!(head.header("Content-Length"), Some("7"));
}

#[test]
fn panic_in_request_is_answered_with_500() {
    let server = site();
    let mut before = server.client().path("/echo").connect();
    for _ in 0..3 {
        assert_eq!(server.get("/panics").status, 500);
        let (_, answer) = server.client().path("/panics").request();
        assert_eq!(answer.status, 500);
    }
    before.text("still here");
    before.expect_text("still here");
    server.client().path("/echo").connect().leave();
}

#[test]
fn client_over_the_limit_is_answered_with_503() {
    let config = Config::default().max_clients(Some(2));
    let server = TestServer::start(config, Site);
    let client = || server.client().path("/echo");
    let (first, mut second) = (client().connect(), client().connect());
    let (mut refused, answer): (TestClient, Answer) = client().request();
    assert_eq!(answer.status, 503);
    let seconds = answer.header("Retry-After").map(str::parse::<u32>);
    assert!(matches!(seconds, Some(Ok(1..))), "{answer:?}");
    assert_eq!(answer.header("Connection"), Some("close"));
    refused.read_to_eof();
    // The limit counts upgraded clients, so monitoring can still send plain requests.
    assert_eq!(server.get("/page").status, 200);
    second.text("undisturbed");
    second.expect_text("undisturbed");
    first.leave();
    until("the first client is unregistered", || {
        server.handle().clients() == 1
    });
    client().connect().leave();
}

#[test]
fn refused_and_plain_requests_do_not_count_as_clients() {
    let config = Config::default().max_clients(Some(1));
    let server = TestServer::start(config, Site);
    for _ in 0..5 {
        assert_eq!(get(server.addr(), "/nothing", UPGRADE).status, 404);
        assert_eq!(server.get("/page").status, 200);
    }
    server.client().path("/echo").connect().leave();
}
