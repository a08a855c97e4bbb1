//! Peers that ask for new keys again and again, in TLS 1.3 and 1.2.

use std::time::{Duration, Instant};

use rustls::{AlertDescription, ContentType};
use standpipe::rustls;
use standpipe::{Config, Connection};

use super::{READING_FAILED, expect_report, reporting, resident_kib};
use crate::support::tls_peer::{TLS_1_2, TLS_1_3, tls_client, tls_server};
use crate::support::{
    Failure, Frame, RecordPeer, TlsEnd, TlsPeer, assert_lasted, in_own_process, op, until, within,
};

#[test]
fn t50b_33_key_updates_in_a_row_end_with_an_alert() {
    let (server, reports) = reporting(Config::default());
    let mut peer = TlsPeer::connect(server.addr());
    for _ in 0..32 {
        peer.update_keys();
    }
    peer.text("after 32");
    expect_report(&reports, "after 32");
    peer.expect_text("after 32");
    for _ in 0..33 {
        peer.update_keys();
        let records = peer.flight();
        peer.try_bytes(records);
    }
    expect_report(&reports, READING_FAILED);
    // rustls makes no alert of its own for this violation.
    assert_eq!(peer.rest(), (vec![], TlsEnd::CloseNotify));
    until("the client is gone", || server.handle().clients() == 0);
}

#[test]
fn t50b_thousand_key_updates_between_messages_survive() {
    let (server, reports) = reporting(Config::default());
    let mut peer = TlsPeer::connect(server.addr());
    for n in 0..1000 {
        peer.update_keys();
        peer.text(&n.to_string());
        expect_report(&reports, &n.to_string());
        peer.expect_text(&n.to_string());
    }
    peer.leave();
    expect_report(&reports, "closed");
    until("the client is gone", || server.handle().clients() == 0);
}

/// Each request must be answered, but there is at most one answer that waits (RFC 8446 §4.6.3).
#[test]
fn t50b_key_update_flood_from_a_client_that_never_reads_is_bounded() {
    const NAME: &str = "threats::tls::key_updates::t50b_key_update_flood_from_a_client_that_never_reads_is_bounded";
    in_own_process(NAME, || {
        let receives = |conn: &mut Connection| -> Result<(), Failure> {
            while conn.recv()?.is_some() {}
            Ok(())
        };
        let server = tls_server(Config::default(), receives);
        let mut peer = TlsPeer::connect(server.addr());
        let mut flood = |count| {
            for _ in 0..count {
                peer.update_keys();
                peer.send(Frame::new(op::TEXT, "x").bytes());
            }
        };
        flood(1000);
        let before = resident_kib();
        flood(20_000);
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < 1024, "{grown} KiB");
        // Also the answers that the client has not read are few.
        peer.text("x");
        peer.leave();
    });
}

/// The echoes take the answers with them, so that the client meets the write rule.
#[test]
fn t50b_key_update_flood_meets_the_write_rule() {
    let timeout = Duration::from_millis(400);
    let config = Config::default()
        .sndbuf(Some(16 << 10))
        .unsent(16 << 10)
        .write_timeout(timeout);
    let (server, _reports) = reporting(config);
    let began = Instant::now();
    let mut peer = TlsPeer::connect_with(server.addr(), tls_client(TLS_1_3));
    within(20, "the flood to end", move || {
        let frame = Frame::new(op::TEXT, "x".repeat(1000)).bytes();
        loop {
            peer.update_keys();
            let records = peer.seal(&frame);
            if !peer.try_bytes(records) {
                return;
            }
        }
    });
    assert_lasted(began, timeout);
    until("the disconnect is counted", || {
        server.disconnects("write_timeout") == 1
    });
}

/// A ClientHello after the handshake asks for a renegotiation in TLS 1.2, and is a violation in TLS 1.3.
#[test]
fn t50b_renegotiation_is_refused_and_then_fatal() {
    let (server, reports) = reporting(Config::default());
    let hello = TlsPeer::open(server.addr(), tls_client(TLS_1_2)).flight();
    let hello = &hello[5..];

    let mut peer = RecordPeer::connect(server.addr(), TLS_1_2);
    peer.send(ContentType::Handshake, hello);
    // The warning leaves with the next record.
    let text = Frame::new(op::TEXT, "still connected").bytes();
    peer.send(ContentType::ApplicationData, &text);
    expect_report(&reports, "still connected");
    assert_eq!(
        peer.next_alert(),
        Ok((1, AlertDescription::NoRenegotiation))
    );
    let (kind, echoed) = peer.next().expect("the echo");
    assert_eq!(
        (kind, &echoed[2..]),
        (ContentType::ApplicationData, &b"still connected"[..])
    );
    peer.send(ContentType::Handshake, hello);
    expect_report(&reports, READING_FAILED);
    // rustls makes no alert of its own for this violation.
    assert_eq!(peer.next_alert(), Ok((1, AlertDescription::CloseNotify)));

    let mut peer = RecordPeer::connect(server.addr(), TLS_1_3);
    peer.send(ContentType::Handshake, hello);
    expect_report(&reports, READING_FAILED);
    assert_eq!(
        peer.next_alert(),
        Ok((2, AlertDescription::UnexpectedMessage))
    );
    until("both clients are gone", || server.handle().clients() == 0);
}
