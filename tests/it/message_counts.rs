//! The books of a topic with a member that is reset in the middle of it: whatever the policy, they add up.

use std::sync::Mutex;
use std::thread;

use standpipe::{MessageCounts, Outbox, Policy};

use crate::support::scenario::{FAST, MESSAGES, QUEUE, Scenario};
use crate::support::{until, with_both_flush_modes};

/// Publishes to members that read and one that does not, and resets that one when its queue is full or has
/// been.
fn a_reset_member_leaves_exact_books(policy: Policy) {
    with_both_flush_modes(|config| {
        let mut scenario = Scenario::begin(config, policy);
        let stalled = Mutex::new(scenario.stalled.take());
        let outbox: Outbox = scenario.stalled_outbox().clone();
        thread::scope(|scope| {
            scope.spawn(|| {
                // Either it keeps the publisher waiting, or its policy has done something to it.
                until("the stalled member to be full, or dealt with", || {
                    let acted = outbox.counts().dropped > 0;
                    acted || outbox.len() >= QUEUE || outbox.closed().try_recv() != EMPTY
                });
                let client = stalled.lock().unwrap().take();
                client.unwrap().reset();
            });
            // Under `block` without an end this waits for the reset.
            scenario.publish_all();
        });
        until("the end of the member that was reset", || {
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
            "{policy}: the stalled one was offered nothing"
        );
    });
}

const EMPTY: Result<std::convert::Infallible, crossbeam_channel::TryRecvError> =
    Err(crossbeam_channel::TryRecvError::Empty);

#[test]
fn f31_a_member_reset_under_drop_newest_leaves_exact_books() {
    a_reset_member_leaves_exact_books(Policy::DropNewest);
}

#[test]
fn f31_a_member_reset_under_drop_oldest_leaves_exact_books() {
    a_reset_member_leaves_exact_books(Policy::DropOldest);
}

#[test]
fn f31_a_member_reset_under_conflate_leaves_exact_books() {
    a_reset_member_leaves_exact_books(Policy::Conflate);
}

#[test]
fn f31_a_member_reset_under_disconnect_leaves_exact_books() {
    a_reset_member_leaves_exact_books(Policy::Disconnect { soft: None });
}

#[test]
fn f31_a_member_reset_under_block_frees_the_publisher_and_leaves_exact_books() {
    a_reset_member_leaves_exact_books(Policy::Block { timeout: None });
}
