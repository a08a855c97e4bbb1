//! The flags of `--redis`, and a hub whose Redis server cannot be reached. Tests with a real server are in
//! `tests/machines`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::binary::{Binary, run, standpipe};
use crate::support::{JsonClient, TestClient, http_url, post, until, within};
use crate::{binary_client, dashboard};

/// A loopback port that refuses connections. It stays bound, so nobody else can listen on it.
struct ClosedPort {
    _socket: Socket,
    address: SocketAddr,
}

impl ClosedPort {
    fn new() -> ClosedPort {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        ClosedPort {
            _socket: socket,
            address,
        }
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Starts a hub with this port as its server. Waits until it counts as away.
    #[track_caller]
    fn hub(&self, flags: &[&str]) -> Binary {
        let redis = ["--redis", &self.url(), "--redis-timeout", "50ms"];
        let binary = Binary::start(&[&redis[..], flags].concat());
        until("the server counts as away", || {
            binary.get("/readyz").body.contains("without redis for")
        });
        binary
    }
}

/// Runs the hub with `STANDPIPE_REDIS`, which is wrong, to its end.
#[track_caller]
fn run_with_variable(value: &str) -> (Option<i32>, String) {
    let mut command = standpipe(&["--listen", "127.0.0.1:0"]);
    command.env("STANDPIPE_REDIS", value);
    let output = within(20, "the hub to end", move || command.output().unwrap());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), stderr)
}

#[test]
fn wrong_redis_url_is_explained_and_not_shown() {
    for (url, reason) in [
        ("rediss://:s3cret@", "the host is missing"),
        ("redis://:s3/cret@10.0.0.1", "percent-encoded"),
        ("redis://10.0.0.1,redis://:s3cret@", "the host is missing"),
        (
            "redis:s3cret@10.0.0.1",
            "begins with redis://, rediss:// or unix:",
        ),
    ] {
        let flag = format!("--redis={url}");
        for (arguments, name) in [
            (&["--redis", url][..], "--redis"),
            (&["serve", &flag], "--redis"),
        ] {
            let (code, stderr) = run(arguments);
            assert_eq!(code, Some(2), "{url}: {stderr}");
            assert!(stderr.contains(reason) && stderr.contains(name), "{stderr}");
            assert!(
                !stderr.contains("s3") && !stderr.contains("cret"),
                "{stderr}"
            );
        }
        let (code, stderr) = run_with_variable(url);
        assert_eq!(code, Some(2), "{url}: {stderr}");
        let names_variable = stderr.contains("'STANDPIPE_REDIS'") && !stderr.contains("--redis");
        assert!(stderr.contains(reason) && names_variable, "{stderr}");
        assert!(
            !stderr.contains("s3") && !stderr.contains("cret"),
            "{stderr}"
        );
    }
}

#[cfg(feature = "tls")]
#[test]
fn authorities_of_redis_are_read_at_the_start() {
    let (code, stderr) = run(&["--redis", "rediss://10.0.0.1", "--redis-ca", "missing.pem"]);
    assert_eq!(code, Some(78), "{stderr}");
    let reason = "missing.pem cannot be used: ";
    assert!(stderr.contains(reason), "{stderr}");

    // They are not needed without TLS.
    let port = ClosedPort::new();
    let binary = port.hub(&["--redis-ca", "missing.pem"]);
    binary.signal("TERM");
    let (_, _, log) = binary.end();
    assert!(log.contains("--redis-ca: has no effect"), "{log}");
}

#[test]
fn answers_have_no_nodes_without_redis() {
    let binary = Binary::start(&["--redis-lost", "refuse", "--node", "eu-1"]);
    let answer = post(binary.address, "/publish/t", "", "x");
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((answer.status, body.get("nodes")), (202, None), "{body}");
    assert_eq!(binary.get("/readyz").body, "ready\n");
    assert!(!binary.get("/metrics").body.contains("redis"));
}

#[test]
fn password_is_in_no_output() {
    let (port, other) = (ClosedPort::new(), ClosedPort::new());
    let [first, second] =
        [&port, &other].map(|port| port.url().replace("redis://", "redis://hub:s3cret@"));
    let flags = ["--listen", "127.0.0.1:0", "--admin-open", "-vv"];
    let mut command = standpipe(&[&flags[..], &["--topic", "t:policy=block:1s"]].concat());
    command.env("STANDPIPE_REDIS", format!("{first};{second}"));
    let binary = Binary::of(command);
    let mut watcher = TestClient::connect(binary.address, "/dashboard/live");
    let snapshot = dashboard::wait_for_snapshot(&mut watcher, "the server", |snapshot| {
        snapshot["machines"]["shards"][1]["state"] == "isolated"
    });
    assert_eq!(
        snapshot["machines"]["shards"][0]["address"],
        port.address.to_string()
    );
    binary.signal("USR1");
    let arguments = std::fs::read(format!("/proc/{}/cmdline", binary.pid())).unwrap();
    let mut shown = vec![
        String::from_utf8(arguments).unwrap(),
        binary.announced.join("\n"),
        snapshot.to_string(),
        binary.get("/metrics").body,
    ];
    binary.signal("TERM");
    let (_, last, log) = binary.end();
    assert!(log.contains("figures: "), "{log}");
    assert!(
        log.contains(&format!("shared through {} (shard 0 of 2)", port.address)),
        "{log}"
    );
    assert!(
        log.contains("the policy block of t makes publishers wait"),
        "{log}"
    );
    assert!(!log.contains("STANDPIPE_REDIS"), "{log}");
    shown.extend(last);
    shown.push(log);
    for text in shown {
        assert!(!text.contains("s3cret") && !text.contains("hub:"), "{text}");
    }
}

