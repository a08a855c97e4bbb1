//! What the answers say to the pages of allowed origins (CORS), and which origins without a host may be allowed.

use standpipe::{Config, Connection, Handler, Reply, Request, Server};

use crate::support::{Answer, Failure, TestServer, http, http_url, listen};

/// Requires a key, as a preflight never has one.
struct Keyed;

impl Handler for Keyed {
    fn request(&self, request: &mut Request) -> Reply {
        match (request.path(), request.header("authorization")) {
            ("/ws", _) => Reply::upgrade(),
            ("/own", _) => Reply::text(200, "own\n")
                .header(
                    http::header::ACCESS_CONTROL_ALLOW_ORIGIN,
                    http::HeaderValue::from_static("https://own.example"),
                )
                .header(http::header::VARY, http::HeaderValue::from_static("Accept")),
            (_, Some("Bearer key")) => Reply::text(200, "secret\n"),
            _ => Reply::text(401, "a key is required\n"),
        }
    }

    fn run(&self, _: &mut Connection) -> Result<(), Failure> {
        Ok(())
    }
}

fn server(origins: &[&str]) -> TestServer {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    TestServer::start(Config::default().origin(origins), Keyed)
}

#[track_caller]
fn ask(server: &TestServer, line: &str, headers: &str) -> Answer {
    let host = server.addr();
    http(
        server.addr(),
        format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"),
    )
}

const ALLOW: &str = "Access-Control-Allow-Origin";
const PREFLIGHT: &str =
    "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n";

#[test]
fn pages_of_allowed_origins_may_read_every_answer() {
    let server = server(&["https://app.example", "https://*.wild.example"]);
    for origin in [
        "https://app.example",
        "https://x.wild.example",
        "https://app.example:443",
    ] {
        for (headers, status) in [("", 401), ("Authorization: Bearer key\r\n", 200)] {
            let answer = ask(&server, "GET /", &format!("Origin: {origin}\r\n{headers}"));
            assert_eq!(answer.status, status);
            assert_eq!(answer.header(ALLOW), Some(origin));
            assert_eq!(answer.header("Vary"), Some("Origin"));
            assert_eq!(answer.header("Access-Control-Allow-Credentials"), None);
        }
        // A refused upgrade too.
        let answer = ask(&server, "GET /ws", &format!("Origin: {origin}\r\n"));
        assert_eq!((answer.status, answer.header(ALLOW)), (426, Some(origin)));
    }
    // The page of another origin may send a plain GET, but not read its answer.
    let elsewhere = "Origin: https://elsewhere.example\r\n";
    for headers in [
        elsewhere,
        &format!("{elsewhere}Authorization: Bearer key\r\n"),
    ] {
        let foreign = ask(&server, "GET /", headers);
        assert!([200, 401].contains(&foreign.status));
        assert_eq!(
            (foreign.header(ALLOW), foreign.header("Vary")),
            (None, Some("Origin"))
        );
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "BREW"] {
        let foreign = ask(&server, &format!("{method} /"), elsewhere);
        assert_eq!((foreign.status, foreign.header(ALLOW)), (403, None));
    }
    // A cache must not give an answer without the header to a page.
    let without = ask(&server, "GET /", "");
    assert_eq!(
        (without.header(ALLOW), without.header("Vary")),
        (None, Some("Origin"))
    );
}

#[test]
fn preflight_is_answered_before_the_handler() {
    let server = server(&["https://app.example"]);
    let origin = "Origin: https://app.example\r\n";
    let answer = ask(&server, "OPTIONS /", &format!("{origin}{PREFLIGHT}"));
    assert_eq!((answer.status, &*answer.body), (204, ""));
    assert_eq!(answer.header(ALLOW), Some("https://app.example"));
    let methods = answer.header("Access-Control-Allow-Methods").unwrap();
    for method in ["GET", "POST", "DELETE"] {
        assert!(methods.contains(method), "{methods}");
    }
    let headers = answer.header("Access-Control-Allow-Headers").unwrap();
    for header in ["Authorization", "Content-Type", "Idempotency-Key"] {
        assert!(headers.contains(header), "{headers}");
    }
    assert!(answer.header("Access-Control-Max-Age").is_some());
    // Not a preflight, or not an allowed origin.
    assert_eq!(ask(&server, "OPTIONS /", origin).status, 401);
    assert_eq!(ask(&server, "OPTIONS /", PREFLIGHT).status, 401);
    let foreign = format!("Origin: https://elsewhere.example\r\n{PREFLIGHT}");
    let foreign = ask(&server, "OPTIONS /", &foreign);
    assert_eq!((foreign.status, foreign.header(ALLOW)), (401, None));
    assert_eq!(foreign.header("Access-Control-Allow-Methods"), None);
}

