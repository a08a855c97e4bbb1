//! Clients that subscribe to one topic several times, and lists of members that change.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::connection::Outbox;
use crate::connection::testing::dice::Dice;
use crate::connection::testing::single_threaded::SingleThreaded;
use crate::hub::publish::acquire_publish_token;
use crate::hub::{
    Envelope, Gap, Hub, HubConfig, Publication, SubscribeError, SubscribeOptions, Subscription,
    Topic, TopicMessage, TopicSettings,
};
use crate::message::Message;
use crate::sync::lock;

/// Writes `[text]`, or `+ name` and `- name`.
struct Short;

impl Envelope for Short {
    fn message(&self, _: &str, message: &TopicMessage) -> Message {
        Message::text(format!("[{}]", message.message()))
    }
    fn gap(&self, _: &str, _: Gap<'_>) -> Message {
        Message::text("gap")
    }
    fn presence(&self, _: &str, name: &str, joined: bool) -> Message {
        Message::text(format!("{} {name}", if joined { '+' } else { '-' }))
    }
}

/// A topic with a queue of 4, and a history of 100.
fn topic(publish_timeout: Duration) -> Topic {
    let settings = TopicSettings::default().queue(4).history(100);
    let config = HubConfig::default().default_settings(settings);
    let hub = Hub::new(config.publish_timeout(publish_timeout).envelope(Short));
    hub.topic("t").expect("it is the only topic")
}

fn client(accepts: usize) -> SingleThreaded {
    let client = SingleThreaded::new(Config::default().queue(4));
    client.accept_per_call(accepts);
    client
}

fn subscribe(topic: &Topic, client: &SingleThreaded, options: SubscribeOptions) -> Subscription {
    let subscription = topic.subscribe(client.outbox().clone(), options);
    subscription.expect("nothing holds the topic")
}

/// Returns the texts that were written.
fn texts(client: &SingleThreaded) -> Vec<String> {
    let frames = client.frames().into_iter();
    frames
        .map(|(_, payload)| String::from_utf8(payload).expect("text"))
        .collect()
}

#[test]
fn client_subscribed_twice_receives_each_message_once() {
    let topic = topic(Duration::ZERO);
    let client = client(usize::MAX);
    let first = subscribe(&topic, &client, SubscribeOptions::new());
    let second = subscribe(&topic, &client, SubscribeOptions::new());
    assert_eq!((first.was_member(), second.was_member()), (false, true));
    assert_eq!(topic.members(), 1);
    let outcome = topic.publish("1").expect("it is free");
    assert_eq!(outcome.receivers, 1);
    let more = ["2", "3"].map(Publication::from);
    topic.publish_all(more.into()).expect("it is free");
    // The first one ends before the second.
    drop(first);
    topic.publish("4").expect("it is free");
    drop(second);
    let outcome = topic.publish("5").expect("it is free");
    assert_eq!((outcome.receivers, topic.members()), (0, 0));
    assert_eq!(texts(&client), ["1", "2", "3", "4"]);
    let again = subscribe(&topic, &client, SubscribeOptions::new());
    assert!(!again.was_member());
    drop(again);
    client.end();
}

#[test]
fn further_subscription_adds_its_name_and_presence_only() {
    let topic = topic(Duration::ZERO);
    let client = client(usize::MAX);
    let before = topic.last_id();
    topic.publish("old").expect("it is free");
    let options = SubscribeOptions::new();
    let first = subscribe(&topic, &client, options.clone().with_name("ann"));
    let last = topic.publish("1").expect("it is free").id;
    // With a replay, the client would receive `old` after `1`.
    let options = options.with_presence().with_envelope().since(before);
    let second = subscribe(&topic, &client, options.with_name("bob"));
    assert_eq!((second.was_member(), second.last_id()), (true, last));
    topic.publish("2").expect("it is free");
    assert_eq!(topic.presence(), ["ann", "bob"]);
    assert_eq!(texts(&client), ["1", "+ bob", "2"]);
    drop((first, second));
    client.end();
}

