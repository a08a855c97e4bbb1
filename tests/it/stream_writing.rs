//! Messages that are sent as streams to real clients.

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use standpipe::{
    CloseCause, Config, Connection, Event, Fate, Hub, HubConfig, Message, Outbox, SubscribeOptions,
};

use crate::support::{
    DEADLINE, Frame, Seen, TestClient, TestServer, bind, echo, echo_with_outboxes, op, until,
    with_both_flush_modes, within,
};

const MIB: usize = 1 << 20;

/// Returns `length` bytes of a long message, from byte `at` on. The period is no multiple of a fragment's size.
fn bytes(at: usize, length: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..=250).collect();
    let mut bytes = period.repeat(length / period.len() + 2);
    bytes.drain(..at % period.len());
    bytes.truncate(length);
    bytes
}

/// Reads the rest of a message whose frames the client reads one by one, and checks its bytes from `at` on. Returns the
/// length of the message and its first control frames.
fn read_stream(client: &mut TestClient) -> (usize, Vec<Frame>) {
    let (mut at, mut control) = (0, Vec::new());
    loop {
        let frame = client.next_frame();
        if frame.opcode & 8 != 0 {
            control.push(frame);
            continue;
        }
        let opcode = if at == 0 {
            op::BINARY
        } else {
            op::CONTINUATION
        };
        assert_eq!(frame.opcode, opcode, "a message stands between fragments");
        let expected = bytes(at, frame.payload.len());
        assert!(
            frame.payload == expected,
            "the bytes from {at} on are wrong"
        );
        at += frame.payload.len();
        if frame.fin {
            return (at, control);
        }
    }
}

/// Writes a message of this many bytes, 100 KB at a time.
fn write_stream(outbox: &Outbox, length: usize) -> std::io::Result<()> {
    let mut stream = outbox.send_binary_stream()?;
    let part = bytes(0, 251 * 400);
    let mut left = length;
    while left > 0 {
        let bytes = left.min(part.len());
        stream.write_all(&part[..bytes])?;
        left -= bytes;
    }
    stream.finish()
}

#[test]
fn hundred_megabytes_reach_a_client_with_bounded_memory() {
    with_both_flush_modes(|config| {
        let (server, outboxes) = echo_with_outboxes(config);
        let mut client = server.client().small_rcvbuf().connect();
        let outbox = outboxes.recv().unwrap();
        let length = 100 * MIB;
        let sending = outbox.clone();
        let sender = thread::spawn(move || write_stream(&sending, length));
        until("the stream has begun", || outbox.bytes() > 0);
        let mut pongs = 0;
        let (mut at, mut sent_pings) = (0, 0);
        while at < length {
            // The handler reads the pings while the stream is written.
            if at > sent_pings * 10 * MIB {
                client.ping([sent_pings as u8]);
                sent_pings += 1;
            }
            let frame = client.next_frame();
            if frame.opcode == op::PONG {
                assert!(at > 0, "the message has begun");
                pongs += 1;
                continue;
            }
            assert!(frame.payload == bytes(at, frame.payload.len()));
            at += frame.payload.len();
            assert_eq!(frame.fin, at == length);
            let queued = outbox.bytes();
            assert!(queued < 200 << 10, "{queued} bytes are in memory");
        }
        let result = within(20, "the stream to end", || sender.join().unwrap());
        result.unwrap();
        assert!(
            pongs > 0,
            "no ping was answered while the stream was written"
        );
        until("the message is counted", || outbox.counts().delivered == 1);
        client.text("echo");
        while client.next_frame().opcode != op::TEXT {}
        client.leave();
    });
}

#[test]
fn topic_waits_for_the_end_of_a_stream() {
    with_both_flush_modes(|config| {
        let hub = Hub::new(HubConfig::default());
        let topic = hub.topic("news").unwrap();
        let (outbox_sender, outboxes) = bounded(1);
        let subscribed = topic.clone();
        let server = TestServer::start(config, move |conn: &mut Connection| {
            let _news = subscribed.subscribe(conn.outbox(), SubscribeOptions::new())?;
            outbox_sender.send(conn.outbox())?;
            echo(conn)
        });
        let mut client = server.connect();
        let outbox = outboxes.recv().unwrap();
        let mut stream = outbox.send_binary_stream().unwrap();
        stream.write_all(&bytes(0, 1000)).unwrap();
        stream.flush().unwrap();
        let first = client.next_frame();
        assert_eq!(
            (first.opcode, first.fin, first.payload.len()),
            (op::BINARY, false, 1000)
        );
        for n in 0..10 {
            topic.publish(format!("news {n}")).unwrap();
        }
        let direct = outbox.send_with_receipt("direct").unwrap();
        assert_eq!(client.next_within(Duration::from_millis(50)), None);
        assert_eq!(direct.fate(), None);
        stream.write_all(&bytes(1000, 199_000)).unwrap();
        stream.finish().unwrap();
        let mut at = 1000;
        loop {
            let frame = client.next_frame();
            assert_eq!(frame.opcode, op::CONTINUATION);
            at += frame.payload.len();
            if frame.fin {
                break;
            }
        }
        assert_eq!(at, 200_000);
        for n in 0..10 {
            client.expect_text(&format!("news {n}"));
        }
        client.expect_text("direct");
        assert_eq!(
            direct.wait_timeout(Duration::from_secs(20)),
            Some(Fate::Delivered)
        );
        client.leave();
    });
}

