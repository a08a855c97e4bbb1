//! Hostile HTTP requests to the binary (SECURITY.md, T1 to T9a). The tables in `src/http` test the answer to each
//! request head. These tests measure what requests cost, show that no spelling of a path avoids a check, and show that
//! nothing follows an answer on its connection.

use standpipe::Config;

use super::spawned::Spawned;
use crate::secrets::File;
use crate::support::{Frame, TestServer, get, http, op, post, scheme};

/// Every path that is served, with the status that a plain GET of a foreign page gets: it is answered where everybody
/// may ask, and refused where the answer is data.
const PATHS: [(&str, u16); 13] = [
    ("/", 200),
    ("/healthz", 200),
    ("/readyz", 200),
    ("/metrics", 403),
    ("/echo", 426),
    ("/ws", 426),
    ("/ws/t", 426),
    ("/topics", 403),
    ("/topics/t/history", 403),
    ("/topics/t/presence", 403),
    ("/debug/clients", 403),
    ("/dashboard", 403),
    ("/dashboard/live", 403),
];

#[test]
fn foreign_origin_gets_403_for_upgrades_posts_and_data() {
    let spawned = Spawned::start(&[]);
    let address = spawned.addr();
    let host = address.to_string();
    let own = format!("{}://{host}", scheme(spawned.addr()));
    // The server does not trust the headers of a proxy either.
    let claims = [
        String::new(),
        "X-Forwarded-Host: elsewhere.example\r\nX-Forwarded-Proto: https\r\n".into(),
        "Forwarded: host=elsewhere.example;proto=https\r\n".into(),
        "X-Original-Host: elsewhere.example\r\n".into(),
    ];
    for origin in [
        "https://elsewhere.example",
        "null",
        "",
        &format!("{own}.elsewhere.example"),
        &format!("http://{host}@elsewhere.example"),
        "http://localhost:1",
        &format!("{own}/"),
        &format!("{own}, https://elsewhere.example"),
    ] {
        for claim in &claims {
            let headers = format!("Origin: {origin}\r\n{claim}");
            for (path, status) in PATHS {
                let answer = get(address, path, &headers);
                assert_eq!(answer.status, status, "{path} {headers}");
                assert_eq!(answer.header("Access-Control-Allow-Origin"), None);
                let line = format!("Origin: {origin}");
                let upgrade = spawned.client(path).header(&line);
                assert_eq!(upgrade.request().1.status, 403, "{path} {headers}");
            }
            let posted = post(address, "/publish/t?key=k", &headers, "x");
            assert_eq!(posted.status, 403, "{headers}");
            // The page is answered for GET, so the server itself refuses this.
            assert_eq!(post(address, "/", &headers, "x").status, 403, "{headers}");
        }
    }
    let twice = format!("Origin: {own}\r\nOrigin: {own}\r\n");
    assert_eq!(get(address, "/", &twice).status, 400);
    assert_eq!(
        spawned.get("/topics").body,
        "[]",
        "a refused request published a message"
    );
    let own = format!("Origin: {own}");
    assert_eq!(spawned.client("/ws/t").header(&own).request().1.status, 101);
    let posted = post(address, "/publish/t", &format!("{own}\r\n"), "x");
    assert_eq!(posted.status, 202);
}

#[test]
fn path_spelling_never_bypasses_authentication() {
    let tokens = File::new("spellings-tokens", "s3cret\n");
    let keys = File::new("spellings-keys", "k3y\n");
    let flags = [
        "--token-file",
        tokens.path(),
        "--publish-key-file",
        keys.path(),
    ];
    let spawned = Spawned::start(&flags);
    let address = spawned.addr();
    let upgrade = |path: &str, token: bool| {
        let client = spawned.client(path);
        let token = if token { "s3cret" } else { "" };
        let client = client.header(&format!("Authorization: Bearer {token}"));
        client.request().1.status
    };
    for served in [
        "/echo",
        "/%65cho",
        "/ech%6F",
        "/echo?x=/../",
        &format!("http://{address}/echo"),
        &format!("HTTP://{address}/%65cho"),
        "/ws/t",
        "/%77s/t",
        "/w%73/%74",
        "/ws/a%2Fb",
        "/ws/echo",
        &format!("http://{address}/ws/t"),
    ] {
        assert_eq!(upgrade(served, false), 401, "{served}");
        assert_eq!(upgrade(served, true), 101, "{served}");
    }
    for unknown in [
        "/ECHO",
        "/echo/",
        "/echo%20",
        "/echo;x",
        "/echo/x",
        "/x/echo",
        "/ws%2Ft",
        "/WS/t",
        "/ws/t/x",
        "/metrics%2F..%2Fecho",
    ] {
        let status = upgrade(unknown, false);
        assert!(matches!(status, 400 | 404), "{unknown}: {status}");
        assert_eq!(upgrade(unknown, true), status, "{unknown}");
    }
    for invalid in [
        "//echo",
        "/./echo",
        "/healthz/../echo",
        "/healthz/%2e%2e/echo",
        "/echo%00",
        "/echo#x",
        "/\\echo",
        "/ws//t",
        "/ws/%ff",
        "/ws/ü",
        "echo",
        "http://elsewhere.example/echo",
        "http://localhost:1/echo",
    ] {
        assert_eq!(upgrade(invalid, false), 400, "{invalid}");
        assert_eq!(upgrade(invalid, true), 400, "{invalid}");
    }
    let key = "Authorization: Bearer k3y\r\n";
    for (publish, history, clients) in [
        ("/publish/t", "/topics/t/history", "/debug/clients"),
        ("/%70ublish/t", "/topics/%74/history", "/debug/client%73"),
        ("/publish/%74", "/topic%73/t/histor%79", "/%64ebug/clients"),
    ] {
        assert_eq!(post(address, publish, "", "x").status, 401, "{publish}");
        assert_eq!(post(address, publish, key, "x").status, 202, "{publish}");
        for path in [history, clients] {
            assert_eq!(get(address, path, "").status, 401, "{path}");
            assert_eq!(get(address, path, key).status, 200, "{path}");
        }
    }
}

