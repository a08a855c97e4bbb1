//! The records that a connection with TLS writes: whole, in order, and counted exactly.

use std::io::{ErrorKind, IoSlice};
use std::sync::OnceLock;

use rustls::crypto::ring;
use rustls::{SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};

use super::tls::TlsClient;
use super::*;
use crate::connection::socket::Transport;
use crate::connection::testing::tls_peer::TlsSetup;

/// The rounds of the randomized test, with early flush and without it. `STANDPIPE_TLS_ROUNDS` replaces the number.
const ROUNDS: u64 = 750;

/// One in so many rounds uses TLS 1.2.
const TLS_1_2_EVERY: u64 = 5;

fn produce(outbox: &Outbox, name: u8, dice: &mut Dice, largest: usize) -> u64 {
    let mut accepted = 0;
    for n in 0..10 {
        let size = [6, 6, 100, 3_000, 20_000, 70_000][dice.below(largest)];
        let mut payload = vec![0; size];
        (payload[0], payload[1]) = (name, n);
        let message = Message::binary(payload);
        let sent = match dice.below(3) {
            0 => outbox.try_send(message).is_ok(),
            _ => outbox.send(message).is_ok(),
        };
        accepted += u64::from(sent);
    }
    accepted
}

/// The peer and the server update their keys, which TLS 1.2 cannot, and ping each other, while messages are sent.
fn disturb(client: &mut TlsClient, has_key_updates: bool, dice: &mut Dice) {
    for n in 0..dice.below(8) {
        match dice.below(5) {
            0 if has_key_updates => {
                let update = client.peer.update_keys();
                client.socket.send(update);
            }
            1 if has_key_updates => client.transport.update_keys(),
            0..=2 => client.peer_sends(&from_client(0x89, &[n as u8])),
            3 => client.client.shared.ping(),
            _ => client.peer_sends(&from_client(0x82, &[n as u8; 50])),
        }
        for _ in 0..dice.below(2000) {
            std::hint::spin_loop();
        }
        if dice.below(3) == 0 {
            thread::yield_now();
        }
    }
}

fn end_at_random(client: &TlsClient, dice: &mut Dice) {
    match dice.below(4) {
        0 => client.client.outbox.close(1000, ""),
        1 => client.client.outbox.terminate(),
        2 => {
            close(&client.client, CloseMode::Immediate, 4008, "");
        }
        _ => client.socket.break_after(dice.below(60_000)),
    }
}

fn tls_1_2() -> &'static TlsSetup {
    static SETUP: OnceLock<TlsSetup> = OnceLock::new();
    SETUP.get_or_init(|| TlsSetup::new(&rustls::version::TLS12))
}

fn round(config: &Config, number: u64) {
    let mut dice = Dice::new(number);
    let largest = 1 + dice.below(6);
    let config = (config.clone())
        .queue(1 + dice.below(6))
        .queue_bytes([60, 1000, 200_000][dice.below(3)]);
    let is_tls_1_2 = number.is_multiple_of(TLS_1_2_EVERY);
    let setup = match is_tls_1_2 {
        true => tls_1_2(),
        false => TlsSetup::usual(),
    };
    let mut client = TlsClient::with(setup, config);
    client.client.start_writer();
    client.socket.accept_at_random(number);
    let mut reader = client.client.reader(&[]);
    let reading = thread::spawn(move || while let Ok(Some(_)) = reader.recv() {});
    let producers = [0, 1].map(|name| {
        let outbox = client.client.outbox.clone();
        let mut dice = Dice::new(number * 2 + u64::from(name));
        thread::spawn(move || produce(&outbox, name, &mut dice, largest))
    });
    disturb(&mut client, !is_tls_1_2, &mut dice);
    end_at_random(&client, &mut dice);
    // A broken socket is noticed only by a thread that writes to it.
    let sent: u64 = producers
        .into_iter()
        .map(|producer| producer.join().expect("the thread does not panic"))
        .sum();
    client.socket.hang_up();
    reading.join().expect("the reader does not panic");
    join_writer(&mut client.client);
    for name in [0, 1] {
        let frames = client.received();
        let sent = frames
            .iter()
            .filter(|(first, payload)| *first == 0x82 && payload[0] == name);
        let numbers: Vec<u8> = sent.map(|(_, payload)| payload[1]).collect();
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "round {number}: {numbers:?}"
        );
    }
    let counts = client.end();
    assert_eq!(counts.accepted, sent, "round {number}: {counts:?}");
}

