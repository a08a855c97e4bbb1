//! Each policy with members that read and one that is stalled: the outcomes of publishing, and what members receive.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use standpipe::{DropReason, Message, Policy, SoftLimit, SubscribeOptions};

use crate::support::scenario::{FAST, MESSAGES, QUEUE, Scenario, number, text};
use crate::support::{
    HubFixture, Reader, TopicEvent, assert_contiguous, until, with_both_flush_modes, within,
};

#[test]
fn drop_newest_delivers_a_prefix_and_an_exact_gap() {
    with_both_flush_modes(|config| {
        let mut scenario = Scenario::begin(config, Policy::DropNewest);
        scenario.publish_all();
        let outcome = scenario.end();
        outcome.assert_fast_got_everything();
        outcome.assert_counts_exact();
        let (received, missing) =
            assert_contiguous(&outcome.stalled(), outcome.first, outcome.last());
        let dropped = outcome.published.iter().filter(|p| p.dropped == 1);
        assert_eq!(missing, dropped.map(|p| p.id).collect::<Vec<_>>());
        assert_eq!(
            outcome.topic.dropped_by(DropReason::DropNewest),
            missing.len() as u64
        );
        // The client stalled once, so it received the first messages and then one gap.
        assert!(received.len() >= QUEUE && missing.len() > MESSAGES / 2);
        assert_eq!(missing[0], outcome.first + received.len() as u64);
        assert_eq!(outcome.stalled.closes.len(), 1);
    });
}

#[test]
fn drop_oldest_delivers_the_newest_and_an_exact_gap() {
    with_both_flush_modes(|config| {
        let mut scenario = Scenario::begin(config, Policy::DropOldest);
        scenario.publish_all();
        let outcome = scenario.end();
        outcome.assert_fast_got_everything();
        outcome.assert_counts_exact();
        let (received, missing) =
            assert_contiguous(&outcome.stalled(), outcome.first, outcome.last());
        assert!(missing.len() > MESSAGES / 2, "{}", missing.len());
        assert_eq!(
            outcome.topic.dropped_by(DropReason::DropOldest),
            missing.len() as u64
        );
        // No publish was refused: each dropped message was an older one.
        assert!(
            outcome
                .published
                .iter()
                .all(|p| p.receivers == FAST + 1 && p.dropped == 0)
        );
        let newest = outcome.last() + 1 - QUEUE as u64..=outcome.last();
        assert!(
            received.ends_with(&newest.collect::<Vec<_>>()),
            "the newest {QUEUE} messages did not all arrive"
        );
        assert!(
            missing.windows(2).all(|two| two[1] == two[0] + 1),
            "the client stalled once but has more than one gap"
        );
    });
}

#[test]
fn conflate_delivers_the_latest_of_every_key_without_gaps() {
    const KEYS: usize = 5;
    with_both_flush_modes(|config| {
        let mut scenario = Scenario::begin(config, Policy::Conflate);
        for n in 0..MESSAGES {
            // The fast members have received everything before the next message, so conflation drops nothing of theirs.
            for reader in &scenario.fast {
                reader.wait_for(n);
            }
            let published = scenario.publish(Some(&format!("k{}", n % KEYS)));
            assert_eq!((published.receivers, published.dropped), (FAST + 1, 0));
        }
        let outcome = scenario.end();
        outcome.assert_fast_got_everything();
        outcome.assert_counts_exact();
        let mut latest: HashMap<usize, usize> = HashMap::new();
        let events = outcome.stalled();
        for one in &events {
            let TopicEvent::Message(id, text) = one else {
                panic!("a conflating topic sent a gap notice: {one:?}");
            };
            let n = number(text);
            assert_eq!(*id, outcome.first + n as u64);
            let before = latest.insert(n % KEYS, n);
            assert!(
                before.is_none_or(|before| before < n),
                "{n} after {before:?}"
            );
        }
        for (key, n) in latest {
            assert_eq!(
                n,
                MESSAGES - KEYS + key,
                "the last message of k{key} is not the latest"
            );
        }
        let conflated = (MESSAGES - events.len()) as u64;
        assert_eq!(outcome.topic.dropped_by(DropReason::Conflate), conflated);
        assert!(conflated > MESSAGES as u64 / 2);
    });
}