#[test]
fn close_of_the_peer_ends_the_stream() {
    with_both_flush_modes(|config| {
        let (server, outboxes) = echo_with_outboxes(config);
        let mut client = server.connect();
        let outbox = outboxes.recv().unwrap();
        let mut stream = outbox.send_text_stream().unwrap();
        stream.write_all(b"abc").unwrap();
        stream.flush().unwrap();
        let first = client.next_frame();
        assert_eq!((first.opcode, first.fin), (op::TEXT, false));
        client.close(1000, "");
        // The message is incomplete, and the answer to the Close follows.
        client.expect_close(1000);
        client.expect_eof();
        let failed = stream.write_all(&[b'x'; 200_000]);
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(stream.finish().unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(outbox.counts().discarded, 1);
    });
}

#[test]
fn peer_that_leaves_wakes_a_waiting_stream() {
    with_both_flush_modes(|config| {
        for terminates in [false, true] {
            let (server, outboxes) = echo_with_outboxes(config.clone());
            let client = server.client().small_rcvbuf().connect();
            let outbox = outboxes.recv().unwrap();
            let sending = outbox.clone();
            let sender = thread::spawn(move || write_stream(&sending, 100 * MIB));
            // The client does not read, so the stream cannot be finished.
            until("the stream has begun", || outbox.bytes() > 0);
            if terminates {
                outbox.terminate();
            } else {
                client.reset();
            }
            let result = within(20, "the stream to end", || sender.join().unwrap());
            assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
    });
}

#[test]
fn stream_that_is_dropped_or_forgotten_ends_with_1011() {
    for forgotten in [false, true] {
        let config = Config::default().message_timeout(Duration::from_millis(200));
        let server = bind("127.0.0.1:0", config).unwrap();
        let events = server.events(8).unwrap();
        let mut client = TestClient::connect(events.handle().local_addr().unwrap(), "/");
        let Event::Opened { outbox, .. } = events.receiver().recv_timeout(DEADLINE).unwrap() else {
            panic!("the first event is the new client");
        };
        let mut stream = outbox.send_text_stream().unwrap();
        stream.write_all(b"abc").unwrap();
        stream.flush().unwrap();
        let first = client.next_frame();
        assert_eq!((first.opcode, first.fin), (op::TEXT, false));
        let kept = forgotten.then_some(stream);
        assert_eq!(client.expect_close(1011), "a message was not finished");
        client.close(1011, "");
        let cause = loop {
            if let Event::Closed { cause, .. } = events.receiver().recv_timeout(DEADLINE).unwrap() {
                break cause;
            }
        };
        assert_eq!(cause, CloseCause::Unfinished);
        if let Some(stream) = kept {
            assert_eq!(stream.finish().unwrap_err().kind(), ErrorKind::TimedOut);
        }
        assert_eq!(client.next(), Seen::Eof);
        drop(client);
        events.handle().shutdown();
        within(20, "the server to end", || events.join().unwrap());
    }
}

#[test]
fn stream_that_is_open_at_shutdown_may_be_finished() {
    with_both_flush_modes(|config| {
        let (server, outboxes) = echo_with_outboxes(config);
        let mut client = server.connect();
        let outbox = outboxes.recv().unwrap();
        let mut stream = outbox.send_binary_stream().unwrap();
        stream.write_all(&bytes(0, 1)).unwrap();
        stream.flush().unwrap();
        until("the stream has begun", || outbox.is_empty());
        outbox.send(Message::text("behind")).unwrap();
        server.handle().shutdown();
        within(20, "the shutdown to close the client", {
            let closed = outbox.closed().clone();
            move || closed.recv().unwrap_err()
        });
        stream.write_all(&bytes(1, 1)).unwrap();
        stream.finish().unwrap();
        assert_eq!(read_stream(&mut client).0, 2);
        client.expect_text("behind");
        client.expect_close(1001);
        client.close(1001, "");
        assert_eq!(server.report().drained, 1);
    });
}
