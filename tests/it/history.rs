//! What a topic remembers, who resumes with it, and what comes and goes without a trace.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::unbounded;
use standpipe::{
    Connection, Handler, Hub, HubConfig, Message, Policy, SubscribeOptions, TooManyTopics, Topic,
    TopicSettings,
};

use crate::support::{
    Failure, Frame, HubFixture, Seen, TestClient, TestServer, TopicEvent, assert_contiguous, op,
    parse_event, until, with_both_flush_modes, within,
};

fn remembers(history: usize) -> HubConfig {
    let mut hub = HubConfig::default();
    hub.default = TopicSettings::default().history(history);
    hub
}

fn publish(topic: &Topic, messages: usize) {
    for n in 0..messages {
        topic.publish(Message::text(n.to_string())).unwrap();
    }
}

/// What the next messages say, until the post or gap that ends with `last`.
#[track_caller]
fn hear_up_to(client: &mut TestClient, last: u64) -> Vec<TopicEvent> {
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

/// Everybody is a member of one topic, from `?since=` on.
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
fn who_is_killed_at_random_and_resumes_gets_every_message_once() {
    const MESSAGES: usize = 2000;
    with_both_flush_modes(|config| {
        let mut hub = remembers(MESSAGES * 2);
        hub.envelope = Some(Arc::new(crate::support::TextEnvelope));
        let hub = Hub::new(hub);
        let topic = hub.topic("t").unwrap();
        let server = TestServer::start(config, Resumes(topic.clone()));
        let first = topic.last_id() + 1;
        // Every life lets them publish about as many as it reads, so that the subscribers resume while they go on.
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
        let mut chance: u64 = 42;
        let mut all = Vec::new();
        let (mut next, mut lives) = (first, 0);
        let last = first + 2 * MESSAGES as u64 - 1;
        while next <= last {
            lives += 1;
            assert!(lives < 1000, "it gets nowhere");
            chance = chance
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let mut life = (chance >> 33) % 300;
            for _ in 0..life / 16 + 2 {
                go_on.send(()).unwrap();
            }
            let mut client = TestClient::connect(server.addr(), &format!("/?since={}", next - 1));
            while life > 0 && next <= last {
                life -= 1;
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
                    // Slow for a moment, it was cut: one more way to be killed.
                    op::CLOSE => break,
                    _ => {}
                }
            }
            match chance % 3 {
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
        assert!(lives > 10, "{lives} lives");
    });
}

#[test]
fn since_replays_and_what_is_no_longer_there_is_told_exactly() {
    with_both_flush_modes(|config| {
        let fixture = HubFixture::new(config, remembers(10));
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
            let mut all = hear_up_to(&mut client, live);
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
        // An id of the future is from a clock that ran ahead: there is nothing to replay, and no gap.
        for ahead in [1, 1000, u64::MAX] {
            let (mut client, outbox) = fixture.client();
            let options = SubscribeOptions::new()
                .with_envelope()
                .since(topic.last_id().saturating_add(ahead));
            let _member = topic.subscribe(outbox, options).unwrap();
            let live = topic.publish(Message::text("live")).unwrap().id;
            assert_eq!(
                parse_event(&client.read_message()).1,
                TopicEvent::Message(live, "live".into())
            );
            client.leave();
        }
    });
}

#[test]
fn a_topic_without_history_answers_since_with_a_gap() {
    with_both_flush_modes(|config| {
        let fixture = HubFixture::new(config, HubConfig::default());
        let topic = fixture.topic("t");
        let before = topic.last_id();
        publish(&topic, 5);
        let (mut client, outbox) = fixture.client();
        let options = SubscribeOptions::new().with_envelope().since(before);
        let _member = topic.subscribe(outbox, options).unwrap();
        // It is told although nothing follows.
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
fn a_replay_longer_than_the_queue_comes_whole_while_others_publish() {
    with_both_flush_modes(|config| {
        let mut hub = remembers(5000);
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
        let all = hear_up_to(&mut client, before + 2000);
        let (received, missing) = assert_contiguous(&all, before + 1, before + 2000);
        assert_eq!((received.len(), missing.len()), (2000, 0));
        within(20, "the publisher to end", || publisher.join()).unwrap();
        drop(within(20, "the replay to end", || joiner.join()).unwrap());
    });
}

#[test]
fn history_ends_by_count_by_age_and_by_bytes() {
    let by_age = TopicSettings::default()
        .history(10)
        .max_age(Duration::from_millis(50));
    let mut config = remembers(1000).topic("age", by_age);
    config.history_bytes = 20_000;
    let hub = Hub::new(config);
    let topic = hub.topic("age").unwrap();
    publish(&topic, 15);
    let ids: Vec<u64> = topic.history(0).iter().map(|post| post.id()).collect();
    let last = topic.last_id();
    // On a slow machine some may be too old already.
    assert!(ids.len() <= 10 && (last + 1 - ids.len() as u64..=last).eq(ids));
    until("all are too old", || topic.history(0).is_empty());
    assert_eq!(hub.history_bytes(), 0);
    drop(topic);
    until("the topic is gone", || {
        hub.sweep();
        hub.is_empty()
    });

    let topics = ["a", "b"].map(|name| hub.topic(name).unwrap());
    for n in 0..1000 {
        let topic = &topics[n % 2];
        topic.publish(Message::text("x".repeat(n % 500))).unwrap();
        assert!(hub.history_bytes() <= 20_000);
        let ids: Vec<u64> = topic.history(0).iter().map(|post| post.id()).collect();
        assert!(ids.windows(2).all(|two| two[1] == two[0] + 1), "a hole");
        assert!(ids.last().is_none_or(|id| *id == topic.last_id()));
    }
    assert!(!topics[0].history(0).is_empty());
    // What has no room at all is not kept, and nothing before it: a history has no holes.
    topics[0]
        .publish(Message::text("x".repeat(30_000)))
        .unwrap();
    assert!(topics[0].history(0).is_empty());
}

#[test]
fn a_topic_that_remembers_is_there_without_anybody_and_one_that_does_not_is_gone() {
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
fn a_hundred_thousand_names_leave_nothing() {
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
    // Who is there is still found.
    assert_eq!(hub.topic("held").unwrap().last_id(), held.last_id());
}

#[test]
fn ids_grow_when_a_topic_comes_again() {
    let hub = Hub::default();
    let mut last = 0;
    for round in 0..200 {
        let topic = hub.topic("t").unwrap();
        assert!(topic.last_id() >= last);
        // More in a microsecond than its clock would give.
        for _ in 0..round {
            let id = topic.publish(Message::text("x")).unwrap().id;
            assert!(id > last, "{id} after {last}");
            last = id;
        }
    }
}