/// The peer opens everything that the socket has accepted. [`TlsClient::end`] compares the counts with what it has found.
#[test]
fn records_stay_whole_and_ordered_and_counts_stay_exact() {
    let rounds = std::env::var("STANDPIPE_TLS_ROUNDS").ok();
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    both_ways(|config| {
        for number in 0..rounds {
            let config = config.clone();
            within("the client ends", move || round(&config, number));
        }
    });
}

/// The frames of a batch are in records of 16 KiB, so a record ends inside of a message, and has the beginning of the
/// next one. None of them may be passed by a control frame.
#[test]
fn control_frames_follow_the_sealed_bytes() {
    let mut client = TlsClient::new(Config::default());
    client.socket.accept(100);
    // The sealed bytes end in the fifth message.
    for n in 1..=6 {
        push(&client.client, &Message::binary(vec![n; 15_000]));
    }
    client.client.shared.write.flush();
    let sealed = client.transport.sealed();
    assert_eq!(sealed, 64 << 10, "four records are sealed");
    client.client.shared.send_pong(b"pong".to_vec().into());
    client.client.shared.ping();
    client.client.start_writer();
    client.socket.until_in_write();
    client.socket.accept_all();
    let frames = client.until_received(8);
    let kinds: Vec<u8> = frames.iter().map(|(first, _)| *first).collect();
    assert_eq!(kinds, [0x82, 0x82, 0x82, 0x82, 0x82, 0x89, 0x8a, 0x82]);
    client.end();
}

#[test]
fn immediate_close_follows_the_sealed_bytes() {
    let mut client = TlsClient::new(Config::default());
    client.socket.accept(100);
    // The sealed bytes end in the second message, so the third one is discarded.
    for n in 1..=3 {
        push(&client.client, &Message::binary(vec![n; 40_000]));
    }
    client.client.shared.write.flush();
    assert_eq!(client.transport.sealed(), 64 << 10);
    assert!(close(&client.client, CloseMode::Immediate, 4008, "slow"));
    client.client.start_writer();
    client.socket.until_in_write();
    client.socket.accept_all();
    join_writer(&mut client.client);
    let frames = client.received();
    let kinds: Vec<u8> = frames.iter().map(|(first, _)| *first).collect();
    assert_eq!(kinds, [0x82, 0x82, 0x88]);
    assert_eq!(frames[2].1, b"\x0f\xa8slow");
    let counts = client.end();
    assert_eq!((counts.delivered, counts.discarded), (2, 1));
}

/// The socket accepts a part of a record. A message with bytes in this record is not delivered yet.
#[test]
fn message_counts_when_its_last_record_is_written() {
    let mut client = TlsClient::new(Config::default());
    // 4 + 20,000 bytes are records of 16,384 and 3,620 bytes. Each has 22 bytes around the plaintext.
    for (accepted, delivered) in [(16_384 + 22 + 3_620 + 21, 0), (1, 1)] {
        client.socket.accept(accepted);
        match delivered {
            0 => drop(
                client
                    .client
                    .outbox
                    .try_send(Message::binary(vec![1; 20_000])),
            ),
            _ => client.client.shared.write.flush(),
        }
        assert_eq!(client.client.outbox.counts().delivered, delivered);
        let expected = if delivered == 0 { 3_620 } else { 0 };
        assert_eq!(client.transport.sealed(), expected);
    }
    assert_eq!(client.received().len(), 1);
    client.end();
}

/// A blocking write sends what is sealed, which may be more than it was given: here, all of the batch.
#[test]
fn blocking_write_returns_the_sealed_bytes() {
    let client = TlsClient::new(Config::default());
    client.socket.accept(0);
    let (head, body) = ([1; 10], [2; 500]);
    let pieces = [IoSlice::new(&head), IoSlice::new(&body)];
    let refused = client.transport.try_write(&pieces);
    let refused = refused.expect_err("the socket is full");
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    assert_eq!(client.transport.sealed(), 510);
    client.socket.accept_all();
    let written = client.transport.write(&head);
    assert_eq!(written.expect("the socket accepts all"), 510);
    let TlsClient {
        mut peer, socket, ..
    } = client;
    let opened = peer.open(&socket.written()).expect("valid").to_vec();
    assert_eq!(opened, [&head[..], &body].concat());
}

