//! The history of a topic, resuming with `since`, and the lifetime of topics.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::unbounded;
use standpipe::{
    Config, Connection, Handler, Hub, HubConfig, Message, Policy, SubscribeOptions, TooManyTopics,
    Topic, TopicSettings,
};

use crate::support::{
    Failure, Frame, HubFixture, Seen, TestClient, TestServer, TopicEvent, assert_contiguous, op,
    parse_event, until, with_both_flush_modes, within,
};

fn hub_with_history(history: usize) -> HubConfig {
    let mut hub = HubConfig::default();
    hub.default = TopicSettings::default().history(history);
    hub
}

fn publish(topic: &Topic, messages: usize) {
    for n in 0..messages {
        topic.publish(Message::text(n.to_string())).unwrap();
    }
}

/// Reads events up to the message or gap that ends with the id `last`.
#[track_caller]
fn read_up_to(client: &mut TestClient, last: u64) -> Vec<TopicEvent> {
    let mut all = Vec::new();
    loop {
        let (_, one) = parse_event(&client.read_message());
        let up_to = match one {
            TopicEvent::Message(id, _) => id,
            TopicEvent::Gap(_, to) => to,
            _ => 0,
        };
        all.push(one);
        if up_to >= last {
            return all;
        }
    }
}

/// A handler that subscribes each client to one topic, from the id in `?since=` on.
struct Resumes(Topic);

impl Handler for Resumes {
    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        let since = conn.request().query("since").unwrap().parse()?;
        let options = SubscribeOptions::new().with_envelope().since(since);
        let _member = self.0.subscribe(conn.outbox(), options)?;
        while conn.recv()?.is_some() {}
        Ok(())
    }
}

#[test]
fn resuming_client_receives_every_message_once() {
    const MESSAGES: usize = 2000;
    with_both_flush_modes(|config| {
        let mut hub = hub_with_history(MESSAGES * 2);
        hub.envelope = Some(Arc::new(crate::support::TextEnvelope));
        let hub = Hub::new(hub);
        let topic = hub.topic("t").unwrap();
        let server = TestServer::start(config, Resumes(topic.clone()));
        let first = topic.last_id() + 1;
        // Each connection lets the publishers send about as many messages as it reads. Therefore, the client resumes
        // while they still publish.
        let (go_on, may_go_on) = unbounded();
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                let (topic, may_go_on) = (topic.clone(), may_go_on.clone());
                thread::spawn(move || {
                    for n in 0..MESSAGES {
                        if n % 16 == 0 {
                            let () = may_go_on.recv().unwrap();
                        }
                        topic.publish(Message::text(n.to_string())).unwrap();
                    }
                })
            })
            .collect();
        let mut random: u64 = 42;
        let mut all = Vec::new();
        let (mut next, mut connections) = (first, 0);
        let last = first + 2 * MESSAGES as u64 - 1;
        while next <= last {
            connections += 1;
            assert!(connections < 1000, "the client makes no progress");
            random = random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let mut remaining = (random >> 33) % 300;
            for _ in 0..remaining / 16 + 2 {
                go_on.send(()).unwrap();
            }
            let mut client = TestClient::connect(server.addr(), &format!("/?since={}", next - 1));
            while remaining > 0 && next <= last {
                remaining -= 1;
                let frame = match client.next() {
                    Seen::Frame(frame) => frame,
                    Seen::Eof | Seen::Reset => break,
                };
                match frame.opcode {
                    op::TEXT => {
                        let text = String::from_utf8(frame.payload).unwrap();
                        let (_, one) = parse_event(&Message::text(text));
                        let TopicEvent::Message(id, _) = one else {
                            panic!("{one:?}, not {next}")
                        };
                        next = id + 1;
                        all.push(one);
                    }
                    // The client was slow for a moment and was disconnected. It resumes as after any other end.
                    op::CLOSE => break,
                    _ => {}
                }
            }
            match random % 3 {
                0 => client.reset(),
                1 => client.frame(&Frame::close(1000, "")),
                _ => drop(client),
            }
        }
        for publisher in publishers {
            within(20, "a publisher to end", || publisher.join()).unwrap();
        }
        let (received, missing) = assert_contiguous(&all, first, last);
        assert_eq!((received.len(), missing.len()), (2 * MESSAGES, 0));
        assert!(connections > 10, "only {connections} connections");
    });
}

