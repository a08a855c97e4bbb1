//! Ends of the TLS stream with and without a Close, and peers that go on after it (T50d).

use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, unbounded};
use standpipe::{Config, Connection, Handler, Reply, Request};

use super::{GONE, expect_report, reporting};
use crate::support::tls_peer::{TLS_1_2, TLS_1_3, tls_client, tls_server, trickle};
use crate::support::{DEADLINE, Failure, Frame, TestServer, TlsEnd, TlsPeer, op, until};

fn close() -> Vec<u8> {
    Frame::close(1000, "").bytes()
}

/// The four ends, one after the other and in one segment.
#[test]
fn t50d_close_then_close_notify_then_fin_is_an_orderly_end() {
    for versions in [TLS_1_2, TLS_1_3] {
        for with_notify in [true, false] {
            for is_one_segment in [true, false] {
                let (server, reports) = reporting(Config::default());
                let mut peer = TlsPeer::connect_with(server.addr(), tls_client(versions));
                let mut bytes = peer.seal(close());
                if !is_one_segment {
                    peer.bytes(&bytes);
                    assert_eq!(peer.next().expect("a Close").code().0, 1000);
                    bytes.clear();
                }
                if with_notify {
                    bytes.extend(peer.close_notify());
                }
                peer.try_bytes(&bytes);
                peer.fin();
                expect_report(&reports, "closed");
                let (closes, end) = peer.rest();
                assert_eq!(closes.len(), usize::from(is_one_segment));
                assert_eq!(end, TlsEnd::CloseNotify);
                until("the client is gone", || server.handle().clients() == 0);
            }
        }
    }
}

/// Only a Close begins a closing handshake, so that an attacker gains nothing by cutting off the stream.
#[test]
fn t50d_end_without_a_close_is_not_orderly() {
    for versions in [TLS_1_2, TLS_1_3] {
        for with_notify in [true, false] {
            let (server, reports) = reporting(Config::default());
            let mut peer = TlsPeer::connect_with(server.addr(), tls_client(versions));
            peer.text("before");
            expect_report(&reports, "before");
            peer.expect_text("before");
            if with_notify {
                let notify = peer.close_notify();
                peer.bytes(notify);
            } else {
                peer.fin();
            }
            expect_report(&reports, GONE);
            let (closes, end) = peer.rest();
            assert_eq!(closes, []);
            assert!(matches!(end, TlsEnd::CloseNotify | TlsEnd::Fin), "{end:?}");
            until("the client is gone", || server.handle().clients() == 0);
        }
    }
}

/// Bytes that follow a close_notify are not data (RFC 8446 §6.1).
#[test]
fn t50d_data_after_a_close_notify_is_ignored() {
    let (server, reports) = reporting(Config::default());
    for versions in [TLS_1_2, TLS_1_3] {
        let mut peer = TlsPeer::connect_with(server.addr(), tls_client(versions));
        let mut bytes = peer.seal(Frame::new(op::TEXT, "before").bytes());
        bytes.extend(peer.close_notify());
        bytes.extend([&[0x17, 3, 3, 0, 60], &[3; 60][..]].concat());
        peer.bytes(bytes);
        expect_report(&reports, "before");
        expect_report(&reports, GONE);
        until("the client is gone", || server.handle().clients() == 0);
    }
}

/// Reports each complete message and each complete body.
struct Publishes(Sender<Vec<u8>>);

