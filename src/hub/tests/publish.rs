//! Publishing to clients whose sockets are in memory.

use crate::message::Message;

use super::*;
use crate::config::Config;
use crate::connection::testing::single_threaded::SingleThreaded;
use crate::hub::{Envelope, Gap, Hub, HubConfig, SubscribeOptions, Subscription, Topic};
use crate::panic::catch_panic;

fn publications(count: u8) -> Vec<Publication> {
    let publication = |n| Publication::from(Message::binary(vec![n]));
    (0..count).map(publication).collect()
}

fn topic(policy: Policy, queue: usize) -> Topic {
    let settings = TopicSettings::default().policy(policy).queue(queue);
    let hub = Hub::new(HubConfig::default().topic("*", settings));
    hub.topic("t").expect("it is the only topic")
}

fn subscribe(topic: &Topic, client: &SingleThreaded) -> Subscription {
    let subscription = topic.subscribe(client.outbox().clone(), SubscribeOptions::new());
    subscription.expect("without `since` it never fails")
}

/// A member whose socket accepts `bytes` in each call.
fn member(topic: &Topic, bytes: usize) -> (SingleThreaded, Subscription) {
    let client = SingleThreaded::new(Config::default());
    client.accept_per_call(bytes);
    let subscription = subscribe(topic, &client);
    (client, subscription)
}

/// Publishes while another publisher seems to wait for the token, so that members are flushed after the publish.
fn with_waiting_publisher<T>(topic: &Topic, publish: impl FnOnce() -> T) -> T {
    let waiting = &topic.state.waiting_publishers;
    waiting.fetch_add(1, Ordering::Relaxed);
    let result = publish();
    waiting.fetch_sub(1, Ordering::Relaxed);
    result
}

/// If the socket accepts nothing, the whole batch is in flight, where no policy can drop it.
#[test]
fn batch_is_not_larger_than_the_queue() {
    let topic = topic(Policy::DropOldest, 2);
    let (client, _subscription) = member(&topic, 0);
    let outcomes = topic.publish_all(publications(10)).expect("it is free");
    assert!(outcomes.iter().all(|outcome| outcome.receivers == 1));
    client.write();
    // Two were in flight, and the two newest were pending.
    let counts = client.outbox().counts();
    assert_eq!((counts.delivered, counts.dropped), (4, 6));
    client.end();
}

/// A message may be larger than the one it replaces.
#[test]
fn slow_member_stays_within_its_bytes_and_one_message() {
    for policy in [Policy::DropOldest, Policy::Conflate] {
        let topic = topic(policy, 64);
        let client = SingleThreaded::new(Config::default().queue_bytes(1000));
        client.accept_per_call(0);
        let _subscription = subscribe(&topic, &client);
        for (size, key) in (0..300).map(|n| (if n < 100 { 5 } else { n }, n % 50)) {
            let message = Message::binary(vec![7; size]);
            let publication = Publication::from(message).key(&key.to_string());
            topic.publish(publication).expect("it is free");
            let bytes = client.outbox().bytes();
            assert!(bytes <= 1000 + size + 4, "{policy}: {bytes} with {size}");
        }
        assert!(client.outbox().counts().dropped > 200, "{policy}");
        client.end();
    }
}

#[test]
fn message_that_fits_in_its_key_drops_no_other() {
    let topic = topic(Policy::Conflate, 64);
    let client = SingleThreaded::new(Config::default().queue_bytes(1000));
    client.accept_per_call(0);
    let _subscription = subscribe(&topic, &client);
    let dropped_by = |size: usize, key: usize| {
        let before = client.outbox().counts().dropped;
        let publication = Publication::from(Message::binary(vec![7; size]));
        let outcome = topic.publish(publication.key(&key.to_string()));
        outcome.expect("it is free");
        client.outbox().counts().dropped - before
    };
    // The first message is in flight, and 51 messages of 19 bytes are pending.
    dropped_by(1, 99);
    assert_eq!((0..51).map(|key| dropped_by(17, key)).sum::<u64>(), 0);
    assert_eq!(dropped_by(900, 0), 1);
    assert!(client.outbox().bytes() > 1000);
    assert_eq!(dropped_by(17, 40), 1);
    client.end();
}

struct PanickingEnvelope;

impl Envelope for PanickingEnvelope {
    fn message(&self, _: &str, _: &TopicMessage) -> Message {
        panic!("user code panics")
    }
    fn gap(&self, _: &str, _: Gap<'_>) -> Message {
        Message::text("")
    }
    fn presence(&self, _: &str, _: &str, _: bool) -> Message {
        Message::text("")
    }
}

#[test]
fn members_before_a_panicking_envelope_are_flushed() {
    let config = HubConfig {
        envelope: Some(Arc::new(PanickingEnvelope)),
        ..HubConfig::default()
    };
    let hub = Hub::new(config);
    let topic = hub.topic("t").expect("it is the only topic");
    let (plain, _plain) = member(&topic, 1000);
    let enveloped = SingleThreaded::new(Config::default());
    let _enveloped = topic.subscribe(
        enveloped.outbox().clone(),
        SubscribeOptions::new().with_envelope(),
    );
    let outcome =
        with_waiting_publisher(&topic, || catch_panic(|| topic.publish(Message::text("x"))));
    assert!(outcome.is_none(), "the panic reaches the publisher");
    assert_eq!(plain.outbox().counts().delivered, 1);
    plain.end();
    enveloped.end();
}

