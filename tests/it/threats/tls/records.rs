//! Records after the handshake that are wrong, or that arrive slowly.

use std::time::{Duration, Instant};

use rustls::{AlertDescription, ContentType};
use standpipe::rustls;
use standpipe::{Config, Connection, Message};

use super::{READING_FAILED, expect_report, reporting, resident_kib};
use crate::support::tls_peer::{TLS_1_2, TLS_1_3, sender_of, tls_client, tls_server, trickle};
use crate::support::{
    Failure, Frame, RecordPeer, TlsEnd, TlsPeer, assert_lasted, echo, in_own_process, op, until,
};

const SHORT: Duration = Duration::from_millis(500);

/// A masked text frame.
fn text(text: &str) -> Vec<u8> {
    Frame::new(op::TEXT, text).bytes()
}

#[test]
fn t37_wrong_record_gets_an_alert_and_ends_the_client() {
    type Attack = fn(&mut RecordPeer) -> Vec<u8>;
    let changed: Attack = |peer| {
        let mut record = peer.record(ContentType::ApplicationData, &text("changed"));
        let last = record.len() - 1;
        record[last] ^= 1;
        record
    };
    // More than the server reads in one call while a client is idle.
    let repeated: Attack = |peer| {
        let record = peer.record(ContentType::ApplicationData, &text(&"x".repeat(3000)));
        [record.clone(), record].concat()
    };
    let left_out: Attack = |peer| {
        let _lost = peer.record(ContentType::ApplicationData, &text("lost"));
        peer.record(ContentType::ApplicationData, &text("later"))
    };
    let clear: Attack = |_| [&[0x17, 3, 3, 0, 20], &text("in clear text, padded")[..20]].concat();
    let too_long: Attack = |_| vec![0x17, 3, 3, 0x48, 1, 0];
    let of_no_kind: Attack = |_| vec![0x99, 3, 3, 0, 1, 0];
    let heartbeat: Attack = |peer| peer.record(ContentType::Heartbeat, &[1, 0xff, 0xff]);
    for versions in [TLS_1_2, TLS_1_3] {
        for (what, attack, is_mac) in [
            ("changed", changed, true),
            ("repeated", repeated, true),
            ("left out", left_out, true),
            ("in clear text", clear, true),
            ("too long", too_long, false),
            ("of no kind", of_no_kind, false),
            ("a heartbeat", heartbeat, false),
        ] {
            let (server, reports) = reporting(Config::default());
            let mut peer = RecordPeer::connect(server.addr(), versions);
            assert!(peer.send(ContentType::ApplicationData, &text("before")));
            expect_report(&reports, "before");
            let outbox = server.handle().outboxes().pop().expect("one client");
            let attack = attack(&mut peer);
            assert!(peer.try_bytes(&attack), "{what}");
            if what == "repeated" {
                expect_report(&reports, &"x".repeat(3000));
            }
            expect_report(&reports, READING_FAILED);
            eprintln!("{versions:?} {what}");
            let (level, alert) = peer
                .next_alert()
                .unwrap_or_else(|end| panic!("{what}: {end:?}"));
            assert_eq!(level, 2, "{what}: {alert:?}");
            assert_eq!(
                alert == AlertDescription::BadRecordMac,
                is_mac,
                "{what}: {alert:?}"
            );
            assert_eq!(peer.next(), Err(TlsEnd::Fin), "{what}");
            let counts = outbox.counts();
            assert_eq!(
                counts.accepted,
                counts.delivered + counts.discarded,
                "{what}: {counts:?}"
            );
            let echoed = 1 + u64::from(what == "repeated");
            assert_eq!(counts.accepted, echoed, "{what}: {counts:?}");
            until("the client is not counted any more", || {
                server.handle().clients() == 0
            });
        }
    }
}

/// The alert waits for the write half, and the reader does not. The client cannot read it in any case.
#[test]
fn t37_wrong_record_ends_a_client_that_does_not_read() {
    for versions in [TLS_1_2, TLS_1_3] {
        let config = Config::default().sndbuf(Some(16 << 10)).unsent(16 << 10);
        let server = tls_server(config, |conn: &mut Connection| -> Result<(), Failure> {
            // The client is ready for the first message.
            conn.recv()?;
            let outbox = conn.outbox();
            let sender = std::thread::spawn(move || {
                while outbox.send(Message::binary(vec![0; 16 << 10])).is_ok() {}
            });
            let received = conn.recv();
            sender.join().expect("the sender ends with the connection");
            received?;
            Ok(())
        });
        let mut peer = RecordPeer::connect(server.addr(), versions);
        assert!(peer.send(ContentType::ApplicationData, &text("ready")));
        until("the queue of the client is full", || {
            server
                .handle()
                .client_states()
                .first()
                .is_some_and(|state| state.queue.messages > 60)
        });
        assert!(peer.try_bytes(&[0x17, 3, 3, 0, 30, 1]) && peer.try_bytes(&[7; 29]));
        until("the client is gone", || server.handle().clients() == 0);
        // Everything in front of its end is a valid record.
        while peer.next().is_ok() {}
    }
}

