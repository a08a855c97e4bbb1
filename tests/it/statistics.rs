//! The counters of a server and a hub: every connection, request, client and publish once, by a reason that no client can
//! invent.

use std::time::Duration;

use crossbeam_channel::bounded;
use standpipe::{
    Clock, CloseCause, Config, Connection, Handler, HandlerResult, Hub, HubConfig, Policy, Rate,
    Refused, Reply, Request, ServerStatistics, SubscribeOptions, TopicSettings,
};

use crate::support::{DEADLINE, Frame, TestServer, get, http, op, until};

/// A handler with named routes. Closes as the client says, with a code from 4000 on, or fails.
struct Routes;

impl Handler for Routes {
    fn request(&self, request: &mut Request) -> Reply {
        let route = match request.segments() {
            [room, _] if room == "rooms" => "/rooms/ROOM",
            [hello] if hello == "hello" => "/hello",
            _ => return Reply::status(404),
        };
        request.set_route(route);
        match route {
            "/hello" => Reply::text(200, "hello"),
            _ => Reply::upgrade(),
        }
    }

    fn run(&self, conn: &mut Connection) -> HandlerResult {
        let Some(message) = conn.recv()? else {
            return Ok(());
        };
        conn.close(message.to_text()?.parse()?, "as you wish");
        Ok(())
    }
}

fn count<T: PartialEq>(counts: &[(T, u64)], of: &T) -> u64 {
    let found = counts.iter().find(|(each, _)| each == of);
    found.map_or(0, |(_, count)| *count)
}

#[track_caller]
fn statistics_without_clients(server: &TestServer) -> ServerStatistics {
    until("all clients have left", || server.handle().clients() == 0);
    server.handle().statistics()
}

#[test]
fn every_client_is_counted_with_its_cause() {
    let server = TestServer::start(Config::default().max_clients(Some(2)), Routes);
    let connect = || {
        until("there is room", || server.handle().clients() < 2);
        server.client().path("/rooms/a").connect()
    };
    for text in ["4100", "4100", "4200", "not a number"] {
        let mut client = connect();
        client.text(text);
        client.rest_answering_close();
    }
    for (code, reason) in [(1000, "bye"), (3999, "x"), (3001, "y")] {
        let mut client = connect();
        client.close(code, reason);
        client.expect_close(code);
    }
    connect().reset();
    let (first, mut second) = (connect(), connect());
    let upgrade = server.client().path("/rooms/a").head();
    assert_eq!(http(server.addr(), &upgrade).status, 503);
    let statistics = server.handle().statistics();
    assert_eq!((statistics.clients, statistics.max_clients), (2, 2));
    first.bytes([0xff, 0xff]);
    second.close_empty();
    second.rest_answering_close();
    drop(first);

    let statistics = statistics_without_clients(&server);
    let text = String::new;
    for (cause, expected) in [
        (
            CloseCause::Application {
                code: 4100,
                reason: text(),
            },
            2,
        ),
        (
            CloseCause::Application {
                code: 4200,
                reason: text(),
            },
            1,
        ),
        (CloseCause::HandlerFailed, 1),
        (
            CloseCause::Peer {
                code: 1000,
                reason: text(),
            },
            1,
        ),
        (
            CloseCause::Peer {
                code: 3000,
                reason: text(),
            },
            2,
        ),
        (
            CloseCause::Peer {
                code: 1005,
                reason: text(),
            },
            1,
        ),
        (
            CloseCause::Violation {
                code: 1002,
                reason: text(),
            },
            1,
        ),
        (CloseCause::Gone, 1),
    ] {
        let counted = count(&statistics.closed, &cause);
        assert_eq!(counted, expected, "{cause:?} of {:?}", statistics.closed);
    }
    let closed: u64 = statistics.closed.iter().map(|(_, count)| count).sum();
    assert_eq!((statistics.opened, closed), (10, 10));
    assert_eq!(statistics.accepted, 11);
    assert_eq!(count(&statistics.refused, &Refused::MaxClients), 1);
}

