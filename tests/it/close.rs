//! The end of a client: one Close on the wire in every case, nothing after it, and one reason told.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use standpipe::{
    Config, Connection, Event, Events, Handler, Message, Outbox, Report, SendTimeoutError, Server,
    TrySendError, Why,
};

use crate::support::{
    Connect, DEADLINE, Failure, Frame, Gate, Length, Raw, Rest, Seen, TestServer, both_ways, echo,
    fill, op, until, waiting_send, within,
};

/// A handler's outbox, handed out to the test; then an echo.
fn lends_outboxes(config: Config) -> (TestServer, Receiver<Outbox>) {
    let (give, take) = unbounded();
    let server = TestServer::start(config, move |conn: &mut Connection| {
        give.send(conn.outbox()).unwrap();
        echo(conn)
    });
    (server, take)
}

#[track_caller]
fn only_close(rest: &Rest, code: u16, reason: &str) {
    assert_eq!(rest.closes, [(code, reason.to_owned())]);
    assert_eq!(rest.after_close, 0, "{rest:?}");
    assert!(!rest.reset, "{rest:?}");
}

#[test]
fn the_peers_code_and_reason_come_back() {
    both_ways(|config| {
        let server = TestServer::echo(config);
        for (code, reason) in [
            (1000, ""),
            (1001, "going away"),
            (1003, "ü"),
            (3000, "library"),
            (4999, &*"r".repeat(123)),
        ] {
            let mut client = server.connect();
            client.text("before");
            client.close(code, reason);
            // What was queued when the Close came may be thrown away; its answer may not.
            let rest = client.rest();
            only_close(&rest, code, reason);
        }
        let mut client = server.connect();
        client.close_empty();
        only_close(&client.rest(), 1005, "");
    });
}

#[test]
fn a_close_that_may_not_be_is_answered_1002_or_1007() {
    both_ways(|config| {
        let server = TestServer::echo(config);
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
            let mut client = server.connect();
            client.close(code, "");
            let rest = client.rest();
            assert_eq!(rest.closes.len(), 1, "{code}: {rest:?}");
            assert_eq!(rest.closes[0].0, 1002, "{code}");
            assert!(rest.after_close == 0 && !rest.reset, "{code}: {rest:?}");
        }
        let mut client = server.connect();
        client.frame(&Frame::new(op::CLOSE, [3]));
        client.expect_close(1002);
        client.expect_eof();
        let mut client = server.connect();
        client.frame(&Frame::new(op::CLOSE, [3, 232, 0xff]));
        client.expect_close(1007);
        client.expect_eof();
    });
}

#[test]
fn what_comes_behind_the_peers_close_is_nobodys() {
    both_ways(|config| {
        let server = TestServer::echo(config);
        let mut client = server.connect();
        let frames = [
            Frame::close(1000, "bye"),
            Frame::new(op::TEXT, "late"),
            Frame::new(op::PING, "late"),
            Frame::close(1001, "again"),
        ];
        client.bytes(frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>());
        let rest = client.rest();
        assert_eq!(rest.closes, [(1000, "bye".to_owned())]);
        assert_eq!(rest.after_close, 0, "{rest:?}");
        assert!(
            rest.messages.is_empty() && rest.pongs.is_empty(),
            "{rest:?}"
        );
    });
}

#[test]
fn a_handlers_return_closes_with_1000_after_what_is_queued() {
    both_ways(|config| {
        let server = TestServer::start(config, |conn: &mut Connection| {
            for i in 0..50 {
                conn.send(Message::text(format!("{i}")))?;
            }
            Ok(())
        });
        let mut client = server.connect();
        let rest = client.rest_politely();
        let all: Vec<_> = (0..50).map(|i| Message::text(format!("{i}"))).collect();
        assert_eq!(rest.messages, all);
        only_close(&rest, 1000, "");
    });
}

#[test]
fn what_is_queued_reaches_a_slow_reader_before_the_1000() {
    both_ways(|config| {
        let message = "x".repeat(10_000);
        let sent = message.clone();
        let server = TestServer::start(config, move |conn: &mut Connection| {
            for _ in 0..50 {
                conn.send(Message::text(&*sent))?;
            }
            Ok(())
        });
        let mut client = server.client().small_rcvbuf().connect();
        until("the handler has queued all it has", || {
            server.handle().clients() == 1
        });
        let rest = client.rest_politely();
        assert_eq!(rest.messages.len(), 50);
        assert!(rest.messages.iter().all(|m| *m == Message::text(&*message)));
        only_close(&rest, 1000, "");
    });
}

