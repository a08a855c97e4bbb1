//! The server as a channel of events: each Opened is followed by exactly one Closed, with the right cause.

use std::convert::Infallible;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{TryRecvError, bounded};
use standpipe::{CloseCause, Config, Event, Events, Message, Outbox, Reply, ShutdownReport};

use crate::support::{
    Connect, DEADLINE, TestClient, assert_only_close, bind, fill, with_both_flush_modes, within,
};

/// Reads all events of one client. Returns its messages and the cause of its end.
#[track_caller]
fn events_of_client(events: &Events) -> (Vec<Message>, CloseCause) {
    let mut messages = Vec::new();
    let mut number = None;
    loop {
        let event = events.receiver().recv_timeout(DEADLINE);
        match event.expect("the next event arrives before the deadline") {
            Event::Opened { number: client, .. } => {
                assert_eq!(number.replace(client), None, "opened twice");
            }
            Event::Message {
                number: client,
                message,
            } => {
                assert_eq!(Some(client), number);
                messages.push(message);
            }
            Event::Closed {
                number: client,
                cause,
            } => {
                assert_eq!(Some(client), number);
                return (messages, cause);
            }
            other => panic!("unknown event {other:?}"),
        }
    }
}

/// Starts a server with a channel for 4 events.
fn start(config: Config) -> Events {
    let server = bind("127.0.0.1:0", config).unwrap();
    server.events(4).unwrap()
}

fn connect(events: &Events) -> TestClient {
    TestClient::connect(events.handle().local_addr().expect("a TCP address"), "/")
}

#[track_caller]
fn next_opened(events: &Events) -> Outbox {
    match events.receiver().recv_timeout(DEADLINE) {
        Ok(Event::Opened { outbox, .. }) => outbox,
        other => panic!("waited for an Opened event, got {other:?}"),
    }
}

#[track_caller]
fn next_closed(events: &Events) -> CloseCause {
    match events.receiver().recv_timeout(DEADLINE) {
        Ok(Event::Closed { cause, .. }) => cause,
        other => panic!("waited for a Closed event, got {other:?}"),
    }
}

#[track_caller]
fn shut_down(events: Events) -> ShutdownReport {
    events.handle().shutdown();
    within(20, "the event server to end", || events.join().unwrap())
}

#[test]
fn all_messages_arrive_before_closed() {
    with_both_flush_modes(|config| {
        let events = start(config);
        let client = connect(&events);
        // The test sends more messages than the channel holds.
        for i in 0..20 {
            client.text(format!("{i}"));
        }
        client.close(4000, "bye");
        let (messages, cause) = events_of_client(&events);
        let all: Vec<_> = (0..20).map(|i| Message::text(format!("{i}"))).collect();
        let (code, reason) = (4000, "bye".to_owned());
        assert_eq!((messages, cause), (all, CloseCause::Peer { code, reason }));
        shut_down(events);
    });
}

#[test]
fn closed_names_how_the_peer_ended() {
    type End = fn(TestClient) -> Option<TestClient>;
    let (code, reason) = (1005, String::new());
    let cases: [(&str, End, CloseCause); 3] = [
        (
            "a Close without a code",
            |client| {
                client.close_empty();
                Some(client)
            },
            CloseCause::Peer { code, reason },
        ),
        (
            "a reset",
            |client| {
                client.reset();
                None
            },
            CloseCause::Gone,
        ),
        (
            "an end of the stream without a Close",
            |client| {
                client.end();
                Some(client)
            },
            CloseCause::Gone,
        ),
    ];
    with_both_flush_modes(|config| {
        let events = start(config);
        for (name, end, cause) in &cases {
            let client = end(connect(&events));
            let expected = (vec![], cause.clone());
            assert_eq!(events_of_client(&events), expected, "{name}");
            drop(client);
        }
        shut_down(events);
    });
}

#[test]
fn closed_names_how_the_server_ended_a_client() {
    with_both_flush_modes(|config| {
        let events = start(config.max_message(1000));
        let violator = connect(&events);
        violator.text("good");
        violator.binary([0; 1001]);
        let (messages, cause) = events_of_client(&events);
        assert_eq!(messages, [Message::text("good")]);
        let is_too_large = matches!(cause, CloseCause::Violation { code: 1009, .. });
        assert!(is_too_large, "{cause:?}");

        let terminated = connect(&events);
        next_opened(&events).terminate();
        assert_eq!(next_closed(&events), CloseCause::Terminated);

        let mut closed = connect(&events);
        next_opened(&events).close(4321, "x");
        assert_only_close(&closed.rest_answering_close(), 4321, "x");
        let (code, reason) = (4321, "x".to_owned());
        assert_eq!(
            next_closed(&events),
            CloseCause::Application { code, reason }
        );

        drop((violator, terminated));
        shut_down(events);
    });
}

