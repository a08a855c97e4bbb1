//! What a topic asks its engine, and what it does with the answers.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::*;
use crate::connection::activity::Activity;
use crate::connection::queue::waiting::set_reader_of;
use crate::hub::engine::Since;
use crate::hub::fake_engine::{
    FakeEngine, client, end, hub, member, received, stored, subscribe, texts, topic, until,
};
use crate::hub::{SubscribeError, SubscribeOptions, Subscription, TopicSettings};

const ALL: usize = usize::MAX;
const LONG: Duration = Duration::from_secs(60);

fn blocking(queue: usize, timeout: Option<Duration>) -> (Topic, Arc<FakeEngine>) {
    let policy = Policy::Block { timeout };
    topic(TopicSettings::default().policy(policy).queue(queue))
}

#[test]
fn engine_publishes_instead_of_the_hub() {
    let (topic, engine) = topic(TopicSettings::default());
    let (ann, _ann) = member(&topic, ALL);
    engine.calls();
    let outcome = topic.publish("a").expect("the engine answers");
    assert_eq!((outcome.id, outcome.receivers, outcome.nodes), (101, 1, 3));
    let several = vec!["b".into(), "c".into()];
    assert_eq!(topic.publish_all(several).map(|all| all.len()), Ok(2));
    assert_eq!(topic.publish_all(Vec::new()), Ok(Vec::new()));
    assert_eq!(engine.calls(), ["publish t 1", "publish t 2"]);
    assert_eq!(texts(&ann), ["101 a", "102 b", "103 c"]);
    end(ann);
}

#[test]
fn refused_publish_gives_everything_back() {
    let (topic, engine) = topic(TopicSettings::default());
    let (ann, _ann) = member(&topic, ALL);
    engine.answer(|answers| answers.refuses = true);
    let all = || vec![Publication::from("a").key("k").except(7), "b".into()];
    let refused = |unpublished| PublishError::Unavailable(unpublished, "gone".into());
    assert_eq!(topic.publish_all(all()), Err(refused(all())));
    let one = Publication::from("c").json();
    let refused = PublishError::Unavailable(one.clone(), "gone".into());
    assert_eq!(topic.publish(one), Err(refused));
    assert_eq!((topic.last_id(), texts(&ann).len()), (100, 0));
    end(ann);
}

#[test]
fn timeout_of_a_publish_is_the_deadline_of_the_engine() {
    let (topic, engine) = topic(TopicSettings::default());
    topic.publish("a").expect("the engine answers");
    assert_eq!(engine.deadline(), None);
    let began = Instant::now();
    topic
        .publish_timeout("b", LONG)
        .expect("the engine answers");
    let deadline = engine.deadline().expect("there is a timeout");
    assert!((began + LONG..Instant::now() + LONG).contains(&deadline));
    // There is no other publisher to wait for, and the engine needs some time.
    topic.try_publish("c").expect("the engine answers");
    assert_eq!(engine.deadline(), None);
}

/// The members have room when the messages come back from the engine, so nothing is dropped.
#[test]
fn block_waits_before_the_engine_is_asked() {
    let (topic, engine) = blocking(4, Some(LONG));
    let (slow, _slow) = member(&topic, 0);
    let (fast, _fast) = member(&topic, ALL);
    // One message is in flight, and two of four are pending.
    for text in ["a", "b", "c"] {
        topic.publish(text).expect("the engine answers");
    }
    topic
        .publish("d")
        .expect("two of four are pending before it");
    engine.calls();
    thread::scope(|scope| {
        // The publisher is the reader of the fast client.
        let reader = fast.outbox().shared();
        let publisher = scope.spawn(|| {
            set_reader_of(Some(Arc::clone(reader)));
            topic.publish("e")
        });
        let waiting = Activity::WaitingForRoom(slow.outbox().number());
        until("the publisher waits", || reader.reader.get().0 == waiting);
        assert!(!publisher.is_finished() && engine.calls().is_empty());
        slow.accept_per_call(ALL);
        slow.write();
        let outcome = publisher.join().expect("it does not panic");
        let outcome = outcome.expect("the engine answers");
        assert_eq!((outcome.receivers, outcome.dropped), (2, 0));
    });
    assert_eq!(engine.calls(), ["publish t 1"]);
    assert_eq!(texts(&slow), ["101 a", "102 b", "103 c", "104 d", "105 e"]);
    end(slow);
    end(fast);
}