#[test]
fn a_handlers_error_or_panic_closes_with_1011_and_harms_nobody_else() {
    both_ways(|config| {
        let server = TestServer::start(config, |conn: &mut Connection| {
            while let Some(message) = conn.recv()? {
                match message.to_text()? {
                    "fail" => return Err("as the test wants it".into()),
                    "panic" => panic!("as the test wants it"),
                    _ => conn.send(message)?,
                }
            }
            Ok(())
        });
        let mut other = server.connect();
        for word in ["fail", "panic"] {
            let mut client = server.connect();
            client.text(word);
            let rest = client.rest_politely();
            assert_eq!(rest.closes.len(), 1, "{word}: {rest:?}");
            assert_eq!(rest.closes[0].0, 1011, "{word}");
            // What went wrong in the program is not the peer's business.
            assert!(!rest.closes[0].1.contains("test"), "{rest:?}");
            assert!(rest.after_close == 0 && !rest.reset, "{word}: {rest:?}");
        }
        other.text("unharmed");
        other.expect_text("unharmed");
        other.leave();
        server.connect().leave();
    });
}

#[test]
fn a_handler_closes_with_its_own_code_after_what_is_queued() {
    both_ways(|config| {
        let server = TestServer::start(config, |conn: &mut Connection| {
            conn.send(Message::text("queued"))?;
            conn.close(4321, "x");
            conn.close(4322, "the first stands");
            // From here nothing is taken, and nothing comes.
            let refused = conn.send(Message::text("late")).unwrap_err();
            assert_eq!(refused.0, Message::text("late"));
            assert!(conn.recv()?.is_none());
            Ok(())
        });
        let mut client = server.connect();
        client.text("never read");
        let rest = client.rest_politely();
        assert_eq!(rest.messages, [Message::text("queued")]);
        only_close(&rest, 4321, "x");
    });
}

#[test]
fn codes_that_may_not_be_sent_become_1000_and_long_reasons_are_cut_at_a_character() {
    let (server, outboxes) = lends_outboxes(Config::default());
    for code in [0, 999, 1005, 1006, 1015, 2000, 5000] {
        let mut client = server.connect();
        outboxes.recv().unwrap().close(code, "");
        only_close(&client.rest_politely(), 1000, "");
    }
    let mut client = server.connect();
    outboxes.recv().unwrap().close(1000, &"ü".repeat(100));
    only_close(&client.rest_politely(), 1000, &"ü".repeat(61));
}

#[test]
fn another_thread_closes_through_the_outbox_and_the_handler_ends() {
    both_ways(|config| {
        let (server, outboxes) = lends_outboxes(config);
        let mut client = server.connect();
        let outbox = outboxes.recv().unwrap();
        thread::spawn(move || {
            outbox.send(Message::text("last")).unwrap();
            outbox.close(4000, "from elsewhere");
        });
        let rest = client.rest_politely();
        assert_eq!(rest.messages, [Message::text("last")]);
        only_close(&rest, 4000, "from elsewhere");
        until("its reader is gone", || server.handle().clients() == 0);
    });
}

#[test]
fn terminate_resets_at_once_whatever_is_queued() {
    both_ways(|config| {
        let (server, outboxes) = lends_outboxes(config);
        let mut idle = server.connect();
        outboxes.recv().unwrap().terminate();
        idle.expect_reset();
        // And one whose writer waits for the socket.
        let full = server.client().small_rcvbuf().connect();
        let outbox = outboxes.recv().unwrap();
        fill(&outbox);
        outbox.terminate();
        until("both are gone", || server.handle().clients() == 0);
        assert!(outbox.is_empty());
        let accounts = outbox.accounts();
        assert_eq!(accounts.accepted, accounts.delivered + accounts.discarded);
        assert!(accounts.discarded > 0);
        drop(full);
    });
}

