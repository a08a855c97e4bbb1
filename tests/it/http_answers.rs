//! What every answer has, which versions and targets are understood, and which `Host` a unix client may send.

use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

use standpipe::{Config, Connection, Handler, Reply, Request, Server};

use crate::support::{Connect, Failure, TestServer, echo, http};

/// Answers with the method and the path.
struct Mirror;

impl Handler for Mirror {
    fn request(&self, request: &mut Request) -> Reply {
        let code = request.query("code").and_then(|code| code.parse().ok());
        match request.path() {
            "/echo" => Reply::upgrade(),
            path => Reply::text(code.unwrap_or(200), format!("{} {path}", request.method())),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        echo(conn)
    }
}

fn server() -> TestServer {
    TestServer::start(Config::default(), Mirror)
}

#[track_caller]
fn assert_is_now(date: Option<&str>) {
    let date = httpdate::parse_http_date(date.expect("a Date header")).expect("an HTTP date");
    let difference = SystemTime::now().duration_since(date).unwrap();
    assert!(difference < Duration::from_secs(60), "{difference:?}");
}

#[test]
fn every_answer_has_a_date() {
    let server = server();
    for request in [
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /?code=204 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /?code=304 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /?code=503 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "no request\r\n",
    ] {
        assert_is_now(http(server.addr(), request).header("Date"));
    }
    assert_is_now(server.client().path("/echo").request().1.header("Date"));
}

#[test]
fn codes_without_content_have_no_body() {
    let server = server();
    let mut client = server.client().open();
    for (code, length) in [(204, None), (304, None), (205, Some("0"))] {
        client.bytes(format!(
            "GET /?code={code} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ));
        let answer = client.read_head();
        assert_eq!(
            (answer.status, answer.header("Content-Length")),
            (code, length)
        );
    }
    // A byte too many would be in front of this answer.
    client.bytes("HEAD /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.read_head();
    assert_eq!(head.header("Content-Length"), Some("7"));
    client.bytes("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.read_answer().body, "GET /x");
}

#[test]
fn versions_get_the_documented_status() {
    let server = server();
    for (version, status) in [
        ("HTTP/1.0", 200),
        ("HTTP/1.1", 200),
        ("HTTP/1.2", 200),
        ("HTTP/1.9", 200),
        ("HTTP/1.10", 400),
        ("HTTP/0.9", 505),
        ("HTTP/2.0", 505),
        ("HTTP/3.0", 505),
        ("http/1.1", 400),
        ("HTTP/1", 400),
    ] {
        let answer = http(
            server.addr(),
            format!("GET /x {version}\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        );
        assert_eq!(answer.status, status, "{version}");
    }
}

#[test]
fn targets_of_every_form_are_understood() {
    let server = server();
    let own = server.addr();
    for (line, status, body) in [
        ("GET /a".to_owned(), 200, Some("GET /a")),
        (format!("GET http://{own}/a"), 200, Some("GET /a")),
        (format!("GET http://{own}"), 200, Some("GET /")),
        (format!("OPTIONS http://{own}/a"), 200, Some("OPTIONS /a")),
        ("OPTIONS *".into(), 204, None),
        ("GET *".into(), 400, None),
        ("GET http://elsewhere.example/a".into(), 400, None),
        ("CONNECT elsewhere.example:80".into(), 501, None),
        ("GET a".into(), 400, None),
    ] {
        let answer = http(
            own,
            format!("{line} HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n"),
        );
        assert_eq!(answer.status, status, "{line}");
        if let Some(body) = body {
            assert_eq!(answer.body, body, "{line}");
        }
    }
}

#[test]
fn unix_client_may_send_any_host() {
    let path = std::env::temp_dir().join(format!("standpipe-host-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let listeners = vec![listener.try_into().unwrap()];
    let unix = Server::from_listeners(listeners, Config::default()).unwrap();
    let unix = TestServer::of(unix, Mirror);
    let tcp = server();
    for (host, on_unix, on_tcp) in [
        ("localhost", 200, 200),
        ("unix", 200, 421),
        ("example.com", 200, 421),
        ("example.com:8080", 200, 421),
        ("", 200, 400),
        ("%2Frun%2Fstandpipe.sock", 200, 400),
        ("a b", 400, 400),
        ("a/b", 400, 400),
        ("user@localhost", 400, 400),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut client = Connect::to_unix(&path).open();
        client.bytes(&request);
        assert_eq!(
            client.read_answer().status,
            on_unix,
            "{host} on the unix socket"
        );
        assert_eq!(http(tcp.addr(), &request).status, on_tcp, "{host} on TCP");
    }
    // `Host` is still required, once, and a page of another site still cannot upgrade.
    for (headers, status) in [
        ("", 400),
        ("Host: a\r\nHost: a\r\n", 400),
        (
            "Host:\r\nOrigin: https://elsewhere.example\r\nUpgrade: websocket\r\n",
            403,
        ),
        ("Host: a\r\nOrigin: http://a\r\n", 200),
    ] {
        let mut client = Connect::to_unix(&path).open();
        client.bytes(format!(
            "GET / HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"
        ));
        assert_eq!(client.read_answer().status, status, "{headers}");
    }
    let mut upgraded = Connect::to_unix(&path).path("/echo").connect();
    upgraded.text("x");
    upgraded.expect_text("x");
    upgraded.leave();
    unix.shut_down();
    std::fs::remove_file(&path).unwrap();
}
