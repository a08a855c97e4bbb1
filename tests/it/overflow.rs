//! Topics on the overflow list of a client, because its queue has no free slot for their tickets: each is served in
//! time, and none outlives the client.

use std::sync::Arc;

use standpipe::{
    Activity, Config, Connection, Envelope, Gap, Handler, Hub, HubConfig, Message, Policy,
    SubscribeOptions, TopicMessage, TopicSettings,
};

use crate::support::{TestServer, until, with_both_flush_modes};

/// A handler that subscribes its clients to these topics.
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

/// An envelope that leaves messages unchanged.
struct Plain;

impl Envelope for Plain {
    fn message(&self, _: &str, message: &TopicMessage) -> Message {
        message.message()
    }

    fn gap(&self, _: &str, gap: Gap<'_>) -> Message {
        Message::text(format!("gap {} {}", gap.first, gap.last))
    }

    fn presence(&self, _: &str, name: &str, _: bool) -> Message {
        Message::text(name)
    }
}

fn large() -> Message {
    Message::binary(vec![0; 60_000])
}

#[test]
fn client_reset_during_replay_leaves_no_member() {
    with_both_flush_modes(|config| {
        // Each member holds the envelope, so its reference count shows how many members exist.
        let envelope: Arc<dyn Envelope> = Arc::new(Plain);
        let mut hub = HubConfig::default().topic("h", TopicSettings::default().history(40));
        hub.envelope = Some(Arc::clone(&envelope));
        let hub = Hub::new(hub);
        let topic = hub.topic("h").unwrap();
        for _ in 0..40 {
            topic.publish(large()).unwrap();
        }
        let without_members = Arc::strong_count(&envelope);
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
                    .any(|state| matches!(state.reader.activity, Activity::WaitingForRoom(_)))
            });
            client.reset();
            until("the client is unregistered", || {
                server.handle().clients() == 0
            });
        }
        until("no member is left", || {
            Arc::strong_count(&envelope) == without_members
        });
    });
}

#[test]
fn busy_topic_does_not_starve_another_topic() {
    const QUEUE: usize = 8;
    with_both_flush_modes(|config: Config| {
        let busy = TopicSettings::default()
            .policy(Policy::DropOldest)
            .queue(QUEUE);
        let quiet = TopicSettings::default()
            .policy(Policy::Conflate)
            .queue(QUEUE);
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
        let config = config.queue(QUEUE).sndbuf(Some(16 << 10)).unsent(16 << 10);
        let server = TestServer::start(config, members);
        let mut client = server.client().small_rcvbuf().connect();
        let (busy, quiet) = (hub.topic("busy").unwrap(), hub.topic("quiet").unwrap());
        until("the client is a member", || quiet.members() == 1);
        let publish_busy = || busy.publish(Message::binary(vec![0; 4096])).unwrap();
        until("the queue is full", || {
            publish_busy().receivers == 1 && busy.counts().dropped > 100
        });
        quiet.publish(Message::text("the latest")).unwrap();
        // Each message that the client reads frees one slot, and the busy topic immediately takes it.
        let read = (0..2000).find(|_| {
            publish_busy();
            publish_busy();
            client.read_message().is_text()
        });
        assert!(
            read.is_some(),
            "2000 messages of the busy topic arrived first"
        );
        client.reset();
    });
}
