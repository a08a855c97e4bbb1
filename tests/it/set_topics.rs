//! Settings of topics that are replaced while the hub runs: what becomes of members, histories and publishers.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use standpipe::{Config, HubConfig, Message, Policy, SubscribeOptions, TopicSettings};

use crate::support::{DEADLINE, HubFixture, TopicEvent, events_of, until, within};

/// The pattern of every topic.
fn all(settings: TopicSettings) -> Vec<(String, TopicSettings)> {
    vec![("*".into(), settings)]
}

fn fixture(settings: TopicSettings) -> HubFixture {
    HubFixture::new(Config::default(), HubConfig::default().topic("*", settings))
}

/// A message that fills a queue and the small buffers of the sockets soon.
fn large() -> Message {
    Message::text("x".repeat(8 << 10))
}

#[test]
fn history_is_shortened_without_a_publisher() {
    let settings = TopicSettings::default().history(10);
    let fixture = fixture(settings);
    let topic = fixture.topic("a");
    for number in 1..=10 {
        topic.publish(format!("{number}")).unwrap();
    }
    fixture.hub.set_topics(all(settings.history(3))).unwrap();
    let texts: Vec<_> = topic.history(0).iter().map(|kept| kept.message()).collect();
    assert_eq!(texts, ["8", "9", "10"].map(Message::text));
    fixture.hub.set_topics(all(settings.history(0))).unwrap();
    assert_eq!(
        (topic.history(0).len(), fixture.hub.history_bytes()),
        (0, 0)
    );
    // The topic has no reason to exist any more.
    drop(topic);
    until("the topic ends", || fixture.hub.get("a").is_none());
}

#[test]
fn longer_history_grows_with_new_messages() {
    let settings = TopicSettings::default();
    let fixture = fixture(settings);
    let topic = fixture.topic("a");
    topic.publish("before").unwrap();
    fixture.hub.set_topics(all(settings.history(2))).unwrap();
    for text in ["1", "2", "3"] {
        topic.publish(text).unwrap();
    }
    let texts: Vec<_> = topic.history(0).iter().map(|kept| kept.message()).collect();
    assert_eq!(texts, ["2", "3"].map(Message::text));
}

#[test]
fn new_max_age_removes_old_messages() {
    let settings = TopicSettings::default().history(10);
    let fixture = fixture(settings);
    let topic = fixture.topic("a");
    topic.publish("old").unwrap();
    let aged = settings.max_age(Duration::from_millis(1));
    fixture.hub.set_topics(all(aged)).unwrap();
    drop(topic);
    until("the old message is removed", || {
        fixture.hub.get("a").is_none()
    });
}

#[test]
fn policy_that_was_set_by_hand_stays() {
    let settings = TopicSettings::default().policy(Policy::DropOldest);
    let fixture = fixture(settings);
    let topic = fixture.topic("a");
    topic.set_policy(Policy::Conflate);
    fixture.hub.set_topics(all(settings)).unwrap();
    assert_eq!(topic.settings().policy, Policy::Conflate);
    // Another setting of the topic changes.
    fixture.hub.set_topics(all(settings.history(5))).unwrap();
    let now = topic.settings();
    assert_eq!((now.policy, now.history), (Policy::Conflate, 5));
    // The patterns name another policy.
    let new = settings.history(5).policy(Policy::DropNewest);
    fixture.hub.set_topics(all(new)).unwrap();
    assert_eq!(topic.settings(), new);
}

#[test]
fn later_topic_has_the_new_settings() {
    let fixture = fixture(TopicSettings::default());
    let new = TopicSettings::default().queue(7).history(3);
    fixture.hub.set_topics(vec![("a".into(), new)]).unwrap();
    assert_eq!(fixture.topic("a").settings(), new);
    assert_eq!(fixture.topic("b").settings(), TopicSettings::default());
}

