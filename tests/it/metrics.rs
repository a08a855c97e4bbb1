//! `GET /metrics`: its format, its bounded size, its agreement with the other counts, its documents, and the dashboard and
//! alerts that use it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use serde_json::Value;
use standpipe::{Clock, CloseCause, Refused, TlsFailure};

use crate::binary::Binary;
use crate::support::{JsonClient, TestClient, get, http, post, until};

/// Parses the figures by name and labels. Fails the test at a line that the format does not allow.
#[track_caller]
fn figures(text: &str) -> HashMap<String, f64> {
    let mut figures = HashMap::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            assert_eq!(lines.peek(), None, "there are lines after # EOF");
            return figures;
        }
        if let Some(comment) = line.strip_prefix("# ") {
            assert!(
                comment.starts_with("HELP ") || comment.starts_with("TYPE "),
                "{line}"
            );
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let is_ours = name.starts_with("standpipe_") || name.starts_with("process_");
        assert!(is_ours, "{line}");
        let before = figures.insert(name.to_owned(), value.parse().unwrap());
        assert_eq!(before, None, "duplicate: {line}");
    }
    panic!("no # EOF in {text}");
}

#[track_caller]
fn scrape(binary: &Binary) -> (HashMap<String, f64>, usize) {
    let accept = "Accept: application/openmetrics-text\r\n";
    let answer = get(binary.address, "/metrics", accept);
    assert_eq!(answer.status, 200);
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    (figures(&answer.body), answer.body.len())
}

/// Returns the name of the metric to which a sample of the classic format belongs.
fn family(sample: &str) -> &str {
    let name = sample.split('{').next().unwrap();
    let parts = ["_bucket", "_sum", "_count"];
    let of_histogram = parts.iter().find_map(|part| name.strip_suffix(part));
    of_histogram.unwrap_or(name)
}

/// Returns the sum of all samples whose name and labels begin with `prefix`.
fn sum(figures: &HashMap<String, f64>, prefix: &str) -> f64 {
    let samples = figures.iter();
    let samples = samples.filter(|(name, _)| name.starts_with(prefix));
    samples.map(|(_, value)| value).sum()
}