/// A batch of four needs an empty queue of four, and a larger one cannot have more.
#[test]
fn block_waits_for_room_for_the_whole_batch() {
    for (messages, expected) in [(2, 0), (3, 1), (9, 1)] {
        let (topic, _) = blocking(4, Some(Duration::ZERO));
        let (slow, _slow) = member(&topic, 0);
        for text in ["in flight", "pending", "pending"] {
            topic.publish(text).expect("the engine answers");
        }
        let batch = vec![Publication::from("x"); messages];
        let outcomes = topic.publish_all(batch).expect("the engine answers");
        assert_eq!(outcomes[0].dropped, expected, "{messages}");
        end(slow);
    }
}

#[test]
fn member_that_blocks_for_too_long_is_disconnected() {
    let (topic, _) = blocking(2, Some(Duration::from_millis(20)));
    let (slow, _slow) = member(&topic, 0);
    let (fast, _fast) = member(&topic, ALL);
    for text in ["in flight", "pending", "pending"] {
        topic.publish(text).expect("the engine answers");
    }
    let several = vec![Publication::from("a"), "b".into()];
    let outcomes = topic.publish_all(several).expect("the engine answers");
    let seen: Vec<_> = (outcomes.iter())
        .map(|outcome| (outcome.receivers, outcome.dropped, outcome.timed_out))
        .collect();
    assert_eq!(seen, [(1, 1, true), (1, 0, false)]);
    assert!(!slow.outbox().shared().lifecycle().is_open());
    let counts = topic.counts();
    assert_eq!(counts.dropped_by(crate::hub::DropReason::Block), 1);
    end(slow);
    end(fast);
}

#[test]
fn topic_is_open_before_it_has_a_member() {
    let (topic, engine) = topic(TopicSettings::default().history(9));
    let ann = client(ALL);
    engine.answer(|answers| answers.last_id = None);
    for options in [SubscribeOptions::new(), SubscribeOptions::new().since(1)] {
        let refused = topic.subscribe(ann.outbox().clone(), options.with_name("ann"));
        assert_eq!(refused.err(), Some(SubscribeError::Unavailable));
    }
    assert_eq!(engine.calls(), ["open t", "open t"]);
    assert_eq!(
        (topic.members(), topic.state.presence.names().len()),
        (0, 0)
    );
    engine.answer(|answers| {
        answers.last_id = Some(100);
        answers.stored = vec![
            stored(99, Duration::ZERO, "a"),
            stored(100, Duration::ZERO, "b"),
        ];
    });
    let subscription = subscribe(&topic, &ann, SubscribeOptions::new());
    assert_eq!(subscription.last_id(), 100);
    drop(subscription);
    assert_eq!(engine.calls(), ["open t"]);
    let subscription = subscribe(&topic, &ann, SubscribeOptions::new().since(98));
    assert_eq!(engine.calls(), ["open t", "fill t"]);
    assert_eq!(texts(&ann), ["99 a", "100 b"]);
    drop(subscription);
    end(ann);
}

#[test]
fn engine_decides_about_an_id_above_the_last() {
    let (topic, engine) = topic(TopicSettings::default().history(9));
    engine.answer(|answers| answers.stored = vec![stored(100, Duration::ZERO, "a")]);
    let try_since = |options: SubscribeOptions| {
        let ann = client(ALL);
        engine.calls();
        let outcome = topic.subscribe(ann.outbox().clone(), options.with_envelope());
        let last_id = outcome.as_ref().map(Subscription::last_id);
        let result = (last_id.map_err(|error| *error), texts(&ann));
        drop(outcome);
        end(ann);
        (result, engine.calls().len() == 3)
    };
    let since = |since| try_since(SubscribeOptions::new().since(since));
    let text = || vec!["gap 1-99".to_owned(), "100 a".to_owned()];
    // The id has been reached, or belongs to a hub with another engine.
    assert_eq!(since(99), ((Ok(100), text()[1..].to_vec()), false));
    let other_epoch = SubscribeOptions::new().since(500).epoch("other");
    assert_eq!(try_since(other_epoch), ((Ok(100), text()), false));
    let same_epoch = SubscribeOptions::new().since(500).epoch(topic.epoch());
    assert_eq!(try_since(same_epoch), ((Ok(500), vec![]), true));
    assert_eq!(topic.epoch(), "fake");
    for (answer, expected) in [
        (Since::Assigned, Ok(500)),
        (Since::NotAssigned, Ok(100)),
        (Since::Unknown, Err(SubscribeError::Unavailable)),
    ] {
        engine.answer(|answers| answers.since = answer);
        assert_eq!(since(500), ((expected, vec![]), true), "{answer:?}");
        assert!(topic.history(500).is_empty(), "{answer:?}");
    }
    assert_eq!(topic.members(), 0);
}