impl Handler for Publishes {
    fn request(&self, request: &mut Request) -> Reply {
        if request.wants_upgrade() {
            return Reply::upgrade();
        }
        match request.read_body(1 << 20) {
            Ok(body) => {
                self.0.send(body.to_vec()).expect("the test is running");
                Reply::status(204)
            }
            Err(reply) => reply,
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        while let Some(message) = conn.recv()? {
            self.0.send(message.into_bytes().to_vec())?;
        }
        Ok(())
    }
}

/// Sends the first `whole` of these records and `cut` bytes of the next one, and ends the connection as an attacker does
/// who cuts it off: without a close_notify.
fn cut_off(peer: &TlsPeer, records: &[&[u8]], whole: usize, cut: usize) {
    let mut bytes = records[..whole].concat();
    if let Some(next) = records.get(whole) {
        bytes.extend(&next[..cut.min(next.len())]);
    }
    peer.bytes(bytes);
    peer.fin();
}

/// Returns the end of the connection, after everything that the server has sent.
fn wait_for_end(server: &TestServer, peer: &mut TlsPeer) {
    let (_, end) = peer.rest();
    assert!(
        matches!(end, TlsEnd::CloseNotify | TlsEnd::Fin | TlsEnd::Reset),
        "{end:?}"
    );
    until("the client is gone", || {
        server.handle().clients() + server.handle().pending_handshakes() == 0
    });
}

/// Two messages, of which the first has three fragments. Each piece is a record.
#[test]
fn t50d_message_that_is_cut_off_is_not_delivered() {
    let (published, messages) = unbounded();
    let server = tls_server(Config::default(), Publishes(published));
    let frames = [
        &Frame::new(op::TEXT, "one ").unfinished().bytes()[..],
        &Frame::new(op::CONTINUATION, "message ")
            .unfinished()
            .bytes(),
        &Frame::new(op::CONTINUATION, "whole").bytes(),
        &Frame::new(op::BINARY, [7; 100]).bytes()[..50],
        &Frame::new(op::BINARY, [7; 100]).bytes()[50..],
    ];
    for versions in [TLS_1_2, TLS_1_3] {
        for whole in 0..=frames.len() {
            for cut in [0, 1, 5, 30, usize::MAX] {
                let mut peer = TlsPeer::connect_with(server.addr(), tls_client(versions));
                let sealed: Vec<_> = frames.iter().map(|frame| peer.seal(frame)).collect();
                let records: Vec<&[u8]> = sealed.iter().map(Vec::as_slice).collect();
                cut_off(&peer, &records, whole, cut);
                wait_for_end(&server, &mut peer);
                let complete = whole + usize::from(cut == usize::MAX);
                let mut expected = Vec::new();
                if complete >= 3 {
                    expected.push(b"one message whole".to_vec());
                }
                if complete >= 5 {
                    expected.push(vec![7; 100]);
                }
                let seen: Vec<_> = messages.try_iter().collect();
                assert_eq!(seen, expected, "{whole} records and {cut} bytes");
            }
        }
    }
}

/// A body with a length, and one in chunks.
#[test]
fn t50d_body_that_is_cut_off_is_not_delivered() {
    let (published, bodies) = unbounded();
    let server = tls_server(Config::default(), Publishes(published));
    let counted = [
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 15\r\n\r\n",
        "a body ",
        "in parts",
    ];
    let in_chunks = [
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        "7\r\na body ",
        "\r\n8\r\nin parts\r\n",
        "0\r\n",
        "\r\n",
    ];
    for versions in [TLS_1_2, TLS_1_3] {
        for parts in [&counted[..], &in_chunks] {
            for whole in 0..=parts.len() {
                for cut in [0, 1, 20] {
                    let mut peer = TlsPeer::open(server.addr(), tls_client(versions));
                    assert_eq!(peer.handshake(), Ok(()));
                    let sealed: Vec<_> = parts.iter().map(|part| peer.seal(part)).collect();
                    let records: Vec<&[u8]> = sealed.iter().map(Vec::as_slice).collect();
                    cut_off(&peer, &records, whole, cut);
                    let (answer, _) = peer.read_all();
                    until("the request has ended", || {
                        server.handle().pending_handshakes() == 0
                    });
                    let is_complete = whole == parts.len();
                    let seen: Vec<_> = bodies.try_iter().collect();
                    assert_eq!(
                        seen.len(),
                        usize::from(is_complete),
                        "{parts:?} {whole} {cut}"
                    );
                    assert_eq!(answer.starts_with(b"HTTP/1.1 204"), is_complete);
                }
            }
        }
    }
}

/// The client takes its time after the server's Close, and sends messages that nobody reads any more.
#[test]
fn t37_client_may_send_after_our_close() {
    for versions in [TLS_1_2, TLS_1_3] {
        let server = tls_server(
            Config::default(),
            |conn: &mut Connection| -> Result<(), Failure> {
                conn.recv()?;
                Ok(())
            },
        );
        let mut peer = TlsPeer::connect_with(server.addr(), tls_client(versions));
        peer.text("the handler returns after this");
        assert_eq!(peer.next().expect("a Close").code().0, 1000);
        for _ in 0..20 {
            peer.send(Frame::new(op::BINARY, vec![1; 10_000]).bytes());
        }
        peer.send(close());
        assert_eq!(peer.rest(), (vec![], TlsEnd::CloseNotify));
        until("the client is gone", || server.handle().clients() == 0);
        assert_eq!(server.disconnects("close_timeout"), 0);
    }
}

/// After the closing handshake, the server waits at most a second for the client to end the connection.
#[test]
fn t37_records_that_trickle_after_the_close_end_in_time() {
    for versions in [TLS_1_2, TLS_1_3] {
        let server = tls_server(Config::default(), |_: &mut Connection| Ok(()));
        let mut peer = TlsPeer::connect_with(server.addr(), tls_client(versions));
        assert_eq!(peer.next().expect("a Close").code().0, 1000);
        let answer = peer.seal(close());
        let record = peer.seal(Frame::new(op::BINARY, vec![1; 16_000]).bytes());
        peer.bytes(answer);
        let began = Instant::now();
        trickle(record, |byte| peer.try_bytes([byte]));
        until("the client is gone", || server.handle().clients() == 0);
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
}

/// Without an answer to our Close, `close_timeout` ends the client, however much it sends.
#[test]
fn t37_client_that_floods_instead_of_answering_the_close_ends_in_time() {
    let timeout = Duration::from_millis(500);
    for versions in [TLS_1_2, TLS_1_3] {
        let config = Config::default().close_timeout(timeout);
        let server = tls_server(config, |_: &mut Connection| Ok(()));
        let mut peer = TlsPeer::connect_with(server.addr(), tls_client(versions));
        assert_eq!(peer.next().expect("a Close").code().0, 1000);
        let began = Instant::now();
        let frame = Frame::new(op::BINARY, vec![1; 10_000]).bytes();
        loop {
            let records = peer.seal(&frame);
            if !peer.try_bytes(records) {
                break;
            }
            assert!(
                began.elapsed() < DEADLINE,
                "the server never ended the connection"
            );
        }
        assert!(
            began.elapsed() + Duration::from_millis(1) >= timeout,
            "{:?}",
            began.elapsed()
        );
        until("the disconnect is counted", || {
            server.disconnects("close_timeout") == 1
        });
    }
}
