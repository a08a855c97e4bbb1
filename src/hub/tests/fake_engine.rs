//! [`FakeEngine`]: an engine that records its calls, and answers what the test says. And clients for it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::connection::testing::single_threaded::SingleThreaded;
use crate::hub::engine::{Engine, Since, Unavailable};
use crate::hub::message::Publication;
use crate::hub::outcome::{PublishError, PublishOutcome};
use crate::hub::sequence::{Received, Stored};
use crate::hub::{
    Envelope, Gap, Hub, HubConfig, SubscribeOptions, Subscription, Topic, TopicMessage,
    TopicSettings,
};
use crate::message::Message;
use crate::sync::lock;

/// What a test does when the engine is called with a text such as `close t`.
type Hook = Box<dyn Fn(&str) + Send>;

#[derive(Default)]
pub(in crate::hub) struct FakeEngine {
    calls: Mutex<Vec<String>>,
    answers: Mutex<Answers>,
    hook: Mutex<Option<Hook>>,
}

pub(in crate::hub) struct Answers {
    /// Where a topic is placed when it is opened. `None`: the engine does not answer.
    pub(in crate::hub) last_id: Option<u64>,
    pub(in crate::hub) since: Since,
    pub(in crate::hub) stored: Vec<Stored>,
    /// A publish fails, because the engine does not answer.
    pub(in crate::hub) refuses: bool,
    pub(in crate::hub) deadline: Option<Instant>,
}

impl Default for Answers {
    fn default() -> Answers {
        Answers {
            last_id: Some(100),
            since: Since::Assigned,
            stored: Vec::new(),
            refuses: false,
            deadline: None,
        }
    }
}

impl FakeEngine {
    /// Returns the calls since the last time.
    pub(in crate::hub) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.calls))
    }

    pub(in crate::hub) fn answer(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut lock(&self.answers));
    }

    /// Returns the deadline of the last publish.
    pub(in crate::hub) fn deadline(&self) -> Option<Instant> {
        lock(&self.answers).deadline
    }

    /// Calls `hook` with the text of each further call.
    pub(in crate::hub) fn on_call(&self, hook: impl Fn(&str) + Send + 'static) {
        *lock(&self.hook) = Some(Box::new(hook));
    }

    fn record(&self, call: String) {
        // A hook may cause further calls.
        let hook = lock(&self.hook).take();
        if let Some(hook) = hook {
            hook(&call);
            lock(&self.hook).get_or_insert(hook);
        }
        lock(&self.calls).push(call);
    }
}

impl std::fmt::Debug for FakeEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeEngine")
    }
}

impl Engine for FakeEngine {
    fn epoch(&self) -> Arc<str> {
        "fake".into()
    }

    fn publish(
        &self,
        topic: &Topic,
        publications: Vec<Publication>,
        deadline: Option<Instant>,
    ) -> Result<Vec<PublishOutcome>, PublishError<Vec<Publication>>> {
        self.record(format!("publish {} {}", topic.name(), publications.len()));
        self.answer(|answers| answers.deadline = deadline);
        if lock(&self.answers).refuses {
            return Err(PublishError::Unavailable(publications, "gone".into()));
        }
        let mut outcomes = topic.receive(Received {
            first_id: topic.last_id() + 1,
            age: Duration::ZERO,
            publications,
        });
        outcomes.iter_mut().for_each(|outcome| outcome.nodes = 3);
        Ok(outcomes)
    }

    fn open(&self, topic: &Topic) -> Result<(), Unavailable> {
        self.record(format!("open {}", topic.name()));
        let last_id = lock(&self.answers).last_id;
        topic.place_at(last_id.ok_or_else(|| Unavailable("gone".into()))?);
        Ok(())
    }

    fn fill(&self, topic: &Topic) {
        self.record(format!("fill {}", topic.name()));
        if !topic.is_filled() {
            topic.fill_history(lock(&self.answers).stored.clone());
        }
    }

    fn clear_history(&self, topic: &Topic) -> Result<(), Unavailable> {
        self.record(format!("clear {}", topic.name()));
        match lock(&self.answers).refuses {
            true => Err(Unavailable("no answer".into())),
            false => Ok(()),
        }
    }

