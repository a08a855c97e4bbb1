//! The message counts of a topic add up under each policy when a member is reset while messages are published.

use std::sync::Mutex;
use std::thread;

use standpipe::{MessageCounts, Outbox, Policy};

use crate::support::scenario::{FAST, MESSAGES, QUEUE, Scenario};
use crate::support::{until, with_both_flush_modes};

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
