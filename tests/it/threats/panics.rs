//! T35: panics where the server calls the user's code besides `request` and `run`, which are in `process.rs`.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use standpipe::{
    Connection, Envelope, Handler, Hub, HubConfig, Message, Reply, Request, SubscribeOptions,
    TopicMessage,
};

use crate::support::{
    DEADLINE, Failure, Seen, TestServer, echo, echo_with_outboxes, op, until, with_both_flush_modes,
};

struct Panics;

impl Envelope for Panics {
    fn message(&self, _: &str, post: &TopicMessage) -> Message {
        assert!(post.message() != Message::text("panic"), "a panic in post");
        post.message()
    }

    fn gap(&self, _: &str, _: u64, _: u64) -> Message {
        panic!("a panic in gap")
    }

    fn presence(&self, topic: &str, name: &str, joined: bool) -> Message {
        assert!(name != "panic", "a panic in presence");
        Message::text(format!("{topic} {name} {joined}"))
    }
}

/// Everybody is a member, and publishes what it sends.
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
fn t35_a_panic_in_an_envelope_costs_the_publisher_alone() {
    with_both_flush_modes(|config| {
        let mut settings = HubConfig::default();
        settings.envelope = Some(Arc::new(Panics));
        let server = TestServer::start(config, Room(Hub::new(settings)));
        let mut witness = server.connect();
        witness.text("first");
        witness.expect_text("first");
        for _ in 0..10 {
            let mut client = server.connect();
            client.text("panic");
            client.expect_close(1011);
            client.expect_eof();
            // The topic's turn came back.
            witness.text("still here");
            witness.expect_text("still here");
        }
        until("only the witness is left", || {
            server.handle().clients() == 1
        });
    });
}

#[test]
fn t35_a_panic_in_an_envelope_leaves_the_books_of_its_topic_exact() {
    with_both_flush_modes(|config| {
        let mut settings = HubConfig::default();
        settings.envelope = Some(Arc::new(Panics));
        let topic = Hub::new(settings).topic("room").unwrap();
        let (server, outboxes) = echo_with_outboxes(config);
        let one = |_| (server.connect(), outboxes.recv_timeout(DEADLINE).unwrap());
        let (mut clients, outboxes): (Vec<_>, Vec<_>) = (0..3).map(one).unzip();
        // Two have got it as it is when the third wants it in an envelope.
        let how = [false, false, true].map(|enveloped| match enveloped {
            true => SubscribeOptions::new().with_envelope(),
            false => SubscribeOptions::new(),
        });
        let members: Vec<_> = outboxes
            .iter()
            .zip(how)
            .map(|(outbox, how)| topic.subscribe(outbox.clone(), how).unwrap())
            .collect();
        let published = catch_unwind(AssertUnwindSafe(|| topic.publish(Message::text("panic"))));
        assert!(published.is_err(), "{published:?}");
        // What comes next also sends on its way what the panic left in a queue.
        drop(members);
        for (client, outbox) in clients.iter_mut().zip(&outboxes).take(2) {
            outbox.try_send(Message::text("next")).unwrap();
            client.expect_text("panic");
            client.expect_text("next");
        }
        until("the topic's books to be as its members saw it", || {
            let counts = topic.counts();
            (counts.accepted, counts.delivered) == (2, 2)
        });
    });
}

