//! Answers over TLS. A write may complete records with more bytes than it was given, and fewer than it has offered.

use std::io;

use http::HeaderValue;

use super::*;
use crate::connection::testing::tls_peer::{TlsPeer, TlsSetup};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

#[test]
fn answers_over_tls_are_whole_however_the_socket_accepts_them() {
    let server = server();
    let config = Arc::clone(&server.config);
    let body = "abcdefg".repeat(30_000);
    let stream = || {
        let reader = io::Cursor::new(body.clone());
        Reply::stream(200, BYTES, reader, body.len() as u64)
    };
    for most in [7, 100, 1 << 14, 100_000, usize::MAX] {
        for reply in [Reply::text(200, body.clone()), stream()] {
            let socket = Arc::new(ScriptedSocket::default());
            let (mut peer, transport) = TlsPeer::connect(TlsSetup::usual(), &socket);
            socket.accept_per_call(most);
            let plain: Arc<dyn Transport> = socket.clone();
            let config = Arc::clone(&config);
            let shared = Shared::new(1, Peer::Unix, config, Arc::default(), &plain);
            let answer = Answer::reply(reply);
            let written = answer.write(&shared, &*transport, &server, None, After::Close);
            assert!(written.is_ok(), "{most}");
            assert_eq!(transport.sealed(), 0, "{most}");
            let opened = peer.open(&socket.written()).expect("the records are whole");
            let opened = std::str::from_utf8(opened).expect("text");
            let (_, rest) = opened.split_once("\r\n\r\n").expect("an empty line");
            assert!(rest == body, "{most}: {} bytes", rest.len());
            assert!(
                !shared.write.deadlines.is_blocked(),
                "the write clock has stopped"
            );
        }
    }
}