#[test]
fn without_origins_no_answer_has_cors_headers() {
    let server = server(&[]);
    let own = format!("Origin: {}\r\n", http_url(server.addr(), ""));
    let answer = ask(&server, "GET /", &own);
    assert_eq!(
        (answer.status, answer.header(ALLOW), answer.header("Vary")),
        (401, None, None)
    );
    let preflight = ask(&server, "OPTIONS /", &format!("{own}{PREFLIGHT}"));
    assert_eq!(preflight.status, 401, "the handler answers it");
}

#[test]
fn any_origin_is_answered_with_a_star() {
    let server = TestServer::start(Config::default().allow_any_origin(true), Keyed);
    let answer = ask(&server, "GET /", "Origin: https://elsewhere.example\r\n");
    assert_eq!(
        (answer.status, answer.header(ALLOW), answer.header("Vary")),
        (401, Some("*"), None)
    );
    // A cache may give this answer to a page of any origin, because no `Vary` forbids it.
    assert_eq!(ask(&server, "GET /", "").header(ALLOW), Some("*"));
    assert_eq!(ask(&server, "OPTIONS /", PREFLIGHT).status, 401);
}

#[test]
fn same_origin_listener_sends_no_cors_headers() {
    let patterns = Config::default().origin(vec!["https://app.example".into()]);
    for config in [Config::default().allow_any_origin(true), patterns] {
        let listener = listen("127.0.0.1:0").same_origin_only();
        let server = Server::from_listeners(vec![listener], config).unwrap();
        let server = TestServer::of(server, Keyed);
        let own = format!("Origin: {}\r\n", http_url(server.addr(), ""));
        for headers in ["", &own] {
            let answer = ask(&server, "GET /", headers);
            assert_eq!((answer.status, answer.header(ALLOW)), (401, None));
        }
        let preflight = format!("Origin: https://app.example\r\n{PREFLIGHT}");
        assert_eq!(ask(&server, "OPTIONS /", &preflight).status, 403);
    }
}

#[test]
fn cors_headers_of_the_handler_are_kept() {
    let server = server(&["https://app.example"]);
    let answer = ask(&server, "GET /own", "Origin: https://app.example\r\n");
    assert_eq!(answer.all(ALLOW), ["https://own.example"]);
    assert_eq!(answer.all("Vary"), ["Accept", "Origin"]);
}

#[test]
fn opaque_origins_are_allowed_only_by_name() {
    for (allowed, origin, status) in [
        ("null", "null", 401),
        ("null", "file://", 403),
        ("file://", "file://", 401),
        ("file://", "null", 403),
        ("FILE://", "file://", 401),
        ("https://app.example", "null", 403),
        ("https://app.example", "file://", 403),
        ("null", "nullx", 403),
        ("null", "https://null", 403),
        ("file://", "file:///", 403),
    ] {
        let server = server(&[allowed]);
        let answer = ask(&server, "POST /", &format!("Origin: {origin}\r\n"));
        assert_eq!(answer.status, status, "{allowed} {origin}");
        assert_eq!(answer.header(ALLOW), (status == 401).then_some(origin));
        let client = server
            .client()
            .path("/ws")
            .header(&format!("Origin: {origin}"));
        let upgraded = client.request().1.status;
        assert_eq!(
            upgraded,
            if status == 401 { 101 } else { 403 },
            "{allowed} {origin}"
        );
    }
}
