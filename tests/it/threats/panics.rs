//! Panics in the user's envelope, tick callbacks and destructors (SECURITY.md, T35). `process.rs` tests panics in
//! `request` and `run`.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use standpipe::{
    Connection, Disconnect, Envelope, Gap, Handler, Hub, HubConfig, Message, Reply, Request,
    SubscribeOptions, TopicMessage,
};

use crate::support::{
    DEADLINE, Failure, Seen, TestServer, echo, echo_with_outboxes, op, until, with_both_flush_modes,
};

struct PanickingEnvelope;

impl Envelope for PanickingEnvelope {
    fn message(&self, _: &str, message: &TopicMessage) -> Message {
        assert!(
            message.message() != Message::text("panic"),
            "a panic in message"
        );
        message.message()
    }

    fn gap(&self, _: &str, _: Gap<'_>) -> Message {
        panic!("a panic in gap")
    }

    fn presence(&self, topic: &str, name: &str, joined: bool) -> Message {
        assert!(name != "panic", "a panic in presence");
        Message::text(format!("{topic} {name} {joined}"))
    }
}

/// Every client is a member of one topic and publishes what it sends.
struct Room(Hub);

impl Handler for Room {
    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        let topic = self.0.topic("room")?;
        let _member = topic.subscribe(conn.outbox(), SubscribeOptions::new().with_envelope())?;
        while let Some(message) = conn.recv()? {
            topic.publish(message)?;
        }
        Ok(())
    }
}

#[test]
fn envelope_panic_closes_only_the_publisher() {
    with_both_flush_modes(|config| {
        let mut settings = HubConfig::default();
        settings.envelope = Some(Arc::new(PanickingEnvelope));
        let server = TestServer::start(config, Room(Hub::new(settings)));
        let mut witness = server.connect();
        witness.text("first");
        witness.expect_text("first");
        for _ in 0..10 {
            let mut client = server.connect();
            client.text("panic");
            client.expect_close(1011);
            client.expect_eof();
            // The panic released the topic's publish token.
            witness.text("still connected");
            witness.expect_text("still connected");
        }
        until("only the witness is connected", || {
            server.handle().clients() == 1
        });
    });
}

#[test]
fn envelope_panic_keeps_topic_counts_exact() {
    with_both_flush_modes(|config| {
        let mut settings = HubConfig::default();
        settings.envelope = Some(Arc::new(PanickingEnvelope));
        let topic = Hub::new(settings).topic("room").unwrap();
        let (server, outboxes) = echo_with_outboxes(config);
        let connect = |_| (server.connect(), outboxes.recv_timeout(DEADLINE).unwrap());
        let (mut clients, outboxes): (Vec<_>, Vec<_>) = (0..3).map(connect).unzip();
        // Two members have received the plain message when the envelope of the third panics.
        let options = [false, false, true].map(|with_envelope| match with_envelope {
            true => SubscribeOptions::new().with_envelope(),
            false => SubscribeOptions::new(),
        });
        let members: Vec<_> = outboxes
            .iter()
            .zip(options)
            .map(|(outbox, options)| topic.subscribe(outbox.clone(), options).unwrap())
            .collect();
        let result = catch_unwind(AssertUnwindSafe(|| topic.publish(Message::text("panic"))));
        assert!(result.is_err(), "{result:?}");
        // The next message also flushes the message that the panic left in a queue.
        drop(members);
        for (client, outbox) in clients.iter_mut().zip(&outboxes).take(2) {
            outbox.try_send(Message::text("next")).unwrap();
            client.expect_text("panic");
            client.expect_text("next");
        }
        until(
            "the topic's counts to match what its members received",
            || {
                let counts = topic.counts();
                (counts.accepted, counts.delivered) == (2, 2)
            },
        );
    });
}

