//! TLS on connections that another accept loop hands over, and behind a PROXY header.

use std::io::Read;
use std::net::TcpListener;

use standpipe::{Config, Handler, Listener, Server};

use crate::support::tls_peer::{TLS_1_2, TLS_1_3, open_socket, read_raw, tls_client, tls_config};
use crate::support::{TestServer, TlsPeer, echo, until};

/// The other accept loop has read some bytes already, for example to choose the server.
#[test]
fn handed_connection_has_its_first_bytes_in_ahead() {
    let (connections, listener) = Listener::channel(16);
    let listener = listener.tls(tls_config());
    let server = Server::from_listeners(vec![listener], Config::default()).expect("a server");
    let server = TestServer::of(server, echo);
    let accepting = TcpListener::bind("127.0.0.1:0").expect("a free port");
    for versions in [TLS_1_2, TLS_1_3] {
        let mut ahead = 0;
        loop {
            let socket = open_socket(accepting.local_addr().expect("an address"));
            let (mut accepted, _) = accepting.accept().expect("a connection");
            let mut client = TlsPeer::of(socket, tls_client(versions));
            let hello = client.flight();
            client.bytes(&hello);
            let mut first = vec![0; ahead.min(hello.len())];
            accepted.read_exact(&mut first).expect("the ClientHello");
            connections
                .send(accepted, first)
                .expect("the server is running");
            let mut client = client.upgraded("/");
            client.text("handed");
            client.expect_text("handed");
            client.leave();
            if ahead >= hello.len() {
                break;
            }
            ahead += 16;
        }
    }
    until("the clients are gone", || server.handle().clients() == 0);
}

/// A PROXY header of version 2 for a client with this IPv4 address.
fn binary_header(client: [u8; 4]) -> Vec<u8> {
    let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c";
    [&fixed[..], &client, &[127, 0, 0, 1, 1, 0, 1, 187]].concat()
}

fn behind_a_proxy(handler: impl Handler + Send + 'static) -> TestServer {
    let listener = Listener::bind("127.0.0.1:0").expect("a free port");
    let listener = listener.proxy_protocol().tls(tls_config());
    let trusted = vec!["127.0.0.1".parse().expect("an address")];
    let config = Config::default().trusted_proxies(trusted);
    let server = Server::from_listeners(vec![listener], config).expect("a server");
    TestServer::of(server, handler)
}

#[test]
fn proxy_header_comes_before_the_client_hello() {
    let server = behind_a_proxy(echo);
    for versions in [TLS_1_2, TLS_1_3] {
        for header in [
            b"PROXY TCP4 192.0.2.1 127.0.0.1 256 443\r\n".to_vec(),
            binary_header([192, 0, 2, 1]),
        ] {
            let length = header.len();
            // In one segment, in two that are cut around the end of the header, and byte by byte.
            for cut in [0, 1, length - 1, length, length + 1, length + 5, usize::MAX] {
                let mut client = TlsPeer::open(server.addr(), tls_client(versions));
                let bytes = [header.clone(), client.flight()].concat();
                if cut == usize::MAX {
                    bytes.iter().for_each(|byte| client.bytes([*byte]));
                } else {
                    client.bytes(&bytes[..cut]);
                    client.bytes(&bytes[cut..]);
                }
                let mut client = client.upgraded("/");
                client.text("through");
                client.expect_text("through");
                assert_eq!(server.peers(), ["192.0.2.1:256"]);
                client.leave();
                until("the client is gone", || server.handle().clients() == 0);
            }
        }
    }
}

/// The proxy is configured wrongly, so it gets an answer that shows this in a capture, and the log has the reason.
#[test]
fn proxy_header_in_the_wrong_place_is_refused() {
    let server = behind_a_proxy(echo);
    let mut client = TlsPeer::open(server.addr(), tls_client(TLS_1_3));
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for bytes in [
        // No header in front of the TLS.
        client.flight(),
        // No TLS after the header.
        [&binary_header([192, 0, 2, 1])[..], request].concat(),
    ] {
        let socket = open_socket(server.addr());
        std::io::Write::write_all(&mut &socket, &bytes).expect("a connection");
        let (bytes, _) = read_raw(&socket);
        assert!(
            bytes.starts_with(b"HTTP/1.1 400"),
            "{}",
            bytes.escape_ascii()
        );
    }
    assert_eq!(server.handle().clients(), 0);
}
