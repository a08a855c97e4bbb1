//! A topic: everybody gets everything, in one order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::unbounded;
use standpipe::{
    Connection, Handler, Hub, Message, Outbox, Publication, PublishError, SubscribeOptions, Topic,
};

use crate::support::{
    Failure, Frame, TestClient, TestServer, op, until, with_both_flush_modes, within,
};

/// Everybody is a member of the topic that is the path, and what everybody sends is published to it.
struct Rooms(Hub);

impl Handler for Rooms {
    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        let topic = self.0.topic(conn.request().path())?;
        let _member = topic.subscribe(conn.outbox(), SubscribeOptions::new())?;
        conn.send(Message::text("joined"))?;
        while let Some(message) = conn.recv()? {
            topic.publish(message)?;
        }
        Ok(())
    }
}

fn join(server: &TestServer, room: &str) -> TestClient {
    let mut client = TestClient::connect(server.addr(), room);
    // It is a member before it is told so, and a publisher may come between.
    while client.read_message() != Message::text("joined") {}
    client
}

/// *Slow is not full*: a burst larger than the queue finds members that read, so nobody is cut.
#[test]
fn a_thousand_frames_in_one_write_reach_every_reading_member() {
    const ROUNDS: usize = 20;
    const FRAMES: usize = 1000;
    with_both_flush_modes(|config| {
        let server = TestServer::start(config.queue(64), Rooms(Hub::default()));
        let publisher = join(&server, "/room");
        let send_half = publisher.send_half();
        let members: Vec<TestClient> = (0..4).map(|_| join(&server, "/room")).collect();
        let (done, is_done) = unbounded();
        let members: Vec<_> = members
            .into_iter()
            .chain([publisher])
            .map(|mut member| {
                let done = done.clone();
                thread::spawn(move || {
                    for round in 0..ROUNDS {
                        for n in 0..FRAMES {
                            member.expect_text(&format!("{round}/{n}"));
                        }
                        done.send(()).unwrap();
                    }
                    member
                })
            })
            .collect();
        for round in 0..ROUNDS {
            let frames = (0..FRAMES).map(|n| Frame::new(op::TEXT, format!("{round}/{n}")).bytes());
            send_half.bytes(frames.flatten().collect::<Vec<u8>>());
            for _ in &members {
                let done = is_done.recv_timeout(crate::support::DEADLINE);
                done.unwrap_or_else(|_| panic!("somebody did not get all of round {round}"));
            }
        }
        for member in members {
            let member = within(20, "a member to have read all", || member.join()).unwrap();
            member.leave();
        }
    });
}