/// A frame that breaks a rule, or the frames, and the code that answers it.
fn faults() -> Vec<(&'static str, Vec<Frame>, u16)> {
    let text = |payload: &[u8]| Frame::new(op::TEXT, payload);
    let with = |change: fn(&mut Frame)| {
        let mut frame = text(b"x");
        change(&mut frame);
        vec![frame]
    };
    let lengthy = |length, bytes| {
        let mut frame = text(&vec![b'x'; bytes]);
        frame.length = length;
        vec![frame]
    };
    vec![
        ("no mask", with(|frame| frame.masked = false), 1002),
        ("RSV1", with(|frame| frame.rsv = 4), 1002),
        ("RSV3", with(|frame| frame.rsv = 1), 1002),
        ("opcode 3", with(|frame| frame.opcode = 3), 1002),
        ("opcode 11", with(|frame| frame.opcode = 11), 1002),
        ("long ping", vec![Frame::new(op::PING, [0; 126])], 1002),
        (
            "half a ping",
            vec![Frame::new(op::PING, "x").unfinished()],
            1002,
        ),
        (
            "half a Close",
            vec![Frame::close(1000, "").unfinished()],
            1002,
        ),
        (
            "continuation of nothing",
            vec![Frame::new(op::CONTINUATION, "x")],
            1002,
        ),
        (
            "text in text",
            vec![text(b"x").unfinished(), text(b"x")],
            1002,
        ),
        ("125 in two bytes", lengthy(Length::Two(125), 125), 1002),
        ("200 in eight bytes", lengthy(Length::Eight(200), 200), 1002),
        ("length over 2^63", lengthy(Length::Eight(1 << 63), 0), 1002),
        ("length 2^62", lengthy(Length::Eight(1 << 62), 0), 1009),
        ("over the limit", vec![text(&[b'x'; 1001])], 1009),
        (
            "over the limit in fragments",
            vec![
                text(&[b'x'; 600]).unfinished(),
                Frame::new(op::CONTINUATION, [b'x'; 600]),
            ],
            1009,
        ),
        ("not UTF-8", vec![text(b"\xff")], 1007),
        (
            "not UTF-8 in fragments",
            vec![
                text(b"\xc3").unfinished(),
                Frame::new(op::CONTINUATION, b"x"),
            ],
            1007,
        ),
        (
            "too many fragments",
            [
                vec![text(b"").unfinished()],
                vec![Frame::new(op::CONTINUATION, "").unfinished(); 20],
            ]
            .concat(),
            1008,
        ),
    ]
}

#[test]
fn every_fault_is_answered_with_its_code_and_the_message_before_it_is_served() {
    both_ways(|config| {
        let server = TestServer::echo(config.max_message(1000).max_fragments(20));
        for (name, frames, code) in faults() {
            let mut client = server.connect();
            client.text("good");
            client.bytes(frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>());
            let rest = client.rest();
            // The answer to the good one may be thrown away with the queue, but it cannot come after the Close.
            let codes: Vec<_> = rest.closes.iter().map(|(code, _)| *code).collect();
            assert_eq!(codes, [code], "{name}: {rest:?}");
            assert!(rest.after_close == 0 && !rest.reset, "{name}: {rest:?}");
            assert!(rest.messages.len() <= 1, "{name}: {rest:?}");
        }
        // Exactly at the limits is no fault.
        let mut client = server.connect();
        client.frame(&Frame::new(op::TEXT, "").unfinished());
        for _ in 0..18 {
            client.frame(&Frame::new(op::CONTINUATION, "").unfinished());
        }
        client.frame(&Frame::new(op::CONTINUATION, "x".repeat(1000)));
        client.expect_text(&"x".repeat(1000));
    });
}

#[test]
fn a_peer_that_looks_only_after_it_has_sent_all_sees_why_it_was_refused() {
    both_ways(|config| {
        let server = TestServer::echo(config);
        let large = Frame::new(op::BINARY, vec![0; 150_000]);
        let mut wrong = large.clone();
        wrong.rsv = 4;
        for (frame, code) in [(large, 1009), (wrong, 1002)] {
            let bytes = frame.bytes();
            let mut seen = 0;
            for _ in 0..100 {
                let mut client = server.connect();
                // In pieces, so that a server that has closed its socket answers the next one with a reset.
                let taken = bytes.chunks(10_000).all(|piece| client.try_bytes(piece));
                if let (true, Seen::Frame(frame)) = (taken, client.next()) {
                    assert_eq!(frame.code().0, code);
                    seen += 1;
                }
            }
            assert_eq!(seen, 100, "of 100 saw the {code}");
        }
    });
}

