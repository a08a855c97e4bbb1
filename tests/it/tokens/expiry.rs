//! When the connection of a client with a signed token ends, and how the client goes on with a newer token.

use std::time::Instant;

use super::*;

const LEEWAY: Duration = Duration::from_secs(1);

#[track_caller]
fn start(name: &str) -> Server {
    Server::start(name, &["--jwt-leeway", "1s"])
}

/// Returns the time until the given second of the system clock.
fn until_second(second: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Duration::from_secs(second).saturating_sub(now.expect("the clock is after 1970"))
}

#[test]
fn t52b_connection_ends_between_exp_and_a_second_after_the_leeway() {
    let server = start("jwt-end");
    let exp = now() + 2;
    let token = token(&json!({"exp": exp, "sub": "ann"}));
    let mut raw = server.raw("/ws/t", &token);
    let mut echo = server.raw("/echo", &token);
    let mut json = server.json(&token);
    json.subscribe("t");
    let mut unlimited = server.json(&valid(json!({})));
    // Traffic does not extend a connection.
    echo.text("x");
    echo.expect_text("x");
    let (start, left) = (Instant::now(), until_second(exp));
    for client in [&mut raw, &mut echo, &mut json.0] {
        client.expect_close(4001);
        let elapsed = start.elapsed();
        assert!(elapsed >= left, "{elapsed:?} of {left:?}");
        assert!(
            elapsed <= left + LEEWAY + Duration::from_secs(1),
            "{elapsed:?} of {left:?}"
        );
    }
    unlimited.assert_idle();
}

#[test]
fn t52b_renewed_connection_stays_open() {
    let server = start("jwt-renew");
    let exp = now() + 2;
    let first = token(&json!({"exp": exp, "sub": "ann"}));
    let mut renewed = server.json(&first);
    let mut other = server.json(&first);
    let later = now() + 600;
    let answer = renew(&mut renewed, &token(&json!({"exp": later, "sub": "ann"})));
    assert_eq!(answer, json!({"ack": "renew", "exp": later}));
    other.0.expect_close(4001);
    renewed.assert_idle();
    // A token may also shorten the connection.
    let answer = renew(
        &mut renewed,
        &token(&json!({"exp": now() + 1, "sub": "ann"})),
    );
    assert_eq!(answer["ack"], "renew");
    let reason = renewed.0.expect_close(4001);
    assert_eq!(reason, "the token has expired");
}

#[test]
fn client_that_does_not_read_ends_with_its_token() {
    let server = start("jwt-stuck");
    let exp = now() + 1;
    let stuck = server.client("/echo", &token(&json!({"exp": exp})));
    let stuck = stuck.small_rcvbuf().connect();
    let mut sent = 0;
    // The echo fills the queue of the client, until the server does not read from it either.
    while sent < 64 << 20 {
        let frame = crate::support::Frame::new(crate::support::op::BINARY, vec![0; 32 << 10]);
        let part = stuck.send_available(frame.bytes());
        sent += part;
        if part == 0 {
            break;
        }
    }
    until("the server has no client any more", || {
        server.spawned.process().client_threads().is_empty()
    });
}

#[test]
fn token_of_another_user_is_refused() {
    let server = Server::start("jwt-user", &["-v"]);
    let mut client = server.json(&valid(json!({"sub": "ann"})));
    let forbidden = json!({"error": "forbidden: the token is not valid", "ref": "renew"});
    for other in [json!({"sub": "bob"}), json!({})] {
        assert_eq!(renew(&mut client, &valid(other)), forbidden);
    }
    server.until_logged("token refused: the token is for another user");
    // A renewal that is valid in between does not count.
    assert_eq!(
        renew(&mut client, &valid(json!({"sub": "ann"})))["ack"],
        "renew"
    );
    assert_eq!(renew(&mut client, "x.y.z"), forbidden);
    assert_eq!(
        client.0.expect_close(4003),
        "forbidden: the token is not valid"
    );
}

#[test]
fn only_a_signed_token_can_be_renewed() {
    let tokens = File::new("jwt-static", "t0ken");
    let server = Server::start("jwt-static", &["--token-file", tokens.path()]);
    let mut client = server.json("t0ken");
    let answer = renew(&mut client, &valid(json!({})));
    assert_eq!(answer["error"], "forbidden: the token is not valid");
    server.until_logged("the connection did not begin with a signed token");
    let without = Spawned::start(&[]);
    let mut client = JsonClient::connect(without.addr());
    assert_eq!(renew(&mut client, &valid(json!({})))["ref"], "renew");
    for invalid in [
        r#"{"token":7}"#,
        r#"{"token":null}"#,
        r#"{"token":"a","sub":"t"}"#,
    ] {
        let answer = client.request(invalid);
        assert!(answer["error"].is_string(), "{answer}");
    }
}

#[test]
fn newer_claims_apply_immediately() {
    let server = Server::start("jwt-claims", &[]);
    let topics = |topics: Value| valid(json!({"sub": "ann", "topics": topics}));
    let mut client = server.json(&topics(json!({"subscribe": ["a", "b"], "publish": ["a"]})));
    client.subscribe("a");
    client.subscribe("b");
    let answer = renew(
        &mut client,
        &topics(json!({"subscribe": ["b", "c"], "publish": ["c"]})),
    );
    assert_eq!(answer["ended"], json!(["a"]), "{answer}");
    let answer = client.request(r#"{"pub":"a","data":1,"ref":2}"#);
    assert_eq!(
        answer["error"],
        "forbidden: the token does not allow publishing to this topic"
    );
    let answer = client.request(r#"{"sub":"a","ref":3}"#);
    assert_eq!(
        answer["error"],
        "forbidden: the token does not allow subscribing to this topic"
    );
    server.until_logged("publish refused: forbidden: the token does not allow publishing");
    server.until_logged("subscription refused: forbidden: the token does not allow subscribing");
    client.subscribe("c");
    assert_eq!(client.request(r#"{"unsub":"b","ref":4}"#)["ack"], 4);
    assert_eq!(
        client.request(r#"{"unsub":"a","ref":5}"#)["error"],
        "not subscribed to this topic"
    );
}