#[test]
fn oversized_head_costs_neither_time_nor_memory() {
    let spawned = Spawned::start(&[]);
    assert_eq!(spawned.get("/healthz").status, 200);
    let (base, ticks) = (spawned.kib("VmHWM"), spawned.ticks());
    let host = "GET / HTTP/1.1\r\nHost: localhost\r\n";
    let endless = "a".repeat(20 << 20);
    for _ in 0..10 {
        for (head, status) in [
            (format!("GET /{endless}"), 414),
            (format!("{host}X-Long: {endless}"), 431),
            (format!("{host}{}", "X-Many: 1\r\n".repeat(2 << 20)), 431),
        ] {
            let mut client = spawned.client("/").open();
            let send_half = client.send_half();
            let sending = std::thread::spawn(move || send_half.try_bytes(head));
            assert_eq!(client.read_head().status, status);
            assert!(!sending.join().unwrap(), "the server read all 20 MiB");
        }
    }
    let (memory, cpu) = (
        spawned.kib("VmHWM").saturating_sub(base),
        spawned.ticks() - ticks,
    );
    assert!(memory < 2048, "{memory} KiB");
    assert!(cpu < 20, "{cpu} hundredths of a second for 30 heads");
}

#[test]
fn unwanted_request_body_costs_no_memory() {
    let spawned = Spawned::start(&[]);
    assert_eq!(spawned.get("/healthz").status, 200);
    let base = spawned.kib("VmHWM");
    let length = "Content-Length: 1073741824\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let upgrade = spawned.client("/echo").head();
    let upgrade = upgrade.strip_suffix("\r\n").unwrap();
    let host = format!("HTTP/1.1\r\nHost: {}\r\n", spawned.addr());
    for (head, status) in [
        (format!("{upgrade}{length}"), 400),
        (format!("{upgrade}{chunked}"), 400),
        (format!("GET /healthz {host}{length}"), 400),
        (format!("POST /publish/t {host}{length}"), 413),
        (format!("POST /publish/t {host}{chunked}"), 400),
        (format!("POST /nothing {host}{chunked}"), 404),
        (format!("POST /nothing {host}{length}"), 404),
        (format!("POST /echo {host}{length}"), 405),
    ] {
        let mut client = spawned.client("/").open();
        client.bytes(format!("{head}\r\n"));
        let send_half = client.send_half();
        let sending = std::thread::spawn(move || {
            let piece = vec![b'x'; 1 << 20];
            (0..1024)
                .take_while(|_| send_half.try_bytes(&piece))
                .count()
        });
        assert_eq!(client.read_head().status, status, "{head}");
        let sent = sending.join().unwrap();
        assert!(sent < 64, "the server accepted {sent} MiB after {head}");
    }
    let cost = spawned.kib("VmHWM").saturating_sub(base);
    assert!(cost < 2048, "{cost} KiB");
    assert_eq!(
        spawned.get("/topics").body,
        "[]",
        "a refused request published a message"
    );
}

/// Returns the bytes of a string with Rust's escapes.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let (byte, length) = match after.as_bytes()[0] {
            b'r' => (b'\r', 1),
            b'n' => (b'\n', 1),
            b't' => (b'\t', 1),
            b'0' => (0, 1),
            b'x' => (u8::from_str_radix(&after[1..3], 16).unwrap(), 3),
            other => panic!("unknown escape \\{other}"),
        };
        bytes.push(byte);
        rest = &after[length..];
    }
    bytes.extend(rest.as_bytes());
    bytes
}