#[test]
fn closes_that_cross_are_one_from_each_side() {
    both_ways(|config| {
        let (server, outboxes) = lends_outboxes(config);
        for _ in 0..200 {
            let mut client = server.connect();
            let outbox = outboxes.recv().unwrap();
            let ours = thread::spawn(move || outbox.close(4001, "ours"));
            client.close(4002, "theirs");
            let rest = client.rest();
            ours.join().unwrap();
            assert_eq!(rest.closes.len(), 1, "{rest:?}");
            let theirs = (4002, "theirs".to_owned());
            assert!(rest.closes[0] == (4001, "ours".to_owned()) || rest.closes[0] == theirs);
            assert!(rest.after_close == 0 && !rest.reset, "{rest:?}");
        }
        until("all are gone", || server.handle().clients() == 0);
    });
}

#[test]
fn a_peer_that_does_not_answer_our_close_is_gone_after_close_timeout() {
    both_ways(|config| {
        let config = config.close_timeout(Duration::from_millis(200));
        let (server, outboxes) = lends_outboxes(config);
        let mut client = server.connect();
        outboxes.recv().unwrap().close(1000, "");
        client.expect_close(1000);
        assert_eq!(client.next(), Seen::Eof, "nothing comes behind a Close");
        // We hold our side open, and say nothing.
        until("the silent client is gone", || {
            server.handle().clients() == 0
        });
    });
}

#[test]
fn a_peer_that_sends_on_after_our_close_is_read_and_not_heard() {
    both_ways(|config| {
        let (server, outboxes) = lends_outboxes(config);
        let mut client = server.connect();
        let outbox = outboxes.recv().unwrap();
        outbox.close(1000, "");
        client.expect_close(1000);
        for _ in 0..100 {
            client.binary([0; 10_000]);
            client.ping("late");
        }
        client.close(1000, "");
        client.expect_eof();
        until("it is gone", || server.handle().clients() == 0);
        assert_eq!(outbox.accounts().accepted, 0);
    });
}

#[test]
fn closed_fires_however_the_client_ends() {
    type End = fn(&Outbox, Raw) -> Option<Raw>;
    let ways: [(&str, End); 6] = [
        ("the peer closes", |_, client| {
            client.close(1000, "");
            Some(client)
        }),
        ("the peer resets", |_, client| {
            client.reset();
            None
        }),
        ("a fault", |_, client| {
            client.bytes([0xff, 0xff]);
            Some(client)
        }),
        ("close", |outbox, client| {
            outbox.close(1000, "");
            Some(client)
        }),
        ("terminate", |outbox, client| {
            outbox.terminate();
            Some(client)
        }),
        ("a message that fails the handler", |_, client| {
            client.text("");
            Some(client)
        }),
    ];
    both_ways(|config| {
        let (give, outboxes) = unbounded();
        let server = TestServer::start(config, move |conn: &mut Connection| {
            give.send(conn.outbox()).unwrap();
            match conn.recv()? {
                Some(_) => Err("as the test wants it".into()),
                None => Ok(()),
            }
        });
        for (name, end) in &ways {
            let client = server.connect();
            let outbox = outboxes.recv().unwrap();
            let open = outbox.closed().recv_timeout(Duration::ZERO);
            assert_eq!(open, Err(RecvTimeoutError::Timeout), "{name}: too early");
            let client = end(&outbox, client);
            let closed = outbox.closed().recv_timeout(DEADLINE);
            assert_eq!(closed, Err(RecvTimeoutError::Disconnected), "{name}");
            drop(client);
            // What is sent from here comes back, with each verb.
            let message = || Message::text("back");
            assert_eq!(outbox.send(message()).unwrap_err().0, message());
            let refused = outbox.try_send(message()).unwrap_err();
            assert!(matches!(refused, TrySendError::Closed(m) if m == message()));
            let refused = outbox.send_timeout(message(), DEADLINE).unwrap_err();
            assert!(matches!(refused, SendTimeoutError::Closed(m) if m == message()));
        }
    });
}

#[test]
fn a_send_that_waits_is_woken_by_the_end_of_its_client_and_gives_the_message_back() {
    let ways: [fn(&Outbox, Raw); 3] = [
        |outbox, _client| outbox.terminate(),
        |_, client| client.reset(),
        // A polite close refuses new messages at once, though what is queued still goes first.
        |outbox, _client| outbox.close(1000, ""),
    ];
    both_ways(|config| {
        let config = config.close_timeout(Duration::from_millis(200));
        let (server, outboxes) = lends_outboxes(config);
        for end in ways {
            let client = server.client().small_rcvbuf().connect();
            let outbox = outboxes.recv().unwrap();
            fill(&outbox);
            let sender = waiting_send(&outbox, Message::text("back"));
            end(&outbox, client);
            let sent = within(20, "the waiting send to be woken", || {
                sender.join().unwrap()
            });
            assert_eq!(sent.unwrap_err().0, Message::text("back"));
        }
    });
}

