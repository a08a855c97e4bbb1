//! Several listeners of one server: which `Host` each of them accepts, and what a handler learns about them.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};

use standpipe::{Config, Connection, Handler, Listener, Reply, Request, Server};

use crate::support::{Answer, DEADLINE, Failure, TestServer, echo, http, listen, scheme};

/// A handler that answers every request with the tag of its listener.
struct Tags;

impl Handler for Tags {
    fn request(&self, request: &mut Request) -> Reply {
        let loopback = request.has_loopback_host();
        Reply::text(200, format!("{:?} {loopback}", request.listener()))
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        echo(conn)
    }
}

fn ask(address: SocketAddr, host: &str, headers: &str) -> Answer {
    http(
        SocketAddr::from(([127, 0, 0, 1], address.port())),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"),
    )
}

#[test]
fn loopback_listener_checks_host_beside_others() {
    let path = std::env::temp_dir().join(format!("standpipe-hosts-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listeners = vec![
        listen("127.0.0.1:0"),
        listen("0.0.0.0:0").tag("public"),
        UnixListener::bind(&path).unwrap().try_into().unwrap(),
    ];
    let addresses: Vec<SocketAddr> = listeners.iter().filter_map(Listener::local_addr).collect();
    let server = Server::from_listeners(listeners, Config::default()).unwrap();
    let _server = TestServer::of(server, Tags);
    assert_eq!(ask(addresses[0], "evil.example", "").status, 421);
    assert_eq!(ask(addresses[0], "localhost", "").body, "None true");
    let public = ask(addresses[1], "evil.example", "");
    assert_eq!(
        (public.status, &*public.body),
        (200, "Some(\"public\") false")
    );
    let mut unix = UnixStream::connect(&path).unwrap();
    unix.set_read_timeout(Some(DEADLINE)).unwrap();
    unix.write_all(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    unix.read_to_end(&mut answer).unwrap();
    assert_eq!(Answer::parse(&answer).body, "None false");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn same_origin_listener_refuses_allowed_origins() {
    let listeners = vec![
        listen("127.0.0.1:0"),
        listen("127.0.0.1:0").same_origin_only(),
    ];
    let addresses: Vec<SocketAddr> = listeners.iter().filter_map(Listener::local_addr).collect();
    let config = Config::default().origin(vec!["https://app.example".into()]);
    let server = Server::from_listeners(listeners, config).unwrap();
    let _server = TestServer::of(server, Tags);
    let origin = "Origin: https://app.example\r\n";
    let own = &*format!("Origin: {}://127.0.0.1\r\n", scheme(addresses[0]));
    for (host, headers, open, strict) in [
        ("app.example", "", 200, 421),
        ("app.example", origin, 200, 421),
        ("127.0.0.1", origin, 200, 403),
        ("127.0.0.1", own, 200, 200),
    ] {
        assert_eq!(ask(addresses[0], host, headers).status, open, "{host}");
        assert_eq!(ask(addresses[1], host, headers).status, strict, "{host}");
    }
}