#[test]
fn ambiguous_request_gets_one_answer_and_eof() {
    let spawned = Spawned::start(&[]);
    let corpus = include_str!("../../../src/http/corpus/smuggling.txt");
    let second = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", spawned.addr());
    let mut count = 0;
    for line in corpus.lines() {
        let Some((status, head)) = line.split_once(' ').filter(|(word, _)| *word != "#") else {
            continue;
        };
        let mut client = spawned.client("/").open();
        client.bytes([&unescaped(head), second.as_bytes()].concat());
        let all = String::from_utf8(client.read_to_eof()).unwrap();
        assert!(
            all.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head}: {all}"
        );
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{head}: {all}");
        assert!(all.contains("\r\nConnection: close\r\n"), "{head}: {all}");
        count += 1;
    }
    assert!(count >= 70, "{count} heads");
}

#[test]
fn nothing_is_answered_after_a_refused_upgrade() {
    let spawned = Spawned::start(&[]);
    let host = format!("Host: {}\r\n", spawned.addr());
    let second = format!("GET /healthz HTTP/1.1\r\n{host}\r\n");
    let upgrade = spawned.client("/echo").head();
    for (head, status) in [
        (format!("GET /echo HTTP/1.1\r\n{host}\r\n"), 426),
        (upgrade.replace("Version: 13", "Version: 8"), 426),
        (upgrade.replace("Version: 13", "Version: 777"), 426),
        (upgrade.replace("/echo", "/nothing"), 404),
    ] {
        let mut client = spawned.client("/").open();
        client.bytes(head);
        let answer = client.read_head();
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.header("Sec-WebSocket-Version"),
            (status == 426).then_some("13")
        );
        // The server ignores bytes that would form a frame, too.
        client.bytes([second.as_bytes(), &Frame::new(op::PING, "p").bytes()].concat());
        client.end();
        let rest = client.read_to_eof();
        let length = answer.header("Content-Length").unwrap();
        assert_eq!(rest.len().to_string(), length, "{}", rest.escape_ascii());
    }
}

/// A proxy that passes on `body` as one body must not see a second answer.
#[test]
fn bytes_inside_a_body_are_not_a_request() {
    let spawned = Spawned::start(&["--topic", "t:history=100"]);
    let host = format!("Host: {}\r\n", spawned.addr());
    let second = format!("POST /publish/t HTTP/1.1\r\n{host}Content-Length: 1\r\n\r\n2");
    let length = second.len();
    let own = format!("POST /publish/t HTTP/1.1\r\n{host}Connection: close\r\n");
    let mut published = 0;
    for (framing, body, status) in [
        (
            format!("Content-Length: {length}\r\n\r\n"),
            second.clone(),
            202,
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n".into(),
            format!("{length:x}\r\n{second}\r\n0\r\n\r\n"),
            202,
        ),
        // What follows the body of the last request is not read.
        (
            "Content-Length: 1\r\n\r\n".into(),
            format!("1{second}"),
            202,
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n".into(),
            format!("1\r\nx\r\n0\r\n\r\n{second}"),
            202,
        ),
        (
            "Content-Length: 1048576\r\n\r\n".into(),
            second.repeat(3),
            413,
        ),
    ] {
        let mut client = spawned.client("/").open();
        client.bytes([own.clone(), framing, body].concat());
        client.end();
        let all = String::from_utf8(client.read_to_eof()).unwrap();
        assert!(all.starts_with(&format!("HTTP/1.1 {status} ")), "{all}");
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{all}");
        published += usize::from(status == 202);
    }
    let history = spawned.get("/topics/t/history").body;
    assert_eq!(history.matches("\"id\"").count(), published, "{history}");
}

/// Every error in the framing of a body ends the connection, although keep-alive was possible.
#[test]
fn invalid_chunked_body_gets_one_answer_and_eof() {
    let spawned = Spawned::start(&[]);
    let host = format!("Host: {}\r\n", spawned.addr());
    let second = format!("GET /healthz HTTP/1.1\r\n{host}\r\n");
    let head = format!("POST /publish/t HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n");
    let corpus = include_str!("../../../src/http/corpus/chunked.txt");
    let mut count = 0;
    for line in corpus.lines() {
        let Some(body) = line.strip_prefix("bad ").filter(|body| !body.contains('{')) else {
            continue;
        };
        let mut client = spawned.client("/").open();
        client.bytes([head.as_bytes(), &unescaped(body), second.as_bytes()].concat());
        let all = String::from_utf8(client.read_to_eof()).unwrap();
        assert!(all.starts_with("HTTP/1.1 400 "), "{body}: {all}");
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{body}: {all}");
        assert!(all.contains("\r\nConnection: close\r\n"), "{body}: {all}");
        count += 1;
    }
    assert!(count >= 45, "{count} bodies");
    assert_eq!(
        spawned.get("/topics").body,
        "[]",
        "a refused body was published"
    );
}

