//! A scenario for one policy: three members that read, one that is stalled, and the counts of the server and the
//! clients.

use crossbeam_channel::TryRecvError;
use standpipe::{
    Config, Message, MessageCounts, Outbox, Policy, Publication, PublishOutcome, SubscribeOptions,
    Subscription, Topic, TopicCounts,
};

use super::client::{Rest, TestClient};
use super::hub_fixture::{HubFixture, Reader, TopicEvent, assert_contiguous, events_of};

pub(crate) const QUEUE: usize = 32;
pub(crate) const FAST: usize = 3;
pub(crate) const MESSAGES: usize = 2000;
/// How many messages a fast member may be behind. This is less than its queue holds, so that no fast member becomes
/// slow on a busy machine.
pub(crate) const LAG: usize = 16;

/// Returns the text of message `n`, which is large enough to fill the queue of a stalled client soon.
pub(crate) fn text(n: usize) -> String {
    format!("{n} {}", "x".repeat(1000))
}

/// Returns the number at the start of such a text.
pub(crate) fn number(text: &str) -> usize {
    text.split(' ').next().unwrap().parse().unwrap()
}

/// What the server reported and what the clients received.
pub(crate) struct Outcome {
    /// The id of the first message.
    pub(crate) first: u64,
    pub(crate) published: Vec<PublishOutcome>,
    pub(crate) fast: Vec<Rest>,
    pub(crate) stalled: Rest,
    /// The counts of the fast members, followed by those of the stalled one.
    pub(crate) counts: Vec<MessageCounts>,
    pub(crate) topic: TopicCounts,
}

impl Outcome {
    pub(crate) fn last(&self) -> u64 {
        self.first + self.published.len() as u64 - 1
    }

    pub(crate) fn stalled(&self) -> Vec<TopicEvent> {
        events_of("t", &self.stalled.messages)
    }

    /// Checks that the fast members received everything, in order, and then the Close of the shutdown.
    #[track_caller]
    pub(crate) fn assert_fast_got_everything(&self) {
        for rest in &self.fast {
            let events = events_of("t", &rest.messages);
            let (received, missing) = assert_contiguous(&events, self.first, self.last());
            assert_eq!((received.len(), missing), (self.published.len(), vec![]));
            for (n, one) in events.iter().enumerate() {
                assert!(
                    matches!(one, TopicEvent::Message(_, received) if *received == text(n)),
                    "{one:?}"
                );
            }
            assert_eq!(rest.closes, [(1001, "server is shutting down".into())]);
        }
    }

    /// Checks `accepted = delivered + dropped + discarded` for each client and for the topic, and that each client
    /// received as many messages as were counted as delivered.
    #[track_caller]
    pub(crate) fn assert_counts_exact(&self) {
        self.assert_counts_add_up(&[&self.fast[..], std::slice::from_ref(&self.stalled)].concat());
    }

    /// The same check after the stalled client was reset. How much that client received is not known.
    #[track_caller]
    pub(crate) fn assert_counts_exact_except_reset(&self) {
        self.assert_counts_add_up(&self.fast);
    }

    /// `seen` is what the first clients received.
    #[track_caller]
    fn assert_counts_add_up(&self, seen: &[Rest]) {
        let mut sum = MessageCounts::default();
        for (n, counts) in self.counts.iter().enumerate() {
            let ended = counts.delivered + counts.dropped + counts.discarded;
            assert_eq!(counts.accepted, ended, "{counts:?}");
            sum = sum + *counts;
            let Some(rest) = seen.get(n) else {
                continue;
            };
            let events = events_of("t", &rest.messages);
            let messages = events
                .iter()
                .filter(|one| matches!(one, TopicEvent::Message(..)));
            assert_eq!(counts.delivered, messages.count() as u64);
        }
        assert_eq!(
            (sum.accepted, sum.delivered, sum.dropped, sum.discarded),
            (
                self.topic.accepted,
                self.topic.delivered,
                self.topic.dropped,
                self.topic.discarded
            )
        );
        let offered = self
            .published
            .iter()
            .map(|p| p.receivers + p.dropped)
            .sum::<usize>();
        assert_eq!(sum.accepted, offered as u64);
    }
}