#[test]
fn a_handler_that_returns_because_of_a_close_does_not_take_its_place() {
    both_ways(|config| {
        let (give, outboxes) = unbounded();
        let server = TestServer::start(config, move |conn: &mut Connection| {
            give.send(conn.outbox())?;
            assert!(conn.closed().recv().is_err());
            Ok(())
        });
        for _ in 0..200 {
            let mut client = server.connect();
            let outbox = outboxes.recv_timeout(DEADLINE).unwrap();
            outbox.close(4321, "x");
            only_close(&client.rest_politely(), 4321, "x");
        }
    });
}

#[test]
fn recv_gives_none_after_the_end_as_often_as_it_is_asked() {
    both_ways(|config| {
        let (give, said) = unbounded();
        let server = TestServer::start(config, move |conn: &mut Connection| {
            while conn.recv()?.is_some() {}
            let again = [conn.recv()?, conn.recv()?];
            give.send(again).unwrap();
            Ok(())
        });
        let client = server.connect();
        client.text("one");
        client.leave();
        let again = said.recv_timeout(DEADLINE).expect("waited for the handler");
        assert_eq!(again, [None, None]);
    });
}

#[test]
fn only_text_and_binary_can_be_sent() {
    let (server, outboxes) = lends_outboxes(Config::default());
    let client = server.connect();
    let outbox = outboxes.recv().unwrap();
    for message in [
        Message::Ping("x".into()),
        Message::Pong("x".into()),
        Message::Close(None),
    ] {
        assert_eq!(outbox.send(message.clone()).unwrap_err().0, message);
    }
    client.leave();
}

/// What the events of one client were: its messages, and why it ended.
#[track_caller]
fn story(events: &Events) -> (Vec<Message>, Why) {
    let mut told = Vec::new();
    let mut number = None;
    loop {
        let event = events.receiver().recv_timeout(DEADLINE);
        match event.expect("waited for an event") {
            Event::Opened { client, .. } => {
                assert_eq!(number.replace(client), None, "opened twice");
            }
            Event::Message { client, message } => {
                assert_eq!(Some(client), number);
                told.push(message);
            }
            Event::Closed { client, why } => {
                assert_eq!(Some(client), number);
                return (told, why);
            }
            other => panic!("unknown event {other:?}"),
        }
    }
}

#[test]
fn events_tell_one_closed_for_each_opened_and_why() {
    both_ways(|config| {
        let config = config.max_message(1000);
        let server = Server::bind("127.0.0.1:0", config).unwrap();
        let events = server.events(4).unwrap();
        let address = events.handle().local_addr();
        let connect = || Raw::connect(address, "/");
        let peer = |code, reason: &str| Why::Peer {
            code,
            reason: reason.into(),
        };

        let client = connect();
        // More than the channel holds.
        for i in 0..20 {
            client.text(format!("{i}"));
        }
        client.close(4000, "bye");
        let (told, why) = story(&events);
        let all: Vec<_> = (0..20).map(|i| Message::text(format!("{i}"))).collect();
        assert_eq!((told, why), (all, peer(4000, "bye")));

        let client = connect();
        client.close_empty();
        assert_eq!(story(&events), (vec![], peer(1005, "")));

        connect().reset();
        assert_eq!(story(&events), (vec![], Why::Gone));

        let client = connect();
        client.end();
        assert_eq!(story(&events), (vec![], Why::Gone));

        let client = connect();
        client.text("good");
        client.binary([0; 1001]);
        let (told, why) = story(&events);
        assert_eq!(told, [Message::text("good")]);
        assert!(matches!(why, Why::Server { code: 1009, .. }), "{why:?}");
        drop(client);

        let client = connect();
        let Ok(Event::Opened { outbox, .. }) = events.receiver().recv_timeout(DEADLINE) else {
            panic!("waited for a client to be opened");
        };
        outbox.terminate();
        let Ok(Event::Closed { why, .. }) = events.receiver().recv_timeout(DEADLINE) else {
            panic!("waited for a client to be closed");
        };
        assert_eq!(why, Why::Terminated);
        drop(client);

        let mut client = connect();
        let Ok(Event::Opened { outbox, .. }) = events.receiver().recv_timeout(DEADLINE) else {
            panic!("waited for a client to be opened");
        };
        outbox.close(4321, "x");
        only_close(&client.rest_politely(), 4321, "x");
        let Ok(Event::Closed { why, .. }) = events.receiver().recv_timeout(DEADLINE) else {
            panic!("waited for a client to be closed");
        };
        let reason = "x".to_owned();
        assert_eq!(why, Why::Server { code: 4321, reason });

        // Nobody empties the channel any more: its end does.
        let clients: Vec<Raw> = (0..3).map(|_| connect()).collect();
        for client in &clients {
            for _ in 0..20 {
                client.text("x");
            }
        }
        events.handle().shutdown();
        let polite: Vec<_> = (clients.into_iter())
            .map(|mut client| thread::spawn(move || client.rest_politely().closes))
            .collect();
        let report = within(20, "the events to end", || events.join().unwrap());
        assert_eq!((report.drained, report.lost), (3, 0));
        for client in polite {
            assert_eq!(client.join().unwrap()[0].0, 1001);
        }
    });
}

