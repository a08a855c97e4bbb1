//! What an engine gives to a topic, seen by members whose sockets are in memory.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::hub::fake_engine::{
    client, end, member, received, receivers, stored, subscribe, texts, topic, until,
};
use crate::hub::{Policy, SubscribeOptions, TopicSettings};

const ALL: usize = usize::MAX;

fn settings(policy: Policy, queue: usize) -> TopicSettings {
    TopicSettings::default().policy(policy).queue(queue)
}

fn isolated() -> bool {
    true
}

fn publications(texts: &[&str]) -> Vec<Publication> {
    texts.iter().map(|text| Publication::from(*text)).collect()
}

/// Returns the ids in the history.
fn history(topic: &Topic) -> Vec<u64> {
    let messages = topic.state.history.after(0, ALL);
    messages.iter().map(|message| message.id()).collect()
}

#[test]
fn received_messages_reach_every_member_once() {
    let (topic, _) = topic(TopicSettings::default().history(9));
    let (ann, _ann) = member(&topic, ALL);
    let (bob, _bob) = member(&topic, ALL);
    let outcomes = topic.receive(received(101, &["a", "b"]));
    assert_eq!(receivers(&outcomes), [2, 2]);
    assert_eq!((outcomes[1].id, topic.last_id()), (102, 102));
    // The first two are received once more, as after a link that was lost.
    let outcomes = topic.receive(received(101, &["a", "b", "c"]));
    assert_eq!(receivers(&outcomes), [0, 0, 2]);
    assert_eq!(outcomes.iter().map(|outcome| outcome.id).sum::<u64>(), 306);
    assert_eq!(receivers(&topic.receive(received(50, &["old"]))), [0]);
    assert_eq!(texts(&ann), ["101 a", "102 b", "103 c"]);
    assert_eq!(texts(&bob), texts(&ann));
    assert_eq!(history(&topic), [101, 102, 103]);
    end(ann);
    end(bob);
}

#[test]
fn received_ids_that_jump_are_a_gap() {
    let (topic, _) = topic(TopicSettings::default().history(9));
    let (ann, _ann) = member(&topic, ALL);
    topic.receive(received(101, &["a"]));
    topic.receive(received(105, &["b", "c"]));
    topic.receive(received(107, &["d"]));
    let expected = ["101 a", "gap 102-104", "105 b", "106 c", "107 d"];
    assert_eq!(texts(&ann), expected);
    // A client that resumes inside the hole is told the same.
    for (since, expected) in [
        (100, &expected[..]),
        (103, &["gap 104-104", "105 b", "106 c", "107 d"]),
    ] {
        let late = client(ALL);
        let _late = subscribe(&topic, &late, SubscribeOptions::new().since(since));
        assert_eq!(texts(&late), expected);
        end(late);
    }
    end(ann);
}

/// What is received together may exclude different clients, and must fit into the queue of a member.
#[test]
fn received_messages_form_batches() {
    let (topic, _) = topic(settings(Policy::DropOldest, 2));
    let (ann, _ann) = member(&topic, 0);
    let (bob, _bob) = member(&topic, ALL);
    let mut several = received(101, &["a", "b", "c", "d", "e", "f"]);
    several.publications[1] = Publication::from("b").except(bob.outbox().number());
    let outcomes = topic.receive(several);
    assert_eq!(receivers(&outcomes), [2, 1, 2, 2, 2, 2]);
    assert_eq!(
        texts(&bob),
        ["101 a", "gap 102-102", "103 c", "104 d", "105 e", "106 f"]
    );
    ann.write();
    // One batch of a single message was in flight, and the newest two were pending.
    assert_eq!(texts(&ann), ["101 a", "gap 102-104", "105 e", "106 f"]);
    end(ann);
    end(bob);
}

