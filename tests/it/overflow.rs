//! Lanes that found no place in their client's queue: they are served in time, and never outlive their client.

use std::sync::Arc;

use standpipe::{
    Config, Connection, Envelope, Handler, Hub, HubConfig, Message, Policy, SubscribeOptions,
    TopicMessage, TopicSettings,
};

use crate::support::{TestServer, until, with_both_flush_modes};

/// Subscribes its clients to these topics, with `since` where it is given.
struct Members {
    hub: Hub,
    topics: &'static [&'static str],
    options: SubscribeOptions,
}

impl Handler for Members {
    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut members = Vec::new();
        for name in self.topics {
            members.push(
                self.hub
                    .topic(name)?
                    .subscribe(conn.outbox(), self.options.clone())?,
            );
        }
        while conn.recv()?.is_some() {}
        Ok(())
    }
}

struct AsItIs;

impl Envelope for AsItIs {
    fn message(&self, _: &str, post: &TopicMessage) -> Message {
        post.message()
    }

    fn gap(&self, _: &str, first: u64, last: u64) -> Message {
        Message::text(format!("gap {first} {last}"))
    }

    fn presence(&self, _: &str, name: &str, _: bool) -> Message {
        Message::text(name)
    }
}

fn large() -> Message {
    Message::binary(vec![0; 60_000])
}

#[test]
fn a_client_that_breaks_off_in_its_replay_leaves_nothing_behind() {
    with_both_flush_modes(|config| {
        // Every member holds the envelope, so that its count says how many there are.
        let envelope: Arc<dyn Envelope> = Arc::new(AsItIs);
        let mut hub = HubConfig::default().topic("h", TopicSettings::default().history(40));
        hub.envelope = Some(Arc::clone(&envelope));
        let hub = Hub::new(hub);
        let topic = hub.topic("h").unwrap();
        for _ in 0..40 {
            topic.publish(large()).unwrap();
        }
        let nobody = Arc::strong_count(&envelope);
        let members = Members {
            hub: hub.clone(),
            topics: &["h"],
            options: SubscribeOptions::new().with_envelope().since(0),
        };
        let server = TestServer::start(config.queue_bytes(256 << 10), members);
        for _ in 0..5 {
            let client = server.client().small_rcvbuf().connect();
            until("the replay waits for room", || {
                let states = server.handle().client_states();
                states
                    .iter()
                    .any(|state| state.reader.state.starts_with("waiting for room"))
            });
            client.reset();
            until("it is gone", || server.handle().clients() == 0);
        }
        until("no member is left", || {
            Arc::strong_count(&envelope) == nobody
        });
    });
}

#[test]
fn a_topic_that_keeps_the_queue_full_does_not_keep_another_waiting() {
    const PLACES: usize = 8;
    with_both_flush_modes(|config: Config| {
        let busy = TopicSettings::default()
            .policy(Policy::DropOldest)
            .queue(PLACES);
        let quiet = TopicSettings::default()
            .policy(Policy::Conflate)
            .queue(PLACES);
        let hub = Hub::new(
            HubConfig::default()
                .topic("busy", busy)
                .topic("quiet", quiet),
        );
        let members = Members {
            hub: hub.clone(),
            topics: &["busy", "quiet"],
            options: SubscribeOptions::new(),
        };
        let config = config.queue(PLACES).sndbuf(Some(16 << 10)).unsent(16 << 10);
        let server = TestServer::start(config, members);
        let mut client = server.client().small_rcvbuf().connect();
        let (busy, quiet) = (hub.topic("busy").unwrap(), hub.topic("quiet").unwrap());
        until("it is a member", || quiet.members() == 1);
        let noise = || busy.publish(Message::binary(vec![0; 4096])).unwrap();
        until("the queue is full", || {
            noise().receivers == 1 && busy.counts().dropped[2].1 > 100
        });
        quiet.publish(Message::text("the latest")).unwrap();
        // Each message read makes a place, and the busy topic takes it before it can stay empty.
        let read = (0..2000).find(|_| {
            noise();
            noise();
            client.read_message().is_text()
        });
        assert!(
            read.is_some(),
            "2,000 messages of the busy topic went before it"
        );
        client.reset();
    });
}