    fn check_since(&self, topic: &Topic, since: u64) -> Since {
        self.record(format!("since {} {since}", topic.name()));
        lock(&self.answers).since
    }

    fn close(&self, topic: &str) {
        self.record(format!("close {topic}"));
    }

    fn set_present(&self, topic: &Topic, name: &str, is_present: bool) {
        let sign = if is_present { '+' } else { '-' };
        self.record(format!("{sign} {} {name}", topic.name()));
    }
}

/// Writes `id text`, `gap first-last`, or `+ name` and `- name`.
struct Short;

impl Envelope for Short {
    fn message(&self, _: &str, message: &TopicMessage) -> Message {
        Message::text(format!("{} {}", message.id(), message.message()))
    }
    fn gap(&self, _: &str, gap: Gap<'_>) -> Message {
        Message::text(format!("gap {}-{}", gap.first, gap.last))
    }
    fn presence(&self, _: &str, name: &str, joined: bool) -> Message {
        Message::text(format!("{} {name}", if joined { '+' } else { '-' }))
    }
}

/// Returns a hub with an engine. All its topics have these settings.
pub(in crate::hub) fn hub(settings: TopicSettings) -> (Hub, Arc<FakeEngine>) {
    let engine = Arc::new(FakeEngine::default());
    let config = HubConfig {
        engine: Some(engine.clone()),
        ..HubConfig::default()
    };
    let config = config.default_settings(settings).envelope(Short);
    (Hub::new(config), engine)
}

/// Returns the topic `t` of a hub with an engine. The last id is 100 as soon as it is open.
pub(in crate::hub) fn topic(settings: TopicSettings) -> (Topic, Arc<FakeEngine>) {
    let (hub, engine) = hub(settings);
    (hub.topic("t").expect("it is the only topic"), engine)
}

/// A client whose socket accepts everything, or nothing.
pub(in crate::hub) fn client(accepts: usize) -> SingleThreaded {
    let client = SingleThreaded::new(Config::default());
    client.accept_per_call(accepts);
    client
}

pub(in crate::hub) fn subscribe(
    topic: &Topic,
    client: &SingleThreaded,
    options: SubscribeOptions,
) -> Subscription {
    let subscription = topic.subscribe(client.outbox().clone(), options.with_envelope());
    subscription.expect("the engine answers")
}

/// Returns a client that has just become a member, with an envelope.
pub(in crate::hub) fn member(topic: &Topic, accepts: usize) -> (SingleThreaded, Subscription) {
    let client = client(accepts);
    let subscription = subscribe(topic, &client, SubscribeOptions::new());
    (client, subscription)
}

/// Ends a client. Checks that every accepted message was counted exactly once. Notices are not counted.
pub(in crate::hub) fn end(client: SingleThreaded) {
    client.write();
    client.outbox().shared().tear_down();
    let counts = client.outbox().counts();
    let finished = counts.delivered + counts.dropped + counts.discarded;
    assert_eq!(counts.accepted, finished, "{counts:?}");
}

/// Returns the texts that were written.
pub(in crate::hub) fn texts(client: &SingleThreaded) -> Vec<String> {
    let frames = client.frames().into_iter();
    let texts = frames.filter(|(first, _)| *first == 0x81);
    texts
        .map(|(_, payload)| String::from_utf8(payload).expect("text"))
        .collect()
}

/// Messages with the ids from `first_id` on, each with one of `texts`.
pub(in crate::hub) fn received(first_id: u64, texts: &[&str]) -> Received {
    Received {
        first_id,
        age: Duration::ZERO,
        publications: texts.iter().map(|text| Publication::from(*text)).collect(),
    }
}

pub(in crate::hub) fn stored(id: u64, age: Duration, text: &str) -> Stored {
    Stored {
        id,
        age,
        publication: Publication::from(text),
    }
}

/// Returns the number of receivers of each message.
pub(in crate::hub) fn receivers(outcomes: &[PublishOutcome]) -> Vec<usize> {
    outcomes.iter().map(|outcome| outcome.receivers).collect()
}

/// Waits until `happened` returns true.
pub(in crate::hub) fn until(what: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !happened() {
        assert!(Instant::now() < deadline, "waited until {what}");
        std::thread::yield_now();
    }
}
