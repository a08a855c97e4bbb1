//! All members see the same order, and stalled members do not disturb healthy ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use standpipe::{Config, Message, Policy, SubscribeOptions};

use crate::support::{
    HubFixture, Reader, TopicEvent, assert_contiguous, events_of, until, with_both_flush_modes,
    within,
};

/// Members join while publishers publish. Under `block` no member misses a message, so no member may receive a gap
/// notice. Messages from before the subscription do not count as missed.
#[test]
fn joining_member_receives_no_gap_notice() {
    with_both_flush_modes(|config| {
        let fixture = HubFixture::with(config, Policy::Block { timeout: None }, 64);
        let topic = fixture.topic("t");
        let finished = Arc::new(AtomicBool::new(false));
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                let (topic, finished) = (topic.clone(), Arc::clone(&finished));
                thread::spawn(move || {
                    while !finished.load(Ordering::SeqCst) {
                        topic.publish(Message::text("x")).unwrap();
                    }
                })
            })
            .collect();
        let (client, outbox) = fixture.client();
        let reader = Reader::start(client);
        for n in 0..10_000 {
            let options = SubscribeOptions::new().with_envelope();
            let member = topic.subscribe(outbox.clone(), options).unwrap();
            if n % 100 == 0 {
                until("the member receives another message", || {
                    reader.received() > n / 100
                });
            }
            drop(member);
        }
        finished.store(true, Ordering::SeqCst);
        for publisher in publishers {
            within(20, "a publisher to end", || publisher.join()).unwrap();
        }
        fixture.server.shut_down();
        for one in events_of("t", &reader.end().messages) {
            assert!(matches!(one, TopicEvent::Message(..)), "{one:?}");
        }
    });
}

#[test]
fn ids_are_consecutive_and_equal_for_all_members() {
    const EACH: usize = 300;
    with_both_flush_modes(|config| {
        let fixture = HubFixture::with(config.queue(1024), Policy::Block { timeout: None }, 1024);
        let topic = fixture.topic("t");
        let options = || SubscribeOptions::new().with_envelope();
        let first = topic.last_id() + 1;
        let members: Vec<_> = (0..10).map(|_| fixture.reader(&topic, options())).collect();
        let finished = Arc::new(AtomicBool::new(false));
        let short_lived = {
            let (topic, finished) = (topic.clone(), Arc::clone(&finished));
            let (client, outbox) = fixture.client();
            let reader = Reader::start(client);
            thread::spawn(move || {
                while !finished.load(Ordering::SeqCst) {
                    drop(topic.subscribe(outbox.clone(), options()).unwrap());
                }
                reader
            })
        };
        let publishers: Vec<_> = ["a", "b", "c"]
            .map(|name| {
                let topic = topic.clone();
                thread::spawn(move || {
                    let publish = |n| topic.publish(Message::text(format!("{name} {n}"))).unwrap();
                    (0..EACH).map(|n| publish(n).id).collect::<Vec<u64>>()
                })
            })
            .into();
        let mut ids = Vec::new();
        for publisher in publishers {
            let published = within(30, "a publisher to end", || publisher.join()).unwrap();
            assert!(published.is_sorted());
            ids.extend(published);
        }
        finished.store(true, Ordering::SeqCst);
        let short_lived =
            within(20, "the short-lived member to leave", || short_lived.join()).unwrap();
        ids.sort_unstable();
        let last = first + 3 * EACH as u64 - 1;
        assert_eq!(ids, (first..=last).collect::<Vec<_>>());
        for (reader, ..) in &members {
            reader.wait_for(3 * EACH);
        }
        let mut members = members;
        let kept: Vec<_> = members
            .drain(..)
            .map(|(reader, _, member)| (reader, member))
            .collect();
        fixture.server.shut_down();
        let mut orders = Vec::new();
        for (reader, _member) in kept {
            let events = events_of("t", &reader.end().messages);
            let (received, missing) = assert_contiguous(&events, first, last);
            assert_eq!((received.len(), missing.len()), (3 * EACH, 0));
            orders.push(events);
        }
        assert!(
            orders.iter().all(|order| *order == orders[0]),
            "two members saw different orders"
        );
        // The short-lived member sees parts of the same order, and no message twice.
        let mut before = 0;
        for one in events_of("t", &short_lived.end().messages) {
            assert!(orders[0].contains(&one), "{one:?}");
            let TopicEvent::Message(id, _) = one else {
                unreachable!("the order has only messages")
            };
            assert!(id > before, "{id} after {before}");
            before = id;
        }
    });
}

/// Publishes to 60 members, of which 10 do not read, and checks what the healthy ones receive.
fn check_ten_stalled_of_sixty(config: Config, policy: Policy) {
    const QUEUE: usize = 32;
    const LAG: usize = 16;
    const MESSAGES: usize = 300;
    let fixture = HubFixture::with(config, policy, QUEUE);
    let topic = fixture.topic("t");
    let options = || SubscribeOptions::new().with_envelope();
    let first = topic.last_id() + 1;
    let mut stalled = Vec::new();
    let mut healthy = Vec::new();
    for n in 0..60 {
        if n % 6 == 5 {
            let (client, outbox) = fixture.small_client();
            let member = topic.subscribe(outbox.clone(), options()).unwrap();
            stalled.push((client, outbox, member));
        } else {
            healthy.push(fixture.reader(&topic, options()));
        }
    }
    for n in 0..MESSAGES {
        // A healthy member that is further behind fails the test here. The allowed lag is half of what the queue holds.
        for (reader, ..) in &healthy {
            reader.wait_for((n + 1).saturating_sub(LAG));
        }
        // Each message has a different key, so conflation drops nothing for the healthy members.
        let publication =
            standpipe::Publication::from(Message::text(format!("{n} {}", "x".repeat(1500))));
        let published = topic.publish(publication.key(&n.to_string())).unwrap();
        assert!(published.receivers >= 50, "{published:?}");
    }
    for (reader, ..) in &healthy {
        reader.wait_for(MESSAGES);
    }
    for (_, outbox, _) in &stalled {
        let counts = outbox.counts();
        assert!(counts.dropped > 0, "a member is not stalled: {counts:?}");
    }
    for (_, outbox, _) in &healthy {
        let counts = outbox.counts();
        assert_eq!((counts.accepted, counts.dropped), (MESSAGES as u64, 0));
        until("everything is delivered", || {
            outbox.counts().delivered == MESSAGES as u64
        });
    }
    drop(stalled);
    let last = first + MESSAGES as u64 - 1;
    let readers: Vec<_> = healthy
        .into_iter()
        .map(|(reader, _, member)| (reader, member))
        .collect();
    fixture.server.shut_down();
    for (reader, _member) in readers {
        let rest = reader.end();
        assert_eq!(rest.closes[0].0, 1001);
        let (_, missing) = assert_contiguous(&events_of("t", &rest.messages), first, last);
        assert_eq!(missing, [0; 0], "a healthy member missed messages");
    }
}

#[test]
fn ten_stalled_of_sixty_do_not_disturb_the_others() {
    for policy in [
        Policy::DropNewest,
        Policy::DropOldest,
        Policy::Conflate,
        Policy::Disconnect { soft: None },
    ] {
        eprintln!("{policy}:");
        with_both_flush_modes(|config| check_ten_stalled_of_sixty(config, policy));
    }
}
