//! Each policy, with members that read and one that does not: what it promises, on both sides, counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use standpipe::{Message, Policy, SoftLimit, SubscribeOptions};

use crate::support::scenario::{FAST, MESSAGES, QUEUE, Scenario, number, text};
use crate::support::{
    HubFixture, Reader, TopicEvent, assert_contiguous, until, with_both_flush_modes, within,
};

#[test]
fn drop_newest_gives_the_stalled_a_prefix_and_then_tells_exactly_what_is_missing() {
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
        assert_eq!(outcome.dropped_by("drop-newest"), missing.len() as u64);
        // It stalled once, so what it has is the beginning.
        assert!(received.len() >= QUEUE && missing.len() > MESSAGES / 2);
        assert_eq!(missing[0], outcome.first + received.len() as u64);
        assert_eq!(outcome.stalled.closes.len(), 1);
    });
}

#[test]
fn drop_oldest_keeps_the_newest_and_tells_exactly_what_is_missing() {
    with_both_flush_modes(|config| {
        let mut scenario = Scenario::begin(config, Policy::DropOldest);
        scenario.publish_all();
        let outcome = scenario.end();
        outcome.assert_fast_got_everything();
        outcome.assert_counts_exact();
        let (received, missing) =
            assert_contiguous(&outcome.stalled(), outcome.first, outcome.last());
        assert!(missing.len() > MESSAGES / 2, "{}", missing.len());
        assert_eq!(outcome.dropped_by("drop-oldest"), missing.len() as u64);
        // Nobody's publish was refused: what was dropped was another's.
        assert!(
            outcome
                .published
                .iter()
                .all(|p| p.receivers == FAST + 1 && p.dropped == 0)
        );
        let newest = outcome.last() + 1 - QUEUE as u64..=outcome.last();
        assert!(
            received.ends_with(&newest.collect::<Vec<_>>()),
            "not the newest {QUEUE}"
        );
        assert!(
            missing.windows(2).all(|two| two[1] == two[0] + 1),
            "it stalled once"
        );
    });
}

#[test]
fn conflate_gives_the_stalled_the_latest_of_every_key_in_order_and_no_gaps() {
    const KEYS: usize = 5;
    with_both_flush_modes(|config| {
        let mut scenario = Scenario::begin(config, Policy::Conflate);
        for n in 0..MESSAGES {
            // Paced so that nothing waits for a member that reads: then conflation costs it nothing.
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
            let TopicEvent::Message(id, said) = one else {
                panic!("a conflating topic tells no gaps: {one:?}");
            };
            let n = number(said);
            assert_eq!(*id, outcome.first + n as u64);
            let before = latest.insert(n % KEYS, n);
            assert!(
                before.is_none_or(|before| before < n),
                "{n} after {before:?}"
            );
        }
        for (key, n) in latest {
            assert_eq!(n, MESSAGES - KEYS + key, "not the latest of k{key}");
        }
        let conflated = (MESSAGES - events.len()) as u64;
        assert_eq!(outcome.dropped_by("conflate"), conflated);
        assert!(conflated > MESSAGES as u64 / 2);
    });
}

#[test]
fn conflate_with_more_keys_than_places_drops_the_oldest_key() {
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
            "not the newest {QUEUE} keys"
        );
        assert!(ids.is_sorted());
    });
}

#[test]
fn disconnect_cuts_the_stalled_once_with_4008_and_nobody_else() {
    with_both_flush_modes(|config| {
        let mut scenario = Scenario::begin(config, Policy::Disconnect { soft: None });
        scenario.publish_all();
        let cut: Vec<_> = scenario
            .published
            .iter()
            .filter(|p| p.dropped > 0)
            .copied()
            .collect();
        assert_eq!(cut.len(), 1, "{cut:?}");
        assert_eq!((cut[0].receivers, cut[0].dropped), (FAST, 1));
        let first = scenario.first;
        let outcome = scenario.end();
        outcome.assert_fast_got_everything();
        outcome.assert_counts_exact();
        assert_eq!(outcome.dropped_by("disconnect"), 1);
        assert!(outcome.topic.discarded >= QUEUE as u64);
        assert_eq!(outcome.stalled.closes.len(), 1);
        assert_eq!(outcome.stalled.closes[0].0, 4008);
        // What came before is the beginning, in order.
        let events = outcome.stalled();
        assert_contiguous(&events, first, first + events.len() as u64 - 1);
        assert!(first + (events.len() as u64) < cut[0].id);
    });
}

