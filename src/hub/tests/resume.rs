//! A client that resumes, over lives of the hub whose clocks go back, compared with the list of all published messages.

use std::time::Duration;

use crate::message::Message;
use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::connection::testing::client::TestClient;
use crate::connection::testing::scripted_socket::ScriptedSocket;
use crate::hub::{Envelope, Gap, Hub, HubConfig, Subscription, TopicMessage, TopicSettings};
use crate::sync::lock;

/// Writes `id text`, or `gap first last epoch`.
struct Plain;

impl Envelope for Plain {
    fn message(&self, _: &str, message: &TopicMessage) -> Message {
        Message::text(format!("{} {}", message.id(), message.message()))
    }
    fn gap(&self, _: &str, gap: Gap<'_>) -> Message {
        Message::text(format!("gap {} {} {}", gap.first, gap.last, gap.epoch))
    }
    fn presence(&self, _: &str, _: &str, _: bool) -> Message {
        Message::text("")
    }
}

/// What a client received for its subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Received {
    Message {
        id: u64,
        text: String,
    },
    Gap {
        first: u64,
        last: u64,
        epoch: String,
    },
}

fn hub(history: usize, now: u64) -> Hub {
    let config = HubConfig {
        default: TopicSettings::default().history(history),
        envelope: Some(Arc::new(Plain)),
        ..HubConfig::default()
    };
    Hub::with_clock(config, Box::new(move || now))
}

fn publish(hub: &Hub, text: &str) -> u64 {
    let topic = hub.topic("t").expect("there is room");
    let outcome = topic.publish(Message::text(text));
    outcome.expect("it is the only publisher").id
}

/// Removes all messages from the history, as if they had become too old. A topic without members is then removed.
fn expire(hub: &Hub) {
    if let Some(topic) = hub.get("t") {
        lock(&topic.state.settings).max_age = Some(Duration::ZERO);
        hub.sweep();
        lock(&topic.state.settings).max_age = None;
    }
}

struct Connected {
    client: TestClient,
    subscription: Subscription,
}

impl Connected {
    fn new(hub: &Hub, options: SubscribeOptions) -> Connected {
        let client = TestClient::on(ScriptedSocket::single_threaded(), Config::default());
        let topic = hub.topic("t").expect("there is room");
        let subscription = topic.subscribe(client.outbox.clone(), options.with_envelope());
        let subscription = subscription.expect("there is no publisher");
        Connected {
            client,
            subscription,
        }
    }

    /// Ends the connection. Returns everything that the client received.
    fn end(self) -> Vec<Received> {
        let shared = &self.client.shared;
        shared.write.write_until_idle(&shared.writer);
        let frames = self.client.frames();
        drop(self.subscription);
        shared.tear_down();
        let parse = |text: String| {
            let words: Vec<&str> = text.split(' ').collect();
            let number = |n: usize| words[n].parse().expect("an id");
            match words[0] {
                "gap" => Received::Gap {
                    first: number(1),
                    last: number(2),
                    epoch: words[3].to_owned(),
                },
                _ => Received::Message {
                    id: number(0),
                    text: words[1].to_owned(),
                },
            }
        };
        let payloads = frames.into_iter().map(|(_, payload)| payload);
        payloads
            .map(|payload| parse(String::from_utf8(payload).expect("a text")))
            .collect()
    }
}

fn message(id: u64, text: &str) -> Received {
    let text = text.to_owned();
    Received::Message { id, text }
}

/// Subscribes, publishes `live`, and returns everything that the client received.
fn resume(hub: &Hub, options: SubscribeOptions) -> Vec<Received> {
    let client = Connected::new(hub, options);
    publish(hub, "live");
    client.end()
}

#[test]
fn since_of_a_later_clock_is_a_gap_and_everything() {
    for history in [0, 2] {
        let hub = hub(history, 1000);
        let epoch = hub.topic("t").expect("there is room").epoch().to_owned();
        for text in ["a", "b", "c"] {
            publish(&hub, text);
        }
        let kept = [message(1001, "b"), message(1002, "c")];
        let kept = &kept[2 - history..];
        for since in [1003, 5000, u64::MAX] {
            let last = 1002 - history as u64;
            let gap = Received::Gap {
                first: 1,
                last,
                epoch: epoch.clone(),
            };
            let client = Connected::new(&hub, SubscribeOptions::new().since(since));
            assert_eq!(client.subscription.last_id(), 1002);
            assert_eq!(client.end(), [&[gap], kept].concat(), "{since}");
        }
        let topic = hub.get("t").map_or(0, |topic| topic.history(5000).len());
        assert_eq!(topic, history);
    }
}

/// Both hubs have used the id, so only the epoch tells that the client has another message.
#[test]
fn since_of_another_epoch_is_a_gap_and_everything() {
    let (before, after) = (hub(9, 1000), hub(9, 990));
    for n in 0..20 {
        publish(&before, &format!("before{n}"));
        publish(&after, &format!("after{n}"));
    }
    let epochs = [&before, &after].map(|hub| hub.get("t").expect("kept").epoch().to_owned());
    let options = |epoch: &str| SubscribeOptions::new().since(1005).epoch(epoch);
    let received = resume(&after, options(&epochs[0]));
    let gap = Received::Gap {
        first: 1,
        last: 1000,
        epoch: epochs[1].clone(),
    };
    assert_eq!(received[0], gap);
    assert_eq!(received[1], message(1001, "after11"));
    assert_eq!(received.len(), 1 + 9 + 1);
    // The client's own epoch continues at the id.
    let received = resume(&after, options(&epochs[1]));
    assert_eq!(received[0], message(1006, "after16"));
}