#[test]
fn every_request_is_counted_with_route_and_status() {
    let server = TestServer::start(Config::default(), Routes);
    for path in [
        "/hello",
        "/hello",
        "/nothing",
        "/nothing/else",
        "/rooms/1",
        "/rooms/2",
    ] {
        get(server.addr(), path, "");
    }
    server.client().path("/rooms/3").connect().leave();
    let foreign = server
        .client()
        .path("/rooms/4")
        .header("Origin: https://elsewhere.example");
    http(server.addr(), foreign.head());
    http(server.addr(), "GARBAGE\r\n\r\n");
    let statistics = statistics_without_clients(&server);
    let rows = statistics.requests.iter();
    let rows: Vec<_> = rows.map(|row| (row.route, row.status, row.count)).collect();
    assert_eq!(
        rows,
        [
            (None, 400, 1),
            (None, 403, 1),
            (None, 404, 2),
            (Some("/hello"), 200, 2),
            (Some("/rooms/ROOM"), 101, 1),
            (Some("/rooms/ROOM"), 426, 2),
        ]
    );
    assert_eq!(count(&statistics.refused, &Refused::Request), 4);
}

#[test]
fn refusals_before_a_request_are_counted() {
    let config = Config::default().handshake_timeout(Duration::from_millis(100));
    let config = config.connect_rate(Some(Rate::per_second(1).burst(2)));
    let server = TestServer::start(config, Routes);
    // The first sends nothing, the second has no more than its beginning.
    let silent = server.client().open();
    let slow = server.client().open();
    slow.bytes("GET / HT");
    let refused = server.client().open();
    until("both have missed the deadline", || {
        count(&server.handle().statistics().refused, &Refused::TimedOut) == 2
    });
    let statistics = server.handle().statistics();
    assert_eq!(count(&statistics.refused, &Refused::ConnectRate), 1);
    assert_eq!((statistics.accepted, statistics.opened), (3, 0));
    assert_eq!(statistics.closed, []);
    drop((silent, slow, refused));
}

#[test]
fn blocked_socket_is_shown_and_its_time_counted() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let config = Config::default()
        .write_timeout(TIMEOUT)
        .queue(4)
        .sndbuf(Some(4096));
    let server = TestServer::start(config, |conn: &mut Connection| {
        loop {
            conn.send(vec![0; 64 << 10])?;
        }
    });
    let client = server.client().small_rcvbuf().connect();
    until("the queue is full", || {
        server.handle().statistics().fullest_queue >= 1.0
    });
    let statistics = server.handle().statistics();
    assert_eq!(statistics.blocked_clients, 1);
    assert_eq!(statistics.queued_messages, 4);
    assert!(statistics.queued_bytes >= 4 * (64 << 10));
    until("the socket has been blocked for some time", || {
        let statistics = server.handle().statistics();
        statistics.longest_blocked >= TIMEOUT / 4
    });
    let statistics = statistics_without_clients(&server);
    let timed_out = CloseCause::TimedOut(Clock::Write);
    assert_eq!(count(&statistics.closed, &timed_out), 1);
    assert!(statistics.blocked_time >= TIMEOUT, "{statistics:?}");
    assert_eq!(
        statistics.blocked_time,
        server.handle().statistics().blocked_time
    );
    assert_eq!(
        (statistics.queued_messages, statistics.blocked_clients),
        (0, 0)
    );
    drop(client);
}

#[test]
fn answered_pings_are_counted_as_round_trips() {
    let server = TestServer::start(Config::default(), |conn: &mut Connection| {
        conn.outbox().ping();
        conn.recv()?;
        Ok(())
    });
    for _ in 0..3 {
        let mut client = server.connect();
        let ping = client.next_frame();
        assert_eq!(ping.opcode, op::PING);
        client.frame(&Frame::new(op::PONG, &ping.payload));
        client.frame(&Frame::new(op::PONG, &ping.payload));
        client.leave();
    }
    let round_trips = statistics_without_clients(&server).round_trips;
    assert_eq!(round_trips.count(), 3, "the second pong answers no ping");
    assert!(round_trips.sum > 0.0);
}