/// The socket accepts the first four records, and breaks before the next ones. The bytes of the four records count, and the
/// next call returns the error.
#[test]
fn bytes_before_an_error_are_counted() {
    let client = TlsClient::new(Config::default());
    client.socket.break_after(4 * (16_384 + 22));
    let all = vec![1; 100_000];
    let written = client.transport.try_write(&[IoSlice::new(&all)]);
    assert_eq!(written.expect("four records"), 65_536);
    let failed = client.transport.try_write(&[IoSlice::new(&all[65_536..])]);
    let failed = failed.expect_err("the socket is broken");
    assert_eq!(failed.kind(), ErrorKind::ConnectionReset);
    let TlsClient {
        mut peer, socket, ..
    } = client;
    let opened = peer.open(&socket.written()).expect("whole records");
    assert_eq!(opened.len(), 65_536);
}

/// A program may limit the size of records. Each record counts on its own.
#[test]
fn small_records_are_counted_one_by_one() {
    let setup = TlsSetup::new(&rustls::version::TLS13).limit_records(105);
    let client = TlsClient::with(&setup, Config::default());
    client.socket.accept(3 * (100 + 22) + 5);
    let written = client.transport.try_write(&[IoSlice::new(&[1; 1000])]);
    assert_eq!(written.expect("three records"), 300);
    assert_eq!(client.transport.sealed(), 700);
    let TlsClient {
        mut peer, socket, ..
    } = client;
    assert_eq!(peer.open(&socket.written()).expect("records").len(), 300);
}

/// Returns the provider `ring` with keys that are used up after 20 records.
fn short_lived_keys() -> rustls::crypto::CryptoProvider {
    const LIMIT: u64 = 20;
    let mut provider = ring::default_provider();
    let suite = |suite: &SupportedCipherSuite| match suite {
        SupportedCipherSuite::Tls12(suite) => {
            let mut common = copy_of(&suite.common);
            common.confidentiality_limit = LIMIT;
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite { common, ..**suite })))
        }
        SupportedCipherSuite::Tls13(suite) => {
            let mut common = copy_of(&suite.common);
            common.confidentiality_limit = LIMIT;
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite { common, ..**suite })))
        }
    };
    provider.cipher_suites = provider.cipher_suites.iter().map(suite).collect();
    provider
}

fn copy_of(common: &rustls::crypto::CipherSuiteCommon) -> rustls::crypto::CipherSuiteCommon {
    rustls::crypto::CipherSuiteCommon { ..*common }
}

/// TLS 1.2 has no key updates. The session then says that it has taken bytes, although it has sealed nothing.
#[test]
fn used_up_keys_of_tls_1_2_end_the_connection() {
    both_ways(|config| {
        let setup = TlsSetup::with_provider(&rustls::version::TLS12, short_lived_keys());
        let mut client = TlsClient::with(&setup, config);
        client.client.start_writer();
        let outbox = client.client.outbox.clone();
        let shared = Arc::clone(&client.client.shared);
        let sent = within("the connection ends", move || {
            let mut sent = 0;
            // Two bytes are as long as an alert.
            while sent < 100 && outbox.send(text("")).is_ok() {
                sent += 1;
                // Otherwise, the writer could write all messages in one record.
                until("the message is written", || {
                    outbox.counts().delivered == sent || shared.lifecycle().is_finished()
                });
            }
            sent
        });
        assert!(sent < 100, "the connection goes on");
        join_writer(&mut client.client);
        let written = client.socket.written();
        assert!(client.peer.is_closed(&written), "the peer is told");
        // Without the record of the handshake, and the one for the alert.
        let counts = client.end();
        assert!((1..20).contains(&counts.delivered), "{counts:?}");
    });
}

#[test]
fn used_up_keys_of_tls_1_3_are_renewed() {
    let setup = TlsSetup::with_provider(&rustls::version::TLS13, short_lived_keys());
    let mut client = TlsClient::with(&setup, Config::default());
    client.client.start_writer();
    for n in 0..100 {
        let sent = client.client.outbox.send(text(n.to_string()));
        sent.expect("the connection is open");
    }
    assert_eq!(client.until_received(100).len(), 100);
    client.end();
}
