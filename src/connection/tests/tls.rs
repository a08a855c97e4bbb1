//! Clients with TLS over a scripted socket: how a session ends, and what the peer is told.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::time::Duration;

use rustls::{AlertDescription, Error};

use super::*;
use crate::connection::socket::Transport;
use crate::connection::testing::scripted_socket::ScriptedSocket;
use crate::connection::testing::tls_peer::{TlsPeer, TlsSetup};
use crate::connection::tls::transport::TlsTransport;
use crate::error::RecvError;

/// A client with TLS whose handshake is over, and the peer.
pub(super) struct TlsClient {
    pub(super) client: TestClient,
    pub(super) peer: TlsPeer,
    pub(super) transport: Arc<TlsTransport>,
    pub(super) socket: Arc<ScriptedSocket>,
}

impl TlsClient {
    /// Returns a client without a writer.
    pub(super) fn new(config: Config) -> TlsClient {
        TlsClient::with(TlsSetup::usual(), config)
    }

    pub(super) fn with(setup: &TlsSetup, config: Config) -> TlsClient {
        let socket = Arc::new(ScriptedSocket::default());
        let (peer, transport) = TlsPeer::connect(setup, &socket);
        let client = TestClient::with_transport(Arc::clone(&socket), transport.clone(), config);
        TlsClient {
            client,
            peer,
            transport,
            socket,
        }
    }

    pub(super) fn with_writer(config: Config) -> TlsClient {
        let mut client = TlsClient::new(config);
        client.client.start_writer();
        client
    }

    /// The peer sends `plaintext` in records of its own.
    pub(super) fn peer_sends(&mut self, plaintext: &[u8]) {
        let records = self.peer.seal(plaintext);
        self.socket.send(records);
    }

    /// Returns the frames that the peer has received.
    pub(super) fn received(&mut self) -> Vec<(u8, Vec<u8>)> {
        let plaintext = self.peer.open(&self.socket.written());
        from_server(plaintext.expect("the records are whole and in order"))
    }

    /// Waits until the peer has received `count` frames.
    pub(super) fn until_received(&mut self, count: usize) -> Vec<(u8, Vec<u8>)> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let frames = self.received();
            if frames.len() >= count {
                return frames;
            }
            assert!(
                Instant::now() < deadline,
                "timed out waiting for {count} frames: {}",
                frames.len()
            );
            thread::yield_now();
        }
    }

    /// Ends the client, and checks it as [`TestClient::end`].
    pub(super) fn end(self) -> crate::MessageCounts {
        let TlsClient {
            client,
            mut peer,
            socket,
            ..
        } = self;
        client.end_with(|| {
            let plaintext = peer.open(&socket.written());
            plaintext
                .expect("the records are whole and in order")
                .to_vec()
        })
    }
}

/// A record of application data that no key opens.
const BAD_RECORD: [u8; 40] = {
    let mut record = [0; 40];
    (record[0], record[1], record[2], record[4]) = (0x17, 3, 3, 35);
    record
};

