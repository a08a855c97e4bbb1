//! Open means member: a client that subscribes in `Handler::opening` misses nothing that is published after its 101.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use standpipe::{
    Config, Connection, Handler, Hub, HubConfig, Message, Reply, SubscribeError, SubscribeOptions,
    TopicSettings,
};

use crate::support::{Failure, HubFixture, TestClient, TestServer, until, with_both_flush_modes};

const ROUNDS: usize = 400;

/// A handler that subscribes each client to the topic `t`, from the id in `?since=` on.
struct Members {
    hub: Hub,
    /// Clients whose missed messages did not fit into their queue before the 101.
    late: Arc<AtomicUsize>,
}

impl Members {
    fn subscribe(&self, conn: &Connection) -> Result<(), SubscribeError> {
        let mut options = SubscribeOptions::new();
        if let Some(since) = conn.request().query("since") {
            options = options.since(since.parse().unwrap());
        }
        let topic = self.hub.topic("t").unwrap();
        conn.keep(topic.subscribe(conn.outbox(), options)?);
        Ok(())
    }
}

impl Handler for Members {
    fn opening(&self, conn: &Connection) -> Result<(), Reply> {
        match self.subscribe(conn) {
            Err(SubscribeError::NotOpen) => {
                self.late.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
            other => other.map_err(|error| Reply::text(500, format!("{error}\n"))),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        if self.late.load(Ordering::SeqCst) > 0 {
            self.subscribe(conn)?;
        }
        while conn.recv()?.is_some() {}
        Ok(())
    }
}

fn members(config: Config, settings: TopicSettings) -> (TestServer, Hub, Arc<AtomicUsize>) {
    let hub = Hub::new(HubConfig::default().topic("t", settings));
    let late = Arc::default();
    let handler = Members {
        hub: hub.clone(),
        late: Arc::clone(&late),
    };
    (TestServer::start(config, handler), hub, late)
}

#[test]
fn client_that_has_its_101_receives_every_later_message() {
    with_both_flush_modes(|config| {
        let (server, hub, _) = members(config, TopicSettings::default());
        let topic = hub.topic("t").unwrap();
        for round in 0..ROUNDS {
            let mut client = server.connect();
            let outcome = topic.publish(Message::text(round.to_string())).unwrap();
            assert_eq!(outcome.receivers, 1, "round {round}");
            client.expect_text(&round.to_string());
            client.leave();
            until("the member has left", || topic.members() == 0);
        }
    });
}

#[test]
fn replay_longer_than_the_queue_follows_the_101() {
    with_both_flush_modes(|config| {
        let settings = TopicSettings::default().history(1000).queue(16);
        let (server, hub, late) = members(config.queue(16), settings);
        let topic = hub.topic("t").unwrap();
        let before = topic.last_id();
        let publish = |n: usize| {
            let outcome = topic.publish(Message::text(n.to_string()));
            outcome.unwrap();
        };
        (0..16).for_each(publish);
        // 16 messages fit, and 17 do not.
        for (messages, expected_late) in [(16, 0), (17, 1), (500, 2)] {
            (topic.history(0).len()..messages).for_each(publish);
            let mut client = TestClient::connect(server.addr(), &format!("/?since={before}"));
            publish(messages);
            // Nothing is missing, and nothing comes twice.
            for n in 0..=messages {
                client.expect_text(&n.to_string());
            }
            assert_eq!(late.load(Ordering::SeqCst), expected_late);
            client.leave();
            until("the member has left", || topic.members() == 0);
            let counts = topic.counts();
            assert_eq!((counts.accepted, counts.discarded), (counts.delivered, 0));
        }
    });
}

#[test]
fn topic_queue_larger_than_the_clients_is_an_error() {
    let hub = HubConfig::default().topic("large", TopicSettings::default().queue(9));
    let hub = hub.topic("fits", TopicSettings::default().queue(8));
    let fixture = HubFixture::new(Config::default().queue(8), hub);
    let (_client, outbox) = fixture.client();
    let subscribe = |name| {
        let topic = fixture.topic(name);
        topic.subscribe(outbox.clone(), SubscribeOptions::new().since(0))
    };
    assert!(subscribe("fits").is_ok());
    let error = subscribe("large").unwrap_err();
    let expected = SubscribeError::QueueTooLarge {
        topic: 9,
        client: 8,
    };
    assert_eq!(error, expected);
    let text = error.to_string();
    assert!(text.contains("`Config::queue` to at least 9"), "{text}");
    assert!(text.contains("attach the hub with `Config::hub`"), "{text}");
}

#[test]
fn clients_of_an_attached_hub_can_join_every_topic() {
    let large = TopicSettings::default().history(1000).queue(900);
    let config = Config::default().queue(8);
    let hub = Hub::new(HubConfig::default().topic("t", large));
    let late = Arc::default();
    let handler = Members {
        hub: hub.clone(),
        late: Arc::clone(&late),
    };
    let server = TestServer::start(config.hub(&hub), handler);
    let topic = hub.topic("t").unwrap();
    let before = topic.last_id();
    for n in 0..900 {
        topic.publish(n.to_string()).unwrap();
    }
    // All of them fit into the client's queue before its 101.
    let mut client = TestClient::connect(server.addr(), &format!("/?since={before}"));
    for n in 0..900 {
        client.expect_text(&n.to_string());
    }
    assert_eq!(late.load(Ordering::SeqCst), 0);
    client.leave();
}

#[cfg(feature = "cli")]
mod binary {
    use super::{ROUNDS, TestClient};
    use crate::binary::Binary;
    use crate::support::JsonClient;

    #[test]
    fn raw_client_that_has_its_101_receives_every_later_message() {
        let binary = Binary::start(&["--topic", "h:history=1000"]);
        let mut publisher = JsonClient::connect(binary.address);
        for round in 0..ROUNDS {
            // With `since`, the client is a member just as early.
            for (topic, path) in [("t", "/ws/t?since=1"), ("h", "/ws/h")] {
                let mut client = TestClient::connect(binary.address, path);
                let publish = format!(r#"{{"pub":"{topic}","data":"{round}","ref":1}}"#);
                assert_eq!(publisher.request(publish)["ack"], 1);
                client.expect_text(&round.to_string());
                client.leave();
            }
        }
    }

    #[test]
    fn raw_client_gets_a_history_longer_than_its_queue() {
        let binary = Binary::start(&["--topic", "t:history=1000"]);
        let mut publisher = JsonClient::connect(binary.address);
        for n in 0..500 {
            publisher.send(format!(r#"{{"pub":"t","data":"{n}"}}"#));
        }
        publisher.assert_idle();
        let mut client = TestClient::connect(binary.address, "/ws/t?since=0");
        publisher.send(r#"{"pub":"t","data":"500"}"#);
        for n in 0..=500 {
            client.expect_text(&n.to_string());
        }
    }
}
