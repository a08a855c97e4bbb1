//! Who may publish to a topic and who may subscribe to it: a matrix of rules, tokens and interfaces.

use serde_json::{Value, json};

use crate::binary::Binary;
use crate::secrets::File;
use crate::support::{Answer, Connect, JsonClient, TestClient, get, post};

/// A topic for each pair of rules. Every topic keeps a history.
const TOPICS: [(&str, &str); 9] = [
    ("anyone", "anyone"),
    ("anyone", "token"),
    ("anyone", "server"),
    ("token", "anyone"),
    ("token", "token"),
    ("token", "server"),
    ("server", "anyone"),
    ("server", "token"),
    ("server", "server"),
];

const KEY: &str = "Authorization: Bearer k3y\r\n";

/// A server with these rules. It has a token file if `has_tokens`. Its clients then send a token, and otherwise none.
struct Rules {
    binary: Binary,
    has_tokens: bool,
    _files: [File; 2],
}

impl Rules {
    fn start(name: &str, has_tokens: bool) -> Rules {
        let keys = File::new(&format!("{name}-keys"), "k3y\n");
        let tokens = File::new(&format!("{name}-tokens"), "t0ken\n");
        let topics: Vec<String> = TOPICS
            .iter()
            .map(|(publish, subscribe)| {
                format!("{publish}-{subscribe}:publish={publish},subscribe={subscribe},history=9")
            })
            .collect();
        let mut flags = vec!["--publish-key-file", keys.path()];
        for topic in &topics {
            flags.extend(["--topic", topic]);
        }
        if has_tokens {
            flags.extend(["--token-file", tokens.path()]);
        }
        Rules {
            binary: Binary::start(&flags),
            has_tokens,
            _files: [keys, tokens],
        }
    }

    /// Whether a client with the test's token satisfies the rule.
    fn allows(&self, rule: &str) -> bool {
        rule == "anyone" || rule == "token" && self.has_tokens
    }

    fn path(&self, path: &str) -> String {
        let token = if self.has_tokens { "?token=t0ken" } else { "" };
        format!("{path}{token}")
    }

    fn json(&self) -> JsonClient {
        JsonClient::at(self.binary.address, &self.path("/ws"))
    }

    /// Connects in raw mode.
    fn raw(&self, topic: &str) -> (TestClient, Answer) {
        let path = self.path(&format!("/ws/{topic}"));
        Connect::to(self.binary.address).path(&path).request()
    }

    /// Returns the history and the last id, as the admin sees them.
    fn state(&self, topic: &str) -> (String, u64) {
        let address = self.binary.address;
        let history = get(address, &format!("/topics/{topic}/history"), KEY);
        assert_eq!(history.status, 200, "{history:?}");
        let topics: Vec<Value> = serde_json::from_str(&get(address, "/topics", KEY).body).unwrap();
        let row = topics.iter().find(|row| row["topic"] == topic).unwrap();
        (history.body, row["id"].as_u64().unwrap())
    }

    /// Publishes over HTTP, which no rule refuses.
    fn publish_as_server(&self, topic: &str) {
        let text = format!("{KEY}Content-Type: text/plain\r\n");
        let answer = post(
            self.binary.address,
            &format!("/publish/{topic}"),
            &text,
            "x",
        );
        assert_eq!(answer.status, 202, "{answer:?}");
    }
}

fn command(name: &str, topic: &str) -> String {
    json!({name: topic, "data": 1, "ref": 7}).to_string()
}

