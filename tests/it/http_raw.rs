//! Raw requests to the program, as other programs and people with `nc` send them, and what must come back.

use crate::binary::Binary;
use crate::secrets::File;
use crate::support::{Answer, Connect, get, http, post};

/// What follows the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Kept,
    Ends,
}
use Then::{Ends, Kept};

/// Requests, their status, and whether the connection is kept. `{h}` is the line `Host`, `{a}` its value.
#[rustfmt::skip]
const REQUESTS: [(u16, Then, &str); 76] = [
    // Methods.
    (200, Kept, "GET / HTTP/1.1\r\n{h}\r\n"),
    (200, Kept, "HEAD / HTTP/1.1\r\n{h}\r\n"),
    (405, Kept, "POST / HTTP/1.1\r\n{h}\r\n"),
    (405, Kept, "PUT /healthz HTTP/1.1\r\n{h}\r\n"),
    (405, Kept, "DELETE /healthz HTTP/1.1\r\n{h}Content-Length: 0\r\n\r\n"),
    (405, Kept, "OPTIONS /healthz HTTP/1.1\r\n{h}\r\n"),
    (405, Ends, "TRACE /healthz HTTP/1.1\r\n{h}\r\n"),
    (405, Ends, "BREW /healthz HTTP/1.1\r\n{h}\r\n"),
    (405, Ends, "get /healthz HTTP/1.1\r\n{h}\r\n"),
    (501, Ends, "CONNECT example.com:443 HTTP/1.1\r\n{h}\r\n"),
    (204, Kept, "OPTIONS * HTTP/1.1\r\n{h}\r\n"),
    (400, Ends, "M[THOD / HTTP/1.1\r\n{h}\r\n"),
    // Targets.
    (200, Kept, "GET /healthz?x=1&&y HTTP/1.1\r\n{h}\r\n"),
    (200, Kept, "GET http://{a}/healthz HTTP/1.1\r\n{h}\r\n"),
    (200, Kept, "GET HTTP://{a}/healthz HTTP/1.1\r\n{h}\r\n"),
    (200, Kept, "GET http://{a}?x HTTP/1.1\r\n{h}\r\n"),
    (400, Ends, "GET http:///healthz HTTP/1.1\r\n{h}\r\n"),
    (400, Ends, "GET http:healthz HTTP/1.1\r\n{h}\r\n"),
    (400, Ends, "GET http://user@{a}/healthz HTTP/1.1\r\n{h}\r\n"),
    (400, Ends, "GET http://elsewhere.example/ HTTP/1.1\r\n{h}\r\n"),
    (400, Ends, "GET healthz HTTP/1.1\r\n{h}\r\n"),
    (400, Ends, "GET * HTTP/1.1\r\n{h}\r\n"),
    (400, Ends, "GET /a#b HTTP/1.1\r\n{h}\r\n"),
    (400, Ends, "GET /%zz HTTP/1.1\r\n{h}\r\n"),
    (400, Ends, "GET /../healthz HTTP/1.1\r\n{h}\r\n"),
    (404, Kept, "GET /healthz/ HTTP/1.1\r\n{h}\r\n"),
    // Versions.
    (200, Ends, "GET /healthz HTTP/1.0\r\n\r\n"),
    (200, Kept, "GET /healthz HTTP/1.0\r\n{h}Connection: keep-alive\r\n\r\n"),
    (200, Kept, "GET /healthz HTTP/1.3\r\n{h}\r\n"),
    (505, Ends, "GET /healthz HTTP/2.0\r\n{h}\r\n"),
    (400, Ends, "GET /healthz HTTP/1.1x\r\n{h}\r\n"),
    (400, Ends, "GET /healthz\r\n"),
    // Host.
    (400, Ends, "GET /healthz HTTP/1.1\r\n\r\n"),
    (400, Ends, "GET /healthz HTTP/1.1\r\nHost:\r\n\r\n"),
    (400, Ends, "GET /healthz HTTP/1.1\r\n{h}{h}\r\n"),
    (421, Ends, "GET /healthz HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n"),
    // Fields.
    (200, Kept, "GET /healthz HTTP/1.1\r\nhOsT:{a}\r\nX-Empty:\r\nX-Space: \t \r\n\r\n"),
    (200, Kept, "GET /healthz HTTP/1.1\r\n{h}Connection: ,, keep-alive ,\r\n\r\n"),
    (200, Ends, "GET /healthz HTTP/1.1\r\n{h}Connection: keep-alive\r\nConnection: CLOSE\r\n\r\n"),
    (200, Kept, "GET /healthz HTTP/1.1\r\n{h}TE: trailers, gzip\r\n\r\n"),
    (200, Kept, "GET /healthz HTTP/1.1\r\n{h}Range: bytes=0-0\r\n\r\n"),
    (200, Kept, "GET /healthz HTTP/1.1\r\n{h}If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT\r\n\r\n"),
    (200, Kept, "GET /healthz HTTP/1.1\r\n{h}If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"),
    (200, Kept, "GET /healthz HTTP/1.1\r\n{h}Accept: image/png\r\nAccept-Encoding: identity;q=0\r\n\r\n"),
    (400, Ends, "GET /healthz HTTP/1.1\r\n{h}X-Name : x\r\n\r\n"),
    (400, Ends, "GET /healthz HTTP/1.1\r\n{h}X: a\r\n b\r\n\r\n"),
    (400, Ends, "GET /healthz HTTP/1.1\r\n {h}\r\n"),
    (400, Ends, "GET /healthz HTTP/1.1\r\n{h}X: a\0b\r\n\r\n"),
    (400, Ends, "GET /healthz HTTP/1.1\r\n{h}X: a\rb\r\n\r\n"),
    (400, Ends, "GET /healthz HTTP/1.1\n{h}\r\n"),
    (200, Kept, "\r\nGET /healthz HTTP/1.1\r\n{h}\r\n"),
    (400, Ends, "\r\n\r\nGET /healthz HTTP/1.1\r\n{h}\r\n"),
    // Bodies.
    (202, Kept, "POST /publish/t HTTP/1.1\r\n{h}Authorization: Bearer k3y\r\nContent-Length: 2\r\n\r\nhi"),
    (202, Kept, "POST /publish/t HTTP/1.1\r\n{h}Authorization: Bearer k3y\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    (411, Kept, "POST /publish/t HTTP/1.1\r\n{h}Authorization: Bearer k3y\r\n\r\n"),
    (415, Kept, "POST /publish/t HTTP/1.1\r\n{h}Authorization: Bearer k3y\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi"),
    (413, Ends, "POST /publish/t HTTP/1.1\r\n{h}Authorization: Bearer k3y\r\nContent-Length: 70000\r\n\r\n"),
    (413, Ends, "POST /publish/t HTTP/1.1\r\n{h}Authorization: Bearer k3y\r\nContent-Length: 70000\r\nExpect: 100-continue\r\n\r\n"),
    (202, Kept, "POST /publish/t HTTP/1.1\r\n{h}Authorization: Bearer k3y\r\nContent-Length: 2\r\nExpect: 100-continue, x\r\n\r\nhi"),
    (400, Ends, "POST /publish/t HTTP/1.1\r\n{h}Authorization: Bearer k3y\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n"),
    (400, Ends, "POST /publish/t HTTP/1.1\r\n{h}Authorization: Bearer k3y\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n"),
    (401, Kept, "POST /publish/t HTTP/1.1\r\n{h}Content-Length: 2\r\n\r\nhi"),
    (401, Ends, "POST /publish/t HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    (405, Kept, "POST /healthz HTTP/1.1\r\n{h}Content-Length: 2\r\n\r\nhi"),
    (400, Ends, "POST /publish/t HTTP/1.1\r\n{h}Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi"),
    (400, Ends, "POST /publish/t HTTP/1.1\r\n{h}Content-Length: 2, 2\r\n\r\nhi"),
    (400, Ends, "POST /publish/t HTTP/1.1\r\n{h}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, Ends, "POST /publish/t HTTP/1.0\r\n{h}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (501, Ends, "POST /publish/t HTTP/1.1\r\n{h}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (400, Ends, "GET /healthz HTTP/1.1\r\n{h}Content-Length: 2\r\n\r\nhi"),
    // Upgrades.
    (426, Ends, "GET /echo HTTP/1.1\r\n{h}\r\n"),
    (426, Ends, "GET /echo HTTP/1.1\r\n{h}Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
    (400, Ends, "GET /echo HTTP/1.0\r\n{h}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    (405, Ends, "POST /echo HTTP/1.1\r\n{h}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    (404, Ends, "GET /nothing HTTP/1.1\r\n{h}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    (505, Ends, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
];

#[test]
fn raw_requests_get_the_expected_status() {
    let keys = File::new("raw-keys", "k3y\n");
    let binary = Binary::start(&["--publish-key-file", keys.path()]);
    let host = binary.address.to_string();
    for (status, then, request) in REQUESTS {
        let bytes = request
            .replace("{h}", "Host: {a}\r\n")
            .replace("{a}", &host);
        let mut client = Connect::to(binary.address).open();
        client.bytes(&bytes);
        let answer: Answer = match request.starts_with("HEAD ") {
            true => client.read_head(),
            false => client.read_answer(),
        };
        assert_eq!(answer.status, status, "{request:?}: {answer:?}");
        assert!(answer.header("Date").is_some(), "{request:?}");
        assert_eq!(answer.header("Transfer-Encoding"), None, "{request:?}");
        let has_length = answer.header("Content-Length").is_some();
        assert_eq!(has_length, status != 204, "{request:?}");
        let connection = answer.header("Connection").unwrap();
        match then {
            Kept => {
                assert_eq!(connection, "keep-alive", "{request:?}");
                client.bytes(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
                assert_eq!(client.read_answer().body, "ok\n", "{request:?}");
            }
            Ends => {
                assert!(connection.starts_with("close"), "{request:?}: {connection}");
                client.end();
                assert!(client.read_to_eof().is_empty(), "{request:?}");
            }
        }
        for (code, field) in [(401, "WWW-Authenticate"), (405, "Allow"), (426, "Upgrade")] {
            let has_field = answer.header(field).is_some();
            assert!(has_field || status != code, "{request:?} without {field}");
        }
    }
}

#[test]
fn missing_secret_gets_401_with_a_challenge() {
    let (tokens, keys) = (
        File::new("raw-tokens", "t\n"),
        File::new("raw-keys-2", "k\n"),
    );
    let binary = Binary::start(&[
        "--token-file",
        tokens.path(),
        "--publish-key-file",
        keys.path(),
    ]);
    for answer in [
        get(binary.address, "/topics", ""),
        get(binary.address, "/debug/clients", ""),
        get(binary.address, "/echo", ""),
        post(binary.address, "/publish/t", "", "x"),
        post(
            binary.address,
            "/publish/t",
            "Authorization: Bearer t\r\n",
            "x",
        ),
    ] {
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer"));
    }
}

#[test]
fn origins_without_a_host_can_be_named_on_the_command_line() {
    let binary = Binary::start(&["--origin", "null", "--origin", "file://"]);
    for (origin, status) in [
        ("null", 200),
        ("file://", 200),
        ("https://elsewhere.example", 403),
    ] {
        let headers = format!("Origin: {origin}\r\n");
        let answer = get(binary.address, "/topics/t/presence", &headers);
        assert_eq!(answer.status, status, "{origin}");
    }
}

/// A preflight has no key, and must be answered all the same.
#[test]
fn preflight_of_a_publish_needs_no_key() {
    let keys = File::new("raw-keys-3", "k\n");
    let flags = [
        "--publish-key-file",
        keys.path(),
        "--origin",
        "https://app.example",
    ];
    let binary = Binary::start(&flags);
    let preflight = format!(
        "OPTIONS /publish/t HTTP/1.1\r\nHost: {}\r\nOrigin: https://app.example\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n\r\n",
        binary.address
    );
    assert_eq!(http(binary.address, preflight).status, 204);
    let headers = "Origin: https://app.example\r\n";
    let refused = post(binary.address, "/publish/t", headers, "x");
    assert_eq!(refused.status, 401, "the request itself needs a key");
    let allow = refused.header("Access-Control-Allow-Origin");
    assert_eq!(allow, Some("https://app.example"), "the page may see why");
}