#[test]
fn since_replays_history_and_reports_older_messages_as_gap() {
    with_both_flush_modes(|config| {
        let fixture = HubFixture::new(config, hub_with_history(10));
        let topic = fixture.topic("t");
        publish(&topic, 30);
        for back in [u64::MAX, 30, 12, 11, 10, 5, 0] {
            let last = topic.last_id();
            let since = last.saturating_sub(back);
            let (mut client, outbox) = fixture.client();
            let options = SubscribeOptions::new().with_envelope().since(since);
            let member = topic.subscribe(outbox, options).unwrap();
            assert_eq!(member.last_id(), last);
            let live = topic.publish(Message::text("live")).unwrap().id;
            let mut all = read_up_to(&mut client, live);
            let oldest = last - 9;
            if since + 1 < oldest {
                assert_eq!(all.remove(0), TopicEvent::Gap(since + 1, oldest - 1));
            }
            let (received, missing) = assert_contiguous(&all, oldest.max(since + 1), live);
            assert_eq!(
                (received.len(), missing.len()),
                (all.len(), 0),
                "since {since}"
            );
            client.leave();
        }
        // An id that the topic has not reached is from a hub whose clock was ahead, so it says nothing about this topic.
        for ahead in [1, 1000, u64::MAX] {
            let (mut client, outbox) = fixture.client();
            let options = SubscribeOptions::new()
                .with_envelope()
                .since(topic.last_id().saturating_add(ahead));
            let _member = topic.subscribe(outbox, options).unwrap();
            let live = topic.publish(Message::text("live")).unwrap().id;
            let mut all = read_up_to(&mut client, live);
            assert_eq!(all.remove(0), TopicEvent::Gap(1, live - 11));
            let (received, _) = assert_contiguous(&all, live - 10, live);
            assert_eq!(received.len(), 11);
            client.leave();
        }
    });
}

#[test]
fn topic_without_history_answers_since_with_a_gap() {
    with_both_flush_modes(|config| {
        let fixture = HubFixture::new(config, HubConfig::default());
        let topic = fixture.topic("t");
        let before = topic.last_id();
        publish(&topic, 5);
        let (mut client, outbox) = fixture.client();
        let options = SubscribeOptions::new().with_envelope().since(before);
        let _member = topic.subscribe(outbox, options).unwrap();
        // The gap notice arrives although no message follows.
        let (_, gap) = parse_event(&client.read_message());
        assert_eq!(gap, TopicEvent::Gap(before + 1, before + 5));
        let live = topic.publish(Message::text("live")).unwrap().id;
        assert_eq!(
            parse_event(&client.read_message()).1,
            TopicEvent::Message(live, "live".into())
        );
    });
}

#[test]
fn replay_longer_than_the_queue_is_complete() {
    with_both_flush_modes(|config| {
        let mut hub = hub_with_history(5000);
        hub.default = hub
            .default
            .policy(Policy::Block { timeout: None })
            .queue(16);
        let fixture = HubFixture::new(config.queue(16), hub);
        let topic = fixture.topic("t");
        let before = topic.last_id();
        publish(&topic, 1000);
        let publisher = {
            let topic = topic.clone();
            thread::spawn(move || publish(&topic, 1000))
        };
        let (client, outbox) = fixture.client();
        let joiner = {
            let (topic, options) = (
                topic.clone(),
                SubscribeOptions::new().with_envelope().since(before),
            );
            thread::spawn(move || topic.subscribe(outbox, options).unwrap())
        };
        let mut client = client;
        let all = read_up_to(&mut client, before + 2000);
        let (received, missing) = assert_contiguous(&all, before + 1, before + 2000);
        assert_eq!((received.len(), missing.len()), (2000, 0));
        within(20, "the publisher to end", || publisher.join()).unwrap();
        drop(within(20, "the replay to end", || joiner.join()).unwrap());
    });
}

