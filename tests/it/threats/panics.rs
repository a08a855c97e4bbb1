//! T35: panics where the server calls the user's code besides `request` and `run`, which are in `process.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use standpipe::{Connection, Envelope, Handler, Hub, HubConfig, Message, Post, Subscribe};

use crate::support::{DEADLINE, Failure, TestServer, both_ways, lends_outboxes, until};

struct Panics;

impl Envelope for Panics {
    fn post(&self, _: &str, post: &Post) -> Message {
        assert!(post.message() != Message::text("panic"), "a panic in post");
        post.message()
    }

    fn gap(&self, _: &str, _: u64, _: u64) -> Message {
        panic!("a panic in gap")
    }

    fn presence(&self, _: &str, _: &str, _: bool) -> Message {
        panic!("a panic in presence")
    }
}

/// Everybody is a member, and publishes what it sends.
struct Room(Hub);

impl Handler for Room {
    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        let topic = self.0.topic("room")?;
        let _member = topic.subscribe(conn.outbox(), Subscribe::new().enveloped())?;
        while let Some(message) = conn.recv()? {
            topic.publish(message)?;
        }
        Ok(())
    }
}

#[test]
fn t35_a_panic_in_an_envelope_costs_the_publisher_alone() {
    both_ways(|config| {
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
    both_ways(|config| {
        let mut settings = HubConfig::default();
        settings.envelope = Some(Arc::new(Panics));
        let topic = Hub::new(settings).topic("room").unwrap();
        let (server, outboxes) = lends_outboxes(config);
        let one = |_| (server.connect(), outboxes.recv_timeout(DEADLINE).unwrap());
        let (mut clients, outboxes): (Vec<_>, Vec<_>) = (0..3).map(one).unzip();
        // Two have got it as it is when the third wants it in an envelope.
        let how = [false, false, true].map(|enveloped| match enveloped {
            true => Subscribe::new().enveloped(),
            false => Subscribe::new(),
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
            let accounts = topic.accounts();
            (accounts.accepted, accounts.delivered) == (2, 2)
        });
    });
}

#[test]
fn t35_a_panic_in_an_errand_costs_no_client() {
    both_ways(|config| {
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