/// Another hub joins after it was alone, which raises the ids, between the answer of the engine and the membership.
#[test]
fn jump_above_an_unassigned_since_is_a_gap() {
    let (topic, engine) = topic(TopicSettings::default());
    engine.answer(|answers| answers.since = Since::NotAssigned);
    let jumping = topic.clone();
    engine.on_call(move |call| {
        if call.starts_with("since") {
            jumping.jump_to(400);
        }
    });
    let ann = client(ALL);
    let subscription = subscribe(&topic, &ann, SubscribeOptions::new().since(300));
    topic.receive(received(401, &["a"]));
    assert_eq!(texts(&ann), ["gap 301-400", "401 a"]);
    assert_eq!(subscription.last_id(), 400);
    engine.on_call(|_| {});
    drop(subscription);
    end(ann);
}

/// A caller may read a topic that has no member on this hub.
#[test]
fn reading_a_topic_opens_it() {
    let (topic, engine) = topic(TopicSettings::default().history(9));
    engine.answer(|answers| {
        answers.last_id = None;
        answers.stored = vec![stored(100, Duration::ZERO, "a")];
    });
    assert_eq!((topic.history(0).len(), topic.presence().len()), (0, 0));
    assert_eq!(engine.calls(), ["open t", "open t"]);
    engine.answer(|answers| answers.last_id = Some(100));
    assert_eq!(topic.history(0).len(), 1);
    assert!(topic.history(100).is_empty());
    assert!(topic.presence().is_empty());
    let calls = ["open t", "fill t", "open t", "fill t", "open t"];
    assert_eq!(engine.calls(), calls);
}

/// The engine keeps the history, so a topic need not stay because of it.
#[test]
fn topic_ends_with_its_last_member() {
    let (hub, engine) = hub(TopicSettings::default().history(9));
    let topic = hub.topic("t").expect("there is room");
    assert_eq!((topic.last_id(), topic.is_placed()), (0, false));
    let (ann, subscription) = member(&topic, ALL);
    topic.receive(received(101, &["a"]));
    topic
        .publish_local(500, vec!["b".into()], &|| true)
        .expect("isolated");
    drop(topic);
    assert_eq!((hub.len(), hub.history_bytes() > 0), (1, true));
    drop(subscription);
    assert_eq!((hub.len(), hub.history_bytes()), (0, 0));
    assert_eq!(engine.calls(), ["open t", "close t"]);
    // The id and the local sequence are remembered, but the engine must place the topic again.
    let again = hub.topic("t").expect("there is room").position();
    assert_eq!(
        (again.last_id, again.is_placed, again.local_from.is_some()),
        (500, false, true)
    );
    end(ann);
}

/// A topic of the same name is created while the old one ends, before the engine knows.
#[test]
fn closing_an_old_topic_leaves_the_new_one() {
    let (hub, engine) = hub(TopicSettings::default());
    let old = hub.topic("t").expect("there is room");
    let (weak_old, other) = (old.downgrade(), hub.clone());
    old.place_at(100);
    let (sender, receiver) = std::sync::mpsc::channel();
    engine.on_call(move |call| {
        if call == "close t" {
            let new = other.topic("t").expect("there is room");
            assert!(!new.is_placed(), "the old one has ended");
            new.place_at(200);
            sender.send(new).expect("the test waits for it");
        }
    });
    drop(old);
    let new = receiver.recv().expect("the engine was called");
    assert!(weak_old.upgrade().is_none());
    let weak_new = new.downgrade();
    let same = weak_new.upgrade().expect("it has not ended");
    assert_eq!((same.last_id(), same.is_placed()), (200, true));
    assert_eq!(hub.get("t").map(|topic| topic.last_id()), Some(200));
    // The hook holds the hub.
    engine.on_call(|_| {});
    drop((new, same));
    assert!(weak_new.upgrade().is_none() && hub.is_empty());
}

/// Without an engine, the hub sweeps such a topic because it keeps it.
#[test]
fn old_messages_of_a_topic_with_members_are_swept() {
    let settings = TopicSettings::default()
        .history(9)
        .max_age(Duration::from_millis(1));
    let (hub, _) = hub(settings);
    let topic = hub.topic("t").expect("there is room");
    let (ann, _ann) = member(&topic, ALL);
    topic.receive(received(101, &["a"]));
    until("the message is swept", || {
        hub.sweep();
        hub.history_bytes() == 0
    });
    end(ann);
}