#[test]
fn publishes_and_resumes_of_all_topics_are_counted() {
    let kept = TopicSettings::default().history(2);
    let hub = Hub::new(HubConfig::default().topic("kept-*", kept));
    let (sender, outboxes) = bounded(1);
    let server = TestServer::start(Config::default().hub(&hub), move |conn: &mut Connection| {
        sender.send(conn.outbox())?;
        while conn.recv()?.is_some() {}
        Ok(())
    });
    let mut client = server.connect();
    let outbox = outboxes.recv_timeout(DEADLINE).expect("the handler runs");

    let topic = hub.topic("kept-1").expect("there is room");
    let ids: Vec<u64> = ["a", "b", "c"]
        .map(|text| topic.publish(text).unwrap().id)
        .into();
    topic.publish_all(vec!["d".into(), "e".into()]).unwrap();
    let resume = |since: u64, epoch: &str| {
        let options = SubscribeOptions::new().since(since).epoch(epoch);
        topic.subscribe(outbox.clone(), options).unwrap()
    };
    let (epoch, last) = (topic.epoch(), topic.last_id());
    // The history has "d" and "e".
    drop(resume(ids[2], epoch));
    drop(resume(last, epoch));
    drop(resume(last, epoch));
    drop(resume(ids[1], epoch));
    drop(resume(last, "another"));
    drop(resume(0, epoch));
    for text in ["d", "e", "d", "e", "d", "e", "d", "e"] {
        client.expect_text(text);
    }
    let short_lived = hub.topic("short-lived").expect("there is room");
    let subscription = short_lived
        .subscribe(outbox.clone(), SubscribeOptions::new())
        .unwrap();
    short_lived.publish("f").unwrap();
    client.expect_text("f");
    assert_eq!(hub.statistics().members, 1);
    drop(subscription);
    drop(short_lived);

    let statistics = hub.statistics();
    assert_eq!((statistics.resumed, statistics.resumed_with_gap), (3, 2));
    assert_eq!((statistics.published, statistics.unpublished), (6, 0));
    assert_eq!(
        statistics.publish_times.count(),
        5,
        "a batch is one publish"
    );
    assert_eq!((statistics.topics, statistics.members), (1, 0));
    assert_eq!(statistics.counts.delivered, 8 + 1);
    assert_eq!(
        (statistics.counts.history, statistics.history_bytes),
        (2, hub.history_bytes())
    );
    client.leave();
}

#[test]
fn refused_publish_is_counted() {
    let settings = TopicSettings::default()
        .policy(Policy::Block { timeout: None })
        .queue(1);
    let config = HubConfig::default().topic("*", settings);
    let hub = Hub::new(config.publish_timeout(Duration::from_millis(20)));
    let topic = hub.topic("blocked").expect("there is room");
    let (sender, subscribed) = bounded(1);
    let members = topic.clone();
    let config = Config::default().hub(&hub).sndbuf(Some(4096));
    let server = TestServer::start(config, move |conn: &mut Connection| {
        let subscription = members.subscribe(conn.outbox(), SubscribeOptions::new())?;
        sender.send(conn.outbox())?;
        conn.recv()?;
        drop(subscription);
        Ok(())
    });
    let client = server.client().small_rcvbuf().connect();
    let outbox = subscribed
        .recv_timeout(DEADLINE)
        .expect("the handler subscribes");
    let (refused, was_refused) = bounded(1);
    std::thread::scope(|scope| {
        // One of them waits for the member, and the other one for the first.
        for _ in 0..2 {
            scope.spawn(|| {
                while outbox.is_open() {
                    if topic.publish(vec![0; 64 << 10]).is_err() {
                        return refused.send(());
                    }
                }
                Ok(())
            });
        }
        was_refused
            .recv_timeout(DEADLINE)
            .expect("a publisher is refused");
        client.reset();
    });
    assert_eq!(hub.statistics().unpublished, 1);
}