#[test]
fn password_in_a_flag_is_a_warning() {
    let ports = [ClosedPort::new(), ClosedPort::new()];
    let [first, second] = ports
        .each_ref()
        .map(|port| port.url().replace("redis://", "redis://:s3cret@"));
    let binary = Binary::start(&["--redis", &first, "--redis", &second]);
    binary.signal("TERM");
    let (_, _, log) = binary.end();
    assert_eq!(log.matches("STANDPIPE_REDIS").count(), 1, "{log}");
    assert!(log.contains("WARN") && !log.contains("s3cret"), "{log}");
}

#[test]
fn two_shards_on_one_server_exit_with_78() {
    let flags = [
        "--redis",
        "redis://127.0.0.1:1",
        "--redis",
        "redis://:s3cret@127.0.0.1:1/2",
    ];
    let (code, stderr) = run(&flags);
    assert_eq!(code, Some(78), "{stderr}");
    assert!(
        stderr.contains("two shards begin with the server 127.0.0.1:1"),
        "{stderr}"
    );
    assert!(!stderr.contains("s3cret"), "{stderr}");
}

#[test]
fn flag_without_redis_is_a_warning() {
    for (flags, is_warned) in [
        (&["--redis-lost", "refuse", "--node", "n"][..], true),
        (&[], false),
    ] {
        let binary = Binary::start(flags);
        binary.signal("TERM");
        let (_, _, log) = binary.end();
        let warning = "no effect without --redis: --redis-lost, --node;";
        assert_eq!(log.contains(warning), is_warned, "{log}");
        assert_eq!(log.contains("without --redis"), is_warned, "{log}");
    }
}

#[test]
fn hub_without_its_server_is_ready_under_local() {
    let port = ClosedPort::new();
    let binary = port.hub(&[]);
    let answer = binary.get("/readyz");
    assert_eq!(answer.status, 200, "{answer:?}");
    let seconds = answer.body.strip_prefix("ready, without redis for ");
    let seconds = seconds.and_then(|rest| rest.strip_suffix(" s\n"));
    let seconds: f64 = seconds.unwrap().parse().unwrap();
    assert!(seconds < 20.0, "{answer:?}");
    assert!(
        binary
            .announced
            .contains(&format!("topics are shared through {}", port.address))
    );

    // Messages reach the members on this hub.
    let mut json = JsonClient::connect(binary.address);
    let last = json.subscribe("t");
    let mut raw = binary.connect("/ws/t");
    let answer = post(
        binary.address,
        "/publish/t",
        "Content-Type: text/plain\r\n",
        "here",
    );
    assert_eq!(answer.status, 202, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&body["receivers"], &body["nodes"]), (&json!(2), &json!(1)));
    raw.expect_text("here");
    let mut message = json.receive();
    if message.get("gap").is_some() {
        assert_eq!(message["gap"][0], json!(last + 1));
        message = json.receive();
    }
    assert_eq!(
        (&message["id"], &message["data"]),
        (&body["id"], &json!("here"))
    );
    assert_eq!(binary.get("/topics/nobody/presence").body, "[]");
    assert_eq!(binary.get("/topics/nobody/history").body, "[]");
    let metrics = binary.get("/metrics").body;
    for line in ["up{shard=\"0\"} 0.0", "local_messages_total{shard=\"0\"} 1"] {
        assert!(
            metrics.contains(&format!("standpipe_redis_{line}\n")),
            "{metrics}"
        );
    }
}

#[test]
fn hub_without_its_server_refuses_under_refuse() {
    let port = ClosedPort::new();
    let binary = port.hub(&["--redis-lost", "refuse"]);
    let answer = binary.get("/readyz");
    assert!(
        answer.status == 503 && answer.body.starts_with("without redis for"),
        "{answer:?}"
    );

    let answer = post(binary.address, "/publish/t", "", "x");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.starts_with("not published: "), "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let error = answer.body.trim_end();

    let mut json = JsonClient::connect(binary.address);
    for command in [r#"{"pub":"t","data":1,"ref":1}"#, r#"{"pub":"t","data":1}"#] {
        assert_eq!(json.request(command)["error"], error);
    }
    // Clients may subscribe. Raw mode has no answers, so a message that is refused ends the connection.
    json.subscribe("t");
    let mut raw = binary.connect("/ws/t");
    raw.text("refused");
    assert_eq!(raw.expect_close(1013), error);
    assert_eq!(json.request(r#"{"unsub":"t","ref":3}"#)["ack"], 3);
    assert_eq!(binary.get("/topics/t/history").body, "[]");

    let base = http_url(binary.address, "");
    let (code, stdout, stderr) = binary_client::run(&["pub", "t", "--url", &base], "a\nb\n");
    assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
    let reason = error.strip_prefix("not published: ").unwrap();
    assert_eq!(
        stderr,
        format!("line 1: not published: 503 {reason}; the lines after it are not published\n")
    );
}

#[test]
fn hub_ends_while_it_joins() {
    let port = ClosedPort::new();
    let binary = Binary::start(&["--redis", &port.url(), "--redis-timeout", "60s"]);
    let answer = binary.get("/readyz");
    assert_eq!(
        (answer.status, &*answer.body),
        (503, "connecting to redis\n")
    );
    assert_eq!(binary.get("/healthz").status, 200);
    let began = Instant::now();
    binary.signal("INT");
    let (status, _, log) = binary.end();
    assert_eq!(status.code(), Some(0), "{log}");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "it took {took:?}");
}
