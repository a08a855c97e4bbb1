//! `GET /metrics`: its format, its bounded size, and its agreement with the other counts.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::binary::Binary;
use crate::support::{JsonClient, TestClient, get, post, until};

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
        assert!(name.starts_with("standpipe_"), "{line}");
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

#[test]
fn accept_chooses_the_format_of_metrics() {
    let binary = Binary::start(&[]);
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
        // Every sample has a type under its own name.
        for name in names(&classic.body) {
            let name = name.split('{').next().unwrap();
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
        ("messages_dropped_total", 0.0),
        ("messages_discarded_total", 0.0),
        ("clients", 3.0),
        ("topics", 1.0),
        ("queued_messages", 0.0),
        ("queued_bytes", 0.0),
        ("history_bytes", 0.0),
    ];
    for (name, expected) in expected {
        assert_eq!(figures[&format!("standpipe_{name}")], expected, "{name}");
    }
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
}

#[test]
fn ten_thousand_names_add_no_lines() {
    let binary = Binary::start(&[]);
    let mut json = JsonClient::connect(binary.address);
    json.subscribe("t");
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
    assert!(size < 8 << 10, "{size} bytes");
    assert_eq!(after["standpipe_topics"], 51.0);
}