#[test]
fn presence_panic_loses_only_that_notice() {
    with_both_flush_modes(|config| {
        let mut settings = HubConfig::default();
        settings.envelope = Some(Arc::new(PanickingEnvelope));
        let hub = Hub::new(settings);
        let topics = ["one", "two"].map(|name| hub.topic(name).unwrap());
        let (server, outboxes) = echo_with_outboxes(config);
        let mut witness = server.connect();
        let outbox = outboxes.recv_timeout(DEADLINE).unwrap();
        let _subscriptions: Vec<_> = topics
            .iter()
            .map(|topic| {
                let options = SubscribeOptions::new().with_presence();
                topic.subscribe(outbox.clone(), options).unwrap()
            })
            .collect();
        let _client = server.connect();
        let outbox = outboxes.recv_timeout(DEADLINE).unwrap();
        for topic in &topics {
            let members = ["ann", "panic", "zoe"].map(|name| {
                let options = SubscribeOptions::new().with_name(name);
                topic.subscribe(outbox.clone(), options).unwrap()
            });
            for name in ["ann", "zoe"] {
                witness.expect_text(&format!("{} {name} true", topic.name()));
            }
            drop(members);
        }
        let mut notices: Vec<_> = (0..4)
            .map(|_| witness.read_message().to_text().unwrap().to_owned())
            .collect();
        notices.sort();
        let expected = [
            "one ann false",
            "one zoe false",
            "two ann false",
            "two zoe false",
        ];
        assert_eq!(notices, expected);
    });
}

#[test]
fn tick_callback_panic_affects_no_client() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let (panicking, healthy) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&panicking);
        let _panics = server.handle().on_tick(move || {
            count.fetch_add(1, Ordering::Relaxed);
            panic!("a panic in a tick callback");
        });
        let count = Arc::clone(&healthy);
        let counts = server.handle().on_tick(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let mut client = server.connect();
        until("both tick callbacks have run", || {
            panicking.load(Ordering::Relaxed) > 0 && healthy.load(Ordering::Relaxed) > 1
        });
        client.text("still connected");
        client.expect_text("still connected");
        client.leave();
        drop(counts);
        until("the server has dropped the callback", || {
            Arc::strong_count(&healthy) == 1
        });
    });
}

/// A value whose destructor panics.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        // A panic while another panic unwinds would abort the process, and nothing could catch it.
        assert!(std::thread::panicking(), "a panic in drop");
    }
}

/// An error that panics when it is formatted.
struct PanicsOnFormat;

impl fmt::Debug for PanicsOnFormat {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a panic in fmt")
    }
}

impl fmt::Display for PanicsOnFormat {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a panic in fmt")
    }
}

impl std::error::Error for PanicsOnFormat {}

/// A handler that fails in every way that can cause a second panic after the first was caught.
struct DoublePanics;

impl Handler for DoublePanics {
    fn request(&self, request: &mut Request) -> Reply {
        match request.path() {
            "/request" => panic_any(PanicsOnDrop),
            "/extension" => _ = request.extensions_mut().insert(Arc::new(PanicsOnDrop)),
            _ => {}
        }
        Reply::upgrade()
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        match conn.request().path() {
            "/payload" => panic_any(PanicsOnDrop),
            "/error" => Err(PanicsOnFormat.into()),
            "/late" => {
                conn.close(4000, "finished");
                while conn.recv()?.is_some() {}
                Err(PanicsOnFormat.into())
            }
            _ => echo(conn),
        }
    }
}

#[test]
fn panic_payload_that_panics_on_drop_is_contained() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(config, DoublePanics);
        let mut witness = server.connect();
        for _ in 0..3 {
            let (_, answer) = server.client().path("/request").request();
            assert_eq!(answer.status, 500);
            for path in ["/payload", "/error"] {
                let mut client = server.client().path(path).connect();
                client.expect_close(1011);
                client.expect_eof();
            }
            let mut late = server.client().path("/late").connect();
            late.expect_close(4000);
            late.close(4000, "finished");
            late.expect_eof();
            server.client().path("/extension").connect().leave();
        }
        until("only the witness is connected", || {
            server.handle().clients() == 1
        });
        // Each handler has returned, and not only its connection has ended.
        until("all failures are counted", || {
            server
                .handle()
                .disconnects()
                .contains(&(Disconnect::HandlerFailed, 6))
        });
        witness.text("still connected");
        witness.expect_text("still connected");
        witness.leave();
    });
}

#[test]
fn tick_callback_panic_does_not_stop_the_watchdog() {
    with_both_flush_modes(|config| {
        let config = config
            .ping_interval(Duration::from_millis(200))
            .ping_timeout(Duration::from_millis(200));
        let server = TestServer::echo(config);
        let runs = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&runs);
        let _panics = server.handle().on_tick(move || {
            count.fetch_add(1, Ordering::Relaxed);
            panic_any(PanicsOnDrop);
        });
        until("the tick callback has run twice", || {
            runs.load(Ordering::Relaxed) > 1
        });
        // The watchdog still enforces its timeouts.
        let mut silent = server.connect();
        assert_eq!(silent.next_frame().opcode, op::PING);
        assert!(matches!(silent.next(), Seen::Reset | Seen::Eof));
    });
}
