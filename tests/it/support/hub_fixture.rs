//! A hub and a server whose handler only receives. The test itself subscribes the clients and publishes.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use standpipe::{
    Config, Connection, Envelope, Gap, Hub, HubConfig, Message, Outbox, Policy, SubscribeOptions,
    Subscription, Topic, TopicMessage, TopicSettings,
};

use super::client::{Rest, Seen, TestClient};
use super::deadline::{DEADLINE, within};
use super::frame::{message, op};
use super::server::TestServer;
use super::{Failure, Frame};

/// An envelope that writes messages, gaps and presence as words, such as `topic message 7 text`, `topic gap 3 6` and
/// `topic join ann`.
pub(crate) struct TextEnvelope;

impl Envelope for TextEnvelope {
    fn message(&self, topic: &str, message: &TopicMessage) -> Message {
        let (id, message) = (message.id(), message.message());
        Message::text(format!(
            "{topic} message {id} {}",
            message.to_text().unwrap()
        ))
    }

    fn gap(&self, topic: &str, gap: Gap<'_>) -> Message {
        Message::text(format!("{topic} gap {} {}", gap.first, gap.last))
    }

    fn presence(&self, topic: &str, name: &str, joined: bool) -> Message {
        let event = if joined { "join" } else { "leave" };
        Message::text(format!("{topic} {event} {name}"))
    }
}

/// The content of a message of [`TextEnvelope`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TopicEvent {
    Message(u64, String),
    Gap(u64, u64),
    Join(String),
    Leave(String),
}