#[test]
fn accept_chooses_the_format_of_metrics() {
    let binary = Binary::start(&[]);
    // The first scrape is the first request of its route.
    binary.get("/metrics");
    let names = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let names = lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned());
        names.collect::<BTreeSet<_>>()
    };
    let open_metrics =
        "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.1\r\n";
    let open_metrics = get(binary.address, "/metrics", open_metrics);
    assert!(open_metrics.body.ends_with("# EOF\n"));
    for accept in [
        "",
        "Accept: */*\r\n",
        "Accept: text/plain;version=0.0.4\r\n",
    ] {
        let classic = get(binary.address, "/metrics", accept);
        let kind = classic.header("Content-Type");
        assert_eq!(
            kind,
            Some("text/plain; version=0.0.4; charset=utf-8"),
            "{accept}"
        );
        assert_eq!(classic.header("Vary"), Some("Accept"), "{accept}");
        assert!(!classic.body.contains("# EOF"), "{accept}");
        assert_eq!(names(&classic.body), names(&open_metrics.body), "{accept}");
        // Every sample has a type under its own name, or is part of a histogram.
        for name in names(&classic.body) {
            let name = family(&name);
            assert!(classic.body.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }
}

#[test]
fn metrics_equal_what_the_clients_received() {
    let binary = Binary::start(&[]);
    let mut json = JsonClient::connect(binary.address);
    json.subscribe("t");
    let mut raw = TestClient::connect(binary.address, "/ws/t");
    raw.text("here");
    raw.expect_text("here");
    json.receive();
    for n in 0..50 {
        assert_eq!(
            post(binary.address, "/publish/t", "", format!("{n}")).status,
            202
        );
    }
    for _ in 0..50 {
        json.receive();
        raw.read_message();
    }
    let mut echo = TestClient::connect(binary.address, "/echo");
    for _ in 0..7 {
        echo.text("x");
        echo.expect_text("x");
    }
    // One answer to a command, 51 messages for each of two members, and 7 echoes.
    let sent = 1.0 + 2.0 * 51.0 + 7.0;
    until("everything is counted as delivered", || {
        scrape(&binary).0["standpipe_messages_delivered_total"] == sent
    });
    let (figures, _) = scrape(&binary);
    let expected = [
        ("messages_accepted_total", sent),
        ("messages_discarded_total", 0.0),
        ("clients", 3.0),
        ("topics", 1.0),
        ("subscriptions", 2.0),
        ("draining", 0.0),
        // One command, one message in raw mode, and 7 in the echo.
        ("messages_received_total", 9.0),
        ("queued_messages", 0.0),
        ("queued_bytes", 0.0),
        ("history_bytes", 0.0),
    ];
    for (name, expected) in expected {
        assert_eq!(figures[&format!("standpipe_{name}")], expected, "{name}");
    }
    assert_eq!(sum(&figures, "standpipe_messages_dropped_total"), 0.0);
    let topics: Value = serde_json::from_str(&binary.get("/topics").body).unwrap();
    assert_eq!(
        (&topics[0]["accepted"], &topics[0]["delivered"]),
        (&102.into(), &102.into())
    );
    let clients: Value = serde_json::from_str(&binary.get("/debug/clients").body).unwrap();
    let delivered = clients
        .as_array()
        .unwrap()
        .iter()
        .map(|client| &client["delivered"]);
    assert_eq!(delivered.map(|n| n.as_f64().unwrap()).sum::<f64>(), sent);

    for (way, published) in [("http", 50.0), ("raw", 1.0), ("json", 0.0)] {
        let name = format!("standpipe_publishes_total{{way=\"{way}\",result=\"published\"}}");
        assert_eq!(figures[&name], published, "{name}");
    }
    let publishes = figures["standpipe_publish_duration_seconds_count"];
    assert_eq!(publishes, 51.0);
    let posts = r#"standpipe_http_requests_total{route="/publish/TOPIC",code="202"}"#;
    let upgrades = r#"standpipe_http_requests_total{route="/ws/TOPIC",code="101"}"#;
    assert_eq!((figures[posts], figures[upgrades]), (50.0, 1.0));

    // The totals still include clients that have left.
    echo.leave();
    raw.leave();
    json.0.leave();
    until("all clients are unregistered", || {
        scrape(&binary).0["standpipe_clients"] == 0.0
    });
    let (figures, _) = scrape(&binary);
    assert_eq!(figures["standpipe_messages_delivered_total"], sent);
    assert_eq!(figures["standpipe_messages_accepted_total"], sent);
    assert_eq!(figures["standpipe_topics"], 0.0);
    let left = r#"standpipe_connections_closed_total{cause="peer",code="1000"}"#;
    assert_eq!(figures[left], 3.0);
    assert_eq!(figures["standpipe_connections_opened_total"], 3.0);
}

#[test]
fn ten_thousand_names_add_no_lines() {
    let binary = Binary::start(&[]);
    let mut json = JsonClient::connect(binary.address);
    json.subscribe("t");
    scrape(&binary);
    let before = scrape(&binary).0;
    for n in 0..10_000 {
        json.send(format!(r#"{{"pub":"name {n}","data":1,"key":"key {n}"}}"#));
    }
    for n in 0..50 {
        json.subscribe(&format!("member of {n}"));
    }
    let (after, size) = scrape(&binary);
    let mut names: [Vec<&String>; 2] = [before.keys().collect(), after.keys().collect()];
    names.iter_mut().for_each(|names| names.sort());
    assert_eq!(names[0], names[1]);
    assert!(size < 16 << 10, "{size} bytes");
    assert_eq!(after["standpipe_topics"], 51.0);
}

#[test]
fn no_text_of_a_client_is_a_label() {
    let binary = Binary::start(&["--topic", "closed:publish=server"]);
    let address = binary.address;
    get(address, "/zebra-path", "");
    get(address, "/topics/zebra-topic/history", "");
    post(
        address,
        "/publish/zebra-topic",
        "Idempotency-Key: zebra\r\n",
        "x",
    );
    http(address, "ZEBRA / HTTP/1.1\r\nHost: zebra\r\n\r\n");
    for code in [3000, 3333, 4321, 4999] {
        let mut client = TestClient::connect(address, "/ws/zebra-topic?name=zebra-name");
        client.close(code, "zebra reason");
        client.expect_close(code);
    }
    let mut json = JsonClient::at(address, "/ws?name=zebra-name");
    json.subscribe("zebra-topic");
    json.request(r#"{"pub":"closed","data":1}"#);
    json.0.leave();
    until("all clients are unregistered", || {
        scrape(&binary).0["standpipe_clients"] == 0.0
    });
    let text = binary.get("/metrics").body;
    assert!(!text.to_lowercase().contains("zebra"), "{text}");
    let (figures, _) = scrape(&binary);
    let closed = |labels| figures[&format!("standpipe_connections_closed_total{{{labels}}}")];
    assert_eq!(closed(r#"cause="peer",code="3000""#), 2.0);
    assert_eq!(closed(r#"cause="peer",code="4000""#), 2.0);
    let forbidden = r#"standpipe_publishes_total{way="json",result="forbidden"}"#;
    assert_eq!(figures[forbidden], 1.0);
    let nowhere = r#"standpipe_http_requests_total{route="none",code="404"}"#;
    assert_eq!(figures[nowhere], 1.0);
}

#[test]
fn draining_is_shown() {
    let binary = Binary::start(&["--drain-delay", "60s"]);
    assert_eq!(scrape(&binary).0["standpipe_draining"], 0.0);
    binary.signal("TERM");
    until("the metrics say that the server drains", || {
        scrape(&binary).0["standpipe_draining"] == 1.0
    });
    binary.signal("TERM");
    binary.end();
}

/// Returns a file of the repository.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the names of metrics in a text: words that begin with `standpipe_` or `process_`.
fn names_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_name = |word: &&str| word.starts_with("standpipe_") || word.starts_with("process_");
    words.filter(is_name).collect()
}

/// Returns the classic text of a server that shows every metric: it shares its topics, and a client has left.
fn all_metrics() -> String {
    let redis = ["--redis", "redis://127.0.0.1:1", "--node", "a"];
    let flags: &[&str] = if cfg!(feature = "redis") { &redis } else { &[] };
    let binary = Binary::start(flags);
    TestClient::connect(binary.address, "/echo").leave();
    until("the client has left", || {
        let text = binary.get("/metrics").body;
        text.contains("connections_closed_total{") && text.contains("http_requests_total{")
    });
    binary.get("/metrics").body
}

#[test]
fn dashboard_and_alerts_use_metrics_that_exist() {
    let text = all_metrics();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples: BTreeSet<&str> = samples
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    for file in [
        "packaging/grafana/standpipe.json",
        "packaging/prometheus/alerts.yml",
    ] {
        let content = read(file);
        let used = names_in(&content);
        assert!(used.len() > 10, "{file}: {used:?}");
        for name in used {
            let is_of_redis = name.starts_with("standpipe_redis_");
            let exists = samples.contains(name) || is_of_redis && !cfg!(feature = "redis");
            assert!(exists, "{file} uses {name}");
        }
    }
    // The values that the alerts select.
    let alerts = read("packaging/prometheus/alerts.yml");
    for (label, known) in [("reason", &text), ("result", &text)] {
        for selected in selected(&alerts, label) {
            let sample = format!("{label}=\"{selected}\"");
            assert!(known.contains(&sample), "no sample has {sample}");
        }
    }
    let causes = [CloseCause::SlowConsumer, CloseCause::HandlerFailed];
    let write = CloseCause::TimedOut(Clock::Write);
    let causes: Vec<&str> = causes
        .iter()
        .chain([&write])
        .map(CloseCause::name)
        .collect();
    let selected = selected(&alerts, "cause");
    assert!(
        selected.iter().all(|cause| causes.contains(cause)),
        "{selected:?}"
    );
}

/// Returns the values in all `label="VALUE"` and `label=~"VALUE|VALUE"` of a text.
fn selected<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
    let parts = [format!("{label}=\""), format!("{label}=~\"")];
    let found = parts
        .iter()
        .flat_map(|part| text.split(part.as_str()).skip(1));
    let values: Vec<&str> = found
        .flat_map(|rest| rest.split('"').next().unwrap().split('|'))
        .collect();
    assert!(!values.is_empty(), "{label}");
    values
}

#[test]
fn every_metric_is_documented() {
    let text = all_metrics();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exist: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    let reference = read("src/REFERENCE.md");
    let (_, section) = reference.split_once("\n# Metrics\n").expect("a section");
    let section = section.split("\n# ").next().unwrap();
    let documented: BTreeSet<String> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
        .filter(|name| !names_in(name).is_empty())
        .map(str::to_owned)
        .collect();
    let is_tested = |name: &&&str| cfg!(feature = "redis") || !name.starts_with("standpipe_redis_");
    let missing: Vec<_> = exist
        .iter()
        .filter(|name| !documented.contains(**name))
        .collect();
    assert!(missing.is_empty(), "not in REFERENCE.md: {missing:?}");
    let documented: Vec<&str> = documented.iter().map(String::as_str).collect();
    let gone: Vec<_> = documented
        .iter()
        .filter(|name| !exist.contains(**name))
        .collect();
    let gone: Vec<_> = gone.into_iter().filter(is_tested).collect();
    assert!(gone.is_empty(), "only in REFERENCE.md: {gone:?}");
}

#[test]
fn every_reason_and_cause_is_documented() {
    let reference = read("src/REFERENCE.md");
    let (_, section) = reference.split_once("\n# Metrics\n").expect("a section");
    let reasons = Refused::ALL.iter().map(|reason| reason.name());
    let text = String::new;
    let causes = [
        CloseCause::Peer {
            code: 1000,
            reason: text(),
        },
        CloseCause::Application {
            code: 1000,
            reason: text(),
        },
        CloseCause::Violation {
            code: 1002,
            reason: text(),
        },
        CloseCause::HandlerFailed,
        CloseCause::Unfinished,
        CloseCause::SlowConsumer,
        CloseCause::Shutdown,
        CloseCause::Terminated,
        CloseCause::Gone,
        CloseCause::TimedOut(Clock::Message),
        CloseCause::TimedOut(Clock::Ping),
        CloseCause::TimedOut(Clock::Write),
        CloseCause::TimedOut(Clock::Close),
        CloseCause::TimedOut(Clock::Shutdown),
    ];
    let failures = TlsFailure::ALL.iter().map(|reason| reason.name());
    let reasons = reasons.chain(failures);
    for name in reasons.chain(causes.iter().map(CloseCause::name)) {
        assert!(section.contains(&format!("`{name}`")), "{name}");
    }
}
