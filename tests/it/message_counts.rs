//! The message counts of a topic add up under each policy when a member is reset while messages are published. A client
//! counts messages and bytes both ways.

use std::io;
use std::sync::Mutex;
use std::thread;

use crossbeam_channel::bounded;
use standpipe::{Connection, MessageCounts, Outbox, Policy};

use crate::support::scenario::{FAST, MESSAGES, QUEUE, Scenario};
use crate::support::{DEADLINE, TestServer, until, with_both_flush_modes};

/// Publishes to members that read and to one that is stalled. Resets the stalled one when its queue is full, or when
/// its policy has acted.
fn check_counts_after_reset(policy: Policy) {
    with_both_flush_modes(|config| {
        let mut scenario = Scenario::begin(config, policy);
        let stalled = Mutex::new(scenario.stalled.take());
        let outbox: Outbox = scenario.stalled_outbox().clone();
        thread::scope(|scope| {
            scope.spawn(|| {
                // The stalled member blocks the publisher, or its policy has dropped a message or disconnected it.
                until("the stalled member is full or its policy has acted", || {
                    let acted = outbox.counts().dropped > 0;
                    acted || outbox.len() >= QUEUE || outbox.closed().try_recv() != EMPTY
                });
                let client = stalled.lock().unwrap().take();
                client.unwrap().reset();
            });
            // Under `block` without a timeout, this waits for the reset.
            scenario.publish_all();
        });
        until("the counts of the reset member are final", || {
            let MessageCounts {
                accepted,
                delivered,
                dropped,
                discarded,
                ..
            } = outbox.counts();
            outbox.closed().try_recv() != EMPTY && accepted == delivered + dropped + discarded
        });
        assert_eq!((outbox.len(), outbox.bytes()), (0, 0), "{policy}");

        let outcome = scenario.end_without();
        outcome.assert_fast_got_everything();
        outcome.assert_counts_exact_except_reset();
        let offered = outcome.topic.accepted;
        assert!(
            offered > (FAST * MESSAGES) as u64,
            "{policy}: the stalled member was offered nothing"
        );
    });
}

const EMPTY: Result<std::convert::Infallible, crossbeam_channel::TryRecvError> =
    Err(crossbeam_channel::TryRecvError::Empty);

#[test]
fn counts_are_exact_after_a_reset_under_drop_newest() {
    check_counts_after_reset(Policy::DropNewest);
}

#[test]
fn counts_are_exact_after_a_reset_under_drop_oldest() {
    check_counts_after_reset(Policy::DropOldest);
}

#[test]
fn counts_are_exact_after_a_reset_under_conflate() {
    check_counts_after_reset(Policy::Conflate);
}

#[test]
fn counts_are_exact_after_a_reset_under_disconnect() {
    check_counts_after_reset(Policy::Disconnect { soft: None });
}

#[test]
fn reset_under_block_frees_publisher_with_exact_counts() {
    check_counts_after_reset(Policy::Block { timeout: None });
}

#[test]
fn messages_and_bytes_are_counted_both_ways() {
    with_both_flush_modes(|config| {
        let (sender, outboxes) = bounded(1);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            sender.send(conn.outbox())?;
            if let Some(message) = conn.recv()? {
                conn.send(message)?;
            }
            if let Some(mut message) = conn.recv_stream()? {
                io::copy(&mut message, &mut io::sink())?;
            }
            conn.recv()?;
            Ok(())
        });
        let mut client = server.connect();
        let outbox = outboxes.recv_timeout(DEADLINE).expect("the handler runs");
        client.text("hello");
        client.expect_text("hello");
        client.ping("p");
        assert_eq!(client.next_frame().payload, b"p");
        client.binary([7; 3000]);
        client.close(1000, "");
        client.expect_close(1000);
        until("the client has left", || server.handle().clients() == 0);

        // The header of a masked frame has four bytes more.
        let received_bytes = (6 + 5) + (6 + 1) + (8 + 3000) + (6 + 2);
        let delivered_bytes = (2 + 5) + (2 + 1) + (2 + 2);
        let (client, all) = (outbox.counts(), server.handle().counts());
        assert_eq!(client, all, "the sum still includes the client");
        assert_eq!(
            (client.received, client.accepted, client.delivered),
            (2, 1, 1)
        );
        assert_eq!(client.received_bytes, received_bytes);
        assert_eq!(client.delivered_bytes, delivered_bytes);
    });
}
