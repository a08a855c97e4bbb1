//! The server as a channel of events: each Opened is followed by exactly one Closed, with the right cause.

use std::thread;

use standpipe::{CloseCause, Event, Events, Message, Server};

use crate::support::{
    Connect, DEADLINE, TestClient, assert_only_close, fill, with_both_flush_modes, within,
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

#[test]
fn each_opened_has_one_closed_with_its_cause() {
    with_both_flush_modes(|config| {
        let config = config.max_message(1000);
        let server = Server::bind("127.0.0.1:0", config).unwrap();
        let events = server.events(4).unwrap();
        let address = events.handle().local_addr();
        let connect = || TestClient::connect(address, "/");
        let peer = |code, reason: &str| CloseCause::Peer {
            code,
            reason: reason.into(),
        };

        let client = connect();
        // More than the channel holds.
        for i in 0..20 {
            client.text(format!("{i}"));
        }
        client.close(4000, "bye");
        let (messages, cause) = events_of_client(&events);
        let all: Vec<_> = (0..20).map(|i| Message::text(format!("{i}"))).collect();
        assert_eq!((messages, cause), (all, peer(4000, "bye")));

        let client = connect();
        client.close_empty();
        assert_eq!(events_of_client(&events), (vec![], peer(1005, "")));

        connect().reset();
        assert_eq!(events_of_client(&events), (vec![], CloseCause::Gone));

        let client = connect();
        client.end();
        assert_eq!(events_of_client(&events), (vec![], CloseCause::Gone));

        let client = connect();
        client.text("good");
        client.binary([0; 1001]);
        let (messages, cause) = events_of_client(&events);
        assert_eq!(messages, [Message::text("good")]);
        assert!(
            matches!(cause, CloseCause::Server { code: 1009, .. }),
            "{cause:?}"
        );
        drop(client);

        let client = connect();
        let Ok(Event::Opened { outbox, .. }) = events.receiver().recv_timeout(DEADLINE) else {
            panic!("no Opened event before the deadline");
        };
        outbox.terminate();
        let Ok(Event::Closed { cause, .. }) = events.receiver().recv_timeout(DEADLINE) else {
            panic!("no Closed event before the deadline");
        };
        assert_eq!(cause, CloseCause::Terminated);
        drop(client);

        let mut client = connect();
        let Ok(Event::Opened { outbox, .. }) = events.receiver().recv_timeout(DEADLINE) else {
            panic!("no Opened event before the deadline");
        };
        outbox.close(4321, "x");
        assert_only_close(&client.rest_answering_close(), 4321, "x");
        let Ok(Event::Closed { cause, .. }) = events.receiver().recv_timeout(DEADLINE) else {
            panic!("no Closed event before the deadline");
        };
        let reason = "x".to_owned();
        assert_eq!(cause, CloseCause::Server { code: 4321, reason });

        // No thread receives from the channel any more. It is emptied when it ends.
        let clients: Vec<TestClient> = (0..3).map(|_| connect()).collect();
        for client in &clients {
            for _ in 0..20 {
                client.text("x");
            }
        }
        events.handle().shutdown();
        let readers: Vec<_> = (clients.into_iter())
            .map(|mut client| thread::spawn(move || client.rest_answering_close().closes))
            .collect();
        let report = within(20, "the event server to end", || events.join().unwrap());
        assert_eq!((report.drained, report.lost), (3, 0));
        for client in readers {
            assert_eq!(client.join().unwrap()[0].0, 1001);
        }
    });
}

#[test]
fn answer_to_the_peers_close_replaces_our_queued_close() {
    with_both_flush_modes(|config| {
        let server = Server::bind("127.0.0.1:0", config).unwrap();
        let events = server.events(4).unwrap();
        let address = events.handle().local_addr();
        let mut client = Connect::to(address).small_rcvbuf().connect();
        let Ok(Event::Opened { outbox, .. }) = events.receiver().recv_timeout(DEADLINE) else {
            panic!("no Opened event before the deadline");
        };
        fill(&outbox);
        outbox.close(4001, "ours");
        client.close(4002, "theirs");
        // The event arrives when the server has read the peer's Close.
        let Ok(Event::Closed { cause, .. }) = events.receiver().recv_timeout(DEADLINE) else {
            panic!("no Closed event before the deadline");
        };
        let (code, reason) = (4002, "theirs".to_owned());
        assert_eq!(cause, CloseCause::Peer { code, reason });
        assert_only_close(&client.rest(), 4002, "theirs");
        let counts = outbox.counts();
        assert!(counts.discarded > 0, "{counts:?}");
        events.handle().shutdown();
        within(20, "the event server to end", || events.join().unwrap());
    });
}
