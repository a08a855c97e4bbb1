//! Which listeners speak TLS, what a start prints, and what requests over TLS are judged by.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::*;

/// Returns the answer to a request without TLS.
fn without_tls(address: SocketAddr) -> String {
    let mut tcp = tcp(address);
    tcp.write_all(b"GET /topics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("a request is sent");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn every_tcp_listener_speaks_tls_and_no_unix_socket() {
    let files = Files::new("listeners");
    let socket = files.path("hub.sock");
    let (certificate, private) = (key("server.pem"), key("server.key"));
    let unix = format!("unix:{socket}");
    let flags = [
        ["--tls-cert", &certificate],
        ["--tls-key", &private],
        ["--listen", "127.0.0.1:0"],
        ["--listen", &unix],
        ["--admin-listen", "127.0.0.1:0"],
    ];
    let hub = Hub::of(standpipe(flags.as_flattened()));
    let admin = hub.announced_address("standpipe listening on https://", "/ (admin)");
    let address = hub.address;
    let expected = [
        format!("standpipe listening on https://{address}/"),
        format!("  wss://{address}/echo          sends every message back"),
        format!("  wss://{address}/ws/TOPIC      publishes to everyone connected to TOPIC"),
        format!("standpipe listening on unix:{socket}"),
        format!("standpipe listening on https://{admin}/ (admin)"),
        format!("dashboard: https://{admin}/dashboard"),
        format!(
            "publish:   curl -H 'Content-Type: text/plain' -d hello https://{admin}/publish/lobby"
        ),
    ];
    assert_eq!(hub.announced, expected);
    assert_eq!(hub.get("/healthz").body, "ok\n");
    assert_eq!(get(admin, "/topics", "").status, 200);
    let mut client = hub.connect("/echo");
    client.text("hello");
    client.expect("hello");
    client.leave();

    let mut plain = UnixStream::connect(&socket).expect("the socket is there");
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .expect("a request is sent");
    let mut answer = String::new();
    plain.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for address in [address, admin] {
        let answer = without_tls(address);
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("https://"), "{answer}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn inherited_socket_speaks_tls() {
    let tls = tls_flags();
    let mut flags: Vec<&str> = tls.iter().map(String::as_str).collect();
    flags.extend(["--listen", "fd:web", "--admin-listen", "fd:admin"]);
    let hub = Hub::of(crate::systemd::inheriting("web:admin", &flags));
    let admin = hub.announced_address("standpipe listening on https://", "/ (admin)");
    assert_eq!(hub.get("/healthz").status, 200);
    assert_eq!(get(admin, "/topics", "").status, 200);
    let answer = without_tls(admin);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

/// The line of `systemctl status`.
#[cfg(target_os = "linux")]
#[test]
fn service_manager_is_told_of_tls() {
    let files = Files::new("status");
    let path = files.path("notify.sock");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(DEADLINE))
        .expect("a time limit");
    let tls = tls_flags();
    let mut flags: Vec<&str> = tls.iter().map(String::as_str).collect();
    flags.extend(["--listen", "127.0.0.1:0", "--admin-open"]);
    let mut command = standpipe(&flags);
    command.env("NOTIFY_SOCKET", &path);
    let hub = Hub::of(command);
    let mut buffer = [0; 4096];
    let read = socket.recv(&mut buffer).expect("a notification");
    let expected = format!("READY=1\nSTATUS=listening on {} (TLS)\n", hub.address);
    assert_eq!(String::from_utf8_lossy(&buffer[..read]), expected);
}

#[test]
fn made_key_is_announced_with_https() {
    let files = Files::new("made-key");
    let flags = tls_flags();
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.extend(["--listen", "127.0.0.1:0"]);
    let mut command = standpipe(&flags);
    command.env("HOME", &files.0);
    let hub = Hub::of(command);
    let before = format!("dashboard: https://{}/dashboard#key=", hub.address);
    let made = hub
        .announced
        .iter()
        .find_map(|line| line.strip_prefix(&before));
    let made = made.unwrap_or_else(|| panic!("{:?}", hub.announced));
    let bearer = format!("Authorization: Bearer {made}\r\n");
    assert_eq!(get(hub.address, "/topics", &bearer).status, 200);
    assert_eq!(get(hub.address, "/topics", "").status, 401);
    let publish = hub.announced.last().expect("lines");
    assert!(
        publish.contains(&format!(" https://{}/", hub.address)),
        "{publish}"
    );
}

#[test]
fn version_is_shown_for_each_client() {
    let hub = Hub::start(&["-v"]);
    let configs = [
        client_config(&[&TLS12], None),
        client_config(&[&TLS13], None),
    ];
    let clients = configs.map(|config| Client::connect(hub.address, "/ws/t", &config));
    let shown = hub.get("/debug/clients").body;
    let shown: Vec<Value> = serde_json::from_str(&shown).expect("JSON");
    let versions: Vec<&Value> = shown.iter().map(|client| &client["tls"]).collect();
    assert_eq!(versions, ["TLS 1.2", "TLS 1.3"]);

    let mut watcher = hub.connect("/dashboard/live");
    watcher.text(r#"{"do":"find","rows":9,"sort":"client","text":"1.2"}"#);
    let found = loop {
        let message: Value = serde_json::from_str(&watcher.read()).expect("JSON");
        let clients = message["clients"].as_array().cloned();
        match clients {
            Some(rows) if !rows.is_empty() => break rows,
            // The rows are those of the last snapshot, which may be older than the clients.
            Some(_) => watcher.text(r#"{"do":"find","rows":9,"sort":"client","text":"1.2"}"#),
            None => {}
        }
    };
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0][10], "TLS 1.2", "{found:?}");
    watcher.leave();

    clients.into_iter().for_each(Client::leave);
    for version in ["1.2", "1.3"] {
        let text = format!(" s over TLS {version}: closed by the peer");
        until("the end is logged", || hub.log().contains(&text));
    }
}

#[test]
fn page_of_http_cannot_connect_over_tls() {
    let hub = Hub::start(&[]);
    let port = hub.address.port();
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Version: 13\r\n";
    for (origin, host, status) in [
        (
            format!("https://localhost:{port}"),
            format!("localhost:{port}"),
            101,
        ),
        ("https://localhost".into(), "localhost:443".into(), 101),
        ("https://localhost:443".into(), "localhost".into(), 101),
        (
            format!("http://localhost:{port}"),
            format!("localhost:{port}"),
            403,
        ),
        ("http://localhost".into(), "localhost".into(), 403),
        (
            "https://evil.example".into(),
            format!("localhost:{port}"),
            403,
        ),
        // DNS rebinding: the page and the server look like one origin, and only the name of the host reveals it.
        (
            format!("https://evil.example:{port}"),
            format!("evil.example:{port}"),
            421,
        ),
    ] {
        let mut tls = handshake(tcp(hub.address), &trusting()).expect("a TLS handshake");
        let head =
            format!("GET /echo HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n{upgrade}\r\n");
        tls.write_all(head.as_bytes()).expect("a request is sent");
        let mut line = [0; 12];
        tls.read_exact(&mut line).expect("an answer");
        let line = String::from_utf8_lossy(&line);
        assert_eq!(line, format!("HTTP/1.1 {status}"), "{origin} to {host}");
    }
}

#[test]
fn proxy_header_comes_before_the_tls_handshake() {
    let flags = tls_flags();
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.extend(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    flags.extend(["--proxy-protocol", "--trusted-proxy", "127.0.0.1"]);
    let hub = Hub::with_proxy_header(standpipe(&flags));
    let admin = hub.announced_address("standpipe listening on https://", "/ (admin)");
    let mut tcp = tcp(hub.address);
    tcp.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n")
        .expect("a PROXY header is sent");
    let tls = handshake(tcp, &trusting()).expect("a TLS handshake");
    let mut client = Client::upgrade(tls, "wss://localhost/echo");
    client.text("hello");
    client.expect("hello");
    let shown = get(admin, "/debug/clients", "").body;
    let shown: Vec<Value> = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown[0]["peer"], "192.0.2.7:4711", "{shown:?}");
    assert_eq!(shown[0]["tls"], "TLS 1.3", "{shown:?}");
    client.leave();
}

#[test]
fn slow_client_of_the_dashboard_connects() {
    let hub = Hub::start(&["--tls-client-ca", &key("ca.pem")]);
    let config = client_config(&[&TLS13], Some("client"));
    let mut watcher = Client::connect(hub.address, "/dashboard/live", &config);
    watcher.text(r#"{"do":"add-slow","topic":"t","rate":1000}"#);
    let mut is_added = false;
    loop {
        let message: Value = serde_json::from_str(&watcher.read()).expect("JSON");
        assert!(message.get("error").is_none(), "{message}");
        is_added |= message.get("done").is_some();
        let slow = message["slow"].as_array();
        if is_added && slow.is_some_and(|slow| slow.len() == 1) {
            assert_eq!(message["slow"][0]["ended"], Value::Null, "{message}");
            break;
        }
    }
    watcher.leave();
}