#[test]
fn subscription_during_a_replay_is_busy() {
    let topic = topic(Duration::ZERO);
    for n in 0..20 {
        topic.publish(n.to_string()).expect("it is free");
    }
    // Its socket accepts nothing, so the replay waits when 4 messages are queued.
    let client = client(0);
    let from_start = || SubscribeOptions::new().since(topic.last_id() - 20);
    std::thread::scope(|scope| {
        let replay = scope.spawn(|| topic.subscribe(client.outbox().clone(), from_start()));
        let deadline = Instant::now() + Duration::from_secs(30);
        while client.outbox().len() < 4 {
            assert!(Instant::now() < deadline, "waited for a full queue");
            std::thread::yield_now();
        }
        let others = [SubscribeOptions::new(), from_start()]
            .map(|options| scope.spawn(|| topic.subscribe(client.outbox().clone(), options).err()));
        while !others.iter().all(|other| other.is_finished()) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        // Also ends the wait of a second replay, which must not have begun.
        client.outbox().terminate();
        let refused = others.map(|other| other.join().expect("it does not panic"));
        assert_eq!(
            refused,
            [Some(SubscribeError::Busy), Some(SubscribeError::Busy)]
        );
        let replayed = replay.join().expect("it does not panic");
        assert!(replayed.is_ok_and(|subscription| !subscription.was_member()));
    });
    assert_eq!(topic.members(), 0);
    client.end();
}

#[test]
fn failed_replay_leaves_nothing_behind() {
    let topic = topic(Duration::ZERO);
    let client = client(usize::MAX);
    let token = acquire_publish_token(&topic.state, None).expect("it is free");
    let options = SubscribeOptions::new().since(topic.last_id());
    let refused = topic.subscribe(client.outbox().clone(), options.clone());
    assert_eq!(refused.err(), Some(SubscribeError::Busy));
    assert!(lock(&topic.state.members).places.is_empty());
    drop(token);
    assert!(!subscribe(&topic, &client, options).was_member());
    assert!(lock(&topic.state.members).places.is_empty());
    client.end();
}

/// Compared with a map from the client to the number of its subscriptions.
#[test]
fn members_are_those_with_a_subscription() {
    let topic = topic(Duration::ZERO);
    let clients: Vec<SingleThreaded> = (0..8).map(|_| client(usize::MAX)).collect();
    let mut subscriptions: Vec<(u64, Subscription)> = Vec::new();
    let mut random = Dice::new(7);
    for step in 0..2000 {
        let choice = random.below(100);
        if choice < 50 && subscriptions.len() < 20 {
            let client = &clients[choice % clients.len()];
            let mut options = SubscribeOptions::new();
            if choice < 10 {
                options = options.since(topic.last_id());
            }
            let subscription = subscribe(&topic, client, options);
            subscriptions.push((client.outbox().number(), subscription));
        } else if !subscriptions.is_empty() {
            drop(subscriptions.swap_remove(choice % subscriptions.len()));
        }
        let mut model: BTreeMap<u64, u32> = BTreeMap::new();
        for (client, _) in &subscriptions {
            *model.entry(*client).or_default() += 1;
        }
        let mut listed: Vec<u64> = topic.outboxes().iter().map(Outbox::number).collect();
        listed.sort_unstable();
        assert_eq!(
            listed,
            model.keys().copied().collect::<Vec<_>>(),
            "step {step}"
        );
        let members = lock(&topic.state.members);
        for (client, place) in &members.places {
            let at = place.at.expect("no replay is running") as usize;
            assert_eq!(members.list[at].outbox.number(), *client);
            assert_eq!(model.get(client), Some(&place.subscriptions));
        }
    }
    drop(subscriptions);
    assert!(lock(&topic.state.members).places.is_empty());
    clients.into_iter().for_each(SingleThreaded::end);
}
