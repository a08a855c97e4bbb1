//! Random orders of what an engine and the clients do, compared with the list of everything that was delivered.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::connection::testing::single_threaded::SingleThreaded;
use crate::hub::fake_engine::{client, end, subscribe, texts, topic};
use crate::hub::{Policy, SubscribeOptions, Subscription, TopicSettings};

const ALL: usize = usize::MAX;

#[derive(Clone, Debug)]
enum Step {
    /// Another hub publishes some messages, after an engine that may have skipped some ids.
    Publish {
        skipped: u64,
        messages: u64,
    },
    /// Up to this many messages arrive here, after up to so many that have arrived before.
    Receive {
        messages: usize,
        again: usize,
    },
    /// Everything that has not arrived will never come.
    Jump,
    /// A jump to an id that has been reached.
    OldJump,
    /// The hub is isolated, and publishes some messages.
    Local(usize),
    /// A client subscribes. It has seen everything up to an id below the last one, or above it.
    Subscribe {
        since: Option<i64>,
        is_slow: bool,
    },
    /// The socket of a slow client accepts what is queued.
    Write(usize),
    Unsubscribe(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let since = prop_oneof![Just(None), (-12_i64..6).prop_map(Some)];
    prop_oneof![
        4 => (prop_oneof![3 => Just(0), 1 => 1_u64..4], 1_u64..6)
            .prop_map(|(skipped, messages)| Step::Publish { skipped, messages }),
        6 => (1_usize..8, 0_usize..3)
            .prop_map(|(messages, again)| Step::Receive { messages, again }),
        1 => Just(Step::Jump),
        1 => Just(Step::OldJump),
        2 => (0_usize..4).prop_map(Step::Local),
        3 => (since, any::<bool>())
            .prop_map(|(since, is_slow)| Step::Subscribe { since, is_slow }),
        2 => (0_usize..8).prop_map(Step::Write),
        1 => (0_usize..8).prop_map(Step::Unsubscribe),
    ]
}

/// A member, and what it has to receive.
struct Watcher {
    client: SingleThreaded,
    subscription: Subscription,
    is_slow: bool,
    /// Its messages begin after this id.
    begin: u64,
    /// It was a member when the messages after this id were delivered.
    live_after: u64,
    /// The messages above `begin` in the history at that moment.
    replayed: BTreeSet<u64>,
}

struct Model {
    topic: Topic,
    /// The last id that the engine has assigned.
    top: u64,
    /// The messages of the engine, the next one that arrives here, and all messages that were delivered.
    assigned: Vec<u64>,
    arrived: usize,
    delivered: BTreeSet<u64>,
    watchers: Vec<Watcher>,
}

/// A message's text tells whether it came from the engine.
fn text(id: u64, is_local: bool) -> String {
    format!("{}{id}", if is_local { "local" } else { "m" })
}

impl Model {
    fn step(&mut self, step: Step) {
        match step {
            Step::Publish { skipped, messages } => {
                self.top += skipped;
                for _ in 0..messages {
                    self.top += 1;
                    self.assigned.push(self.top);
                }
            }
            Step::Receive { messages, again } => self.receive(messages, again),
            Step::Jump => {
                // An engine raises its counter above a local sequence.
                self.top = self.top.max(self.topic.last_id());
                self.topic.jump_to(self.top);
                assert_eq!(self.topic.position().local_from, None);
            }
            Step::OldJump => self.topic.jump_to(self.topic.last_id() - 1),
            Step::Local(messages) => self.publish_local(messages),
            Step::Subscribe { since, is_slow } => self.subscribe(since, is_slow),
            Step::Write(which) => {
                if let Some(watcher) = self.watchers.get(which).filter(|watcher| watcher.is_slow) {
                    watcher.client.accept_per_call(ALL);
                    watcher.client.write();
                    watcher.client.accept_per_call(0);
                }
            }
            Step::Unsubscribe(which) if which < self.watchers.len() => {
                let watcher = self.watchers.swap_remove(which);
                self.check(watcher);
            }
            Step::Unsubscribe(_) => {}
        }
    }

    fn receive(&mut self, messages: usize, again: usize) {
        let until = self.assigned.len().min(self.arrived + messages);
        let ids = &self.assigned[self.arrived.saturating_sub(again)..until];
        self.arrived = until;
        // Messages with consecutive ids are received together.
        for ids in ids.chunk_by(|id, next| id + 1 == *next) {
            let last_id = self.topic.last_id();
            let publications = ids.iter().map(|id| Publication::from(text(*id, false)));
            let outcomes = self.topic.receive(Received {
                first_id: ids[0],
                age: Duration::ZERO,
                publications: publications.collect(),
            });
            let of_outcomes: Vec<u64> = outcomes.iter().map(|outcome| outcome.id).collect();
            assert_eq!(of_outcomes, ids);
            let new: Vec<u64> = ids.iter().copied().filter(|id| *id > last_id).collect();
            assert_eq!(self.topic.last_id(), new.last().map_or(last_id, |id| *id));
            self.delivered.extend(new);
        }
    }