/// 32 empty records in a row are allowed. They cost the peer as much as the server.
#[test]
fn t37_empty_records_in_a_row_end_with_an_alert() {
    let (server, reports) = reporting(Config::default());
    for versions in [TLS_1_2, TLS_1_3] {
        let mut peer = RecordPeer::connect(server.addr(), versions);
        for _ in 0..3 {
            for _ in 0..32 {
                assert!(peer.send(ContentType::ApplicationData, b""));
            }
            assert!(peer.send(ContentType::ApplicationData, &text("text")));
            expect_report(&reports, "text");
        }
        for _ in 0..33 {
            peer.send(ContentType::ApplicationData, b"");
        }
        expect_report(&reports, READING_FAILED);
        until("the client is gone", || server.handle().clients() == 0);
        assert_eq!(peer.next_alert(), Ok((1, AlertDescription::CloseNotify)));
    }
}

#[test]
fn t37_record_that_trickles_ends_at_ping_timeout() {
    let config = Config::default().ping_interval(SHORT).ping_timeout(SHORT);
    for versions in [TLS_1_2, TLS_1_3] {
        let server = tls_server(config.clone(), echo);
        let mut peer = RecordPeer::connect(server.addr(), versions);
        let record = peer.record(ContentType::ApplicationData, &vec![0; 16 << 10]);
        let began = Instant::now();
        trickle(record, |byte| peer.try_bytes(&[byte]));
        until("the disconnect is counted", || {
            server.disconnects("ping_timeout") == 1
        });
        assert_lasted(began, SHORT);
    }
}

/// Messages of the TLS handshake after it: a session has no use for a message that does not end. Until it ends, no data
/// may follow, so that the peer is silent.
#[test]
fn t37_handshake_message_after_the_handshake_is_bounded() {
    const NAME: &str =
        "threats::tls::records::t37_handshake_message_after_the_handshake_is_bounded";
    const CLIENTS: usize = 30;
    in_own_process(NAME, || {
        let config = Config::default()
            .ping_interval(SHORT * 4)
            .ping_timeout(SHORT);
        for versions in [TLS_1_2, TLS_1_3] {
            let server = tls_server(config.clone(), echo);
            let mut peers: Vec<_> = (0..CLIENTS)
                .map(|_| RecordPeer::connect(server.addr(), versions))
                .collect();
            let before = resident_kib();
            for peer in &mut peers {
                // A KeyUpdate of 65,535 bytes, all but the last.
                let mut first = vec![24, 0, 0xff, 0xff];
                first.resize(16 << 10, 0);
                peer.send(ContentType::Handshake, &first);
                for size in [16 << 10, 16 << 10, (16 << 10) - 1 - 4] {
                    peer.send(ContentType::Handshake, &vec![0; size]);
                }
            }
            let grown = resident_kib().saturating_sub(before);
            assert!(
                grown < CLIENTS as u64 * 224,
                "{grown} KiB for {CLIENTS} clients"
            );
            until("every client is gone", || server.handle().clients() == 0);
        }
        // A message that says that it is longer is refused immediately.
        let (server, reports) = reporting(Config::default());
        let mut peer = RecordPeer::connect(server.addr(), TLS_1_3);
        peer.send(ContentType::Handshake, &[24, 1, 0, 0, 0]);
        expect_report(&reports, READING_FAILED);
        // rustls makes no alert of its own for this violation.
        assert_eq!(peer.next_alert(), Ok((1, AlertDescription::CloseNotify)));
        // No data may come between the pieces of a message (RFC 8446 §5.1).
        let mut peer = RecordPeer::connect(server.addr(), TLS_1_3);
        peer.send(ContentType::Handshake, &[24, 0, 0, 1]);
        peer.send(ContentType::ApplicationData, &text("between"));
        expect_report(&reports, READING_FAILED);
        assert_eq!(peer.next_alert(), Ok((1, AlertDescription::CloseNotify)));
    });
}

/// Messages of 1 MiB in both directions at the same time, while both sides change their keys.
#[test]
fn t37_large_messages_in_both_directions_with_key_updates() {
    const MESSAGES: usize = 20;
    let config = Config::default().max_message(1 << 20).queue_bytes(4 << 20);
    let server = tls_server(config, echo);
    let mut peer = TlsPeer::connect_with(server.addr(), tls_client(TLS_1_3));
    let mut records = Vec::new();
    for n in 0..MESSAGES {
        if n % 3 == 2 {
            peer.update_keys();
        }
        let frame = Frame::new(op::BINARY, vec![n as u8; 1 << 20]).bytes();
        records.extend(peer.seal(frame));
    }
    let sender = sender_of(&peer, records);
    for n in 0..MESSAGES {
        let message = peer.read_message().into_bytes();
        assert!(
            message.len() == 1 << 20 && message.iter().all(|byte| *byte == n as u8),
            "{n}"
        );
    }
    sender.join().expect("all messages are sent");
    peer.leave();
}