#[test]
fn history_is_bounded_by_count_age_and_bytes() {
    let by_age = TopicSettings::default()
        .history(10)
        .max_age(Duration::from_millis(50));
    let mut config = hub_with_history(1000).topic("age", by_age);
    config.history_bytes = 20_000;
    let hub = Hub::new(config);
    let topic = hub.topic("age").unwrap();
    publish(&topic, 15);
    let ids: Vec<u64> = topic
        .history(0)
        .iter()
        .map(|message| message.id())
        .collect();
    let last = topic.last_id();
    // On a slow machine, some messages may already be too old.
    assert!(ids.len() <= 10 && (last + 1 - ids.len() as u64..=last).eq(ids));
    until("all messages are too old", || topic.history(0).is_empty());
    assert_eq!(hub.history_bytes(), 0);
    drop(topic);
    until("the topic is removed", || {
        hub.sweep();
        hub.is_empty()
    });

    let topics = ["a", "b"].map(|name| hub.topic(name).unwrap());
    for n in 0..1000 {
        let topic = &topics[n % 2];
        topic.publish(Message::text("x".repeat(n % 500))).unwrap();
        assert!(hub.history_bytes() <= 20_000);
        let ids: Vec<u64> = topic
            .history(0)
            .iter()
            .map(|message| message.id())
            .collect();
        assert!(
            ids.windows(2).all(|two| two[1] == two[0] + 1),
            "the history has a hole"
        );
        assert!(ids.last().is_none_or(|id| *id == topic.last_id()));
    }
    assert!(!topics[0].history(0).is_empty());
    // A message larger than the limit is not kept. A history has no holes, so the messages before it are removed too.
    topics[0]
        .publish(Message::text("x".repeat(30_000)))
        .unwrap();
    assert!(topics[0].history(0).is_empty());
}

/// The program registers no tick callback, and never touches the topic again.
#[test]
fn server_removes_expired_history_by_itself() {
    let by_age = TopicSettings::default()
        .history(10)
        .max_age(Duration::from_millis(1));
    let fixture = HubFixture::new(Config::default(), HubConfig::default().topic("t", by_age));
    publish(&fixture.topic("t"), 1);
    until("the topic is removed", || fixture.hub.is_empty());
    assert_eq!(fixture.hub.history_bytes(), 0);
}

#[test]
fn topic_with_history_outlives_its_members() {
    let hub = Hub::new(HubConfig::default().topic("keep*", TopicSettings::default().history(1)));
    for name in ["keep1", "keep2", "go"] {
        hub.topic(name)
            .unwrap()
            .publish(Message::text("x"))
            .unwrap();
    }
    let names: Vec<String> = hub
        .topics()
        .iter()
        .map(|topic| topic.name().to_owned())
        .collect();
    assert_eq!(names, ["keep1", "keep2"]);
    hub.sweep();
    assert_eq!(hub.get("keep1").unwrap().history(0).len(), 1);
    assert!(hub.get("go").is_none());
}

#[test]
fn hundred_thousand_names_leave_no_topics() {
    const MOST: usize = 16;
    let mut config = HubConfig::default().topic("keep*", TopicSettings::default().history(1));
    config.max_topics = MOST;
    let hub = Hub::new(config);
    let held = hub.topic("held").unwrap();
    for n in 0..100_000 {
        let topic = hub.topic(&format!("name {n}")).unwrap();
        topic.publish(Message::text("x")).unwrap();
    }
    assert_eq!(hub.len(), 1);
    let mut refused = 0;
    for n in 0..100_000 {
        match hub.topic(&format!("keep {n}")) {
            Ok(topic) => drop(topic.publish(Message::text("x")).unwrap()),
            Err(error) => {
                assert_eq!(error, TooManyTopics(MOST));
                refused += 1;
            }
        }
    }
    assert_eq!((hub.len(), refused), (MOST, 100_001 - MOST));
    // A topic that exists can still be found.
    assert_eq!(hub.topic("held").unwrap().last_id(), held.last_id());
}

#[test]
fn ids_grow_when_a_topic_is_created_again() {
    let hub = Hub::default();
    let mut last = 0;
    for round in 0..200 {
        let topic = hub.topic("t").unwrap();
        assert!(topic.last_id() >= last);
        // Ids start at the time in microseconds. This can assign more ids than microseconds have passed.
        for _ in 0..round {
            let id = topic.publish(Message::text("x")).unwrap().id;
            assert!(id > last, "{id} after {last}");
            last = id;
        }
    }
}