#[test]
fn a_soft_limit_cuts_who_is_over_it_for_its_time_long_before_the_queue_is_full() {
    const LASTING: Duration = Duration::from_millis(150);
    with_both_flush_modes(|config| {
        let soft = Some(SoftLimit {
            percent: 50,
            duration: LASTING,
        });
        let mut scenario = Scenario::begin(config, Policy::Disconnect { soft });
        let over = Instant::now();
        // What the kernel still takes is made up for; then nobody publishes, and time alone does it.
        until("the tick has cut it", || {
            while scenario.stalled_outbox().len() <= QUEUE / 2 + 2 && !scenario.is_stalled_closed()
            {
                assert_eq!(scenario.publish(None).dropped, 0);
            }
            scenario.fixture.hub.sweep();
            scenario.is_stalled_closed()
        });
        assert!(over.elapsed() >= LASTING, "after {:?}", over.elapsed());
        let outcome = scenario.end();
        outcome.assert_fast_got_everything();
        outcome.assert_counts_exact();
        assert_eq!(outcome.stalled.closes.len(), 1);
        assert_eq!(outcome.stalled.closes[0].0, 4008);
        assert!(
            outcome
                .topic
                .dropped
                .iter()
                .all(|(_, dropped)| *dropped == 0)
        );
    });
}

#[test]
fn a_member_that_is_below_its_soft_limit_again_is_not_cut() {
    with_both_flush_modes(|config| {
        let soft = Some(SoftLimit {
            percent: 50,
            duration: Duration::ZERO,
        });
        let fixture = HubFixture::with(config, Policy::Disconnect { soft }, QUEUE);
        let topic = fixture.topic("t");
        let (reader, outbox, _member) =
            fixture.reader(&topic, SubscribeOptions::new().with_envelope());
        for n in 0..200 {
            topic.publish(Message::text(text(n))).unwrap();
            reader.wait_for(n + 1);
            until("the queue is empty", || outbox.is_empty());
            fixture.hub.sweep();
        }
        fixture.server.shut_down();
        assert_eq!(outbox.counts().delivered, 200);
        assert_eq!(reader.end().closes[0].0, 1001);
    });
}

#[test]
fn block_makes_the_publisher_wait_and_nothing_is_lost() {
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
        until("the stalled one is full", || stalled.len() == QUEUE);
        // That a publisher waits cannot be seen from outside; here it gets the time to be wrong.
        let waits = is_done.recv_timeout(Duration::from_millis(100));
        assert_eq!(waits, Err(mpsc::RecvTimeoutError::Timeout));
        let begun = begun.load(Ordering::SeqCst) as u64;
        let counts = stalled.counts();
        assert!(begun < MESSAGES as u64);
        // In its queue and in the writer's hand is all that is not delivered, and the one that waits.
        assert!(
            begun <= counts.delivered + 2 * QUEUE as u64 + 1,
            "{begun}: {counts:?}"
        );
        // Reading on, it lets the publisher go on.
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
fn block_with_a_timeout_cuts_at_the_deadline_and_says_so() {
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
        assert_eq!(outcome.dropped_by("block"), 1);
        assert_eq!(outcome.stalled.closes[0].0, 4008);
    });
}

/// As one by one, whatever the policy; and who is cut for one message is not offered those that came with it.
#[test]
fn messages_published_together_keep_the_promise_of_every_policy() {
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
            let dropped = outcome.dropped_by(policy.to_string().split(':').next().unwrap());
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
                // It is cut once, for one message.
                _ => assert_eq!((dropped, lost), (1, 1), "{policy}"),
            }
        });
    }
}
