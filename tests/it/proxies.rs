//! Clients behind trusted proxies: the headers and the PROXY headers that name them, and the limits that count them.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use standpipe::{Config, Connection, Handler, Rate, Reply, Request, Server};
#[cfg(feature = "tls")]
use standpipe::{Listener, Refused};

#[cfg(feature = "tls")]
use crate::support::server_config;
use crate::support::{
    Answer, Connect, DEADLINE, Failure, LogLines, Stream, StreamOptions, TestClient, TestServer,
    echo, get, http, in_own_process, listen, over_tls, unread_refusal, until,
};

/// Answers with the client and its proxy. Upgrades what asks for it.
struct Who;

impl Handler for Who {
    fn request(&self, request: &mut Request) -> Reply {
        if request.wants_upgrade() {
            return Reply::upgrade();
        }
        let proxy = request.proxy().map_or("none".into(), ToString::to_string);
        Reply::text(
            200,
            format!(
                "{} {}",
                without_port(&request.peer().to_string()),
                without_port(&proxy)
            ),
        )
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        echo(conn)
    }
}

/// The tests of this machine do not know the ports of their own clients.
fn without_port(address: &str) -> &str {
    match address.parse() {
        Ok(SocketAddr::V4(_)) => address.split(':').next().expect("an address"),
        _ => address,
    }
}

/// The configuration with which clients of 127.0.0.1, and only these, are proxies.
fn trusting(proxies: &[&str]) -> Config {
    let proxies = proxies.iter().map(|text| text.parse().unwrap()).collect();
    Config::default().trusted_proxies(proxies)
}

fn server(config: Config) -> TestServer {
    TestServer::start(config, Who)
}

/// Starts a server whose listener expects PROXY headers.
fn proxy_protocol_server(config: Config) -> TestServer {
    let listener = listen("127.0.0.1:0").proxy_protocol();
    TestServer::of(Server::from_listeners(vec![listener], config).unwrap(), Who)
}

