//! Receipts, and waiting until messages are written, with real clients.

use std::thread;
use std::time::Duration;

use crossbeam_channel::select;
use standpipe::{Config, Fate, Message, Outbox, Receipt, WaitWrittenError};

use crate::support::{
    TestClient, TestServer, echo_with_outboxes, until, with_both_flush_modes, within,
};

/// Larger than all buffers between the server and a client with a small receive buffer.
const LARGE: usize = 8 << 20;

/// Returns a client that does not read, and its outbox. A message of [`LARGE`] bytes is in flight.
fn stalled_client(config: Config) -> (TestServer, TestClient, Outbox, Receipt) {
    let (server, outboxes) = echo_with_outboxes(config.queue_bytes(2 * LARGE));
    let client = server.client().small_rcvbuf().connect();
    let outbox = outboxes.recv().unwrap();
    let receipt = outbox.send_with_receipt(vec![7; LARGE]).unwrap();
    until("the large message is in flight", || outbox.is_empty());
    (server, client, outbox, receipt)
}

#[test]
fn receipts_of_messages_that_were_read_are_delivered() {
    with_both_flush_modes(|config| {
        let (server, outboxes) = echo_with_outboxes(config.queue(4));
        let mut client = server.connect();
        let outbox = outboxes.recv().unwrap();
        let sender = thread::spawn(move || {
            let sent = (0..200).map(|n| outbox.send_with_receipt(n.to_string()).unwrap());
            sent.collect::<Vec<_>>()
        });
        for n in 0..200 {
            client.expect_text(&n.to_string());
        }
        let receipts = within(20, "all messages to be sent", || sender.join().unwrap());
        for receipt in receipts {
            let fate = receipt.wait_timeout(Duration::from_secs(20));
            assert_eq!(fate, Some(Fate::Delivered));
        }
        client.leave();
    });
}

#[test]
fn receipts_of_a_client_that_leaves_are_discarded() {
    with_both_flush_modes(|config| {
        for terminates in [false, true] {
            let (_server, client, outbox, in_flight) = stalled_client(config.clone());
            let large = Message::binary(vec![7; 100]);
            let queued = outbox.send_with_receipt(large).unwrap();
            assert_eq!((in_flight.fate(), queued.fate()), (None, None));
            if terminates {
                outbox.terminate();
            } else {
                client.reset();
            }
            let fates = within(20, "the fates to be known", move || {
                (in_flight.wait(), queued.wait())
            });
            assert_eq!(fates, (Fate::Discarded, Fate::Discarded));
        }
    });
}

#[test]
fn receipt_can_stand_in_select() {
    let (_server, mut client, outbox, receipt) = stalled_client(Config::default());
    select! {
        recv(receipt.known()) -> _ => panic!("the client has not read anything"),
        recv(outbox.closed()) -> _ => panic!("the client is connected"),
        default(Duration::from_millis(10)) => {}
    }
    let reader = thread::spawn(move || client.read_message().len());
    select! {
        recv(receipt.known()) -> _ => assert_eq!(receipt.fate(), Some(Fate::Delivered)),
        default(Duration::from_secs(20)) => panic!("waited for the fate of the message"),
    }
    assert_eq!(reader.join().unwrap(), LARGE);
}

#[test]
fn wait_written_returns_when_the_client_reads() {
    with_both_flush_modes(|config| {
        let (_server, mut client, outbox, receipt) = stalled_client(config);
        let timeout = outbox.wait_written_timeout(Duration::from_millis(20));
        assert_eq!(timeout, Err(WaitWrittenError::Timeout));
        let waiter = thread::spawn(move || (outbox.wait_written(), receipt.fate()));
        assert_eq!(client.read_message().len(), LARGE);
        let result = within(20, "the message to be written", || waiter.join().unwrap());
        assert_eq!(result, (Ok(()), Some(Fate::Delivered)));
    });
}

#[test]
fn wait_written_is_woken_when_the_client_leaves() {
    with_both_flush_modes(|config| {
        let (_server, client, outbox, _receipt) = stalled_client(config.clone());
        let waiting = outbox.clone();
        let waiter = thread::spawn(move || waiting.wait_written());
        // The thread may not wait yet, which must not change the result.
        let timeout = outbox.wait_written_timeout(Duration::from_millis(20));
        assert_eq!(timeout, Err(WaitWrittenError::Timeout));
        client.reset();
        let result = within(20, "the waiting thread to be woken", || {
            waiter.join().unwrap()
        });
        assert_eq!(result, Err(WaitWrittenError::Ended));
    });
}
