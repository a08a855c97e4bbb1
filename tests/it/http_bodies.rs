//! Request bodies: chunked and encoded ones, `100 Continue`, and answers to clients that are still sending.

use standpipe::{Config, Connection, Handler, Reply, Request};

use crate::support::{Failure, TestClient, TestServer, http};

/// Returns the body of each request, which may have 1,000 bytes.
struct Returns;

impl Handler for Returns {
    fn request(&self, request: &mut Request) -> Reply {
        match request.path() {
            "/unread" => Reply::text(404, "not here\n"),
            "/form" => Reply::from_try(|| {
                let form = request.read_form(1000)?;
                let pairs: Vec<_> = form.pairs().collect();
                assert_eq!(format!("{form:?}"), format!("Form({} fields)", pairs.len()));
                Ok(Reply::text(200, format!("{:?} {pairs:?}", form.get("a"))))
            }),
            _ => match request.read_body(1000) {
                Ok(body) => Reply::text(200, String::from_utf8_lossy(&body).into_owned()),
                Err(refusal) => refusal,
            },
        }
    }

    fn run(&self, _: &mut Connection) -> Result<(), Failure> {
        Ok(())
    }
}

fn server() -> TestServer {
    TestServer::start(Config::default(), Returns)
}

fn post(headers: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}")
}

#[test]
fn chunked_body_reaches_the_handler() {
    let server = server();
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (body, want) in [
        ("0\r\n\r\n".to_owned(), String::new()),
        ("5\r\nhello\r\n0\r\n\r\n".into(), "hello".into()),
        (
            "2;a=\"b\"\r\nhe\r\n003\r\nllo\r\n0;c\r\nT: u\r\n\r\n".into(),
            "hello".into(),
        ),
        (
            format!("3e8\r\n{}\r\n0\r\n\r\n", "x".repeat(1000)),
            "x".repeat(1000),
        ),
        ("1\r\ny\r\n".repeat(1000) + "0\r\n\r\n", "y".repeat(1000)),
    ] {
        let answer = http(server.addr(), post(chunked, &body));
        assert_eq!((answer.status, answer.body), (200, want), "{body}");
    }
    for (body, status) in [
        (format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001)), 413),
        ("1\r\ny\r\n".repeat(1001), 413),
        ("5\r\nhello0\r\n\r\n".into(), 400),
        ("x\r\n".into(), 400),
    ] {
        assert_eq!(
            http(server.addr(), post(chunked, &body)).status,
            status,
            "{body}"
        );
    }
}

#[test]
fn chunked_body_that_ends_early_gets_400() {
    let server = server();
    let mut client = server.client().open();
    client.bytes(post("Transfer-Encoding: chunked\r\n", "5\r\nhel"));
    client.end();
    let answer = client.read_answer();
    assert_eq!(
        (answer.status, answer.header("Connection")),
        (400, Some("close"))
    );
}

#[test]
fn content_encodings_but_identity_get_415() {
    let server = server();
    for (coding, status) in [
        ("gzip", 415),
        ("GZIP", 415),
        ("identity, br", 415),
        ("\u{e9}", 415),
        ("x\r\nContent-Encoding: identity", 415),
        ("identity", 200),
        ("Identity", 200),
        ("", 200),
    ] {
        let headers = format!("Content-Encoding: {coding}\r\nContent-Length: 2\r\n");
        let answer = http(server.addr(), post(&headers, "hi"));
        assert_eq!(answer.status, status, "{coding}");
        let accepts = answer.header("Accept-Encoding");
        assert_eq!(accepts, (status == 415).then_some("identity"), "{coding}");
    }
}

#[test]
fn continue_is_sent_before_a_body_that_is_wanted() {
    let server = server();
    let expect = "Expect: 100-Continue\r\n";
    for (framing, body) in [
        ("Content-Length: 2\r\n", "hi"),
        ("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\n\r\n"),
    ] {
        let mut client = server.client().open();
        client.bytes(post(&format!("{framing}{expect}"), ""));
        assert_eq!(client.read_head().status, 100);
        client.bytes(body);
        assert_eq!(client.read_answer().body, "hi");
    }
    let first = |request: String| -> u16 {
        let mut client: TestClient = server.client().open();
        client.bytes(request);
        client.read_head().status
    };
    let length = "Content-Length: 2\r\n";
    // The body has already been sent, or is not wanted. An unknown expectation is ignored.
    assert_eq!(first(post(&format!("{length}{expect}"), "hi")), 200);
    assert_eq!(
        first(post(&format!("Content-Length: 2000\r\n{expect}"), "")),
        413
    );
    assert_eq!(first(post("Content-Length: 2\r\nExpect: x\r\n", "hi")), 200);
}

#[test]
fn http_1_0_client_gets_no_interim_response() {
    let server = server();
    let mut client = server.client().open();
    client.bytes("POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    client.bytes("hi");
    let answer = client.read_answer();
    assert_eq!((answer.status, &*answer.body), (200, "hi"));
}

/// Closing a socket with unread bytes sends a reset, which would discard the answer.
#[test]
fn client_that_sends_5_mb_sees_its_refusal() {
    let server = server();
    let large = vec![b'x'; 5_000_000];
    for (line, status) in [("POST /", 413), ("POST /unread", 404), ("POST /a b", 400)] {
        for _ in 0..10 {
            let head = format!(
                "{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                large.len()
            );
            let mut client = server.client().open();
            // The client sends everything before it reads.
            client.bytes(head);
            client.bytes(&large);
            assert_eq!(client.read_answer().status, status, "{line}");
            assert!(client.read_to_eof().is_empty(), "{line}");
        }
    }
}

#[test]
fn form_is_decoded_once() {
    let server = server();
    let post = |content_type: &str, body: &str| {
        let length = body.len();
        let head = format!(
            "POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n"
        );
        http(server.addr(), format!("{head}\r\n{body}"))
    };
    let form = "application/x-www-form-urlencoded";
    for (content_type, body, want) in [
        (
            form,
            "b=&a=1&a=2",
            r#"Some("1") [("b", ""), ("a", "1"), ("a", "2")]"#,
        ),
        (
            "Application/X-WWW-Form-URLencoded; charset=utf-8",
            "a=%C3%A9+%2541&",
            r#"Some("é %41") [("a", "é %41")]"#,
        ),
        (form, "", "None []"),
    ] {
        let answer = post(content_type, body);
        assert_eq!((answer.status, &*answer.body), (200, want), "{body}");
    }
    for (content_type, body, status) in [
        ("text/plain", "a=1", 415),
        ("application/x-www-form-urlencoded2", "a=1", 415),
        (form, "a=%4", 400),
        (form, "a=%FF", 400),
        (form, &"a".repeat(1001), 413),
    ] {
        assert_eq!(post(content_type, body).status, status, "{body}");
    }
}