/// Nothing that an engine does waits for a member, so `block` acts as `disconnect`.
#[test]
fn engine_does_not_wait_for_a_blocked_member() {
    let block = Policy::Block { timeout: None };
    let (topic, _) = topic(settings(block, 1));
    let (full, _full) = member(&topic, 0);
    topic.receive(received(101, &["in flight"]));
    topic.receive(received(102, &["pending"]));
    let outcome = topic.receive(received(103, &["too much"]))[0];
    assert_eq!((outcome.receivers, outcome.dropped), (0, 1));
    assert!(!outcome.timed_out && !full.outbox().shared().lifecycle().is_open());
    end(full);
}

#[test]
fn message_has_the_age_that_the_engine_says() {
    let hour = Duration::from_secs(3600);
    let (topic, _) = topic(TopicSettings::default().history(9).max_age(hour));
    topic.place_at(100);
    let mut old = received(101, &["a"]);
    old.age = hour - Duration::from_secs(60);
    topic.receive(old);
    topic.receive(received(102, &["b"]));
    let ages: Vec<u64> = (topic.state.history.after(0, ALL).iter())
        .map(|message| message.age() / 60_000)
        .collect();
    assert_eq!(ages, [59, 0]);
    let mut expired = received(103, &["c"]);
    expired.age = hour;
    topic.receive(expired);
    assert_eq!(
        topic.history(0).len(),
        3,
        "the history is cut at its oldest end"
    );
}

#[test]
fn topic_is_placed_once() {
    let (topic, _) = topic(TopicSettings::default());
    let position = |last_id, is_placed, local_from| Position {
        last_id,
        is_placed,
        local_from,
    };
    assert!(!topic.is_placed());
    assert_eq!(topic.position(), position(0, false, None));
    topic.place_at(100);
    topic.place_at(200);
    assert_eq!(topic.position(), position(100, true, None));
    assert!(!topic.place_locally(300, &|| false));
    assert_eq!(topic.position(), position(100, true, None));
    assert!(topic.place_locally(300, &isolated));
    assert!(topic.place_locally(200, &isolated));
    assert_eq!(topic.position(), position(300, true, Some(300)));
}

/// Ids that were wrong, such as those of a server whose clock was far ahead, are forgotten everywhere.
#[test]
fn restarted_topic_begins_with_lower_ids() {
    let (topic, _) = topic(TopicSettings::default().history(9));
    let (ann, _ann) = member(&topic, ALL);
    topic.receive(received(9000, &["wrong"]));
    let local = topic.publish_local(9500, publications(&["wrong too"]), &isolated);
    assert!(local.is_ok());
    topic.fill_history(Vec::new());
    topic.restart(1012, "again");
    assert!(!ann.outbox().shared().lifecycle().is_open());
    let position = topic.position();
    assert_eq!((position.last_id, position.is_placed), (0, false));
    assert_eq!((position.local_from, topic.is_filled()), (None, false));
    topic.place_at(200);
    // The old member has not left yet.
    let outcomes = topic.receive(received(201, &["a"]));
    assert_eq!(receivers(&outcomes), [0]);
    let (bob, _bob) = member(&topic, ALL);
    topic.receive(received(202, &["b"]));
    topic.fill_history(vec![stored(200, Duration::ZERO, "stored")]);
    assert_eq!(history(&topic), [200, 201, 202]);
    assert_eq!(texts(&bob), ["202 b"]);
    end(ann);
    end(bob);
}