#[test]
fn forgotten_topic_without_new_messages_is_no_gap() {
    let hub = hub(5, 1000);
    for text in ["a", "b"] {
        publish(&hub, text);
    }
    expire(&hub);
    assert!(hub.is_empty(), "the topic is removed");
    let received = resume(&hub, SubscribeOptions::new().since(1001));
    assert_eq!(received, [message(1002, "live")]);
    expire(&hub);
    assert!(hub.is_empty(), "the topic is removed");
    // The message that was published meanwhile is a gap.
    let received = resume(&hub, SubscribeOptions::new().since(1001));
    assert!(matches!(
        received[0],
        Received::Gap {
            first: 1002,
            last: 1002,
            ..
        }
    ));
    assert_eq!(received[1], message(1003, "live"));
}

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    /// Connects, and resumes if the client has an id.
    Connect,
    /// Ends the connection when the client has read this many messages of it, and the answer to its subscription if it
    /// has read all.
    Disconnect(usize),
    /// The history expires. Without a member, the topic is then removed.
    Expire,
    /// A new hub, whose clock may be behind.
    Restart(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..6).prop_map(Step::Publish),
        3 => Just(Step::Connect),
        3 => prop_oneof![Just(usize::MAX), 0_usize..6].prop_map(Step::Disconnect),
        1 => Just(Step::Expire),
        2 => (1000_u64..1030).prop_map(Step::Restart),
    ]
}

/// A client that resumes as `PROTOCOL.md` says, and what it must notice.
struct Model {
    hub: Hub,
    history: usize,
    /// The epoch and id of every message that was published.
    published: Vec<(String, u64)>,
    connected: Option<Connected>,
    /// What the client remembers: the last id, and the epoch of that id.
    place: Option<(u64, String)>,
    /// All messages before this one were received, or are covered by a gap.
    next: usize,
    /// The client was told of a gap after the last message.
    in_gap: bool,
}

impl Model {
    fn epoch(&self) -> String {
        self.hub
            .topic("t")
            .expect("there is room")
            .epoch()
            .to_owned()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish(count) => {
                for _ in 0..count {
                    let id = publish(&self.hub, &self.published.len().to_string());
                    self.published.push((self.epoch(), id));
                }
            }
            Step::Connect if self.connected.is_none() => {
                let mut options = SubscribeOptions::new();
                match &self.place {
                    Some((since, epoch)) => options = options.since(*since).epoch(epoch),
                    None => self.next = self.published.len(),
                }
                self.connected = Some(Connected::new(&self.hub, options));
            }
            Step::Disconnect(reads) => self.disconnect(reads),
            Step::Expire => expire(&self.hub),
            Step::Restart(now) => {
                self.disconnect(usize::MAX);
                self.hub = hub(self.history, now);
            }
            Step::Connect => {}
        }
    }

    fn disconnect(&mut self, reads: usize) {
        let Some(connected) = self.connected.take() else {
            return;
        };
        // Without the answer to its first subscription, the client does not know the epoch.
        let reads = if self.place.is_none() {
            usize::MAX
        } else {
            reads
        };
        let answered = (connected.subscription.last_id(), self.epoch());
        let received = connected.end();
        let reads_all = reads >= received.len();
        let (mut last, mut epoch) = self.place.clone().unwrap_or_else(|| answered.clone());
        for one in received.into_iter().take(reads) {
            match one {
                Received::Message { id, text } => {
                    let index: usize = text.parse().expect("the number of the message");
                    assert!(index >= self.next, "{index} was received or is in a gap");
                    assert!(index == self.next || self.in_gap, "{index} without a gap");
                    assert_eq!(id, self.published[index].1);
                    (self.next, self.in_gap) = (index + 1, false);
                    last = id;
                }
                Received::Gap {
                    first,
                    last: to,
                    epoch: of,
                } => {
                    assert!(first <= to && of == answered.1);
                    if of == epoch {
                        let is_lost =
                            |(of, id): &(String, u64)| *of == epoch && (first..=to).contains(id);
                        assert!(
                            self.published[self.next..].iter().any(is_lost),
                            "a false gap"
                        );
                    }
                    self.in_gap = true;
                    (last, epoch) = (to, of);
                }
            }
        }
        if reads_all {
            assert!(
                self.next == self.published.len() || self.in_gap,
                "a lost message"
            );
            assert_eq!(epoch, answered.1, "the client can resume");
            self.next = self.published.len();
        }
        self.place = Some((last, epoch));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn resuming_client_gets_each_message_once_or_a_gap(
        history in 0_usize..5,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut model = Model {
            hub: hub(history, 1010),
            history,
            published: Vec::new(),
            connected: None,
            place: None,
            next: 0,
            in_gap: false,
        };
        for step in steps.into_iter().chain([Step::Connect, Step::Disconnect(usize::MAX)]) {
            model.step(step);
        }
    }
}