#[test]
fn refused_patterns_change_nothing() {
    let settings = TopicSettings::default().history(4);
    let fixture = fixture(settings);
    let topic = fixture.topic("a");
    let mut patterns = all(TopicSettings::default());
    patterns.push(("doc-*".into(), settings.queue(65)));
    let error = fixture.hub.set_topics(patterns).unwrap_err();
    assert_eq!(error.field(), "topics");
    assert!(
        error
            .to_string()
            .contains("\"doc-*\" is 65, but it may be at most 64"),
        "{error}"
    );
    assert_eq!(topic.settings(), settings);
    assert_eq!(fixture.topic("b").settings(), settings);
}

/// The member does not read. Its pending messages fit into the old queue, and exceed the new one.
#[test]
fn smaller_queue_applies_to_the_next_message() {
    let settings = TopicSettings::default()
        .policy(Policy::DropNewest)
        .queue(32);
    let fixture = fixture(settings);
    let topic = fixture.topic("a");
    let (mut client, outbox) = fixture.small_client();
    let options = SubscribeOptions::new().with_envelope();
    let _member = topic.subscribe(outbox.clone(), options).unwrap();
    let dropped = || topic.publish(large()).unwrap().dropped;
    until("messages are pending", || {
        assert_eq!(dropped(), 0, "the queue has room for 32");
        outbox.len() >= 8
    });
    fixture.hub.set_topics(all(settings.queue(4))).unwrap();
    assert_eq!(dropped(), 1, "8 messages are pending, and 4 may be");
    let before = topic.counts().dropped;
    let last = topic.last_id();
    // When the member reads, it gets everything that was pending, and is told of the rest.
    let mut messages = Vec::new();
    let reached = |messages: &[Message]| {
        let ids = events_of("a", messages)
            .into_iter()
            .map(|event| match event {
                TopicEvent::Message(id, _) | TopicEvent::Gap(_, id) => id,
                other => panic!("neither message nor gap: {other:?}"),
            });
        ids.max()
    };
    while reached(&messages) != Some(last) {
        messages.push(client.read_message());
    }
    let received = events_of("a", &messages);
    let received = received
        .iter()
        .filter(|event| matches!(event, TopicEvent::Message(..)));
    assert_eq!(received.count() as u64 + before, topic.counts().accepted);
}

/// A publisher waits for a slow member under `block`. Replacing the settings does not wait for it, and its message, which
/// is in the history already, does not make the history longer than it may be now.
#[test]
fn replacement_does_not_wait_for_a_blocked_publisher() {
    let block = Policy::Block {
        timeout: Some(DEADLINE),
    };
    let settings = TopicSettings::default().policy(block).queue(4).history(100);
    let fixture = fixture(settings);
    let topic = fixture.topic("a");
    let (client, outbox) = fixture.small_client();
    let _member = topic.subscribe(outbox, SubscribeOptions::new()).unwrap();
    let (done, is_done) = mpsc::channel();
    let publisher = {
        let topic = topic.clone();
        thread::spawn(move || {
            loop {
                let outcome = topic.publish(large()).unwrap();
                if outcome.dropped > 0 || done.send(outcome.id).is_err() {
                    return outcome;
                }
            }
        })
    };
    // The publisher waits when nothing has been published for this long.
    while is_done.recv_timeout(Duration::from_millis(300)).is_ok() {}
    let new = settings.policy(Policy::DropNewest).history(2);
    let hub = fixture.hub.clone();
    within(5, "the settings to be replaced", move || {
        hub.set_topics(all(new))
    })
    .unwrap();
    assert_eq!(topic.settings(), new);
    assert!(topic.history(0).len() <= 2);
    assert!(!publisher.is_finished(), "it waits under the old policy");
    // The member goes, so the publisher goes on, under the new policy.
    client.reset();
    drop(is_done);
    within(20, "the publisher to end", move || publisher.join()).unwrap();
    until("the history has its new length", || {
        topic.history(0).len() <= 2
    });
}