#[test]
fn fast_member_does_not_wait_for_a_blocked_one() {
    let timeout = Some(Duration::from_secs(60));
    let topic = topic(Policy::Block { timeout }, 2);
    let (fast, _fast) = member(&topic, 1000);
    let (full, _full) = member(&topic, 0);
    for publication in publications(3) {
        topic
            .publish(publication)
            .expect("one is in flight, two are pending");
    }
    std::thread::scope(|scope| {
        let publisher =
            scope.spawn(|| with_waiting_publisher(&topic, || topic.publish(Message::text("x"))));
        let deadline = Instant::now() + Duration::from_secs(30);
        while fast.outbox().counts().delivered < 4 {
            assert!(
                Instant::now() < deadline,
                "waited for the fast member's message"
            );
            std::thread::yield_now();
        }
        assert!(
            !publisher.is_finished(),
            "it must still wait for the full member"
        );
        full.outbox().terminate();
        let outcome = publisher.join().expect("it does not panic");
        assert_eq!(outcome.map(|outcome| outcome.receivers), Ok(1));
    });
    fast.end();
    full.end();
}

#[test]
fn excluded_client_receives_the_other_messages() {
    let topic = topic(Policy::DropNewest, 64);
    let (client, _subscription) = member(&topic, 1000);
    let mut publications = publications(4);
    publications[1] = publications[1].clone().except(client.outbox().number());
    publications[2] = publications[2].clone().except(client.outbox().number() + 1);
    let outcomes = topic.publish_all(publications).expect("it is free");
    let receivers: Vec<usize> = outcomes.iter().map(|outcome| outcome.receivers).collect();
    assert_eq!(receivers, [1, 0, 1, 1]);
    assert_eq!(client.outbox().counts().delivered, 3);
    client.end();
}

#[test]
fn busy_topic_gives_every_publication_back() {
    let timeout = Some(Duration::from_millis(1));
    let topic = topic(Policy::Block { timeout }, 2);
    let last_id = topic.last_id();
    let one = || Publication::from("one").key("k").except(7);
    let all = || {
        vec![
            one(),
            Publication::from(vec![2]),
            Publication::from("3").json(),
        ]
    };
    let token = acquire_publish_token(&topic.state, None).expect("there is no other publisher");
    assert_eq!(topic.publish(one()), Err(PublishError::Busy(one())));
    assert_eq!(topic.try_publish(one()), Err(PublishError::Busy(one())));
    let refused = topic.publish_all(all());
    assert_eq!(refused.map_err(PublishError::into_inner), Err(all()));
    drop(token);
    // No id was used, so what was given back can be published without a hole.
    let outcomes = topic.publish_all(all()).expect("it is free");
    let ids: Vec<u64> = outcomes.iter().map(|outcome| outcome.id).collect();
    assert_eq!(ids, [last_id + 1, last_id + 2, last_id + 3]);
}

/// The wait of each call is far from the wait of every other one.
#[test]
fn publisher_waits_as_long_as_its_verb_says() {
    const LONG: Duration = Duration::from_secs(30);
    let waited = |publish: &dyn Fn(&Topic) -> bool, hub: Duration, policy| {
        let mut config = HubConfig::default().publish_timeout(hub);
        config.default = TopicSettings::default().policy(policy);
        let topic = Hub::new(config).topic("t").expect("it is the only topic");
        let _token = acquire_publish_token(&topic.state, None).expect("it is free");
        let began = Instant::now();
        assert!(publish(&topic), "it must be busy");
        began.elapsed()
    };
    let (short, lossy) = (Duration::from_millis(30), Policy::DropNewest);
    let block = Policy::Block {
        timeout: Some(short),
    };
    let publish = |topic: &Topic| topic.publish("x").is_err();
    let publish_timeout = |topic: &Topic| topic.publish_timeout("x", short).is_err();
    let publish_later = |topic: &Topic| topic.publish_timeout("x", Duration::MAX).is_err();
    let try_publish = |topic: &Topic| topic.try_publish("x").is_err();
    let around_short = short..LONG / 2;
    for (verb, publish, hub, policy) in [
        ("publish", &publish as &dyn Fn(&Topic) -> bool, short, lossy),
        ("publish under block", &publish, LONG, block),
        ("publish_timeout", &publish_timeout, LONG, lossy),
        ("publish_timeout under block", &publish_later, LONG, block),
    ] {
        let waited = waited(publish, hub, policy);
        assert!(around_short.contains(&waited), "{verb}: {waited:?}");
    }
    assert!(waited(&try_publish, LONG, lossy) < LONG / 2);
}

#[test]
fn publish_of_no_messages_gives_no_id() {
    let topic = topic(Policy::DropNewest, 64);
    let before = topic.last_id();
    assert_eq!(topic.publish_all(vec![]), Ok(vec![]));
    assert_eq!(topic.last_id(), before);
}