/// A running scenario.
pub(crate) struct Scenario {
    pub(crate) fixture: HubFixture,
    pub(crate) topic: Topic,
    pub(crate) fast: Vec<Reader>,
    pub(crate) stalled: Option<TestClient>,
    pub(crate) outboxes: Vec<Outbox>,
    pub(crate) members: Vec<Subscription>,
    pub(crate) first: u64,
    pub(crate) published: Vec<PublishOutcome>,
}

impl Scenario {
    /// Connects and subscribes all members.
    pub(crate) fn begin(config: Config, policy: Policy) -> Scenario {
        let fixture = HubFixture::with(config, policy, QUEUE);
        let topic = fixture.topic("t");
        let options = || SubscribeOptions::new().with_envelope();
        let (mut fast, mut outboxes, mut members) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..FAST {
            let (reader, outbox, member) = fixture.reader(&topic, options());
            fast.push(reader);
            outboxes.push(outbox);
            members.push(member);
        }
        let (stalled, outbox) = fixture.small_client();
        members.push(topic.subscribe(outbox.clone(), options()).unwrap());
        outboxes.push(outbox);
        let first = topic.last_id() + 1;
        let (stalled, published) = (Some(stalled), Vec::new());
        Scenario {
            fixture,
            topic,
            fast,
            stalled,
            outboxes,
            members,
            first,
            published,
        }
    }

    /// Publishes one message as soon as no fast member is more than [`LAG`] messages behind.
    pub(crate) fn publish(&mut self, key: Option<&str>) -> PublishOutcome {
        let n = self.published.len();
        for reader in &self.fast {
            reader.wait_for((n + 1).saturating_sub(LAG));
        }
        let mut publication = Publication::from(Message::text(text(n)));
        if let Some(key) = key {
            publication = publication.key(key);
        }
        let published = self.topic.publish(publication).unwrap();
        self.published.push(published);
        published
    }

    /// Publishes `count` messages in one call.
    pub(crate) fn publish_together(&mut self, count: usize) {
        let numbers = self.published.len()..self.published.len() + count;
        for reader in &self.fast {
            reader.wait_for(numbers.end.saturating_sub(LAG));
        }
        let publication = |n| Publication::from(Message::text(text(n)));
        let published = self.topic.publish_all(numbers.map(publication).collect());
        self.published.extend(published.unwrap());
    }

    /// Publishes until there were [`MESSAGES`] messages.
    pub(crate) fn publish_all(&mut self) {
        while self.published.len() < MESSAGES {
            self.publish(None);
        }
    }

    pub(crate) fn is_stalled_closed(&self) -> bool {
        self.stalled_outbox().closed().try_recv() == Err(TryRecvError::Disconnected)
    }

    pub(crate) fn stalled_outbox(&self) -> &Outbox {
        &self.outboxes[FAST]
    }

    /// Lets the stalled client read again, and shuts the server down when the fast members have received everything.
    pub(crate) fn end(mut self) -> Outcome {
        let stalled = Reader::start(self.stalled.take().unwrap());
        self.end_with(stalled)
    }

    /// Like [`end`](Self::end), for a stalled client that already reads again.
    pub(crate) fn end_with(self, stalled: Reader) -> Outcome {
        self.end_as(|| stalled.end())
    }

    /// Ends the scenario after the stalled client was reset.
    pub(crate) fn end_without(self) -> Outcome {
        self.end_as(Rest::default)
    }

    fn end_as(self, stalled: impl FnOnce() -> Rest) -> Outcome {
        let Scenario {
            fixture,
            topic,
            fast,
            outboxes,
            members,
            first,
            published,
            ..
        } = self;
        for reader in &fast {
            reader.wait_for(published.len());
        }
        fixture.server.shut_down();
        let fast = fast.into_iter().map(Reader::end).collect();
        let stalled = stalled();
        drop(members);
        let counts = outboxes.iter().map(Outbox::counts).collect();
        let topic = topic.counts();
        Outcome {
            first,
            published,
            fast,
            stalled,
            counts,
            topic,
        }
    }
}