#[track_caller]
fn assert_forbidden(answer: &Value) {
    let error = answer["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("forbidden: "), "{answer}");
    assert_eq!(answer["ref"], 7, "{answer}");
}

#[test]
fn json_mode_refuses_and_stays_connected() {
    for has_tokens in [false, true] {
        let rules = Rules::start(&format!("json-{has_tokens}"), has_tokens);
        let mut client = rules.json();
        for (publish, subscribe) in TOPICS {
            let topic = format!("{publish}-{subscribe}");
            rules.publish_as_server(&topic);
            let before = rules.state(&topic);
            let answer = client.request(command("pub", &topic));
            if rules.allows(publish) {
                assert_eq!(answer["ack"], 7, "{topic}: {answer}");
                assert_ne!(rules.state(&topic), before, "{topic}");
            } else {
                assert_forbidden(&answer);
                assert_eq!(rules.state(&topic), before, "{topic}");
            }
            let answer = client.request(command("sub", &topic));
            if rules.allows(subscribe) {
                assert_eq!(answer["ack"], 7, "{topic}: {answer}");
                rules.publish_as_server(&topic);
                assert_eq!(client.receive()["topic"], *topic);
                client.request(command("unsub", &topic));
            } else {
                assert_forbidden(&answer);
                rules.publish_as_server(&topic);
            }
        }
        client.assert_idle();
    }
}

#[test]
fn refused_batch_answers_each_command() {
    let rules = Rules::start("batch", false);
    rules.publish_as_server("server-anyone");
    let before = rules.state("server-anyone");
    let mut member = rules.json();
    member.subscribe("server-anyone");
    let mut client = rules.json();
    let refused = command("pub", "server-anyone");
    let allowed = command("pub", "anyone-anyone");
    for command in [&refused, &refused, &allowed, &refused] {
        client.send(command);
    }
    assert_forbidden(&client.receive());
    assert_forbidden(&client.receive());
    assert_eq!(client.receive()["ack"], 7);
    assert_forbidden(&client.receive());
    assert_eq!(rules.state("server-anyone"), before);
    member.assert_idle();
}

#[test]
fn raw_mode_answers_403_or_closes_with_4003() {
    for has_tokens in [false, true] {
        let rules = Rules::start(&format!("raw-{has_tokens}"), has_tokens);
        for (publish, subscribe) in TOPICS {
            let topic = format!("{publish}-{subscribe}");
            rules.publish_as_server(&topic);
            let before = rules.state(&topic);
            let (mut client, answer) = rules.raw(&topic);
            if !rules.allows(subscribe) {
                assert_eq!(answer.status, 403, "{topic}: {answer:?}");
                continue;
            }
            assert_eq!(answer.status, 101, "{topic}: {answer:?}");
            client.text("mine");
            if rules.allows(publish) {
                client.expect_text("mine");
                client.leave();
            } else {
                let reason = client.expect_close(4003);
                assert!(reason.starts_with("forbidden: "), "{topic}: {reason}");
                assert_eq!(rules.state(&topic), before, "{topic}");
            }
        }
    }
}

#[test]
fn histories_and_names_follow_the_subscribe_rule() {
    for has_tokens in [false, true] {
        let rules = Rules::start(&format!("data-{has_tokens}"), has_tokens);
        let address = rules.binary.address;
        for (publish, subscribe) in TOPICS {
            let topic = format!("{publish}-{subscribe}");
            for data in ["history", "presence"] {
                let path = format!("/topics/{topic}/{data}");
                let allowed = if rules.allows(subscribe) { 200 } else { 403 };
                let answer = get(address, &rules.path(&path), "");
                assert_eq!(answer.status, allowed, "{path}, tokens {has_tokens}");
                if has_tokens {
                    assert_eq!(get(address, &path, "").status, 401, "{path}");
                }
                assert_eq!(get(address, &path, KEY).status, 200, "{path}");
            }
        }
    }
}

#[test]
fn rules_do_not_depend_on_the_spelling_of_a_topic() {
    let rules = Rules::start("spelling", false);
    for path in [
        "/ws/server-server",
        "/ws/%73erver-server",
        "/ws/server%2Dserver",
    ] {
        let (_, answer) = Connect::to(rules.binary.address).path(path).request();
        assert_eq!(answer.status, 403, "{path}");
    }
    let mut client = rules.json();
    assert_forbidden(&client.request(r#"{"pub":"\u0073erver-server","data":1,"ref":7}"#));
}

#[test]
fn token_rule_without_a_token_file_is_warned_of() {
    for (rule, expected) in [("token", 1), ("server", 0)] {
        let topic = format!("*:publish={rule}");
        let binary = Binary::start(&["--topic", &topic]);
        binary.signal("TERM");
        let (_, _, log) = binary.end();
        assert_eq!(log.matches("no client has one").count(), expected, "{log}");
    }
}