#[test]
fn handshake_headers_get_the_documented_status() {
    let server = TestServer::echo(Config::default());
    let own = server.client().head();
    let line = |name: &str| {
        let line = own.lines().find(|line| line.starts_with(name)).unwrap();
        format!("{line}\\r\\n")
    };
    let up = line("Upgrade: ") + &line("Connection: ");
    let (key, version) = (line("Sec-WebSocket-Key: "), line("Sec-WebSocket-Version: "));
    let corpus = include_str!("../../../src/http/corpus/handshakes.txt")
        .replace("{get}", r"GET /ws HTTP/1.1\r\nHost: localhost\r\n")
        .replace("{ws}", "{up}{key}{13}")
        .replace("{up}", &up)
        .replace("{key}", &key)
        .replace("{13}", &version);
    let (mut accepted, mut refused) = (0, 0);
    for line in corpus.lines() {
        let Some((status, head)) = line.split_once(' ').filter(|(word, _)| *word != "#") else {
            continue;
        };
        let mut client = server.client().open();
        // The origins in the file are those of pages that a browser got from this server.
        let own = format!("Origin: {}://localhost", scheme(server.addr()));
        client.bytes(unescaped(&head.replace("Origin: http://localhost", &own)));
        let answer = client.read_head();
        assert_eq!(answer.status.to_string(), status, "{head}");
        if answer.status == 101 {
            // The server selects no subprotocol and no extension.
            assert_eq!(answer.header("Sec-WebSocket-Protocol"), None, "{head}");
            assert_eq!(answer.header("Sec-WebSocket-Extensions"), None, "{head}");
            client.text("agreed");
            client.expect_text("agreed");
            client.leave();
            accepted += 1;
        } else {
            let connection = answer.header("Connection").unwrap();
            assert!(connection.starts_with("close"), "{head}: {connection}");
            client.try_bytes(Frame::new(op::PING, "p").bytes());
            client.end();
            let length = client.read_to_eof().len().to_string();
            if !head.starts_with("HEAD ") {
                assert_eq!(answer.header("Content-Length"), Some(&*length), "{head}");
            }
            refused += 1;
        }
    }
    assert!(accepted >= 15 && refused >= 50, "{accepted} and {refused}");
}

#[test]
fn client_text_never_appears_in_response_heads() {
    const CLIENT_TEXT: &str = "injected";
    let spawned = Spawned::start(&[]);
    let address = spawned.addr();
    let split = "%0d%0aSet-Cookie:%20injected=1%0d%0a%0d%0ainjected";
    let check = |request: String| {
        let answer = http(address, &request);
        assert!(
            answer
                .headers
                .iter()
                .all(|(name, value)| !name.contains(CLIENT_TEXT) && !value.contains(CLIENT_TEXT)),
            "{request}: {answer:?}"
        );
    };
    for path in ["/", "/ws/", "/topics/", "/publish/", "/healthz?", "/x?"] {
        for text in [CLIENT_TEXT, split] {
            for (method, headers) in [
                ("GET", String::new()),
                ("HEAD", String::new()),
                ("POST", "Content-Length: 0\r\n".into()),
                ("INJECTED", String::new()),
                ("GET", format!("Origin: https://{CLIENT_TEXT}.example\r\n")),
                (
                    "GET",
                    format!("User-Agent: {CLIENT_TEXT}\r\nCookie: {CLIENT_TEXT}=1\r\n"),
                ),
            ] {
                check(format!(
                    "{method} {path}{text} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n"
                ));
            }
        }
    }
    check(format!(
        "GET / HTTP/1.1\r\nHost: {CLIENT_TEXT}.example\r\n\r\n"
    ));
    for (path, offers) in [
        (
            format!("/ws/{CLIENT_TEXT}?name={CLIENT_TEXT}&since=1"),
            CLIENT_TEXT,
        ),
        (
            format!("/ws/t?name=x&x={split}"),
            "standpipe.raw, bearer.injected",
        ),
        (
            format!("/ws?name={CLIENT_TEXT}"),
            "injected, standpipe.v1, bearer.injected",
        ),
    ] {
        let offers = format!("Sec-WebSocket-Protocol: {offers}");
        let client = spawned.client(&path).header(&offers);
        let client = client.header(&format!("Sec-WebSocket-Extensions: {CLIENT_TEXT}"));
        let (_, answer) = client.request();
        assert_eq!(answer.status, 101, "{path}: {answer:?}");
        let is_clean = |(_, value): &(String, String)| !value.contains(CLIENT_TEXT);
        assert!(answer.headers.iter().all(is_clean), "{path}: {answer:?}");
    }
}
