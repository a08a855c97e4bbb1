//! A hub on a server whose handler only listens: the test itself subscribes and publishes.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use standpipe::{
    Config, Connection, Envelope, Hub, HubConfig, Message, Outbox, Policy, SubscribeOptions,
    Subscription, Topic, TopicMessage, TopicSettings,
};

use super::client::{Rest, Seen, TestClient};
use super::deadline::{DEADLINE, within};
use super::frame::{message, op};
use super::server::TestServer;
use super::{Failure, Frame};

/// Posts, gaps and presence as words: `topic post 7 text`, `topic gap 3 6`, `topic join ann`.
pub(crate) struct TextEnvelope;

impl Envelope for TextEnvelope {
    fn message(&self, topic: &str, post: &TopicMessage) -> Message {
        let (id, message) = (post.id(), post.message());
        Message::text(format!("{topic} post {id} {}", message.to_text().unwrap()))
    }

    fn gap(&self, topic: &str, first: u64, last: u64) -> Message {
        Message::text(format!("{topic} gap {first} {last}"))
    }

    fn presence(&self, topic: &str, name: &str, joined: bool) -> Message {
        let what = if joined { "join" } else { "leave" };
        Message::text(format!("{topic} {what} {name}"))
    }
}

/// What one of [`TextEnvelope`] said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TopicEvent {
    Message(u64, String),
    Gap(u64, u64),
    Join(String),
    Leave(String),
}

/// The topic and what was said of it.
#[track_caller]
pub(crate) fn parse_event(message: &Message) -> (String, TopicEvent) {
    let text = message.to_text().unwrap();
    let mut words = text.splitn(4, ' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("{text:?}"));
    let topic = word().to_owned();
    let heard = match word() {
        "post" => {
            let id = word().parse().unwrap();
            TopicEvent::Message(id, word().to_owned())
        }
        "gap" => TopicEvent::Gap(word().parse().unwrap(), word().parse().unwrap()),
        "join" => TopicEvent::Join(word().to_owned()),
        "leave" => TopicEvent::Leave(word().to_owned()),
        _ => panic!("{text:?}"),
    };
    (topic, heard)
}

/// Those of one topic.
#[track_caller]
pub(crate) fn events_of(topic: &str, messages: &[Message]) -> Vec<TopicEvent> {
    let all = messages.iter().map(parse_event);
    all.filter(|(of, _)| of == topic)
        .map(|(_, heard)| heard)
        .collect()
}

/// Posts and gaps fit together without a hole and without a double, from `first` to `last`. Gives the ids of the posts,
/// and those that were missing.
#[track_caller]
pub(crate) fn assert_contiguous(
    heard: &[TopicEvent],
    first: u64,
    last: u64,
) -> (Vec<u64>, Vec<u64>) {
    let (mut posts, mut missing) = (Vec::new(), Vec::new());
    let mut next = first;
    for one in heard {
        match one {
            TopicEvent::Message(id, _) => {
                assert_eq!(*id, next, "a post out of its place");
                posts.push(next);
                next += 1;
            }
            TopicEvent::Gap(from, to) => {
                assert_eq!(*from, next, "a gap out of its place");
                assert!(to >= from, "{one:?}");
                missing.extend(*from..=*to);
                next = to + 1;
            }
            other => panic!("neither post nor gap: {other:?}"),
        }
    }
    assert_eq!(next, last + 1, "neither posts nor gaps up to the last");
    (posts, missing)
}

/// A hub and a server; each client's outbox is taken by whoever lets it join.
pub(crate) struct HubFixture {
    pub(crate) hub: Hub,
    outboxes: Receiver<Outbox>,
    pub(crate) server: TestServer,
}

/// Buffers so small that a client that stops reading is full soon.
const SMALL: usize = 16 << 10;

impl HubFixture {
    pub(crate) fn new(config: Config, hub: HubConfig) -> HubFixture {
        let mut hub = hub;
        hub.envelope = Some(Arc::new(TextEnvelope));
        let (give, outboxes) = unbounded();
        let listens = move |conn: &mut Connection| -> Result<(), Failure> {
            give.send(conn.outbox())?;
            while conn.recv()?.is_some() {}
            Ok(())
        };
        let config = config
            .sndbuf(Some(SMALL))
            .unsent(SMALL)
            .shutdown_timeout(DEADLINE);
        let server = TestServer::start(config, listens);
        let hub = Hub::new(hub);
        HubFixture {
            hub,
            outboxes,
            server,
        }
    }

    /// All topics with this policy and queue.
    pub(crate) fn with(config: Config, policy: Policy, queue: usize) -> HubFixture {
        let mut hub = HubConfig::default();
        hub.default = TopicSettings::default().policy(policy).queue(queue);
        HubFixture::new(config.queue(queue), hub)
    }

    #[track_caller]
    pub(crate) fn topic(&self, name: &str) -> Topic {
        self.hub.topic(name).unwrap()
    }

    /// A client on no topic yet.
    #[track_caller]
    pub(crate) fn client(&self) -> (TestClient, Outbox) {
        let client = self.server.client().connect();
        (client, self.outbox())
    }

    /// A client that is full soon when it stops reading.
    #[track_caller]
    pub(crate) fn small_client(&self) -> (TestClient, Outbox) {
        let client = self.server.client().small_rcvbuf().connect();
        (client, self.outbox())
    }

    #[track_caller]
    fn outbox(&self) -> Outbox {
        let outbox = self.outboxes.recv_timeout(DEADLINE);
        outbox.expect("waited for a client's handler to begin")
    }

    /// A member with an envelope, reading on a thread of its own.
    #[track_caller]
    pub(crate) fn reader(
        &self,
        topic: &Topic,
        how: SubscribeOptions,
    ) -> (Reader, Outbox, Subscription) {
        let (client, outbox) = self.client();
        let reader = Reader::start(client);
        let subscription = topic.subscribe(outbox.clone(), how).unwrap();
        (reader, outbox, subscription)
    }
}

/// A client that reads to the end, counting.
pub(crate) struct Reader {
    got: Arc<(Mutex<usize>, Condvar)>,
    thread: JoinHandle<Rest>,
}

impl Reader {
    pub(crate) fn start(client: TestClient) -> Reader {
        let got: Arc<(Mutex<usize>, Condvar)> = Arc::default();
        let counts = Arc::clone(&got);
        let thread = thread::spawn(move || read(client, &counts));
        Reader { got, thread }
    }

    pub(crate) fn got(&self) -> usize {
        *self.got.0.lock().unwrap()
    }

    /// Waits until it has got so many messages.
    #[track_caller]
    pub(crate) fn wait_for(&self, least: usize) {
        let deadline = Instant::now() + DEADLINE;
        let mut got = self.got.0.lock().unwrap();
        while *got < least {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                left > Duration::ZERO,
                "waited for {least} messages, got {got}"
            );
            got = self.got.1.wait_timeout(got, left).unwrap().0;
        }
    }

    /// All it has got, when its connection has ended.
    #[track_caller]
    pub(crate) fn end(self) -> Rest {
        within(30, "a reader to see its end", || self.thread.join()).unwrap()
    }
}

fn read(mut client: TestClient, got: &(Mutex<usize>, Condvar)) -> Rest {
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
                    *got.0.lock().unwrap() += 1;
                    got.1.notify_all();
                }
            }
        }
    }
}
