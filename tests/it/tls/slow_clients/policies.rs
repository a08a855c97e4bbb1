//! The policies of a topic, with a member that does not read.

use super::*;

/// A topic with a member that reads, and one that does not.
struct Scene {
    topic: Topic,
    _hub: Hub,
    _members: [Subscription; 2],
    server: TestServer,
    reader: JoinHandle<Rest>,
    received: Arc<AtomicUsize>,
    stalled: TlsPeer,
    stalled_outbox: Outbox,
    published: usize,
}

impl Scene {
    fn begin(policy: Policy, versions: Versions) -> Scene {
        let (server, outboxes) = start(Config::default().shutdown_timeout(DEADLINE));
        let mut config = HubConfig::default();
        config.default = TopicSettings::default().policy(policy).queue(QUEUE);
        let hub = Hub::new(config);
        let topic = hub.topic("t").expect("a topic");
        let mut reading = TlsPeer::connect_with(server.addr(), tls_client(versions));
        let outbox = outboxes
            .recv_timeout(DEADLINE)
            .expect("the handler has started");
        let join = |outbox: &Outbox| {
            let joined = topic.subscribe(outbox.clone(), SubscribeOptions::new());
            joined.expect("room for a member")
        };
        let first = join(&outbox);
        let (stalled, stalled_outbox) = small_client(&server, &outboxes, versions);
        let _members = [first, join(&stalled_outbox)];
        let received = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&received);
        let reader = thread::spawn(move || read_rest(&mut reading, &counter));
        Scene {
            topic,
            _hub: hub,
            _members,
            server,
            reader,
            received,
            stalled,
            stalled_outbox,
            published: 0,
        }
    }

    /// Publishes one message as soon as the reading member is at most [`LAG`] behind.
    fn publish(&mut self) {
        let least = (self.published + 1).saturating_sub(LAG);
        until("the reading member keeps up", || {
            self.received.load(Ordering::SeqCst) >= least
        });
        let publication = Publication::from(message(self.published)).key("k");
        self.topic.publish(publication).expect("an open topic");
        self.published += 1;
    }

    fn publish_until(&mut self, what: &str, mut holds: impl FnMut(&Scene) -> bool) {
        until(what, || {
            self.publish();
            holds(self)
        });
    }

    /// Lets the stalled member read, shuts the server down, and returns what the stalled member has received. Checks
    /// that the other one has everything.
    fn end(self) -> (Rest, Outbox) {
        let Scene {
            server,
            reader,
            mut stalled,
            stalled_outbox,
            published,
            ..
        } = self;
        let stalled = thread::spawn(move || read_rest(&mut stalled, &AtomicUsize::new(0)));
        server.shut_down();
        let rest = within(20, "the reading member to end", || reader.join()).expect("no panic");
        assert_eq!(rest.numbers, (0..published).collect::<Vec<_>>());
        assert_eq!(rest.closes, [(1001, "server is shutting down".into())]);
        assert_eq!(rest.end, TlsEnd::CloseNotify);
        let rest = within(20, "the stalled member to end", || stalled.join()).expect("no panic");
        (rest, stalled_outbox)
    }
}

/// Checks that the counts agree with what the client has received.
#[track_caller]
fn assert_counts_exact(outbox: &Outbox, rest: &Rest) {
    let counts = outbox.counts();
    assert_eq!(
        counts.accepted,
        counts.delivered + counts.dropped + counts.discarded,
        "{counts:?}"
    );
    assert_eq!(counts.delivered, rest.numbers.len() as u64, "{counts:?}");
    assert!(rest.numbers.is_sorted(), "{:?}", rest.numbers);
}

#[test]
fn dropping_policies_keep_others_undisturbed_over_tls() {
    for versions in [TLS_1_2, TLS_1_3] {
        for policy in [Policy::DropNewest, Policy::DropOldest, Policy::Conflate] {
            let mut scene = Scene::begin(policy, versions);
            scene.publish_until("messages are dropped", |scene| {
                scene.stalled_outbox.counts().dropped > 100
            });
            let last = scene.published - 1;
            let (rest, outbox) = scene.end();
            assert_counts_exact(&outbox, &rest);
            assert_eq!(rest.closes.len(), 1, "{policy:?}");
            assert_eq!(rest.end, TlsEnd::CloseNotify, "{policy:?}");
            let has_last = rest.numbers.last() == Some(&last);
            assert_eq!(
                has_last,
                policy != Policy::DropNewest,
                "{policy:?}: {:?}",
                rest.numbers
            );
        }
    }
}

/// The client sees why it was disconnected, behind what was sealed before.
#[test]
fn slow_consumer_sees_4008_over_tls() {
    for versions in [TLS_1_2, TLS_1_3] {
        let mut scene = Scene::begin(Policy::Disconnect { soft: None }, versions);
        scene.publish_until("the stalled member is disconnected", |scene| {
            scene.stalled_outbox.cause() == Some(CloseCause::SlowConsumer)
        });
        // It reads again immediately, and gets what the socket has accepted, and its Close.
        let rest = read_rest(&mut scene.stalled, &AtomicUsize::new(0));
        assert_eq!(rest.closes.len(), 1, "{:?}", rest.end);
        assert_eq!(rest.closes[0].0, 4008);
        assert!(
            rest.numbers.iter().copied().eq(0..rest.numbers.len()),
            "{:?}",
            rest.numbers
        );
        assert_counts_exact(&scene.stalled_outbox.clone(), &rest);
        until("the slow consumer is counted", || {
            scene.server.disconnects("slow_consumer") == 1
        });
        let _ = scene.end();
    }
}

/// The publisher waits for the stalled member, and the stalled member then gets everything.
#[test]
fn blocking_policy_waits_for_a_slow_client_over_tls() {
    const MESSAGES: usize = 300;
    for versions in [TLS_1_2, TLS_1_3] {
        let scene = Scene::begin(Policy::Block { timeout: None }, versions);
        let Scene {
            topic,
            mut stalled,
            stalled_outbox,
            server,
            reader,
            ..
        } = scene;
        let publisher = thread::spawn(move || {
            for n in 0..MESSAGES {
                topic.publish(message(n)).expect("an open topic");
            }
        });
        until("the queue of the stalled member is full", || {
            stalled_outbox.len() == QUEUE
        });
        assert!(!publisher.is_finished(), "the publisher waits");
        for n in 0..MESSAGES {
            assert_eq!(number(&stalled.read_message()), n);
        }
        within(20, "the publisher to end", || publisher.join()).expect("no panic");
        let stalled = thread::spawn(move || read_rest(&mut stalled, &AtomicUsize::new(0)));
        server.shut_down();
        assert_eq!(stalled.join().expect("no panic").end, TlsEnd::CloseNotify);
        let rest = reader.join().expect("no panic");
        assert_eq!(rest.numbers.len(), MESSAGES);
        let counts = stalled_outbox.counts();
        assert_eq!(
            (counts.accepted, counts.delivered),
            (MESSAGES as u64, MESSAGES as u64)
        );
    }
}
