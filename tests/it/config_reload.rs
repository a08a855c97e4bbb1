//! SIGHUP and the configuration file: which settings are replaced, and what connected clients notice.

use serde_json::Value;

use crate::secrets::File;
use crate::support::{JsonClient, until};
use crate::threats::spawned::Spawned;

/// A hub with a configuration file.
struct Configured {
    spawned: Spawned,
    file: File,
    /// The number of reloads so far.
    reloads: usize,
}

impl Configured {
    #[track_caller]
    fn start(name: &str, text: &str, flags: &[&str]) -> Configured {
        let file = File::new(name, text);
        let spawned = Spawned::start(&[&["--config", file.path()], flags].concat());
        Configured {
            spawned,
            file,
            reloads: 0,
        }
    }

    /// Writes the file, sends SIGHUP, and waits until the log says what became of it. Returns the log.
    #[track_caller]
    fn reload(&mut self, text: &str) -> String {
        self.file.write(text);
        self.reloads += 1;
        self.spawned.signal(&["HUP"]);
        let count = || self.spawned.log().matches("SIGHUP: ").count();
        until("the reload is logged", || count() == self.reloads);
        self.spawned.log()
    }

    #[track_caller]
    fn json(&self) -> JsonClient {
        JsonClient::connect(self.spawned.addr())
    }

    /// Returns what `GET /topics` says about one topic.
    #[track_caller]
    fn topic(&self, name: &str) -> Value {
        let body = self.spawned.get("/topics").body;
        let topics: Vec<Value> = serde_json::from_str(&body).unwrap();
        let topic = topics.into_iter().find(|topic| topic["topic"] == name);
        topic.unwrap_or_else(|| panic!("no topic {name}: {body}"))
    }
}

#[test]
fn topics_of_the_file_are_reloaded_for_connected_clients() {
    let text = "[[topic]]\npattern = \"a-*\"\nhistory = 5\n[[topic]]\npattern = \"b-*\"\nsubscribe = \"server\"\n";
    let mut hub = Configured::start("reload-topics", text, &[]);
    let mut client = hub.json();
    client.subscribe("a-1");
    let mut publisher = hub.json();
    for n in 1..=3 {
        let answer = publisher.request(format!("{{\"pub\":\"a-1\",\"data\":{n},\"ref\":1}}"));
        assert!(answer.get("error").is_none(), "{answer}");
        client.receive();
    }
    let log = hub.reload(
        "[[topic]]\npattern = \"a-*\"\nhistory = 2\nqueue = 7\npolicy = \"drop-oldest\"\npublish = \"server\"\n",
    );
    assert!(
        log.contains("number of patterns of topics read from"),
        "{log}"
    );
    let topic = hub.topic("a-1");
    assert_eq!(topic["history"], 2);
    assert_eq!(
        (&topic["queue"], &topic["policy"]),
        (&7.into(), &"drop-oldest".into())
    );
    // The next command of a connected client follows the new rules, and the connection stays.
    let answer = publisher.request("{\"pub\":\"a-1\",\"data\":4,\"ref\":2}");
    assert!(
        answer["error"].as_str().unwrap().starts_with("forbidden"),
        "{answer}"
    );
    client.subscribe("b-1");
    client.0.leave();
}

#[test]
fn file_that_does_not_parse_keeps_the_old_settings() {
    let text = "[[topic]]\npattern = \"a\"\nhistory = 5\npublish = \"server\"\n";
    let mut hub = Configured::start("reload-wrong", text, &[]);
    let mut client = hub.json();
    for (wrong, expected) in [
        (
            "[[topic]]\npattern = \"a\"\nqueue = 0\n",
            ":3: topic.queue: must be at least 1",
        ),
        (
            "quue = 1\n",
            ":1: quue: unknown key; the nearest key is queue",
        ),
        ("[[topic]\n", ":1: "),
        (
            "[[topic]]\npattern = \"a\"\nqueue = 65\n",
            "topics: the queue of the topics \"a\" is 65, but it may be at most 64",
        ),
    ] {
        let log = hub.reload(wrong);
        let error = log.lines().rfind(|line| line.contains("SIGHUP: ")).unwrap();
        assert!(
            error.contains("ERROR") && error.contains(hub.file.path()),
            "{error}"
        );
        assert!(error.contains(expected), "{wrong:?}: {error}");
        let answer = client.request("{\"pub\":\"a\",\"data\":1,\"ref\":1}");
        assert!(answer.get("error").is_some(), "{answer}");
    }
    std::fs::remove_file(hub.file.path()).unwrap();
    hub.reloads += 1;
    hub.spawned.signal(&["HUP"]);
    until("the reload is logged", || {
        hub.spawned.log().matches("SIGHUP: ").count() == hub.reloads
    });
    assert!(
        hub.spawned.log().contains("No such file"),
        "{}",
        hub.spawned.log()
    );
    hub.reload("[[topic]]\npattern = \"a\"\nhistory = 1\n");
    let answer = client.request("{\"pub\":\"a\",\"data\":1,\"ref\":1}");
    assert!(answer.get("error").is_none(), "{answer}");
}