/// Asks who the client is, with this header.
#[track_caller]
fn who(server: &TestServer, header: &str) -> String {
    let answer = get(server.addr(), "/", header);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// Sends these bytes, and a request after them, and returns the answer.
#[track_caller]
fn after(server: &TestServer, header: &[u8], lines: &str) -> Answer {
    let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n");
    match over_tls() {
        true => server.client().preamble(header).http(request),
        // Together, so that the server finds the request behind the header.
        false => http(server.addr(), [header, request.as_bytes()].concat()),
    }
}

/// A PROXY header of version 2 for an IPv4 client, with a further value (TLV).
fn binary_header(client: [u8; 4]) -> Vec<u8> {
    let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x11";
    let tlv = [4, 0, 2, 0, 0];
    [&fixed[..], &client, &[127, 0, 0, 1, 1, 0, 0, 80], &tlv].concat()
}

/// `LOCAL`, with which a proxy checks a server.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

#[test]
fn headers_of_a_trusted_proxy_name_the_client() {
    let server = server(trusting(&["127.0.0.1", "10.0.0.0/8"]));
    for (header, expected) in [
        ("", "127.0.0.1 127.0.0.1"),
        ("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1 127.0.0.1"),
        (
            "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.9\r\n",
            "192.0.2.1 127.0.0.1",
        ),
        (
            "Forwarded: for=1.1.1.1, for=\"[2001:db8::1]\";proto=https\r\n",
            "2001:db8::1 127.0.0.1",
        ),
        ("X-Real-IP: 192.0.2.1\r\n", "127.0.0.1 127.0.0.1"),
        ("X-Forwarded-For: unknown\r\n", "127.0.0.1 127.0.0.1"),
    ] {
        assert_eq!(who(&server, header), expected, "{header:?}");
    }
    for header in [
        "Forwarded: for=\"1.1.1.1, for=192.0.2.1\r\n",
        "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.2\r\n",
    ] {
        assert_eq!(get(server.addr(), "/", header).status, 400, "{header:?}");
    }
}

#[test]
fn headers_of_others_are_not_believed() {
    let elsewhere = server(trusting(&["10.0.0.0/8", "127.0.0.2", "unix"]));
    let headers = "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=\"\r\n";
    assert_eq!(who(&elsewhere, headers), "127.0.0.1 none");
}

#[test]
fn clients_of_a_proxy_are_limited_each() {
    let server = server(trusting(&["127.0.0.1"]).max_clients_per_ip(Some(3)));
    let mut admitted = Vec::new();
    let from = |client: &str, n: u32| {
        let forged = format!("{}.{}.{}.1", 1 + n % 200, n / 200, n % 7);
        let line = format!("X-Forwarded-For: {forged}, {client}");
        server.client().header(&line).request()
    };
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
        for n in 0..3 {
            let (open, answer) = from(client, n);
            assert_eq!(answer.status, 101, "{client}: {answer:?}");
            admitted.push(open);
        }
    }
    for n in 3..1000 {
        assert_eq!(
            from("192.0.2.1", n).1.status,
            503,
            "with {n} forged addresses"
        );
    }
    let same_network = from("2001:db8::ffff", 1).1.status;
    assert_eq!(same_network, 503, "a /64 counts as one address");
    let mut peers = server.peers();
    peers.sort();
    peers.dedup();
    assert_eq!(peers, ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    // A proxy that names nobody is limited as a client, because all its clients look like one.
    for n in 0..4 {
        let (open, answer) = server.client().request();
        assert_eq!(answer.status, if n < 3 { 101 } else { 503 });
        admitted.push(open);
    }
}

#[test]
fn connect_rate_counts_the_clients_of_a_proxy() {
    let rate = Rate::per_second(1).burst(3);
    let server = server(trusting(&["127.0.0.1"]).connect_rate(Some(rate)));
    // The proxy checks the server as often as it likes.
    for _ in 0..30 {
        who(&server, "");
    }
    let statuses = |header: &str| -> Vec<u16> {
        (0..30)
            .map(|_| get(server.addr(), "/", header).status)
            .collect()
    };
    for client in ["192.0.2.1", "192.0.2.2"] {
        let statuses = statuses(&format!("X-Forwarded-For: {client}\r\n"));
        assert_eq!(statuses[..3], [200; 3], "{client}");
        let refused = statuses.iter().filter(|status| **status == 503).count();
        assert!(refused > 15, "{client}: {statuses:?}");
    }
    // Upgrades without a header count: otherwise, a proxy that adds none would have no limit.
    let upgrades: Vec<u16> = (0..30)
        .map(|_| server.client().request().1.status)
        .collect();
    assert!(
        upgrades.iter().filter(|status| **status == 503).count() > 15,
        "{upgrades:?}"
    );
}

#[test]
fn requests_of_one_connection_have_several_clients() {
    let server = server(trusting(&["127.0.0.1"]));
    let mut proxy = server.client().open();
    for (header, expected) in [
        ("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1 127.0.0.1"),
        ("X-Forwarded-For: 192.0.2.2\r\n", "192.0.2.2 127.0.0.1"),
        ("", "127.0.0.1 127.0.0.1"),
    ] {
        proxy.bytes(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{header}\r\n"));
        assert_eq!(proxy.read_answer().body, expected);
    }
}

#[test]
fn log_names_the_client_of_each_request() {
    in_own_process("proxies::log_names_the_client_of_each_request", || {
        let lines = LogLines::keep(log::LevelFilter::Debug);
        let server = server(trusting(&["127.0.0.1"]));
        let mut proxy = server.client().open();
        proxy.bytes("GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.1:7\r\n\r\n");
        assert_eq!(proxy.read_answer().status, 200);
        // The next request cannot be read, so its client is not known.
        proxy.bytes("GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For : 192.0.2.1\r\n\r\n");
        until("both requests are logged", || {
            let lines = lines.get();
            let line = |part: &str| lines.iter().any(|line| line.contains(part));
            line(" 192.0.2.1:7 GET /: 200") && line(" 127.0.0.1:")
        });
        let unreadable = lines
            .get()
            .into_iter()
            .find(|line| line.contains("400"))
            .unwrap();
        assert!(
            unreadable.contains("127.0.0.1") && !unreadable.contains("192.0.2.1"),
            "{unreadable}"
        );
    });
}

#[test]
fn forwarding_headers_change_no_origin_rule() {
    let server = server(trusting(&["127.0.0.1"]));
    for header in [
        "X-Forwarded-Host: elsewhere.example\r\nX-Forwarded-Proto: https\r\n",
        "Forwarded: for=192.0.2.1;host=elsewhere.example;proto=https\r\n",
        "X-Forwarded-For: 127.0.0.1\r\n",
    ] {
        let client = server.client().header("Origin: https://elsewhere.example");
        let (_, answer) = client.header(header.trim_end()).request();
        assert_eq!(answer.status, 403, "{header:?}");
    }
}

#[test]
fn unix_proxy_names_its_clients() {
    let path = std::env::temp_dir().join(format!("standpipe-proxies-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap().try_into().unwrap();
    let config = trusting(&["unix"]).max_clients_per_ip(Some(1));
    let _server = TestServer::of(Server::from_listeners(vec![listener], config).unwrap(), Who);
    let from = |client: &str| {
        let line = format!("X-Forwarded-For: {client}");
        Connect::to_unix(&path).header(&line).request()
    };
    let (_first, answer) = from("192.0.2.1");
    assert_eq!(answer.status, 101);
    assert_eq!(from("192.0.2.1").1.status, 503);
    assert_eq!(from("192.0.2.2").1.status, 101);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn proxy_header_names_the_client() {
    let server = proxy_protocol_server(trusting(&["127.0.0.1"]));
    for (header, expected) in [
        (
            &b"PROXY TCP4 192.0.2.1 127.0.0.1 256 80\r\n"[..],
            "192.0.2.1 127.0.0.1",
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 256 80\r\n",
            "[2001:db8::1]:256 127.0.0.1",
        ),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1 127.0.0.1"),
        (&binary_header([192, 0, 2, 1]), "192.0.2.1 127.0.0.1"),
        (LOCAL, "127.0.0.1 127.0.0.1"),
    ] {
        let answer = after(&server, header, "");
        assert_eq!(answer.body, expected, "{}", header.escape_ascii());
    }
    // A client of a WebSocket, whose header and request arrive byte by byte.
    let header = binary_header([192, 0, 2, 7]);
    let head = server.client().head().into_bytes();
    let (mut client, bytes) = match over_tls() {
        true => (server.client().preamble(&header).open(), head),
        false => (server.client().open(), [header, head].concat()),
    };
    for byte in bytes {
        client.bytes([byte]);
    }
    assert_eq!(client.read_head().status, 101);
    client.text("through");
    client.expect_text("through");
    assert_eq!(server.peers(), ["192.0.2.7:256"]);
}

#[test]
fn headers_behind_a_proxy_header_are_the_clients() {
    let server = proxy_protocol_server(trusting(&["127.0.0.1", "10.0.0.1"]));
    let line = "X-Forwarded-For: 192.0.2.9\r\n";
    for (header, expected) in [
        (
            &b"PROXY TCP4 192.0.2.1 127.0.0.1 256 80\r\n"[..],
            "192.0.2.1 127.0.0.1",
        ),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1 127.0.0.1"),
        (LOCAL, "127.0.0.1 127.0.0.1"),
        // Two proxies: the outer one speaks HTTP, and the inner one does not.
        (&binary_header([10, 0, 0, 1]), "192.0.2.9 127.0.0.1"),
    ] {
        assert_eq!(
            after(&server, header, line).body,
            expected,
            "{}",
            header.escape_ascii()
        );
    }
}

#[test]
fn proxy_header_is_accepted_from_trusted_proxies_only() {
    let server = proxy_protocol_server(trusting(&["127.0.0.1"]));
    for header in [
        binary_header([192, 0, 2, 1]),
        b"PROXY UNKNOWN\r\n".to_vec(),
        Vec::new(),
    ] {
        let mut socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let from: IpAddr = [127, 0, 0, 2].into();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        socket.connect(&server.addr().into()).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        // The server may have closed the connection already.
        let _ =
            socket.write_all(&[&header[..], b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat());
        let mut answer = Vec::new();
        let end = socket
            .read_to_end(&mut answer)
            .map_err(|error| error.kind());
        assert!(
            matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)),
            "{end:?}"
        );
        assert_eq!(answer, b"", "nothing is answered");
    }
    until("all three are counted", || {
        server.disconnects("refused_unread") == 3
    });
}

#[test]
fn wrong_proxy_headers_get_400_and_no_service() {
    let server = proxy_protocol_server(trusting(&["127.0.0.1"]));
    for header in [
        &b""[..],
        b"PROXY TCP4 192.0.2.1 127.0.0.1 256\r\n",
        b"PROXY TCP4 192.0.2.300 127.0.0.1 256 80\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x12\x00\x0cabcdefghijkl",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        // The answer is in clear text, also with TLS: the proxy could read it, and its client could not.
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let in_clear = server.client().in_clear();
        let status = in_clear.http([header, request].concat()).status;
        assert_eq!(status, 400, "{}", header.escape_ascii());
    }
    if over_tls() {
        return;
    }
    // Only the first bytes of a connection are a PROXY header.
    let twice = [binary_header([192, 0, 2, 1]), binary_header([192, 0, 2, 2])].concat();
    assert_eq!(after(&server, &twice, "").status, 400);
}

#[test]
fn stalled_proxy_header_is_reset_at_handshake_timeout() {
    let config = trusting(&["127.0.0.1"]).handshake_timeout(Duration::from_millis(300));
    let server = proxy_protocol_server(config);
    for begin in [
        &b""[..],
        b"PROXY TCP4 192.0.2.1",
        &binary_header([192, 0, 2, 1])[..20],
    ] {
        let mut socket = Stream::connect_tcp(server.addr()).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(begin).unwrap();
        let end = socket.read(&mut [0]).map_err(|error| error.kind());
        assert!(
            matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)),
            "{end:?}"
        );
    }
    until("all are counted", || {
        server.disconnects("handshake_timeout") == 3
    });
}

#[test]
fn shutdown_ends_the_wait_for_a_proxy_header() {
    let config = trusting(&["127.0.0.1"]).handshake_timeout(Duration::from_secs(600));
    let server = proxy_protocol_server(config);
    let _silent = Stream::connect_tcp(server.addr()).unwrap();
    until("the header is waited for", || {
        server.handle().pending_handshakes() == 1
    });
    server.handle().shutdown();
    server.report();
}

#[test]
fn limits_count_the_client_of_a_proxy_header() {
    let rate = Rate::per_second(1).burst(5);
    let config = trusting(&["127.0.0.1"])
        .max_clients_per_ip(Some(3))
        .connect_rate(Some(rate));
    let server = proxy_protocol_server(config);
    let from = |client: u8| -> (TestClient, u16) {
        let header = binary_header([192, 0, 2, client]);
        let mut open = server.client().preamble(&header).open();
        open.bytes(server.client().head());
        let status = open.read_head().status;
        (open, status)
    };
    let mut admitted = Vec::new();
    for client in 1..=20 {
        for _ in 0..3 {
            let (open, status) = from(client);
            assert_eq!(status, 101);
            admitted.push(open);
        }
        assert_eq!(from(client).1, 503);
    }
    // The connections are counted once each, so the rate is exceeded now.
    let header = binary_header([192, 0, 2, 1]);
    let statuses: Vec<Option<u16>> = (0..30)
        .map(|_| {
            let mut open = server.client().preamble(&header).open();
            open.try_bytes(server.client().head());
            open.read_status()
        })
        .collect();
    let refused = (statuses.iter()).filter(|status| **status == unread_refusal());
    assert!(refused.count() > 15, "{statuses:?}");
    assert_eq!(
        after(&server, &binary_header([192, 0, 2, 99]), "").status,
        200
    );
    // The checks of the proxy itself do not count.
    for _ in 0..30 {
        assert_eq!(after(&server, LOCAL, "").status, 200);
    }
}

#[test]
fn one_client_of_a_proxy_cannot_hold_all_handshake_slots() {
    let config = trusting(&["127.0.0.1"]).handshake_timeout(Duration::from_secs(60));
    let server = proxy_protocol_server(config);
    let attackers: Vec<TestClient> = (0..256)
        .map(|_| {
            let header = binary_header([192, 0, 2, 1]);
            server.client().preamble(&header).open()
        })
        .collect();
    until("all handshake slots are taken", || {
        server.handle().pending_handshakes() == 256
    });
    // The slots count for the attacker as soon as its address is known. The proxy then gets one for another client.
    until("another client is admitted", || {
        let options = StreamOptions {
            preamble: binary_header([192, 0, 2, 2]),
            ..StreamOptions::default()
        };
        let mut begin = [0; 12];
        // A connection that is refused unread may be reset.
        let stream = Stream::connect_with(&server.addr().into(), &options);
        let Ok(mut stream) = stream.as_ref() else {
            return false;
        };
        stream.write_all(server.client().head().as_bytes()).is_ok()
            && stream.read_exact(&mut begin).is_ok()
            && &begin == b"HTTP/1.1 101"
    });
    drop(attackers);
}

#[test]
fn proxy_protocol_needs_trusted_proxies() {
    let listener = listen("127.0.0.1:0").proxy_protocol();
    let refused = Server::from_listeners(vec![listener], Config::default()).unwrap_err();
    let error = refused
        .downcast::<standpipe::ConfigError>()
        .expect("the configuration is wrong");
    assert_eq!(error.field(), "trusted_proxies");
}

#[cfg(feature = "tls")]
#[test]
fn refusal_before_the_tls_handshake_is_not_sent() {
    let rate = Rate::per_second(1).burst(1);
    let config = trusting(&["127.0.0.1"]).connect_rate(Some(rate));
    let listener = Listener::bind("127.0.0.1:0").expect("a free port");
    let listener = listener.proxy_protocol().tls(server_config());
    let server = Server::from_listeners(vec![listener], config).expect("a valid configuration");
    let server = TestServer::of(server, Who);
    let exceeding = || {
        let statistics = server.handle().statistics();
        let found = (statistics.refused.iter()).find(|(each, _)| *each == Refused::ConnectRate);
        found.map_or(0, |(_, count)| *count)
    };
    let header = binary_header([192, 0, 2, 1]);
    let mut ended = Vec::new();
    while exceeding() == 0 {
        assert!(ended.len() < 30, "the rate is never exceeded");
        let mut tcp = Stream::connect_tcp(server.addr()).expect("the server accepts");
        tcp.write_all(&header).expect("the server reads");
        // The server ends this direction too, if it has accepted the header.
        tcp.shutdown(std::net::Shutdown::Write)
            .expect("the connection is open");
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).expect("the server ends it");
        ended.push(answer);
    }
    assert!(ended.iter().all(Vec::is_empty), "{ended:?}");
}