#[test]
fn shutdown_does_not_wait_for_a_full_event_channel() {
    with_both_flush_modes(|config| {
        let events = start(config);
        let clients: Vec<TestClient> = (0..3).map(|_| connect(&events)).collect();
        for client in &clients {
            for _ in 0..20 {
                client.text("x");
            }
        }
        // From here on, the test no longer receives events.
        events.handle().shutdown();
        let readers: Vec<_> = (clients.into_iter())
            .map(|mut client| thread::spawn(move || client.rest_answering_close().closes))
            .collect();
        let report = shut_down(events);
        assert_eq!((report.drained, report.lost), (3, 0));
        for client in readers {
            assert_eq!(client.join().unwrap()[0].0, 1001);
        }
    });
}

#[test]
fn answer_to_the_peers_close_replaces_our_queued_close() {
    with_both_flush_modes(|config| {
        let events = start(config);
        let client = Connect::to(events.handle().local_addr().expect("a TCP address"));
        let mut client = client.small_rcvbuf().connect();
        let outbox = next_opened(&events);
        fill(&outbox);
        outbox.close(4001, "ours");
        client.close(4002, "theirs");
        // The event arrives when the server has read the peer's Close.
        let (code, reason) = (4002, "theirs".to_owned());
        assert_eq!(next_closed(&events), CloseCause::Peer { code, reason });
        assert_only_close(&client.rest(), 4002, "theirs");
        let counts = outbox.counts();
        assert!(counts.discarded > 0, "{counts:?}");
        shut_down(events);
    });
}

#[test]
fn events_have_a_door() {
    let server = bind("127.0.0.1:0", Config::default()).unwrap();
    let events = server.events_with(4, |request| match request.path() {
        "/" => Reply::html("<p>A page"),
        "/robot" if request.header("authorization") == Some("Bearer right") => {
            Reply::upgrade().subprotocol("robot.v1")
        }
        "/robot" => Reply::status(401),
        _ => Reply::status(404),
    });
    let events = events.unwrap();
    let address = events.handle().local_addr().expect("a TCP address");
    assert_eq!(crate::support::get(address, "/", "").body, "<p>A page");
    let refused = Connect::to(address).path("/robot");
    assert_eq!(refused.request().1.status, 401);
    let accepted = Connect::to(address)
        .path("/robot")
        .header("Authorization: Bearer right")
        .header("Sec-WebSocket-Protocol: robot.v1");
    let (mut client, answer) = accepted.request();
    assert_eq!(answer.header("sec-websocket-protocol"), Some("robot.v1"));
    // The first event is that of the accepted client.
    match events.receiver().recv_timeout(DEADLINE) {
        Ok(Event::Opened {
            request, outbox, ..
        }) => {
            assert_eq!(request.path(), "/robot");
            outbox.try_send("hello").unwrap();
        }
        other => panic!("waited for an Opened event, got {other:?}"),
    }
    client.expect_text("hello");
    client.leave();
    let number = events.receiver().recv_timeout(DEADLINE).unwrap().number();
    assert!(number > 0);
    shut_down(events);
}

/// The loop is that of the documentation of `Events`.
#[test]
fn steps_are_taken_during_a_flood() {
    let events = start(Config::default());
    let client = connect(&events);
    let (flood, stop) = bounded::<Infallible>(0);
    let flooding = thread::spawn(move || {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            if stop.try_recv() == Err(TryRecvError::Disconnected) {
                return true;
            }
            client.text("x");
        }
        false
    });
    let (step, mut next) = (Duration::from_millis(10), Instant::now());
    for _ in 0..20 {
        next += step;
        while Instant::now() < next {
            match events.receiver().recv_deadline(next) {
                // This cannot be an event: it stands for work that takes longer than the client needs for a message.
                Ok(_) => thread::sleep(Duration::from_millis(1)),
                Err(_) => break,
            }
        }
    }
    drop(flood);
    while !flooding.is_finished() {
        // Otherwise, the client could wait for room.
        let _ = events.receiver().recv_timeout(Duration::from_millis(1));
    }
    let was_stopped = flooding.join().expect("the client does not panic");
    assert!(was_stopped, "the flood ended before the 20th step");
    shut_down(events);
}