/// Each file is independent: the tokens are replaced although the configuration file is wrong, and the other way round.
#[test]
fn wrong_file_does_not_keep_another_one_from_its_new_values() {
    let tokens = File::new("reload-tokens", "first\n");
    let text = format!("token-file = \"{}\"\n", tokens.path());
    let mut hub = Configured::start("reload-independent", &text, &[]);
    let status = |hub: &Configured, token: &str| {
        let client = hub.spawned.client(&format!("/ws?token={token}"));
        client
            .header("Sec-WebSocket-Protocol: standpipe.v1")
            .request()
            .1
            .status
    };
    assert_eq!(status(&hub, "first"), 101);
    tokens.write("second\n");
    let log = hub.reload(&format!("{text}quue = 1\n"));
    assert!(log.contains("ERROR") && log.contains("quue"), "{log}");
    assert_eq!([status(&hub, "first"), status(&hub, "second")], [401, 101]);
    tokens.write("# none\n");
    let log = hub.reload(&format!(
        "{text}[[topic]]\npattern = \"a\"\nhistory = 3\nsubscribe = \"server\"\n"
    ));
    let error = log.lines().rfind(|line| line.contains("SIGHUP: ")).unwrap();
    assert!(error.contains(tokens.path()), "{error}");
    assert_eq!(status(&hub, "second"), 101, "the old tokens stay in force");
    let mut client = JsonClient::at(hub.spawned.addr(), "/ws?token=second");
    let answer = client.request("{\"sub\":\"a\",\"ref\":1}");
    assert!(
        answer.get("error").is_some(),
        "the new rules are in force: {answer}"
    );
}

#[test]
fn other_keys_wait_for_a_restart() {
    let mut hub = Configured::start("reload-keys", "queue = 5\nmax-topics = 10\n", &[]);
    let log = hub.reload("queue = 6\nmax-topics = 10\nrate = \"5/s\"\n");
    let warning = log
        .lines()
        .find(|line| line.contains("WARN") && line.contains("restart"));
    let warning = warning.unwrap_or_else(|| panic!("{log}"));
    assert!(
        warning.ends_with("until a restart: queue, rate"),
        "{warning}"
    );
    assert!(log.contains("SIGHUP: reloaded"), "{log}");
}

#[test]
fn topics_of_a_flag_are_not_replaced() {
    let text = "[[topic]]\npattern = \"a\"\nhistory = 5\n";
    let mut hub = Configured::start("reload-flag", text, &["--topic", "a:history=1"]);
    let log = hub.reload("[[topic]]\npattern = \"a\"\nhistory = 9\npublish = \"server\"\n");
    assert!(!log.contains("number of patterns"), "{log}");
    let mut client = hub.json();
    let answer = client.request("{\"pub\":\"a\",\"data\":1,\"ref\":1}");
    assert!(answer.get("error").is_none(), "{answer}");
}

/// A policy that an operator has switched on the dashboard stays while the file does not change it.
#[test]
fn reload_of_an_unchanged_file_changes_nothing() {
    let text = "[[topic]]\npattern = \"a\"\nhistory = 5\n";
    let mut hub = Configured::start("reload-unchanged", text, &[]);
    let mut client = hub.json();
    let answer = client.request("{\"pub\":\"a\",\"data\":1,\"ref\":1}");
    assert!(answer.get("error").is_none(), "{answer}");
    let before = hub.topic("a");
    let log = hub.reload(text);
    assert!(!log.contains("ERROR") && !log.contains("restart"), "{log}");
    assert_eq!(before["history"], 1);
    assert_eq!(hub.topic("a"), before);
}