    fn publish_local(&mut self, messages: usize) {
        let (last_id, was_local) = (
            self.topic.last_id(),
            self.topic.position().local_from.is_some(),
        );
        // The time of the server is above all ids that it has assigned.
        let now = self.top.max(last_id) + 50;
        let first = if was_local { last_id + 1 } else { now };
        let ids = first..first + messages as u64;
        let publications = ids.clone().map(|id| Publication::from(text(id, true)));
        let outcomes = self
            .topic
            .publish_local(now, publications.collect(), &|| true);
        let outcomes = outcomes.expect("it is isolated");
        let of_outcomes: Vec<u64> = outcomes.iter().map(|outcome| outcome.id).collect();
        assert_eq!(of_outcomes, ids.clone().collect::<Vec<_>>());
        self.delivered.extend(ids);
    }

    fn subscribe(&mut self, since: Option<i64>, is_slow: bool) {
        if self.watchers.len() == 8 {
            return;
        }
        let client = client(if is_slow { 0 } else { ALL });
        let last_id = self.topic.last_id();
        let mut options = SubscribeOptions::new();
        // Only an id that the engine has assigned can be above the last one.
        let since = since.map(|relative| last_id.saturating_add_signed(relative));
        let since = since.filter(|since| *since <= last_id || *since <= self.top);
        let begin = since.unwrap_or(last_id);
        if since.is_some() {
            options = options.since(begin);
        }
        let kept = self.topic.state.history.after(begin, ALL);
        let subscription = subscribe(&self.topic, &client, options);
        assert_eq!(subscription.last_id(), last_id.max(begin));
        self.watchers.push(Watcher {
            client,
            subscription,
            is_slow,
            begin,
            live_after: last_id.max(begin),
            replayed: kept.iter().map(|message| message.id()).collect(),
        });
    }

    /// Ends a client. Checks that its ids rise without a hole: each is that of a message, or in a gap.
    fn check(&self, watcher: Watcher) {
        let Watcher {
            client,
            subscription,
            is_slow,
            begin,
            ..
        } = watcher;
        client.accept_per_call(ALL);
        client.write();
        let is_open = client.outbox().shared().lifecycle().is_open();
        assert!(is_open || is_slow, "a fast client is never disconnected");
        let mut up_to = begin;
        let mut messages = BTreeMap::new();
        for line in texts(&client) {
            let (first, rest) = line.split_once(' ').expect("two words");
            let number = |text: &str| text.parse::<u64>().expect("an id");
            let (from, to) = match rest.split_once('-') {
                Some((from, to)) if first == "gap" => (number(from), number(to)),
                _ => {
                    messages.insert(number(first), rest.to_owned());
                    (number(first), number(first))
                }
            };
            assert_eq!(
                (from, from <= to),
                (up_to + 1, true),
                "{line} after {up_to}"
            );
            up_to = to;
        }
        if is_open {
            assert_eq!(
                up_to,
                self.topic.last_id().max(begin),
                "the end is not told"
            );
        }
        for (id, received) in &messages {
            assert!(self.delivered.contains(id));
            assert!([text(*id, false), text(*id, true)].contains(received));
        }
        if !is_slow {
            let live = self.delivered.range(watcher.live_after + 1..);
            for id in live.chain(&watcher.replayed) {
                assert!(messages.contains_key(id), "{id} is in a gap");
            }
        }
        drop(subscription);
        end(client);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_member_gets_each_message_once_or_a_gap(
        history in 0_usize..6,
        policy in prop_oneof![
            Just(Policy::DropOldest),
            Just(Policy::DropNewest),
            Just(Policy::Block { timeout: None }),
            Just(Policy::Disconnect { soft: None }),
        ],
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let settings = TopicSettings::default().policy(policy).queue(6).history(history);
        let (topic, _engine) = topic(settings);
        topic.place_at(100);
        let mut model = Model {
            topic,
            top: 100,
            assigned: Vec::new(),
            arrived: 0,
            delivered: BTreeSet::new(),
            watchers: Vec::new(),
        };
        for step in steps {
            model.step(step);
        }
        for watcher in std::mem::take(&mut model.watchers) {
            model.check(watcher);
        }
    }
}