#[test]
fn local_sequence_begins_at_the_time() {
    let (topic, _) = topic(TopicSettings::default().history(9));
    let (ann, _ann) = member(&topic, ALL);
    topic.receive(received(101, &["a"]));
    let publish = |now, texts: &[&str]| {
        let outcomes = topic.publish_local(now, publications(texts), &isolated);
        let outcomes = outcomes.expect("it is isolated");
        assert!(outcomes.iter().all(|outcome| outcome.nodes == 1));
        outcomes
            .iter()
            .map(|outcome| outcome.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(publish(500, &["b", "c"]), [500, 501]);
    // Another hub's clock does not matter while the sequence continues.
    assert_eq!(publish(900, &["d"]), [502]);
    assert!(topic.position().local_from.is_some());
    topic.jump_to(700);
    assert_eq!(topic.position().local_from, None);
    topic.receive(received(701, &["e"]));
    // A clock that is behind.
    assert_eq!(publish(600, &["f"]), [702]);
    // Ends the sequence although the id has been reached.
    topic.jump_to(10);
    assert_eq!(topic.position().local_from, None);
    assert_eq!(publish(0, &[]), [0; 0]);
    assert_eq!(topic.position().local_from, None);
    assert_eq!(
        texts(&ann),
        [
            "101 a",
            "gap 102-499",
            "500 b",
            "501 c",
            "502 d",
            "gap 503-700",
            "701 e",
            "702 f"
        ]
    );
    // No other hub has the local messages, so the history has none of them.
    assert_eq!(history(&topic), [101, 701]);
    end(ann);
}

/// The state changes while a local publish is in progress. The barrier waits for that publish, and a later one is refused.
#[test]
fn position_waits_for_a_local_publish() {
    let (topic, _) = topic(TopicSettings::default());
    topic.place_at(100);
    let is_isolated = AtomicBool::new(true);
    let (asked, was_asked) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let waiting = |count| topic.state.waiting_publishers.load(Ordering::SeqCst) == count;
    thread::scope(|scope| {
        // Dropped if the test fails, so that the publish ends.
        let go_on = go_on;
        let first = scope.spawn(|| {
            let (asked, may_go_on) = (asked, may_go_on);
            let is_isolated = || {
                let answer = is_isolated.load(Ordering::SeqCst);
                asked.send(()).expect("the test waits for it");
                may_go_on.recv().expect("the test lets it go on");
                answer
            };
            topic.publish_local(500, publications(&["a"]), &is_isolated)
        });
        was_asked.recv().expect("the first publish has the token");
        is_isolated.store(false, Ordering::SeqCst);
        let barrier = scope.spawn(|| topic.position());
        until("the barrier waits", || waiting(1));
        let late = || {
            topic.publish_local(500, publications(&["b"]), &|| {
                is_isolated.load(Ordering::SeqCst)
            })
        };
        let late = scope.spawn(late);
        until("the second publish waits", || waiting(2));
        assert!(!barrier.is_finished() && !late.is_finished());
        go_on.send(()).expect("the publish waits for it");
        let first = first.join().expect("it does not panic");
        assert_eq!(first.map(|outcomes| outcomes[0].id), Ok(500));
        let position = barrier.join().expect("it does not panic");
        assert_eq!(
            (position.last_id, position.local_from.is_some()),
            (500, true)
        );
        let late = late.join().expect("it does not panic");
        assert_eq!(late, Err(publications(&["b"])));
    });
    assert_eq!(topic.last_id(), 500);
}

/// The replay has queued what the history had, and its client is not a member yet.
#[test]
fn message_received_at_the_end_of_a_replay_comes_once() {
    let (topic, _) = topic(TopicSettings::default().history(9));
    topic.place_at(100);
    topic.fill_history(Vec::new());
    topic.receive(received(101, &["a", "b"]));
    let ann = client(ALL);
    let waiting = |count| topic.state.waiting_publishers.load(Ordering::SeqCst) == count;
    let subscription = thread::scope(|scope| {
        let token = acquire_publish_token_soon(&topic.state);
        let outbox = ann.outbox().clone();
        let options = SubscribeOptions::new().since(101).with_envelope();
        let replay = scope.spawn(|| topic.subscribe(outbox, options));
        until("the replay waits for the token", || waiting(1));
        let members = lock(&topic.state.members);
        drop(token);
        until("the replay has queued the rest", || ann.outbox().len() == 1);
        let receive = scope.spawn(|| topic.receive(received(103, &["c"])));
        until("the engine waits for the token", || waiting(1));
        drop(members);
        assert_eq!(receivers(&receive.join().expect("it does not panic")), [1]);
        replay.join().expect("it does not panic").expect("it is up")
    });
    topic.receive(received(104, &["d"]));
    ann.write();
    assert_eq!(texts(&ann), ["102 b", "103 c", "104 d"]);
    drop(subscription);
    end(ann);
}
