//! Whether the switch `STANDPIPE_TEST_TLS` does what it says: every other test relies on it.

use standpipe::{Config, Connection, Handler, Reply, Request};

use crate::support::{Answer, Failure, Stream, TestServer, echo, http_url, over_tls};

/// Answers whether the request came over TLS.
struct Tells;

impl Handler for Tells {
    fn request(&self, request: &mut Request) -> Reply {
        #[cfg(feature = "tls")]
        let has_tls = request.tls().is_some();
        #[cfg(not(feature = "tls"))]
        let has_tls = request.method().as_str().is_empty();
        match request.path() {
            "/echo" => Reply::upgrade(),
            _ => Reply::text(200, has_tls.to_string()),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        echo(conn)
    }
}

#[test]
fn switch_gives_tls_to_all_but_plain_servers() {
    let server = TestServer::start(Config::default(), Tells);
    let plain = TestServer::plain(Config::default(), Tells);
    assert_eq!(server.get("/").body, over_tls().to_string());
    assert_eq!(plain.get("/").body, "false");
    assert!(http_url(plain.addr(), "").starts_with("http://"));
    for server in [server, plain] {
        let mut client = server.client().path("/echo").connect();
        client.text("here");
        client.expect_text("here");
        client.leave();
    }
}

#[test]
fn two_threads_use_one_stream_at_the_same_time() {
    // Neither direction may wait for the other one: both carry far more than all buffers hold.
    const MESSAGES: usize = 400;
    let server = TestServer::start(Config::default(), |conn: &mut Connection| echo(conn));
    let mut client = server.connect();
    let sender = client.send_half();
    let sending = std::thread::spawn(move || {
        for n in 0..MESSAGES {
            sender.binary(vec![n as u8; 64 << 10]);
        }
    });
    for n in 0..MESSAGES {
        let message = client.read_message().into_bytes();
        assert_eq!(message.len(), 64 << 10);
        assert!(message.iter().all(|byte| *byte == n as u8), "message {n}");
    }
    sending.join().expect("everything is sent");
    client.leave();
}

#[cfg(feature = "tls")]
#[test]
fn plain_client_of_a_server_with_tls_is_told() {
    use std::io::{Read, Write};
    if !over_tls() {
        return;
    }
    let server = TestServer::start(Config::default(), Tells);
    let mut tcp = Stream::connect_tcp(server.addr()).expect("the server accepts");
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("the server reads");
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).expect("the server answers");
    assert_eq!(Answer::parse(&answer).status, 400);
}
