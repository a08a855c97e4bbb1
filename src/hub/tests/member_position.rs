//! Members that are ahead of their topic, and members that are told of ids that will never come.

use crate::hub::fake_engine::{client, end, member, received, receivers, subscribe, texts, topic};
use crate::hub::{Policy, SubscribeOptions, TopicSettings};

const ALL: usize = usize::MAX;

fn settings(policy: Policy, queue: usize) -> TopicSettings {
    TopicSettings::default().policy(policy).queue(queue)
}

/// The client has seen ids on another hub that this one has not reached.
#[test]
fn member_ahead_receives_nothing_twice() {
    // The socket accepts everything, so messages are written directly, or nothing, so they are queued.
    for accepts in [ALL, 0] {
        let (topic, engine) = topic(TopicSettings::default());
        let ann = client(accepts);
        let ahead = subscribe(&topic, &ann, SubscribeOptions::new().since(105));
        assert_eq!(engine.calls(), ["open t", "fill t", "since t 105"]);
        assert_eq!((ahead.last_id(), topic.last_id()), (105, 100));
        let again = subscribe(&topic, &ann, SubscribeOptions::new());
        assert!(again.was_member() && again.last_id() == 105);
        assert_eq!(
            receivers(&topic.receive(received(101, &["a", "b"]))),
            [0, 0]
        );
        let outcomes = topic.receive(received(103, &["c", "d", "e", "f", "g"]));
        assert_eq!(receivers(&outcomes), [0, 0, 0, 1, 1]);
        assert_eq!(receivers(&topic.receive(received(108, &["h"]))), [1]);
        if accepts == 0 {
            ann.write();
        }
        assert_eq!(texts(&ann), ["106 f", "107 g", "108 h"]);
        let counts = topic.counts();
        assert_eq!((counts.accepted, counts.dropped), (3, 0));
        end(ann);
    }
}

/// A member whose queue is full, and that has seen the new message elsewhere, loses nothing of its queue.
#[test]
fn message_that_was_seen_displaces_no_other() {
    for policy in [
        Policy::DropOldest,
        Policy::DropNewest,
        Policy::Conflate,
        Policy::Disconnect { soft: None },
    ] {
        let (topic, _) = topic(settings(policy, 1));
        let ann = client(0);
        let _ann = subscribe(&topic, &ann, SubscribeOptions::new().since(103));
        // Presence notices and messages of other topics fill a queue too, and cannot be displaced.
        while ann.outbox().try_send("other").is_ok() {}
        let outcomes = topic.receive(received(101, &["a", "b", "c"]));
        let dropped: usize = outcomes.iter().map(|outcome| outcome.dropped).sum();
        assert_eq!(
            (receivers(&outcomes), dropped),
            (vec![0, 0, 0], 0),
            "{policy}"
        );
        assert!(ann.outbox().shared().lifecycle().is_open(), "{policy}");
        end(ann);
    }
}

#[test]
fn member_ahead_is_told_no_false_gap() {
    let (topic, _) = topic(TopicSettings::default());
    let ann = client(ALL);
    let _ann = subscribe(&topic, &ann, SubscribeOptions::new().since(105));
    topic.jump_to(104);
    assert!(texts(&ann).is_empty());
    topic.jump_to(107);
    assert_eq!(texts(&ann), ["gap 106-107"]);
    topic.receive(received(108, &["a"]));
    assert_eq!(texts(&ann)[1..], ["108 a"]);
    end(ann);
}

#[test]
fn jump_is_told_immediately() {
    let (topic, _) = topic(TopicSettings::default());
    let (ann, _ann) = member(&topic, ALL);
    let raw = client(ALL);
    let subscription = topic.subscribe(raw.outbox().clone(), SubscribeOptions::new());
    topic.jump_to(200);
    assert_eq!(
        (texts(&ann), topic.last_id()),
        (vec!["gap 101-200".into()], 200)
    );
    // A jump to an id that has been reached changes nothing.
    topic.jump_to(200);
    topic.jump_to(150);
    topic.receive(received(201, &["a"]));
    assert_eq!(texts(&ann), ["gap 101-200", "201 a"]);
    assert_eq!(texts(&raw), ["a"]);
    drop(subscription);
    end(ann);
    end(raw);
}

#[test]
fn jump_is_told_after_what_is_queued() {
    let (topic, _) = topic(settings(Policy::DropNewest, 1));
    let (ann, _ann) = member(&topic, 0);
    topic.receive(received(101, &["in flight"]));
    topic.receive(received(102, &["pending"]));
    // The client's own queue is full too.
    while ann.outbox().try_send("other").is_ok() {}
    topic.jump_to(200);
    topic.jump_to(300);
    ann.accept_per_call(ALL);
    ann.write();
    let written = texts(&ann).into_iter().filter(|text| text != "other");
    assert_eq!(
        written.collect::<Vec<_>>(),
        ["101 in flight", "102 pending", "gap 103-300"]
    );
    end(ann);
}

#[test]
fn conflating_topic_is_told_no_jump() {
    let (topic, _) = topic(settings(Policy::Conflate, 4));
    let (ann, _ann) = member(&topic, ALL);
    topic.jump_to(200);
    topic.receive(received(201, &["a"]));
    ann.accept_per_call(0);
    topic.receive(received(202, &["b"]));
    topic.receive(received(203, &["c"]));
    topic.jump_to(300);
    ann.accept_per_call(ALL);
    ann.write();
    assert_eq!(texts(&ann), ["201 a", "202 b", "203 c"]);
    end(ann);
}