#[test]
fn conflate_with_too_many_keys_drops_the_oldest_key() {
    with_both_flush_modes(|config| {
        let mut scenario = Scenario::begin(config, Policy::Conflate);
        for n in 0..MESSAGES {
            scenario.publish(Some(&format!("k{n}")));
        }
        let outcome = scenario.end();
        outcome.assert_counts_exact();
        let ids: Vec<u64> = outcome
            .stalled()
            .iter()
            .map(|one| match one {
                TopicEvent::Message(id, _) => *id,
                other => panic!("{other:?}"),
            })
            .collect();
        let newest = outcome.last() + 1 - QUEUE as u64..=outcome.last();
        assert!(
            ids.ends_with(&newest.collect::<Vec<_>>()),
            "the newest {QUEUE} keys did not all arrive"
        );
        assert!(ids.is_sorted());
    });
}

#[test]
fn disconnect_closes_only_the_stalled_member_with_4008() {
    with_both_flush_modes(|config| {
        let mut scenario = Scenario::begin(config, Policy::Disconnect { soft: None });
        scenario.publish_all();
        let refused: Vec<_> = scenario
            .published
            .iter()
            .filter(|p| p.dropped > 0)
            .copied()
            .collect();
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!((refused[0].receivers, refused[0].dropped), (FAST, 1));
        let first = scenario.first;
        let outcome = scenario.end();
        outcome.assert_fast_got_everything();
        outcome.assert_counts_exact();
        assert_eq!(outcome.topic.dropped_by(DropReason::Disconnect), 1);
        assert!(outcome.topic.discarded >= QUEUE as u64);
        assert_eq!(outcome.stalled.closes.len(), 1);
        assert_eq!(outcome.stalled.closes[0].0, 4008);
        // Before the Close, the client received the first messages, in order.
        let events = outcome.stalled();
        assert_contiguous(&events, first, first + events.len() as u64 - 1);
        assert!(first + (events.len() as u64) < refused[0].id);
    });
}

#[test]
fn soft_limit_disconnects_before_the_queue_is_full() {
    const DURATION: Duration = Duration::from_millis(150);
    with_both_flush_modes(|config| {
        let soft = Some(SoftLimit::new(50, DURATION));
        let mut scenario = Scenario::begin(config, Policy::Disconnect { soft });
        let over = Instant::now();
        // Keep the queue over its limit while the kernel still accepts some of it. After that, nothing is published,
        // and only the passing of time disconnects the member.
        until("the server has disconnected the member", || {
            while scenario.stalled_outbox().len() <= QUEUE / 2 + 2 && !scenario.is_stalled_closed()
            {
                assert_eq!(scenario.publish(None).dropped, 0);
            }
            scenario.is_stalled_closed()
        });
        assert!(
            over.elapsed() >= DURATION,
            "after only {:?}",
            over.elapsed()
        );
        let outcome = scenario.end();
        outcome.assert_fast_got_everything();
        outcome.assert_counts_exact();
        assert_eq!(outcome.stalled.closes.len(), 1);
        assert_eq!(outcome.stalled.closes[0].0, 4008);
        assert_eq!(outcome.topic.dropped, 0);
    });
}

#[test]
fn member_below_its_soft_limit_stays_connected() {
    with_both_flush_modes(|config| {
        let soft = Some(SoftLimit::new(50, Duration::ZERO));
        let fixture = HubFixture::with(config, Policy::Disconnect { soft }, QUEUE);
        let topic = fixture.topic("t");
        let (reader, outbox, _member) =
            fixture.reader(&topic, SubscribeOptions::new().with_envelope());
        for n in 0..200 {
            topic.publish(Message::text(text(n))).unwrap();
            reader.wait_for(n + 1);
            until("the queue is empty", || outbox.is_empty());
        }
        fixture.server.shut_down();
        assert_eq!(outbox.counts().delivered, 200);
        assert_eq!(reader.end().closes[0].0, 1001);
    });
}