#[test]
fn the_answer_to_the_peers_close_takes_the_place_of_ours_that_still_waits() {
    both_ways(|config| {
        let server = Server::bind("127.0.0.1:0", config).unwrap();
        let events = server.events(4).unwrap();
        let address = events.handle().local_addr();
        let mut client = Connect::to(address).small_rcvbuf().connect();
        let Ok(Event::Opened { outbox, .. }) = events.receiver().recv_timeout(DEADLINE) else {
            panic!("waited for a client to be opened");
        };
        fill(&outbox);
        outbox.close(4001, "ours");
        client.close(4002, "theirs");
        // Told when theirs has been read.
        let Ok(Event::Closed { why, .. }) = events.receiver().recv_timeout(DEADLINE) else {
            panic!("waited for a client to be closed");
        };
        let (code, reason) = (4002, "theirs".to_owned());
        assert_eq!(why, Why::Peer { code, reason });
        only_close(&client.rest(), 4002, "theirs");
        let accounts = outbox.accounts();
        assert!(accounts.discarded > 0, "{accounts:?}");
        events.handle().shutdown();
        within(20, "the events to end", || events.join().unwrap());
    });
}

/// What the report of a shutdown says is of the shutdown: other ends before it, and other codes, do not count.
#[test]
fn clients_that_ended_before_the_shutdown_are_not_in_its_report() {
    let (server, outboxes) = lends_outboxes(Config::default());
    let mut client = server.connect();
    outboxes
        .recv()
        .unwrap()
        .close(1001, "a code of the handler's own");
    only_close(&client.rest_politely(), 1001, "a code of the handler's own");
    server.connect().leave();
    until("both are gone", || server.handle().clients() == 0);
    assert_eq!(server.shut_down(), Report::default());
}

#[test]
fn a_panic_while_the_outbox_is_full_ends_that_client_alone() {
    both_ways(|config| {
        let gate = Gate::new();
        let at = gate.clone();
        let config = config.close_timeout(Duration::from_millis(200));
        let server = TestServer::start(config, move |conn: &mut Connection| {
            if conn.request().path() == "/full" {
                fill(&conn.outbox());
                at.pass(conn.number());
                panic!("as the test wants it");
            }
            echo(conn)
        });
        let full = server.client().path("/full").small_rcvbuf().connect();
        gate.arrival();
        gate.open();
        let mut other = server.connect();
        other.text("unharmed");
        other.expect_text("unharmed");
        other.leave();
        until("the full one is gone", || server.handle().clients() == 0);
        drop(full);
    });
}

/// A handler that can be asked about its last client.
struct Keeps(Arc<std::sync::Mutex<Vec<Outbox>>>);

impl Handler for Keeps {
    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        self.0.lock().unwrap().push(conn.outbox());
        echo(conn)
    }
}

#[test]
fn an_outbox_that_is_kept_keeps_no_client() {
    let kept = Arc::default();
    let server = TestServer::start(Config::default(), Keeps(Arc::clone(&kept)));
    let mut clients: Vec<Raw> = (0..10).map(|_| server.connect()).collect();
    let last = clients.pop().unwrap();
    for client in clients {
        client.leave();
    }
    until("nine are gone", || server.handle().clients() == 1);
    last.leave();
    let outboxes = std::mem::take(&mut *kept.lock().unwrap());
    assert_eq!(outboxes.len(), 10);
    for outbox in outboxes {
        assert!(outbox.try_send(Message::text("x")).is_err());
        let accounts = outbox.accounts();
        assert_eq!((accounts.accepted, accounts.delivered), (0, 0));
    }
}
