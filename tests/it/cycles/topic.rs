//! Cycles through a topic and its list of members.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{TryRecvError, bounded};
use standpipe::{Config, Connection, Handler, Hub, HubConfig, Message, Outbox, SubscribeOptions};

use super::{SHORT, slow_timeouts, wait_until_empty};
use crate::support::{Failure, Frame, TestServer, until, with_both_flush_modes, within};

/// A handler like the binary's raw mode: each client publishes what it sends. When a client leaves, its own thread
/// publishes that.
struct Relay {
    hub: Hub,
}

impl Handler for Relay {
    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        let topic = self.hub.topic("room").unwrap();
        let member = topic
            .subscribe(conn.outbox(), SubscribeOptions::new())
            .unwrap();
        let ended = loop {
            match conn.recv() {
                Ok(Some(message)) => topic.publish(message).unwrap(),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
        };
        drop(member);
        topic
            .publish(Message::text(format!("{} left", conn.number())))
            .unwrap();
        ended
    }
}

/// A hub whose topics fit into the queues of [`slow_timeouts`].
fn hub() -> Hub {
    let mut config = HubConfig::default();
    config.default.queue = 8;
    Hub::new(config)
}

#[test]
fn slow_member_does_not_block_joining_or_leaving() {
    with_both_flush_modes(|config| {
        let hub = hub();
        let server = TestServer::start(slow_timeouts(config), Relay { hub: hub.clone() });
        let mut slow: Vec<_> = (0..5)
            .map(|_| server.client().small_rcvbuf().connect())
            .collect();
        until("all clients are members", || {
            hub.topic("room").unwrap().members() == 5
        });
        // A thread without a connection publishes all the time. It waits for no peer.
        let (stop, stopped) = bounded::<()>(0);
        let topic = hub.topic("room").unwrap();
        let publisher = thread::spawn(move || {
            let message = Message::binary(vec![0; 8 << 10]);
            while stopped.try_recv() != Err(TryRecvError::Disconnected) {
                topic.publish(message.clone()).unwrap();
            }
        });
        for _ in 0..30 {
            let mut client = server.connect();
            client.next_frame();
            client.try_bytes(Frame::close(1000, "").bytes());
            // The server may also disconnect this client as slow. It has joined and received a message, and it must be
            // able to leave.
            let rest = client.rest();
            assert_eq!(
                rest.closes.len(),
                1,
                "reset {}, {} messages",
                rest.reset,
                rest.messages.len()
            );
            slow.push(server.client().small_rcvbuf().connect());
        }
        drop(stop);
        within(20, "the publisher to end", || publisher.join().unwrap());
    });
}

#[test]
fn slow_members_are_disconnected_during_publishing() {
    with_both_flush_modes(|config| {
        let hub = hub();
        let server = TestServer::start(
            slow_timeouts(config).close_timeout(SHORT),
            Relay { hub: hub.clone() },
        );
        let slow: Vec<_> = (0..20)
            .map(|_| server.client().small_rcvbuf().connect())
            .collect();
        until("all clients are members", || {
            hub.topic("room").unwrap().members() == 20
        });
        let publishers: Vec<_> = (0..4)
            .map(|_| {
                let topic = hub.topic("room").unwrap();
                thread::spawn(move || {
                    let message = Message::binary(vec![0; 8 << 10]);
                    (0..200)
                        .map(|_| topic.publish(message.clone()).unwrap().dropped)
                        .sum::<usize>()
                })
            })
            .collect();
        let disconnected: usize = within(30, "800 publishes", || {
            publishers.into_iter().map(|p| p.join().unwrap()).sum()
        });
        assert!(
            disconnected >= 20,
            "only {disconnected} members were found slow"
        );
        wait_until_empty(&server);
        until("each disconnect is counted once", || {
            let counts = server.handle().disconnects();
            let count = |cause| counts.iter().find(|(by, _)| by.name() == cause).unwrap().1;
            count("slow_consumer") + count("close_timeout") == 20
        });
        drop(slow);
    });
}

#[test]
fn clients_leaving_while_closed_are_removed_once() {
    let outboxes: Arc<Mutex<HashMap<u64, Outbox>>> = Arc::default();
    let all = Arc::clone(&outboxes);
    let hub = Hub::default();
    let members = hub.clone();
    let server = TestServer::start(
        Config::default().close_timeout(SHORT),
        move |conn: &mut Connection| {
            let _member = members
                .topic("room")
                .unwrap()
                .subscribe(conn.outbox(), SubscribeOptions::new())
                .unwrap();
            all.lock().unwrap().insert(conn.number(), conn.outbox());
            while conn.recv()?.is_some() {}
            // The test closes clients while it holds this lock.
            all.lock().unwrap().remove(&conn.number());
            Ok(())
        },
    );
    for round in 0..30 {
        let clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        until("the clients are connected", || {
            outboxes.lock().unwrap().len() == 4
        });
        let leaving = thread::spawn(move || {
            for client in clients {
                client.try_bytes(Frame::close(1000, "").bytes());
                drop(client);
            }
        });
        for outbox in outboxes.lock().unwrap().values() {
            match round % 3 {
                0 => outbox.close(4000, "closed"),
                1 => outbox.terminate(),
                _ => server.handle().client_states().clear(),
            }
        }
        within(20, "the clients to leave", || leaving.join().unwrap());
        wait_until_empty(&server);
        // A reset makes `recv` fail, so some handlers returned before they removed their outbox.
        outboxes.lock().unwrap().clear();
        until("the topic is removed with its members", || hub.is_empty());
    }
}

#[test]
fn departures_are_published_while_all_leave() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(
            config,
            Relay {
                hub: Hub::default(),
            },
        );
        let clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
        until("all clients are connected", || {
            server.handle().clients() == 40
        });
        for client in &clients {
            client.close(1000, "");
        }
        for mut client in clients {
            let rest = client.rest();
            assert_eq!(rest.closes, [(1000, String::new())]);
        }
        wait_until_empty(&server);
    });
}
