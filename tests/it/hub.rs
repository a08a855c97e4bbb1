//! Topics of a hub: each member receives every message, in the same order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::unbounded;
use standpipe::{Connection, Handler, Hub, Message, Outbox, Publication, SubscribeOptions, Topic};

use crate::support::{
    Connect, Failure, Frame, TestClient, TestServer, op, until, with_both_flush_modes, within,
};

/// A handler that subscribes each client to the topic named by its path. What the client sends is published there.
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
    // The client is a member before it receives "joined", so it may receive messages of a publisher first.
    while client.read_message() != Message::text("joined") {}
    client
}

/// A member with a full queue is slow only if its socket also refuses bytes. Therefore a burst larger than the queue
/// disconnects no member that reads.
#[test]
fn burst_larger_than_the_queue_reaches_every_reader() {
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
                done.unwrap_or_else(|_| panic!("a member did not receive all of round {round}"));
            }
        }
        for member in members {
            let member =
                within(20, "a member to have received everything", || member.join()).unwrap();
            member.leave();
        }
    });
}

/// Connects and leaves again and again until `finished` is set. Returns the messages that each connection received.
fn connect_repeatedly(
    finished: &AtomicBool,
    client: &Connect,
    connections: &AtomicUsize,
) -> Vec<Vec<Message>> {
    let mut seen = Vec::new();
    while !finished.load(Ordering::SeqCst) {
        let mut connected = client.connect();
        connected.close(1000, "");
        let rest = connected.rest();
        assert_eq!(rest.closes.len(), 1, "{rest:?}");
        let messages = rest.messages.into_iter();
        let joined = Message::text("joined");
        seen.push(messages.filter(|m| *m != joined).collect());
        connections.fetch_add(1, Ordering::SeqCst);
    }
    seen
}

/// Checks that the messages of each publisher, such as `a 0` and `a 1`, are numbered without a hole.
#[track_caller]
fn assert_each_publisher_in_order(order: &[Message]) {
    let mut next: HashMap<String, usize> = HashMap::new();
    for message in order {
        let text = message.to_text().unwrap();
        let (name, n) = text.split_once(' ').unwrap();
        let next = next.entry(name.to_owned()).or_default();
        assert_eq!(n.parse::<usize>().unwrap(), *next, "{name}");
        *next += 1;
    }
}

#[test]
fn all_members_see_one_order_despite_joins_and_leaves() {
    const EACH: usize = 300;
    with_both_flush_modes(|config| {
        let hub = Hub::default();
        let server = TestServer::start(config, Rooms(hub.clone()));
        let subscribers: Vec<TestClient> = (0..10).map(|_| join(&server, "/t")).collect();
        assert_eq!((hub.len(), hub.topic("/t").unwrap().members()), (1, 10));

        let finished = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(AtomicUsize::new(0));
        let short_lived: Vec<_> = (0..2)
            .map(|_| {
                let (finished, connections) = (Arc::clone(&finished), Arc::clone(&connections));
                let client = server.client().path("/t");
                thread::spawn(move || connect_repeatedly(&finished, &client, &connections))
            })
            .collect();
        until("short-lived clients come and go", || {
            connections.load(Ordering::SeqCst) > 2
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
            let (subscriber, seen) = within(60, "a subscriber to receive everything", || {
                reader.join().unwrap()
            });
            orders.push(seen);
            // No message arrives twice: the Close follows the last message.
            subscriber.close(1000, "");
            let rest = within(20, "the subscriber to read its Close", move || {
                let mut subscriber = subscriber;
                subscriber.rest()
            });
            assert_eq!((rest.messages, rest.closes.len()), (vec![], 1));
        }
        finished.store(true, Ordering::SeqCst);
        let order = &orders[0];
        assert!(
            orders.iter().all(|other| other == order),
            "two members saw different orders"
        );
        assert_each_publisher_in_order(order);
        // A short-lived client sees a contiguous part of the same order.
        for client in short_lived {
            for seen in within(20, "the short-lived clients to leave", || {
                client.join().unwrap()
            }) {
                let is_part = seen.is_empty() || order.windows(seen.len()).any(|part| part == seen);
                assert!(is_part, "{seen:?}");
            }
        }
        for publisher in publishers {
            publisher.join().unwrap().close(1000, "");
        }
        until("all members have left and the topic is removed", || {
            hub.is_empty()
        });
    });
}

/// Starts a server that passes the clients' outboxes to the test, which subscribes and publishes itself.
fn outboxes(config: standpipe::Config) -> (TestServer, crossbeam_channel::Receiver<Outbox>) {
    let (outbox_sender, outboxes) = unbounded();
    let receives = move |conn: &mut Connection| -> Result<(), Failure> {
        outbox_sender.send(conn.outbox())?;
        while conn.recv()?.is_some() {}
        Ok(())
    };
    (TestServer::start(config, receives), outboxes)
}

#[test]
fn topic_exists_while_it_is_held_or_has_members() {
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
        assert_eq!(topic.members(), 1, "this must be the same topic");
        drop(topic);
        assert_eq!(hub.len(), 1, "a member keeps its topic");
        let publish = |topic: &Topic, text: &str| topic.publish(Message::text(text)).unwrap();
        assert_eq!(publish(&hub.topic("t").unwrap(), "1").receivers, 1);
        drop(member);
        assert!(hub.is_empty());
        assert_eq!(publish(&hub.topic("t").unwrap(), "2").receivers, 0);

        let topic = hub.topic("t").unwrap();
        let _member = topic
            .subscribe(outbox.clone(), SubscribeOptions::new())
            .unwrap();
        let to_others = Publication::from(Message::text("3")).except(outbox.number());
        let others = topic.publish(to_others).unwrap();
        assert_eq!((others.receivers, others.dropped), (0, 0));
        publish(&topic, "4");
        client.expect_text("1");
        client.expect_text("4");
        client.leave();
        until("the outbox is closed and no longer a receiver", || {
            publish(&topic, "5").receivers == 0
        });
    });
}

/// Members are told apart by their numbers. A publication that leaves one member out reaches the member of another
/// server that would otherwise have the same number.
#[test]
fn members_of_two_servers_are_told_apart() {
    let hub = Hub::default();
    let servers = [(); 2].map(|()| TestServer::start(Default::default(), Rooms(hub.clone())));
    let mut members = [join(&servers[0], "/room"), join(&servers[1], "/room")];
    let numbers =
        [&servers[0], &servers[1]].map(|server| server.handle().client_states()[0].number);
    assert_ne!(numbers[0], numbers[1]);
    let topic = hub.topic("/room").unwrap();
    for (number, text) in numbers.iter().zip(["for 1", "for 0"]) {
        topic
            .publish(Publication::from(Message::text(text)).except(*number))
            .unwrap();
    }
    members[0].expect_text("for 0");
    members[1].expect_text("for 1");
    drop(members);
}
