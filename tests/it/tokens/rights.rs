//! The rights of a token: its user, and its topics beside the rules of the server.

use super::*;
use crate::support::{get, post};

/// Topics with each rule, and what a token allows on them.
const RULES: [&str; 3] = ["anyone", "token", "server"];

#[test]
fn t44_token_narrows_what_the_rules_allow() {
    let rules = RULES.map(|rule| format!("*-{rule}:publish={rule},subscribe={rule},history=9"));
    let flags: Vec<&str> = rules.iter().flat_map(|rule| ["--topic", rule]).collect();
    let server = Server::start("jwt-matrix", &flags);
    let address = server.spawned.addr();
    let last = |topic: &str| {
        let history = get(address, &format!("/topics/{topic}/history"), KEY);
        assert_eq!(history.status, 200, "{history:?}");
        history.body
    };
    let narrowed = json!({
        "topics": {"subscribe": ["both-*", "sub-*"], "publish": ["both-*", "pub-*"]},
    });
    for (claims, is_narrowed) in [(json!({}), false), (narrowed, true)] {
        let token = valid(claims);
        let mut json = server.json(&token);
        for rule in RULES {
            for kind in ["both", "sub", "pub", "none"] {
                let topic = format!("{kind}-{rule}");
                let may = |action: &str| {
                    rule != "server" && (!is_narrowed || kind == action || kind == "both")
                };
                post(address, &format!("/publish/{topic}"), KEY, "x");
                let before = last(&topic);
                let answer = json.request(json!({"pub": topic, "data": 1, "ref": 7}).to_string());
                assert_eq!(answer["error"].is_null(), may("pub"), "{topic}: {answer}");
                assert_eq!(last(&topic) == before, !may("pub"), "{topic}");
                let answer = json.request(json!({"sub": topic, "ref": 8}).to_string());
                assert_eq!(answer["error"].is_null(), may("sub"), "{topic}: {answer}");
                if may("sub") {
                    json.request(json!({"unsub": topic, "ref": 9}).to_string());
                }
                let status = server.status(&format!("/ws/{topic}"), &token);
                assert_eq!(status, if may("sub") { 101 } else { 403 }, "{topic}");
                let bearer = format!("Authorization: Bearer {token}\r\n");
                for data in ["history", "presence"] {
                    let answer = get(address, &format!("/topics/{topic}/{data}"), &bearer);
                    let expected = if may("sub") { 200 } else { 403 };
                    assert_eq!(answer.status, expected, "{topic} {data}");
                }
                if may("sub") {
                    let before = last(&topic);
                    let mut raw = server.raw(&format!("/ws/{topic}"), &token);
                    raw.text("raw");
                    if may("pub") {
                        raw.expect_text("raw");
                    } else {
                        raw.expect_close(4003);
                        assert_eq!(last(&topic), before, "{topic}");
                    }
                }
                let answer = post(address, &format!("/publish/{topic}"), &bearer, "x");
                assert_eq!(answer.status, 401, "a token is no key");
            }
        }
    }
}

#[test]
fn user_of_the_token_is_the_name() {
    let server = Server::start("jwt-name", &["-v"]);
    let token = valid(json!({"sub": "ann"}));
    let _raw = server.raw("/ws/t", &token);
    let _same = server.raw("/ws/t?name=ann", &token);
    let free = valid(json!({}));
    let _free = server.raw("/ws/t?name=guest", &free);
    let mut json = server.json(&valid(json!({"sub": "bob\u{202e}"})));
    json.subscribe("t");
    for path in ["/ws/t?name=bob", "/ws?name=", "/ws/t?name=Ann"] {
        let answer = server.client(path, &token).request().1;
        assert!(matches!(answer.status, 403 | 400), "{path}: {answer:?}");
    }
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let refused = get(server.spawned.addr(), "/ws/t?name=bob", &bearer);
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.body,
        "the name in the URL is not the user of the token\n"
    );
    let names = get(server.spawned.addr(), "/topics/t/presence", KEY).body;
    let mut names: Vec<String> = serde_json::from_str(&names).unwrap();
    names.sort();
    assert_eq!(names, ["ann", "bob\u{202e}", "guest"]);
    // Log lines about a client name its user, escaped.
    server.until_logged("(ann)");
    server.until_logged("(bob\\u{202e})");
}

#[test]
fn renewal_keeps_the_name() {
    let server = Server::start("jwt-keeps", &[]);
    let mut client = server.json(&valid(json!({"sub": "ann"})));
    assert_eq!(
        renew(&mut client, &valid(json!({"sub": "ann"})))["ack"],
        "renew"
    );
    client.subscribe("t");
    let names = get(server.spawned.addr(), "/topics/t/presence", KEY).body;
    assert_eq!(names, r#"["ann"]"#);
}

#[test]
fn dashboard_experiments_need_no_token_of_the_operator() {
    // The server's own clients have a token that no file has.
    let server = Server::start("jwt-own", &[]);
    let dashboard = server.spawned.client("/dashboard/live");
    let mut dashboard = dashboard.header("Authorization: Bearer k3y").connect();
    dashboard.text(r#"{"do":"add-slow","topic":"t","rate":1000}"#);
    until("the slow client is connected", || {
        let seen = dashboard.read_message().to_text().unwrap().to_owned();
        assert!(!seen.contains("\"error\""), "{seen}");
        seen.contains("is subscribed to t")
    });
}
