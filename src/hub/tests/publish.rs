//! What goes together into a topic, and what is left to do after it, against sockets in memory.

use tungstenite::Message;

use super::*;
use crate::config::Config;
use crate::connection::testing::single_threaded::SingleThreaded;
use crate::hub::{Envelope, Hub, HubConfig, SubscribeOptions, Subscription, Topic};

fn publications(count: u8) -> Vec<Publication> {
    let publication = |n| Publication::from(Message::binary(vec![n]));
    (0..count).map(publication).collect()
}

fn topic(policy: Policy, queue: usize) -> Topic {
    let settings = TopicSettings::default().policy(policy).queue(queue);
    let hub = Hub::new(HubConfig::default().topic("*", settings));
    hub.topic("t").expect("there is room for one")
}

/// One whose socket takes so many bytes at a time.
fn member(topic: &Topic, takes: usize) -> (SingleThreaded, Subscription) {
    let client = SingleThreaded::new(Config::default());
    client.accept_per_call(takes);
    let member = topic.subscribe(client.outbox().clone(), SubscribeOptions::new());
    (client, member.expect("the turn is free"))
}

/// What goes together is in hand when the socket refuses it, out of the policy's reach.
#[test]
fn no_more_goes_together_than_may_wait_for_a_member() {
    let topic = topic(Policy::DropOldest, 2);
    let (client, _member) = member(&topic, 0);
    let published = topic.publish_all(publications(10)).expect("it is free");
    assert!(published.iter().all(|published| published.receivers == 1));
    client.write();
    // Two in hand, and the two newest.
    let accounts = client.outbox().counts();
    assert_eq!((accounts.delivered, accounts.dropped), (4, 6));
    client.end();
}

/// A message may be larger than the one it replaces.
#[test]
fn a_slow_member_has_no_more_waiting_than_its_bytes_and_one_message() {
    for policy in [Policy::DropOldest, Policy::Conflate] {
        let topic = topic(policy, 64);
        let client = SingleThreaded::new(Config::default().queue_bytes(1000));
        client.accept_per_call(0);
        let _member = topic.subscribe(client.outbox().clone(), SubscribeOptions::new());
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

/// Another's message that is too large is not its to make good: what fits in the place of its own key takes that only.
#[test]
fn who_takes_a_place_of_its_size_takes_no_other() {
    let topic = topic(Policy::Conflate, 64);
    let client = SingleThreaded::new(Config::default().queue_bytes(1000));
    client.accept_per_call(0);
    let _member = topic.subscribe(client.outbox().clone(), SubscribeOptions::new());
    let dropped_by = |size: usize, key: usize| {
        let before = client.outbox().counts().dropped;
        let publication = Publication::from(Message::binary(vec![7; size]));
        let published = topic.publish(publication.key(&key.to_string()));
        published.expect("it is free");
        client.outbox().counts().dropped - before
    };
    // The first is in hand, and 51 of 19 bytes wait.
    dropped_by(1, 99);
    assert_eq!((0..51).map(|key| dropped_by(17, key)).sum::<u64>(), 0);
    assert_eq!(dropped_by(900, 0), 1);
    assert!(client.outbox().bytes() > 1000);
    assert_eq!(dropped_by(17, 40), 1);
    client.end();
}

/// Somebody else waits for the turn, so members are flushed after it.
fn with_another_waiting<T>(topic: &Topic, publish: impl FnOnce() -> T) -> T {
    topic
        .state
        .waiting_publishers
        .fetch_add(1, Ordering::Relaxed);
    let published = publish();
    topic
        .state
        .waiting_publishers
        .fetch_sub(1, Ordering::Relaxed);
    published
}

#[test]
fn who_was_given_a_message_before_the_envelope_panicked_has_it() {
    struct Panics;
    impl Envelope for Panics {
        fn message(&self, _: &str, _: &TopicMessage) -> Message {
            panic!("the user's code")
        }
        fn gap(&self, _: &str, _: u64, _: u64) -> Message {
            Message::text("")
        }
        fn presence(&self, _: &str, _: &str, _: bool) -> Message {
            Message::text("")
        }
    }
    let config = HubConfig {
        envelope: Some(Arc::new(Panics)),
        ..HubConfig::default()
    };
    let hub = Hub::new(config);
    let topic = hub.topic("t").expect("there is room for one");
    let (plain, other) = (
        SingleThreaded::new(Config::default()),
        SingleThreaded::new(Config::default()),
    );
    plain.accept_per_call(1000);
    let _plain = topic.subscribe(plain.outbox().clone(), SubscribeOptions::new());
    let _other = topic.subscribe(
        other.outbox().clone(),
        SubscribeOptions::new().with_envelope(),
    );
    let published = with_another_waiting(&topic, || {
        crate::panic::catch_panic(|| topic.publish(Message::text("x")))
    });
    assert!(published.is_none());
    assert_eq!(plain.outbox().counts().delivered, 1);
    plain.end();
    other.end();
}

#[test]
fn nobody_waits_for_a_message_because_its_publisher_waits_for_another_member() {
    let timeout = Some(Duration::from_secs(60));
    let topic = topic(Policy::Block { timeout }, 2);
    let (fast, full) = (
        SingleThreaded::new(Config::default()),
        SingleThreaded::new(Config::default()),
    );
    fast.accept_per_call(1000);
    full.accept_per_call(0);
    let _fast = topic.subscribe(fast.outbox().clone(), SubscribeOptions::new());
    let _full = topic.subscribe(full.outbox().clone(), SubscribeOptions::new());
    for publication in publications(3) {
        topic.publish(publication).expect("one in hand, two wait");
    }
    std::thread::scope(|scope| {
        let publisher =
            scope.spawn(|| with_another_waiting(&topic, || topic.publish(Message::text("x"))));
        let deadline = Instant::now() + Duration::from_secs(30);
        while fast.outbox().counts().delivered < 4 {
            assert!(
                Instant::now() < deadline,
                "waited for the fast one's message"
            );
            std::thread::yield_now();
        }
        assert!(
            !publisher.is_finished(),
            "it waits for the one that is full"
        );
        full.outbox().terminate();
        let published = publisher.join().expect("it does not panic");
        assert_eq!(published.map(|published| published.receivers), Ok(1));
    });
    fast.end();
    full.end();
}

#[test]
fn what_is_not_for_one_client_is_kept_from_it_among_what_is() {
    let topic = topic(Policy::DropNewest, 64);
    let (client, _member) = member(&topic, 1000);
    let mut publications = publications(4);
    publications[1] = publications[1].clone().except(client.outbox().number());
    publications[2] = publications[2].clone().except(client.outbox().number() + 1);
    let published = topic.publish_all(publications).expect("it is free");
    let receivers: Vec<usize> = published
        .iter()
        .map(|published| published.receivers)
        .collect();
    assert_eq!(receivers, [1, 0, 1, 1]);
    assert_eq!(client.outbox().counts().delivered, 3);
    client.end();
}

#[test]
fn nothing_is_published_when_one_of_them_cannot_be() {
    let topic = topic(Policy::DropNewest, 64);
    let before = topic.last_id();
    let mut publications = publications(2);
    publications.push(Message::Ping(vec![].into()).into());
    assert_eq!(topic.publish_all(publications), Err(PublishError::NotData));
    assert_eq!(topic.last_id(), before);
    assert_eq!(topic.publish_all(vec![]), Ok(vec![]));
}