#[test]
fn t35_a_panic_over_who_comes_and_goes_costs_that_word_alone() {
    with_both_flush_modes(|config| {
        let mut settings = HubConfig::default();
        settings.envelope = Some(Arc::new(Panics));
        let hub = Hub::new(settings);
        let topics = ["one", "two"].map(|name| hub.topic(name).unwrap());
        let (server, outboxes) = echo_with_outboxes(config);
        let sweeper = hub.clone();
        server.handle().on_tick(move || sweeper.sweep());
        let mut witness = server.connect();
        let outbox = outboxes.recv_timeout(DEADLINE).unwrap();
        let _hears: Vec<_> = topics
            .iter()
            .map(|topic| {
                let how = SubscribeOptions::new().with_presence();
                topic.subscribe(outbox.clone(), how).unwrap()
            })
            .collect();
        let _client = server.connect();
        let outbox = outboxes.recv_timeout(DEADLINE).unwrap();
        for topic in &topics {
            let members = ["ann", "panic", "zoe"].map(|name| {
                let how = SubscribeOptions::new().with_name(name);
                topic.subscribe(outbox.clone(), how).unwrap()
            });
            for name in ["ann", "zoe"] {
                witness.expect_text(&format!("{} {name} true", topic.name()));
            }
            drop(members);
        }
        let mut gone: Vec<_> = (0..4)
            .map(|_| witness.read_message().to_text().unwrap().to_owned())
            .collect();
        gone.sort();
        let all = [
            "one ann false",
            "one zoe false",
            "two ann false",
            "two zoe false",
        ];
        assert_eq!(gone, all);
    });
}

#[test]
fn t35_a_panic_in_an_errand_costs_no_client() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let (ran, runs) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&ran);
        server.handle().on_tick(move || {
            count.fetch_add(1, Ordering::Relaxed);
            panic!("a panic in an errand");
        });
        let count = Arc::clone(&runs);
        server.handle().on_tick(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let mut client = server.connect();
        until("both errands have run", || {
            ran.load(Ordering::Relaxed) > 0 && runs.load(Ordering::Relaxed) > 1
        });
        client.text("not touched");
        client.expect_text("not touched");
        client.leave();
    });
}

/// Panics when it is dropped.
struct Drops;

impl Drop for Drops {
    fn drop(&mut self) {
        // Two at a time end the process, whoever catches them.
        assert!(std::thread::panicking(), "a panic in drop");
    }
}

/// An error that panics when somebody wants to know what it is.
struct Unspeakable;

impl fmt::Debug for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a panic in fmt")
    }
}

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("a panic in fmt")
    }
}

impl std::error::Error for Unspeakable {}

/// Ends in every way that is not over when it is caught.
struct Mines;

impl Handler for Mines {
    fn request(&self, request: &mut Request) -> Reply {
        match request.path() {
            "/request" => panic_any(Drops),
            "/extension" => _ = request.extensions_mut().insert(Arc::new(Drops)),
            _ => {}
        }
        Reply::upgrade()
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        match conn.request().path() {
            "/payload" => panic_any(Drops),
            "/error" => Err(Unspeakable.into()),
            "/late" => {
                conn.close(4000, "over");
                while conn.recv()?.is_some() {}
                Err(Unspeakable.into())
            }
            _ => echo(conn),
        }
    }
}

#[test]
fn t35_a_panic_that_panics_again_when_it_is_thrown_away_costs_no_more() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(config, Mines);
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
            late.close(4000, "over");
            late.expect_eof();
            server.client().path("/extension").connect().leave();
        }
        until("only the witness is left", || {
            server.handle().clients() == 1
        });
        // Each has come to its end, and not only away.
        until("all are counted", || {
            server
                .handle()
                .disconnects()
                .contains(&("handler_failed", 6))
        });
        witness.text("still here");
        witness.expect_text("still here");
        witness.leave();
    });
}

#[test]
fn t35_an_errand_whose_panic_panics_again_does_not_stop_the_watchdog() {
    with_both_flush_modes(|config| {
        let config = config
            .ping_interval(Duration::from_millis(200))
            .ping_timeout(Duration::from_millis(200));
        let server = TestServer::echo(config);
        let ran = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ran);
        server.handle().on_tick(move || {
            count.fetch_add(1, Ordering::Relaxed);
            panic_any(Drops);
        });
        until("the errand has run twice", || {
            ran.load(Ordering::Relaxed) > 1
        });
        // Its clocks go on.
        let mut silent = server.connect();
        assert_eq!(silent.next_frame().opcode, op::PING);
        assert!(matches!(silent.next(), Seen::Reset | Seen::Eof));
    });
}