#[test]
fn block_makes_the_publisher_wait_and_drops_nothing() {
    with_both_flush_modes(|config| {
        let mut scenario = Scenario::begin(config, Policy::Block { timeout: None });
        let stalled = scenario.stalled_outbox().clone();
        let client = scenario.stalled.take().unwrap();
        let begun = Arc::new(AtomicUsize::new(0));
        let (counts, (done, is_done)) = (Arc::clone(&begun), mpsc::channel());
        let publisher = thread::spawn(move || {
            for n in 0..MESSAGES {
                counts.store(n + 1, Ordering::SeqCst);
                let published = scenario.publish(None);
                assert_eq!(
                    (published.receivers, published.timed_out),
                    (FAST + 1, false)
                );
            }
            done.send(()).unwrap();
            scenario
        });
        until("the stalled member is full", || stalled.len() == QUEUE);
        // Nothing visible from outside shows that the publisher waits, so the test gives it 100 ms to return wrongly.
        let waits = is_done.recv_timeout(Duration::from_millis(100));
        assert_eq!(waits, Err(mpsc::RecvTimeoutError::Timeout));
        let begun = begun.load(Ordering::SeqCst) as u64;
        let counts = stalled.counts();
        assert!(begun < MESSAGES as u64);
        // What is not delivered is in the queue, in flight, or is the one message that waits.
        assert!(
            begun <= counts.delivered + 2 * QUEUE as u64 + 1,
            "{begun}: {counts:?}"
        );
        // When the client reads again, the publisher can go on.
        let reads = Reader::start(client);
        let scenario = within(60, "the publisher to go on", || publisher.join()).unwrap();
        let outcome = scenario.end_with(reads);
        outcome.assert_fast_got_everything();
        outcome.assert_counts_exact();
        let (received, missing) =
            assert_contiguous(&outcome.stalled(), outcome.first, outcome.last());
        assert_eq!((received.len(), missing.len()), (MESSAGES, 0));
    });
}

#[test]
fn block_timeout_disconnects_the_stalled_member() {
    const TIMEOUT: Duration = Duration::from_millis(80);
    with_both_flush_modes(|config| {
        let mut scenario = Scenario::begin(
            config,
            Policy::Block {
                timeout: Some(TIMEOUT),
            },
        );
        let (mut timed_out, mut lasted) = (Vec::new(), Duration::ZERO);
        for _ in 0..MESSAGES {
            let begins = Instant::now();
            let published = scenario.publish(None);
            if published.timed_out {
                lasted = begins.elapsed();
                timed_out.push(published);
            }
        }
        assert_eq!(timed_out.len(), 1, "{timed_out:?}");
        assert_eq!((timed_out[0].receivers, timed_out[0].dropped), (FAST, 1));
        assert!(lasted >= TIMEOUT, "{lasted:?}");
        let outcome = scenario.end();
        outcome.assert_fast_got_everything();
        outcome.assert_counts_exact();
        assert_eq!(outcome.topic.dropped_by(DropReason::Block), 1);
        assert_eq!(outcome.stalled.closes[0].0, 4008);
    });
}

/// Messages published in one call are treated like messages published one by one. A member that is disconnected for one
/// of them is not offered the others.
#[test]
fn publish_all_follows_every_policy() {
    const TOGETHER: usize = 8;
    for policy in [
        Policy::DropNewest,
        Policy::DropOldest,
        Policy::Conflate,
        Policy::Disconnect { soft: None },
        Policy::Block {
            timeout: Some(Duration::from_millis(50)),
        },
    ] {
        with_both_flush_modes(|config| {
            let mut scenario = Scenario::begin(config, policy);
            while scenario.published.len() < MESSAGES {
                scenario.publish_together(TOGETHER);
            }
            let outcome = scenario.end();
            outcome.assert_fast_got_everything();
            outcome.assert_counts_exact();
            let ids: Vec<u64> = outcome.published.iter().map(|p| p.id).collect();
            assert_eq!(ids, (outcome.first..=outcome.last()).collect::<Vec<_>>());
            let lost = outcome.published.iter().map(|p| p.dropped).sum::<usize>() as u64;
            let dropped = outcome.topic.dropped_by(policy.into());
            match policy {
                Policy::DropNewest => {
                    let (_, missing) =
                        assert_contiguous(&outcome.stalled(), outcome.first, outcome.last());
                    assert_eq!((missing.len() as u64, dropped), (lost, lost), "{policy}");
                }
                Policy::DropOldest => {
                    let (_, missing) =
                        assert_contiguous(&outcome.stalled(), outcome.first, outcome.last());
                    assert_eq!((missing.len() as u64, lost), (dropped, 0), "{policy}");
                }
                Policy::Conflate => assert!(dropped > 0 && lost == 0, "{policy}"),
                // The member is disconnected once, for one message.
                _ => assert_eq!((dropped, lost), (1, 1), "{policy}"),
            }
        });
    }
}
