//! The books of a topic with a member that is reset in the middle of it: whatever the policy, they add up.

use std::sync::Mutex;
use std::thread;

use standpipe::{Accounts, Outbox, Policy};

use crate::support::play::{FAST, MESSAGES, Play, QUEUE};
use crate::support::{both_ways, heard_of, until};

/// Publishes to members that read and one that does not, and resets that one when its queue is full or has
/// been.
fn a_reset_member_leaves_exact_books(policy: Policy) {
    both_ways(|config| {
        let mut play = Play::begin(config, policy);
        let stalled = Mutex::new(play.stalled.take());
        let outbox: Outbox = play.stalled_outbox().clone();
        thread::scope(|scope| {
            scope.spawn(|| {
                // Either it keeps the publisher waiting, or its policy has done something to it.
                until("the stalled member to be full, or dealt with", || {
                    let acted = outbox.accounts().dropped > 0;
                    acted || outbox.len() >= QUEUE || outbox.closed().try_recv() != EMPTY
                });
                let client = stalled.lock().unwrap().take();
                client.unwrap().reset();
            });
            // Under `block` without an end this waits for the reset.
            play.publish_all();
        });
        until("the end of the member that was reset", || {
            let Accounts {
                accepted,
                delivered,
                dropped,
                discarded,
                ..
            } = outbox.accounts();
            outbox.closed().try_recv() != EMPTY && accepted == delivered + dropped + discarded
        });
        assert_eq!((outbox.len(), outbox.bytes()), (0, 0), "{policy}");

        let Play {
            stage,
            topic,
            fast,
            outboxes,
            members,
            published,
            ..
        } = play;
        for reader in &fast {
            reader.wait_for(published.len());
        }
        stage.server.shut_down();
        for (reader, outbox) in fast.into_iter().zip(&outboxes) {
            let heard = heard_of("t", &reader.end().messages);
            assert_eq!(
                heard.len(),
                MESSAGES,
                "{policy}: somebody else missed something"
            );
            assert_eq!(outbox.accounts().delivered, MESSAGES as u64, "{policy}");
        }
        drop(members);
        let sum = outboxes
            .iter()
            .map(Outbox::accounts)
            .fold(Accounts::default(), |sum, accounts| sum + accounts);
        let topic = topic.accounts();
        let dropped: u64 = topic.dropped.iter().map(|(_, dropped)| dropped).sum();
        assert_eq!(
            (sum.accepted, sum.delivered, sum.dropped, sum.discarded),
            (topic.accepted, topic.delivered, dropped, topic.discarded),
            "{policy}: the topic's books beside its members'"
        );
        let offered: usize = published.iter().map(|p| p.receivers + p.dropped).sum();
        assert_eq!(sum.accepted, offered as u64, "{policy}");
        assert!(
            offered > FAST * MESSAGES,
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