#[test]
fn peer_is_told_about_a_bad_record() {
    let mut client = TlsClient::with_writer(Config::default());
    let mut reader = client.client.reader(&[]);
    let mut records = client.peer.seal(&from_client(0x82, b"before"));
    records.extend(BAD_RECORD);
    client.socket.send(records);
    let message = reader.recv().expect("the first record is valid");
    assert_eq!(message, Some(Message::binary(&b"before"[..])));
    for _ in 0..2 {
        let error = client.transport.read(&mut [0; 10]);
        let error = error.expect_err("the second record is not");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
    match reader.recv() {
        Err(RecvError::Io(error)) => assert_eq!(error.kind(), ErrorKind::InvalidData),
        other => panic!("a bad record was received: {other:?}"),
    }
    let told = client.peer.open(&client.socket.written());
    let expected = Error::AlertReceived(AlertDescription::BadRecordMac);
    assert_eq!(told.expect_err("the peer gets an alert"), expected);
    client.client.end_with(Vec::new);
}

/// The plaintext that does not fit into the caller's buffer must not be lost because a bad record follows.
#[test]
fn plaintext_before_a_bad_record_is_returned() {
    let mut client = TlsClient::new(Config::default());
    let mut records = client.peer.seal(b"one two three");
    records.extend(BAD_RECORD);
    client.socket.send(records);
    let mut received: Vec<u8> = Vec::new();
    let error = loop {
        assert!(
            client.transport.wait_readable(DEADLINE).expect("it has"),
            "bytes or an error can be read"
        );
        let mut buffer = [0; 4];
        match client.transport.read(&mut buffer) {
            Ok(count) => received.extend(&buffer[..count]),
            Err(error) => break error,
        }
    };
    assert_eq!(received, b"one two three");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    client.end();
}

/// Only the holder of the write half may write. The reader must not wait for it either.
#[test]
fn reader_ends_without_an_alert_while_the_writer_is_blocked() {
    let mut client = TlsClient::with_writer(Config::default());
    client.socket.accept(0);
    (client.client.outbox.try_send(text("held"))).expect("the queue has room");
    client.socket.until_in_write();
    client.socket.send(BAD_RECORD);
    let mut reader = client.client.reader(&[]);
    let received = within("the reader ends", move || reader.recv());
    assert!(matches!(received, Err(RecvError::Io(_))), "{received:?}");
    join_writer(&mut client.client);
    assert_eq!(client.socket.written(), b"");
    let counts = client.end();
    assert_eq!((counts.delivered, counts.discarded), (0, 1));
}

/// A thread that sends after the session has failed finds the alert waiting. It ends the connection, and the peer is told.
#[test]
fn sender_sends_the_alert_of_a_failed_session() {
    both_ways(|config| {
        let mut client = TlsClient::with_writer(config);
        client.socket.send(BAD_RECORD);
        let read = client.transport.read(&mut [0; 10]);
        read.expect_err("the record is bad");
        // Accepted or refused: the connection may have ended already.
        let _ = client.client.outbox.try_send(text("late"));
        join_writer(&mut client.client);
        let told = client.peer.open(&client.socket.written());
        let expected = Error::AlertReceived(AlertDescription::BadRecordMac);
        assert_eq!(told.expect_err("the peer gets an alert"), expected);
        let counts = client.client.end_with(Vec::new);
        assert_eq!(counts.delivered, 0);
    });
}

#[test]
fn close_notify_follows_the_close_once() {
    both_ways(|config| {
        let mut client = TlsClient::with_writer(config);
        client.client.outbox.try_send(text("x")).expect("room");
        client.client.outbox.close(1000, "bye");
        join_writer(&mut client.client);
        let frames = client.received();
        assert_eq!(frames.last(), Some(&(0x88, b"\x03\xe8bye".to_vec())));
        let written = client.socket.written();
        assert!(client.peer.is_closed(&written));
        client.transport.shutdown(Shutdown::Write);
        client.transport.shutdown(Shutdown::Both);
        assert_eq!(client.socket.written(), written);
        client.end();
    });
}

/// The peer has the Close in any case, so no thread waits until the socket accepts the close_notify.
#[test]
fn close_notify_is_left_out_when_the_socket_is_full() {
    let client = TlsClient::new(Config::default());
    client.socket.accept(0);
    client.transport.shutdown(Shutdown::Write);
    assert_eq!(client.socket.written(), b"");
    assert!(client.socket.with_state(|state| state.no_more_writing));
    client.end();
}

#[test]
fn close_notify_of_the_peer_is_the_end_of_its_stream() {
    let mut client = TlsClient::with_writer(Config::default());
    let mut records = client.peer.seal(&from_client(0x82, b"last"));
    client.peer.session.send_close_notify();
    records.extend(client.peer.seal(&[]));
    // RFC 8446 §6.1: what follows a close_notify is ignored.
    records.extend([0xff; 100]);
    client.socket.send(records);
    let mut reader = client.client.reader(&[]);
    let message = reader.recv().expect("a message");
    assert_eq!(message, Some(Message::binary(&b"last"[..])));
    let received = within("the reader ends", move || reader.recv());
    assert!(matches!(received, Err(RecvError::Gone)), "{received:?}");
    client.end();
}

/// A thread may send while another one tears the connection down. It must meet an error then, and not a panic.
#[test]
fn writing_after_the_end_fails() {
    let client = TlsClient::new(Config::default());
    client.transport.shutdown(Shutdown::Write);
    let error = client.transport.try_write(&[std::io::IoSlice::new(b"x")]);
    let error = error.expect_err("the direction has ended");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    let error = client.transport.write(b"x").expect_err("it has ended");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert_eq!(client.transport.sealed(), 0);
    client.end();
}

/// The thread that holds the sealed records may be in the middle of a system call.
#[test]
fn shutdown_does_not_wait_for_a_thread_that_writes() {
    let client = TlsClient::new(Config::default());
    client.socket.hold_try_write(true);
    let outbox = client.client.outbox.clone();
    let sender = thread::spawn(move || outbox.try_send(text("held")).is_ok());
    client.socket.until_in_try_write();
    let transport = Arc::clone(&client.transport);
    within("the shutdown returns", move || {
        transport.shutdown(Shutdown::Write);
    });
    client.socket.hold_try_write(false);
    let sent = sender.join().expect("the sender does not panic");
    let counts = client.end();
    assert_eq!((counts.accepted, counts.discarded), (1, 1), "{sent}");
}

/// The answer to a key update waits for the next record that is sent (RFC 8446 §4.6.3).
#[test]
fn key_update_is_answered_before_the_next_message() {
    let mut client = TlsClient::with_writer(Config::default());
    let mut reader = client.client.reader(&[]);
    let mut records = client.peer.update_keys();
    records.extend(client.peer.seal(&from_client(0x82, b"new keys")));
    client.socket.send(records);
    let message = reader.recv().expect("the session is valid");
    assert_eq!(message, Some(Message::binary(&b"new keys"[..])));
    assert_eq!(client.socket.written(), b"");
    (client.client.outbox.try_send(text("x"))).expect("the queue has room");
    assert_eq!(client.until_received(1), [(0x81, b"x".to_vec())]);
    // The record of the key update has 5 + 5 + 17 bytes, and the message 3 + 5 + 17.
    assert_eq!(client.socket.written().len(), 27 + 25);
    client.end();
}

#[test]
fn key_updates_without_end_end_the_connection() {
    let mut client = TlsClient::with_writer(Config::default());
    for _ in 0..33 {
        let update = client.peer.update_keys();
        client.socket.send(update);
    }
    let mut reader = client.client.reader(&[]);
    let received = within("the reader ends", move || reader.recv());
    match received {
        Err(RecvError::Io(error)) => assert_eq!(error.kind(), ErrorKind::InvalidData),
        other => panic!("33 key updates in a row were accepted: {other:?}"),
    }
    client.client.end_with(Vec::new);
}

/// A session must not keep the memory of a large message, because most clients are idle most of the time.
#[test]
fn memory_of_a_large_message_is_freed() {
    let mut client = TlsClient::with_writer(Config::default().max_message(1 << 20));
    let mut reader = client.client.reader(&[]);
    client.peer_sends(&from_client(0x82, &vec![7; 500_000]));
    for _ in 0..8 {
        client.peer_sends(&from_client(0x82, b"small"));
    }
    for _ in 0..9 {
        reader.recv().expect("the session is valid");
    }
    let kept = client.transport.memory();
    assert!(kept <= 4 << 10, "{kept} bytes are kept for an idle client");
    (client
        .client
        .outbox
        .try_send(Message::binary(vec![7; 500_000])))
    .expect("room");
    client.until_received(1);
    until("the sealed records are freed", || {
        client.transport.memory() <= 4 << 10
    });
    client.end();
}

/// A record that is not complete must not make `recv_timeout` wait longer.
#[test]
fn half_a_record_does_not_prolong_a_timeout() {
    let mut client = TlsClient::with_writer(Config::default());
    let mut reader = client.client.reader(&[]);
    let records = client.peer.seal(&from_client(0x82, b"in two halves"));
    let (first, second) = records.split_at(records.len() / 2);
    client.socket.send(first);
    let started = Instant::now();
    let timeout = Duration::from_millis(50);
    let received = reader.recv_deadline(started + timeout);
    assert!(matches!(received, Err(None)), "{received:?}");
    // The limit is generous, for a busy machine.
    let waited = started.elapsed();
    assert!((timeout..100 * timeout).contains(&waited), "{waited:?}");
    assert!(matches!(reader.recv_deadline(Instant::now()), Err(None)));
    client.socket.send(second);
    let received = reader.recv_deadline(Instant::now() + DEADLINE);
    let expected = Message::binary(&b"in two halves"[..]);
    assert_eq!(received.expect("the record is whole"), Some(expected));
    client.end();
}

/// The kernel has no bytes then, so neither a poll nor the thread of the watches would see the second message.
#[test]
fn opened_plaintext_is_received_without_the_socket() {
    // The buffer holds one message, so the second one stays in the session.
    let mut client = TlsClient::with_writer(Config::default().read_buffer(1));
    let mut reader = client.client.reader(&[]);
    let mut plaintext = from_client(0x82, &[1; 700]);
    plaintext.extend(from_client(0x82, &[2; 700]));
    client.peer_sends(&plaintext);
    let first = reader.recv().expect("the session is valid");
    assert_eq!(first, Some(Message::binary(vec![1; 700])));
    assert!(!client.socket.has_input(), "the socket has been read");
    let reads = client.socket.with_state(|state| state.reads);
    let ready = reader.ready(crate::Interest::READ).expect("a descriptor");
    ready.try_recv().expect("the channel is ready");
    let second = reader.recv_deadline(Instant::now());
    let expected = Message::binary(vec![2; 700]);
    assert_eq!(second.expect("the message is there"), Some(expected));
    let now = client.socket.with_state(|state| state.reads);
    assert_eq!(now, reads, "the socket was not read again");
    assert!(matches!(reader.recv_deadline(Instant::now()), Err(None)));
    client.end();
}
