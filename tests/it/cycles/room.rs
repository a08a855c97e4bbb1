//! C3 to C6: cycles through a topic and the list of its members.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{TryRecvError, bounded};
use standpipe::{Config, Connection, Handler, Hub, Message, Outbox, SubscribeOptions};

use super::{SHORT, everybody_is_gone, tight};
use crate::support::{Failure, Frame, TestServer, until, with_both_flush_modes, within};

/// Raw mode without the binary: what a client sends goes to all; who leaves is announced by its own thread.
struct Room {
    hub: Hub,
}

impl Handler for Room {
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

#[test]
fn c03_a_member_that_does_not_read_keeps_nobody_from_joining_and_leaving() {
    with_both_flush_modes(|config| {
        let hub = Hub::default();
        let server = TestServer::start(tight(config), Room { hub: hub.clone() });
        let mut stuck: Vec<_> = (0..5)
            .map(|_| server.client().small_rcvbuf().connect())
            .collect();
        until("all are members", || {
            hub.topic("room").unwrap().members() == 5
        });
        // Publishes all the time from outside, and waits for nobody's peer.
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
            // Or it is cut itself: what counts is that it came in, got something, and is let go.
            let rest = client.rest();
            assert_eq!(
                rest.closes.len(),
                1,
                "reset {}, {} messages",
                rest.reset,
                rest.messages.len()
            );
            stuck.push(server.client().small_rcvbuf().connect());
        }
        drop(stop);
        within(20, "the publisher to end", || publisher.join().unwrap());
    });
}

#[test]
fn c04_members_are_cut_while_others_publish_to_them() {
    with_both_flush_modes(|config| {
        let hub = Hub::default();
        let server = TestServer::start(
            tight(config).close_timeout(SHORT),
            Room { hub: hub.clone() },
        );
        let stuck: Vec<_> = (0..20)
            .map(|_| server.client().small_rcvbuf().connect())
            .collect();
        until("all are members", || {
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
        let cut: usize = within(30, "800 publishes", || {
            publishers.into_iter().map(|p| p.join().unwrap()).sum()
        });
        assert!(cut >= 20, "every one was found slow: {cut}");
        everybody_is_gone(&server);
        until("all are counted, each once", || {
            let endings = server.handle().disconnects();
            let ended = |name| endings.iter().find(|(known, _)| *known == name).unwrap().1;
            ended("slow_consumer") + ended("close_timeout") == 20
        });
        drop(stuck);
    });
}

#[test]
fn c05_clients_that_leave_while_they_are_ended_are_gone_once() {
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
            // The one who ends clients does it under this lock.
            all.lock().unwrap().remove(&conn.number());
            Ok(())
        },
    );
    for round in 0..30 {
        let clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        until("they are in", || outboxes.lock().unwrap().len() == 4);
        let leaving = thread::spawn(move || {
            for client in clients {
                client.try_bytes(Frame::close(1000, "").bytes());
                drop(client);
            }
        });
        for outbox in outboxes.lock().unwrap().values() {
            match round % 3 {
                0 => outbox.close(4000, "out"),
                1 => outbox.terminate(),
                _ => server.handle().client_states().clear(),
            }
        }
        within(20, "them to leave", || leaving.join().unwrap());
        everybody_is_gone(&server);
        // A reset is an error of `recv`, so not each has taken itself off our list.
        outboxes.lock().unwrap().clear();
        until("the topic is gone with them", || hub.is_empty());
    }
}

#[test]
fn c06_everybody_who_leaves_tells_the_others_while_all_leave() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(
            config,
            Room {
                hub: Hub::default(),
            },
        );
        let clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
        until("all are in", || server.handle().clients() == 40);
        for client in &clients {
            client.close(1000, "");
        }
        for mut client in clients {
            let rest = client.rest();
            assert_eq!(rest.closes, [(1000, String::new())]);
        }
        everybody_is_gone(&server);
    });
}
