//! The pending messages of a client on several topics: each topic follows its own policy, without affecting others.

use std::collections::HashMap;
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use standpipe::{
    Config, DropReason, Envelope, Gap, Hub, HubConfig, Message, Outbox, Policy, Publication,
    PublishOutcome, SubscribeOptions, Subscription, Topic, TopicMessage, TopicSettings,
};

use crate::support::{
    DEADLINE, HubFixture, Reader, TestClient, TopicEvent, assert_contiguous, echo_with_outboxes,
    events_of, parse_event, until, with_both_flush_modes,
};

fn large(n: usize) -> Message {
    Message::text(format!("{n} {}", "x".repeat(1000)))
}

fn number(text: &str) -> usize {
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Creates a hub with the topics `new` (drop-newest), `old` (drop-oldest) and `latest` (conflate). `queues` contains
/// the number of messages that each topic may have pending for one member, in this order. The queue of a client holds
/// `client_queue` messages.
fn fixture_with_queues(config: Config, client_queue: usize, queues: [usize; 3]) -> HubFixture {
    let settings = |policy, queue| TopicSettings::default().policy(policy).queue(queue);
    let hub = HubConfig::default()
        .topic("new", settings(Policy::DropNewest, queues[0]))
        .topic("old", settings(Policy::DropOldest, queues[1]))
        .topic("latest", settings(Policy::Conflate, queues[2]));
    HubFixture::new(config.queue(client_queue), hub)
}

/// Like [`fixture_with_queues`]. The topic `new` alone can fill the queue of a client.
fn fixture(config: Config, client_queue: usize, queue: usize) -> HubFixture {
    fixture_with_queues(config, client_queue, [client_queue, queue, queue])
}

fn join(topics: &[Topic], outbox: &Outbox) -> Vec<Subscription> {
    let join =
        |topic: &Topic| topic.subscribe(outbox.clone(), SubscribeOptions::new().with_envelope());
    topics.iter().map(|topic| join(topic).unwrap()).collect()
}

fn connect_stalled(
    fixture: &HubFixture,
    topics: &[Topic],
) -> (TestClient, Outbox, Vec<Subscription>) {
    let (client, outbox) = fixture.small_client();
    let members = join(topics, &outbox);
    (client, outbox, members)
}

/// Publishes to a topic with the policy drop-newest until its only member stays full. Returns all outcomes.
#[track_caller]
fn fill(topic: &Topic) -> Vec<PublishOutcome> {
    let (mut all, mut in_a_row) = (Vec::new(), 0);
    until("the client is full", || {
        let published = topic.publish(large(all.len())).unwrap();
        in_a_row = if published.dropped > 0 {
            in_a_row + 1
        } else {
            0
        };
        all.push(published);
        in_a_row > 50
    });
    all
}

#[test]
fn each_topic_of_a_client_follows_its_own_policy() {
    const QUEUE: usize = 8;
    const MESSAGES: usize = 400;
    with_both_flush_modes(|config| {
        let fixture = fixture_with_queues(config, 64, [QUEUE; 3]);
        let topics = ["new", "old", "latest"].map(|name| fixture.topic(name));
        let first: Vec<u64> = topics.iter().map(|topic| topic.last_id() + 1).collect();
        let (client, outbox) = fixture.client();
        let fast = Reader::start(client);
        let mut members = join(&topics, &outbox);
        let (slow, outbox, more) = connect_stalled(&fixture, &topics);
        members.extend(more);
        let mut dropped = Vec::new();
        for n in 0..MESSAGES {
            for (at, topic) in topics.iter().enumerate() {
                fast.wait_for(3 * n + at);
                let key = format!("k{}", n % 3);
                let publication = Publication::from(large(n)).key(&key);
                let published = topic.publish(publication).unwrap();
                if at == 0 && published.dropped > 0 {
                    dropped.push(published.id);
                }
            }
        }
        let slow = Reader::start(slow);
        fast.wait_for(3 * MESSAGES);
        fixture.server.shut_down();
        let (fast, slow) = (fast.end().messages, slow.end().messages);
        for (at, topic) in topics.iter().enumerate() {
            let last = topic.last_id();
            let events = events_of(topic.name(), &fast);
            let (received, missing) = assert_contiguous(&events, first[at], last);
            assert_eq!((received.len(), missing.len()), (MESSAGES, 0), "{topic:?}");
            let events = events_of(topic.name(), &slow);
            let mut delivered = events
                .iter()
                .filter(|one| matches!(one, TopicEvent::Message(..)))
                .count();
            match topic.name() {
                "new" => {
                    let (_, missing) = assert_contiguous(&events, first[at], last);
                    assert_eq!(missing, dropped);
                }
                "old" => {
                    let (received, _) = assert_contiguous(&events, first[at], last);
                    let newest: Vec<u64> = (last + 1 - QUEUE as u64..=last).collect();
                    assert!(received.ends_with(&newest));
                }
                _ => {
                    let mut latest = HashMap::new();
                    for one in &events {
                        let TopicEvent::Message(_, text) = one else {
                            panic!("{one:?}")
                        };
                        latest.insert(number(text) % 3, number(text));
                    }
                    let mut latest: Vec<usize> = latest.into_values().collect();
                    latest.sort_unstable();
                    assert_eq!(latest, [MESSAGES - 3, MESSAGES - 2, MESSAGES - 1]);
                }
            }
            delivered += MESSAGES;
            let counts = topic.counts();
            let dropped = counts.dropped;
            assert_eq!(
                (counts.delivered, counts.discarded),
                (delivered as u64, 0),
                "{topic:?}"
            );
            assert_eq!(counts.accepted, counts.delivered + dropped);
        }
        let counts = outbox.counts();
        assert_eq!(counts.accepted, 3 * MESSAGES as u64);
        assert_eq!(counts.accepted, counts.delivered + counts.dropped);
    });
}

/// The messages of `new` fill the client's queue. Each of the other topics still delivers its newest message.
#[test]
fn latest_message_arrives_though_another_topic_fills_the_queue() {
    with_both_flush_modes(|config| {
        let fixture = fixture(config, 16, 8);
        let topics = ["new", "old", "latest"].map(|name| fixture.topic(name));
        let first: Vec<u64> = topics.iter().map(|topic| topic.last_id() + 1).collect();
        let (client, outbox, _members) = connect_stalled(&fixture, &topics);
        let filled = fill(&topics[0]);
        for n in 0..100 {
            for topic in &topics[1..] {
                let published = topic.publish(Publication::from(large(n)).key("k")).unwrap();
                assert_eq!((published.receivers, published.dropped), (1, 0));
            }
        }
        let reader = Reader::start(client);
        fixture.server.shut_down();
        let messages = reader.end().messages;
        let (_, missing) =
            assert_contiguous(&events_of("new", &messages), first[0], topics[0].last_id());
        let dropped = filled.iter().filter(|p| p.dropped == 1).map(|p| p.id);
        assert_eq!(
            missing,
            dropped.collect::<Vec<_>>(),
            "a topic displaced messages of another topic"
        );
        let old = events_of("old", &messages);
        let (received, _) = assert_contiguous(&old, first[1], topics[1].last_id());
        assert_eq!(received, [topics[1].last_id()]);
        let latest = events_of("latest", &messages);
        assert!(
            matches!(&latest[..], [TopicEvent::Message(id, _)] if *id == topics[2].last_id()),
            "{latest:?}"
        );
        let counts = outbox.counts();
        assert_eq!(counts.accepted, filled.len() as u64 + 200);
        assert_eq!(counts.accepted, counts.delivered + counts.dropped);
    });
}

#[test]
fn gap_notice_arrives_though_no_message_follows() {
    with_both_flush_modes(|config| {
        let fixture = fixture(config, 16, 8);
        let topic = fixture.topic("new");
        let first = topic.last_id() + 1;
        let (mut client, _outbox, _members) = connect_stalled(&fixture, from_ref(&topic));
        fill(&topic);
        let mut all = Vec::new();
        // Nothing else is published, and the connection stays open.
        while !matches!(all.last(), Some(TopicEvent::Gap(_, to)) if *to == topic.last_id()) {
            all.push(parse_event(&client.read_message()).1);
        }
        assert_contiguous(&all, first, topic.last_id());
        let published = topic.publish(Message::text("after")).unwrap();
        let (_, after) = parse_event(&client.read_message());
        assert_eq!(after, TopicEvent::Message(published.id, "after".into()));
        client.leave();
    });
}

#[test]
fn policy_can_change_while_messages_are_queued() {
    with_both_flush_modes(|config| {
        let fixture = fixture(config, 16, 8);
        let topic = fixture.topic("new");
        let (mut client, outbox, _members) = connect_stalled(&fixture, from_ref(&topic));
        fill(&topic);
        topic.set_policy(Policy::DropOldest);
        let published = topic.publish(Message::text("the newest")).unwrap();
        assert_eq!((published.receivers, published.dropped), (1, 0));
        topic.set_policy(Policy::Disconnect { soft: None });
        let published = topic.publish(Message::text("too much")).unwrap();
        assert_eq!((published.receivers, published.dropped), (0, 1));
        let rest = client.rest_answering_close();
        assert_eq!(rest.closes[0].0, 4008);
        until("the client is unregistered", || {
            fixture.server.handle().clients() == 0
        });
        let counts = outbox.counts();
        let ended = counts.delivered + counts.dropped + counts.discarded;
        assert_eq!(counts.accepted, ended);
        let by = |reason| topic.counts().dropped_by(reason);
        let dropped = (by(DropReason::DropOldest), by(DropReason::Disconnect));
        assert_eq!(dropped, (1, 1));
    });
}

/// A linear congruential generator (Knuth's MMIX). It returns the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

#[test]
fn switching_to_conflate_and_back_keeps_key_order() {
    const KEYS: usize = 4;
    with_both_flush_modes(|config| {
        let fixture = fixture(config, 16, 16);
        let topic = fixture.topic("latest");
        let (mut client, outbox, _members) = connect_stalled(&fixture, from_ref(&topic));
        let mut random = Random(7);
        let mut newest = [0; KEYS];
        let mut seen = [0; KEYS];
        let see = |seen: &mut [usize; KEYS], message: &Message| {
            if let (_, TopicEvent::Message(_, text)) = parse_event(message) {
                let n = number(&text);
                assert!(n > seen[n % KEYS], "{n} after {}", seen[n % KEYS]);
                seen[n % KEYS] = n;
            }
        };
        let mut n = KEYS;
        for _ in 0..150 {
            topic.set_policy(if random.below(2) == 0 {
                Policy::Conflate
            } else {
                Policy::DropOldest
            });
            for _ in 0..random.below(40) {
                n += 1;
                let key = n % KEYS;
                topic
                    .publish(Publication::from(large(n)).key(&key.to_string()))
                    .unwrap();
                newest[key] = n;
            }
            // The client reads a few messages, so the pending messages start at a different key each time.
            let reads = random.below(30).min(outbox.len());
            for _ in 0..reads {
                see(&mut seen, &client.read_message());
            }
        }
        topic.set_policy(Policy::Conflate);
        for _ in 0..KEYS {
            n += 1;
            newest[n % KEYS] = n;
            topic
                .publish(Publication::from(large(n)).key(&(n % KEYS).to_string()))
                .unwrap();
        }
        // In the end, the latest message of every key has arrived.
        while seen != newest {
            see(&mut seen, &client.read_message());
        }
    });
}

/// A newer message of a key takes the position of the older one, even if there is room at the end. Otherwise, a key
/// could be moved back again and again, and each message would cost a walk through all pending messages.
#[test]
fn no_key_starves_while_a_member_is_slow() {
    const KEYS: usize = 32;
    with_both_flush_modes(|config| {
        // So large that two messages fill a batch. Most unread messages then are pending, where they can be replaced.
        let message_of = |key: usize| Message::text(format!("{key} {}", "x".repeat(60_000)));
        let fixture = fixture(config.queue_bytes(8 << 20), KEYS, KEYS);
        let topic = fixture.topic("latest");
        let (mut client, outbox, _members) = connect_stalled(&fixture, from_ref(&topic));
        let mut random = Random(7);
        let mut round: Vec<usize> = (0..KEYS).collect();
        let mut n = 0;
        let mut publish = || {
            if n % KEYS == 0 {
                for at in (1..KEYS).rev() {
                    round.swap(at, random.below(at + 1));
                }
            }
            let key = round[n % KEYS];
            let publication = Publication::from(message_of(key)).key(&key.to_string());
            topic.publish(publication).unwrap();
            n += 1;
        };
        until("the member is slow", || {
            publish();
            outbox.counts().dropped > 200
        });
        let mut last = [0; KEYS];
        let mut longest = 0;
        for at in 0..20 * KEYS {
            // All keys are published once during every four reads, so each key soon has a pending message again.
            (0..KEYS / 4).for_each(|_| publish());
            let message = client.read_message();
            let (_, TopicEvent::Message(_, text)) = parse_event(&message) else {
                panic!("a conflating topic sent a gap notice: {message:?}");
            };
            // The messages that were already in the kernel's buffers arrive first and do not count.
            if at > 4 * KEYS {
                longest = longest.max(at - last[number(&text)]);
            }
            last[number(&text)] = at;
        }
        assert!(
            longest < 2 * KEYS,
            "a key waited for {longest} messages of other keys"
        );
    });
}

#[test]
fn excluded_member_receives_gap_notice_before_next_message() {
    with_both_flush_modes(|config| {
        let fixture = fixture(config, 64, 64);
        let topic = fixture.topic("new");
        let (reader, outbox, member) =
            fixture.reader(&topic, SubscribeOptions::new().with_envelope());
        let publish = |n: usize, except: u64| {
            let publication = Publication::from(Message::text(n.to_string())).except(except);
            topic.publish(publication).unwrap().id
        };
        let first = publish(1, 0);
        publish(2, outbox.number());
        publish(3, 0);
        reader.wait_for(3);
        drop(member);
        fixture.server.shut_down();
        let events = events_of("new", &reader.end().messages);
        let (received, missing) = assert_contiguous(&events, first, first + 2);
        assert_eq!(
            (received, missing),
            (vec![first, first + 2], vec![first + 1])
        );
    });
}

/// An envelope that counts how often it was asked for a gap notice.
struct CountsGaps(AtomicUsize);

impl Envelope for CountsGaps {
    fn message(&self, _: &str, message: &TopicMessage) -> Message {
        message.message()
    }

    fn gap(&self, _: &str, gap: Gap<'_>) -> Message {
        self.0.fetch_add(1, Ordering::SeqCst);
        Message::text(format!("{} to {}", gap.first, gap.last))
    }

    fn presence(&self, _: &str, name: &str, _: bool) -> Message {
        Message::text(name.to_owned())
    }
}

/// The envelope is user code, which may block. The queue may be discarded by the watchdog, which must never block.
#[test]
fn discarding_a_queue_builds_no_gap_notice() {
    with_both_flush_modes(|config| {
        let envelope = Arc::new(CountsGaps(AtomicUsize::new(0)));
        let mut hub = HubConfig::default();
        hub.default = TopicSettings::default().policy(Policy::DropNewest).queue(8);
        hub.envelope = Some(envelope.clone());
        let topic = Hub::new(hub).topic("t").unwrap();
        let (server, outboxes) = echo_with_outboxes(config.sndbuf(Some(16 << 10)).unsent(16 << 10));
        let stalled = server.client().small_rcvbuf().connect();
        let outbox = outboxes.recv_timeout(DEADLINE).unwrap();
        let options = SubscribeOptions::new().with_envelope();
        let member = topic.subscribe(outbox.clone(), options).unwrap();
        // The socket accepts nothing more, the pending messages are full, and a gap follows them.
        fill(&topic);
        let before = envelope.0.load(Ordering::SeqCst);
        outbox.terminate();
        until("the client is unregistered", || {
            server.handle().clients() == 0
        });
        assert_eq!(envelope.0.load(Ordering::SeqCst), before);
        drop((member, stalled));
    });
}