/// Returns the topic and the event that a message of [`TextEnvelope`] contains.
#[track_caller]
pub(crate) fn parse_event(message: &Message) -> (String, TopicEvent) {
    let text = message.to_text().unwrap();
    let mut words = text.splitn(4, ' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("{text:?}"));
    let topic = word().to_owned();
    let event = match word() {
        "message" => {
            let id = word().parse().unwrap();
            TopicEvent::Message(id, word().to_owned())
        }
        "gap" => TopicEvent::Gap(word().parse().unwrap(), word().parse().unwrap()),
        "join" => TopicEvent::Join(word().to_owned()),
        "leave" => TopicEvent::Leave(word().to_owned()),
        _ => panic!("{text:?}"),
    };
    (topic, event)
}

/// Returns the events of one topic.
#[track_caller]
pub(crate) fn events_of(topic: &str, messages: &[Message]) -> Vec<TopicEvent> {
    let all = messages.iter().map(parse_event);
    all.filter(|(of, _)| of == topic)
        .map(|(_, event)| event)
        .collect()
}

/// Checks that messages and gaps together cover each id from `first` to `last` exactly once, in order. Returns the ids
/// of the messages, and the ids in the gaps.
#[track_caller]
pub(crate) fn assert_contiguous(
    events: &[TopicEvent],
    first: u64,
    last: u64,
) -> (Vec<u64>, Vec<u64>) {
    let (mut received, mut missing) = (Vec::new(), Vec::new());
    let mut next = first;
    for one in events {
        match one {
            TopicEvent::Message(id, _) => {
                assert_eq!(*id, next, "a message out of order");
                received.push(next);
                next += 1;
            }
            TopicEvent::Gap(from, to) => {
                assert_eq!(*from, next, "a gap out of order");
                assert!(to >= from, "{one:?}");
                missing.extend(*from..=*to);
                next = to + 1;
            }
            other => panic!("neither message nor gap: {other:?}"),
        }
    }
    assert_eq!(next, last + 1, "messages and gaps do not reach the last id");
    (received, missing)
}

/// A hub and a server. The outbox of each client goes to the test, which subscribes it.
pub(crate) struct HubFixture {
    pub(crate) hub: Hub,
    outboxes: Receiver<Outbox>,
    pub(crate) server: TestServer,
}

/// Buffers so small that the queue of a client soon fills when it stops reading.
const SMALL: usize = 16 << 10;

impl HubFixture {
    pub(crate) fn new(config: Config, hub: HubConfig) -> HubFixture {
        let mut hub = hub;
        hub.envelope = Some(Arc::new(TextEnvelope));
        let (outbox_sender, outboxes) = unbounded();
        let receives = move |conn: &mut Connection| -> Result<(), Failure> {
            outbox_sender.send(conn.outbox())?;
            while conn.recv()?.is_some() {}
            Ok(())
        };
        let config = config
            .sndbuf(Some(SMALL))
            .unsent(SMALL)
            .shutdown_timeout(DEADLINE);
        let server = TestServer::start(config, receives);
        let hub = Hub::new(hub);
        HubFixture {
            hub,
            outboxes,
            server,
        }
    }

    /// Creates a hub in which all topics have this policy and queue size.
    pub(crate) fn with(config: Config, policy: Policy, queue: usize) -> HubFixture {
        let mut hub = HubConfig::default();
        hub.default = TopicSettings::default().policy(policy).queue(queue);
        HubFixture::new(config.queue(queue), hub)
    }

    #[track_caller]
    pub(crate) fn topic(&self, name: &str) -> Topic {
        self.hub.topic(name).unwrap()
    }

    /// Connects a client without any subscription.
    #[track_caller]
    pub(crate) fn client(&self) -> (TestClient, Outbox) {
        let client = self.server.client().connect();
        (client, self.outbox())
    }

    /// Connects a client with a small receive buffer, so that its queue soon fills when it stops reading.
    #[track_caller]
    pub(crate) fn small_client(&self) -> (TestClient, Outbox) {
        let client = self.server.client().small_rcvbuf().connect();
        (client, self.outbox())
    }

    #[track_caller]
    fn outbox(&self) -> Outbox {
        let outbox = self.outboxes.recv_timeout(DEADLINE);
        outbox.expect("the handler of a new client starts before the deadline")
    }

    /// Connects a client that reads on its own thread, and subscribes it.
    #[track_caller]
    pub(crate) fn reader(
        &self,
        topic: &Topic,
        options: SubscribeOptions,
    ) -> (Reader, Outbox, Subscription) {
        let (client, outbox) = self.client();
        let reader = Reader::start(client);
        let subscription = topic.subscribe(outbox.clone(), options).unwrap();
        (reader, outbox, subscription)
    }
}

/// A client that reads to the end of its connection and counts its messages.
pub(crate) struct Reader {
    received: Arc<(Mutex<usize>, Condvar)>,
    thread: JoinHandle<Rest>,
}

impl Reader {
    pub(crate) fn start(client: TestClient) -> Reader {
        let received: Arc<(Mutex<usize>, Condvar)> = Arc::default();
        let counter = Arc::clone(&received);
        let thread = thread::spawn(move || read(client, &counter));
        Reader { received, thread }
    }

    pub(crate) fn received(&self) -> usize {
        *self.received.0.lock().unwrap()
    }

    /// Waits until the client has received `least` messages.
    #[track_caller]
    pub(crate) fn wait_for(&self, least: usize) {
        let deadline = Instant::now() + DEADLINE;
        let mut received = self.received.0.lock().unwrap();
        while *received < least {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                left > Duration::ZERO,
                "waited for {least} messages, got {received}"
            );
            received = self.received.1.wait_timeout(received, left).unwrap().0;
        }
    }

    /// Waits for the end of the connection, and returns everything that the client received.
    #[track_caller]
    pub(crate) fn end(self) -> Rest {
        within(30, "a reader to see the end of its connection", || {
            self.thread.join()
        })
        .unwrap()
    }
}

fn read(mut client: TestClient, received: &(Mutex<usize>, Condvar)) -> Rest {
    let mut rest = Rest::default();
    loop {
        match client.next() {
            Seen::Eof => return rest,
            Seen::Reset => {
                rest.reset = true;
                return rest;
            }
            Seen::Frame(frame) => {
                if !rest.closes.is_empty() {
                    rest.after_close += 1;
                }
                if frame.opcode == op::CLOSE {
                    rest.closes.push(frame.code());
                    client.try_bytes(Frame::new(op::CLOSE, &frame.payload).bytes());
                } else if let Some(message) = message(&frame) {
                    rest.messages.push(message);
                    *received.0.lock().unwrap() += 1;
                    received.1.notify_all();
                }
            }
        }
    }
}
