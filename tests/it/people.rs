//! People: clients by number, the members of a topic, and users with several connections.

use standpipe::{
    Config, Connection, Handler, Message, Outbox, Policy, Reply, Request, Roster, SubscribeOptions,
};

use crate::support::{
    Connect, Failure, HubFixture, TestClient, TestServer, fill, until, with_both_flush_modes,
};

fn numbers(outboxes: &[Outbox]) -> Vec<u64> {
    outboxes.iter().map(Outbox::number).collect()
}

#[test]
fn clients_are_found_by_number_until_they_leave() {
    let server = TestServer::echo(Config::default());
    let handle = server.handle();
    let mut clients = [server.connect(), server.connect()];
    // A connection without a 101 is no client yet.
    let pending = server.client().open();
    until("the third connection is accepted", || {
        handle.pending_handshakes() == 1
    });
    let listed = numbers(&handle.outboxes());
    assert_eq!(listed.len(), 2);
    assert!(listed.is_sorted());
    for number in listed.iter().copied() {
        let outbox = handle.client(number).expect("it is connected");
        assert_eq!(outbox.number(), number);
        outbox.send(format!("you are {number}")).unwrap();
    }
    let texts = clients.each_mut().map(|client| client.read_message());
    let expected = |number: &u64| Message::text(format!("you are {number}"));
    assert!(
        listed
            .iter()
            .map(expected)
            .all(|text| texts.contains(&text))
    );
    assert!(handle.client(listed[1] + 1).is_none());
    let [first, second] = clients;
    first.leave();
    until("one client has left", || handle.outboxes().len() == 1);
    let left = listed.iter().filter(|n| handle.client(**n).is_some());
    assert_eq!(left.count(), 1);
    second.leave();
    until("both have left", || handle.outboxes().is_empty());
    drop(pending);
}

#[test]
fn client_subscribed_twice_gets_one_copy() {
    with_both_flush_modes(|config| {
        let fixture = HubFixture::with(config, Policy::Block { timeout: None }, 4);
        let topic = fixture.topic("t");
        let (reader, outbox, first) = fixture.reader(&topic, SubscribeOptions::new());
        let second = topic.subscribe(outbox.clone(), SubscribeOptions::new());
        assert!(second.as_ref().unwrap().was_member());
        assert_eq!(numbers(&topic.outboxes()), [outbox.number()]);
        for n in 0..200 {
            assert_eq!(topic.publish(n.to_string()).unwrap().receivers, 1);
        }
        drop(first);
        for n in 200..400 {
            assert_eq!(topic.publish(n.to_string()).unwrap().receivers, 1);
        }
        drop(second);
        assert_eq!(topic.publish("too late").unwrap().receivers, 0);
        outbox.close(1000, "");
        let expected: Vec<_> = (0..400).map(|n| Message::text(n.to_string())).collect();
        assert_eq!(reader.end().messages, expected);
    });
}

/// A handler that adds each client to the roster, under the name that is its path. `panic` and `fail` do.
struct People(Roster);

impl Handler for People {
    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        let name = conn.request().path()[1..].to_owned();
        let _entry = self.0.join(&name, conn.outbox())?;
        conn.send("joined")?;
        while let Some(message) = conn.recv()? {
            match message.to_text() {
                Ok("panic") => panic!("a message asks for it"),
                Ok("fail") => return Err("as asked".into()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn people(config: Config) -> (TestServer, Roster) {
    let roster = Roster::new(3, 3);
    (TestServer::start(config, People(roster.clone())), roster)
}

fn join(server: &TestServer, name: &str) -> TestClient {
    let mut client = TestClient::connect(server.addr(), &format!("/{name}"));
    client.expect_text("joined");
    client
}

#[test]
fn user_is_reached_on_every_connection() {
    with_both_flush_modes(|config| {
        let (server, roster) = people(config);
        let mut anns = [join(&server, "ann"), join(&server, "ann")];
        let mut bob = join(&server, "bob");
        assert_eq!(roster.names(), ["ann", "bob"]);
        assert_eq!(roster.send_to("ann", "for ann").receivers, 2);
        assert_eq!(roster.send_to("bob", "for bob").receivers, 1);
        for ann in &mut anns {
            ann.expect_text("for ann");
        }
        bob.expect_text("for bob");
        let [phone, page] = anns;
        phone.leave();
        until("one connection is left", || {
            roster.outboxes("ann").len() == 1
        });
        page.leave();
        until("ann has left", || roster.names() == ["bob"]);
        bob.leave();
    });
}

#[test]
fn user_leaves_the_roster_however_the_handler_ends() {
    let (server, roster) = people(Config::default());
    let gone = |what: &str| until(what, || roster.is_empty());
    let client = join(&server, "ann");
    client.text("panic");
    gone("the handler that panicked has left");
    let client = join(&server, "ann");
    client.text("fail");
    gone("the handler that failed has left");
    join(&server, "ann").reset();
    gone("the client that reset its connection has left");
    let client = join(&server, "ann");
    client.end();
    gone("the client that ended its stream has left");
}

#[test]
fn kicked_user_sees_the_code_on_every_connection() {
    with_both_flush_modes(|config| {
        let small = config.sndbuf(Some(16 << 10)).unsent(16 << 10);
        let (server, roster) = people(small);
        let mut idle = join(&server, "ann");
        let mut stalled = Connect::to(server.addr())
            .small_rcvbuf()
            .path("/ann")
            .connect();
        stalled.expect_text("joined");
        let bob = join(&server, "bob");
        // Neither client reads, so both queues are full.
        for outbox in roster.outboxes("ann") {
            fill(&outbox);
        }
        assert_eq!(roster.kick("ann", 4100, "you are out"), 2);
        assert_eq!(roster.names(), ["bob"]);
        for client in [&mut idle, &mut stalled] {
            let rest = client.rest_answering_close();
            assert_eq!(rest.closes, [(4100, "you are out".into())]);
        }
        bob.leave();
    });
}

/// Names the user that the query has.
struct Named;

impl Handler for Named {
    fn request(&self, request: &mut Request) -> Reply {
        let reply = Reply::upgrade();
        match request.query("user") {
            Some(user) => reply.user(user),
            None => reply,
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        while conn.recv()?.is_some() {}
        Ok(())
    }
}

#[test]
fn named_user_is_shown_until_the_client_leaves() {
    let server = TestServer::start(Config::default(), Named);
    let named = server.client().path("/?user=ann").connect();
    let other = server.connect();
    let states = server.handle().client_states();
    let mut users: Vec<_> = states.iter().map(|state| state.user.as_deref()).collect();
    users.sort_unstable();
    assert_eq!(users, [None, Some("ann")]);
    named.leave();
    other.leave();
}

#[test]
fn user_is_disconnected_on_every_connection() {
    let server = TestServer::start(Config::default(), Named);
    let connect = |user: &str| server.client().path(&format!("/?user={user}")).connect();
    let mut ann = [connect("ann"), connect("ann")];
    let others = [connect("bob"), connect("Ann"), server.connect()];
    let handle = server.handle();
    assert_eq!(handle.disconnect_user("ann", 4100, "banned"), 2);
    assert_eq!(
        handle.disconnect_user("ann", 4101, "again"),
        0,
        "they are closing"
    );
    for client in &mut ann {
        assert_eq!(client.expect_close(4100), "banned");
    }
    assert_eq!(handle.disconnect_user("", 4100, ""), 0);
    for other in others {
        other.leave();
    }
}
