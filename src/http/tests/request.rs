use crate::http1::{After, Peer, Request, read_head};

fn request(mut head: &[u8]) -> Request {
    read_head(&mut head, Vec::new(), Peer::Unix)
        .expect("a request")
        .0
}

#[test]
fn lists_are_combined_from_all_lines() {
    let request = request(
        b"GET /ws?a&b=1&b=2 HTTP/1.1\r\nHost: A:1\r\nSec-WebSocket-Protocol: x, y\r\nUpgrade: h2c\r\n\
          sec-websocket-protocol:,z ,\r\nUpgrade: foo , WebSocket\r\n\r\n",
    );
    assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["x", "y", "z"]);
    assert!(request.wants_upgrade());
    assert_eq!(
        (request.host(), request.header("HOST")),
        (Some("A:1"), Some("A:1"))
    );
    assert_eq!(
        (request.query("a"), request.query("b"), request.query("c")),
        (Some(""), Some("1"), None)
    );
}

#[test]
fn query_is_read_by_name_in_pairs_and_by_type() {
    let request = request(b"GET /?n=7&b=x%26y&n=-1&e= HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(request.query_all("n").collect::<Vec<_>>(), ["7", "-1"]);
    assert_eq!(request.query_all("x").count(), 0);
    assert_eq!(
        request.query_pairs().collect::<Vec<_>>(),
        [("n", "7"), ("b", "x&y"), ("n", "-1"), ("e", "")]
    );
    assert_eq!(request.query_as("n").map_err(|_| ()), Ok(Some(7_u8)));
    assert_eq!(request.query_as::<u8>("x").map_err(|_| ()), Ok(None));
    for name in ["b", "e"] {
        let refusal = request.query_as::<u8>(name).expect_err("not a number");
        assert_eq!(refusal.code(), 400);
        let answer = refusal.to_bytes(false, After::Close);
        let answer = String::from_utf8(answer).expect("text");
        let text = format!("\r\n\r\nthe parameter {name}: ");
        assert!(answer.contains(&text), "{answer}");
    }
}

#[test]
fn upgrade_is_ignored_in_http_1_0() {
    for (version, wants) in [("1.0", false), ("1.1", true), ("1.2", true)] {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(request(head.as_bytes()).wants_upgrade(), wants, "{version}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let mut request = request(
        b"GET /ws?token=hidden1 HTTP/1.1\r\nHost: a\r\nAuthorization: hidden2\r\nCookie: hidden3\r\n\
          Sec-WebSocket-Protocol: hidden4\r\nX-Api-Key: hidden5\r\n\r\n",
    );
    request.extensions_mut().insert("hidden6");
    assert_eq!(request.extensions().get::<&str>(), Some(&"hidden6"));
    let shown = format!("{request:?}");
    assert!(
        shown.contains("/ws") && !shown.contains("hidden"),
        "{shown}"
    );
    // Handlers may print the map alone.
    let shown = format!("{:?}", request.headers());
    assert!(
        !["hidden2", "hidden3", "hidden4"]
            .iter()
            .any(|s| shown.contains(s)),
        "{shown}"
    );
}