#[test]
fn three_publishers_and_ten_subscribers_see_one_order_while_others_come_and_go() {
    const EACH: usize = 300;
    with_both_flush_modes(|config| {
        let hub = Hub::default();
        let server = TestServer::start(config, Rooms(hub.clone()));
        let subscribers: Vec<TestClient> = (0..10).map(|_| join(&server, "/t")).collect();
        assert_eq!((hub.len(), hub.topic("/t").unwrap().members()), (1, 10));

        let over = Arc::new(AtomicBool::new(false));
        let passed_by = Arc::new(AtomicUsize::new(0));
        let guests: Vec<_> = (0..2)
            .map(|_| {
                let (over, passed_by) = (Arc::clone(&over), Arc::clone(&passed_by));
                let client = server.client().path("/t");
                thread::spawn(move || {
                    let mut seen = Vec::new();
                    while !over.load(Ordering::SeqCst) {
                        let mut guest = client.connect();
                        guest.close(1000, "");
                        let rest = guest.rest();
                        assert_eq!(rest.closes.len(), 1, "{rest:?}");
                        let events = rest.messages.into_iter();
                        let joined = Message::text("joined");
                        seen.push(events.filter(|m| *m != joined).collect::<Vec<_>>());
                        passed_by.fetch_add(1, Ordering::SeqCst);
                    }
                    seen
                })
            })
            .collect();
        until("guests come and go", || {
            passed_by.load(Ordering::SeqCst) > 2
        });

        let publishers: Vec<_> = ["a", "b", "c"]
            .map(|name| {
                let client = join(&server, "/t");
                thread::spawn(move || {
                    for n in 0..EACH {
                        client.text(format!("{name} {n}"));
                    }
                    client
                })
            })
            .into();
        let readers: Vec<_> = subscribers
            .into_iter()
            .map(|mut subscriber| {
                thread::spawn(move || {
                    let seen: Vec<Message> =
                        (0..3 * EACH).map(|_| subscriber.read_message()).collect();
                    (subscriber, seen)
                })
            })
            .collect();
        let mut orders = Vec::new();
        for reader in readers {
            let (subscriber, seen) =
                within(60, "a subscriber to get all", || reader.join().unwrap());
            orders.push(seen);
            // Nothing is doubled: behind the last message comes the Close.
            subscriber.close(1000, "");
            let rest = within(20, "the last to be read", move || {
                let mut subscriber = subscriber;
                subscriber.rest()
            });
            assert_eq!((rest.messages, rest.closes.len()), (vec![], 1));
        }
        over.store(true, Ordering::SeqCst);
        let order = &orders[0];
        assert!(orders.iter().all(|other| other == order), "two orders");
        let mut next: HashMap<String, usize> = HashMap::new();
        for message in order {
            let text = message.to_text().unwrap();
            let (name, n) = text.split_once(' ').unwrap();
            let next = next.entry(name.to_owned()).or_default();
            assert_eq!(n.parse::<usize>().unwrap(), *next, "{name}");
            *next += 1;
        }
        // Who comes and goes sees a piece of the same order.
        for guest in guests {
            for seen in within(20, "the guests to leave", || guest.join().unwrap()) {
                let is_piece =
                    seen.is_empty() || order.windows(seen.len()).any(|piece| piece == seen);
                assert!(is_piece, "{seen:?}");
            }
        }
        for publisher in publishers {
            publisher.join().unwrap().close(1000, "");
        }
        until("nobody is there, and no topic", || hub.is_empty());
    });
}

/// Takes clients' outboxes out of the server, for tests that subscribe and publish by themselves.
fn outboxes(config: standpipe::Config) -> (TestServer, crossbeam_channel::Receiver<Outbox>) {
    let (outbox_sender, outboxes) = unbounded();
    let keeps = move |conn: &mut Connection| -> Result<(), Failure> {
        outbox_sender.send(conn.outbox())?;
        while conn.recv()?.is_some() {}
        Ok(())
    };
    (TestServer::start(config, keeps), outboxes)
}

#[test]
fn a_topic_is_there_while_somebody_holds_it_or_is_subscribed() {
    with_both_flush_modes(|config| {
        let (server, outboxes) = outboxes(config);
        let mut client = server.connect();
        let outbox = outboxes.recv().unwrap();
        let hub = Hub::default();
        assert!(hub.is_empty());
        let topic = hub.topic("t").unwrap();
        assert_eq!((hub.len(), topic.name(), topic.members()), (1, "t", 0));
        let member = hub
            .topic("t")
            .unwrap()
            .subscribe(outbox.clone(), SubscribeOptions::new())
            .unwrap();
        assert_eq!(topic.members(), 1, "the same topic");
        drop(topic);
        assert_eq!(hub.len(), 1, "a member keeps it");
        let published = |topic: &Topic, text: &str| topic.publish(Message::text(text)).unwrap();
        assert_eq!(published(&hub.topic("t").unwrap(), "1").receivers, 1);
        drop(member);
        assert!(hub.is_empty());
        assert_eq!(published(&hub.topic("t").unwrap(), "2").receivers, 0);

        let topic = hub.topic("t").unwrap();
        let _member = topic
            .subscribe(outbox.clone(), SubscribeOptions::new())
            .unwrap();
        let to_others = Publication::from(Message::text("3")).except(outbox.number());
        let others = topic.publish(to_others).unwrap();
        assert_eq!((others.receivers, others.dropped), (0, 0));
        let ping = Message::Ping(vec![1].into());
        assert_eq!(topic.publish(ping), Err(PublishError::NotData));
        published(&topic, "4");
        client.expect_text("1");
        client.expect_text("4");
        client.leave();
        until("its outbox is closed", || {
            published(&topic, "5").receivers == 0
        });
    });
}
