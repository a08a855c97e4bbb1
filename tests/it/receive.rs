//! The ways to receive: with a time limit, without waiting, in `select!`, as an iterator and as a stream.

use std::fmt::Debug;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use standpipe::{
    Bytes, Clock, Config, Connection, Interest, Message, Outbox, RecvError, RecvTimeoutError,
    TryRecvError, TrySendError, Watch,
};

use crate::support::{
    DEADLINE, Failure, Frame, Process, TestClient, TestServer, in_own_process, op, until,
    with_both_flush_modes, within,
};

/// Sends back what the client sends, and sends what comes from `channel`. The result goes to `ended`.
fn echo_and(conn: &mut Connection, channel: &Receiver<String>) -> Result<(), TryRecvError> {
    loop {
        select! {
            recv(conn.ready(Interest::READ).unwrap()) -> _ => loop {
                match conn.try_recv() {
                    Ok(Some(message)) => conn.send(message).unwrap(),
                    Ok(None) => return Ok(()),
                    Err(TryRecvError::Empty) => break,
                    Err(error) => return Err(error),
                }
            },
            recv(channel) -> text => conn.send(text.unwrap()).unwrap(),
        }
    }
}

/// Starts a server whose handlers run [`echo_and`]. Also returns the channel, and the results of the handlers.
fn select_server(
    config: Config,
) -> (
    TestServer,
    Sender<String>,
    Receiver<Result<(), TryRecvError>>,
) {
    let (texts, channel) = unbounded();
    let (sender, results) = unbounded();
    let server = TestServer::start(config, move |conn: &mut Connection| {
        sender.send(echo_and(conn, &channel)).unwrap();
        Ok(())
    });
    (server, texts, results)
}

#[test]
fn handler_waits_for_its_client_and_for_a_channel() {
    with_both_flush_modes(|config| {
        let (server, texts, results) = select_server(config);
        let mut client = server.connect();
        for n in 0..200 {
            client.text(format!("client {n}"));
            if n % 3 == 0 {
                // Both may be ready, and the order is that of `select!`.
                texts.send(format!("channel {n}")).unwrap();
                let mut both = [client.read_message(), client.read_message()];
                both.sort_by_key(|message| message.to_string());
                assert_eq!(both[0], Message::text(format!("channel {n}")));
                assert_eq!(both[1], Message::text(format!("client {n}")));
            } else {
                client.expect_text(&format!("client {n}"));
            }
        }
        // Many messages in one segment, the last one in two.
        let frames = (0..100).map(|n| Frame::new(op::TEXT, format!("{n}")).bytes());
        let bytes = frames.collect::<Vec<_>>().concat();
        let (now, later) = bytes.split_at(bytes.len() - 2);
        client.bytes(now);
        for n in 0..99 {
            client.expect_text(&format!("{n}"));
        }
        client.bytes(later);
        client.expect_text("99");
        client.leave();
        assert!(matches!(results.recv_timeout(DEADLINE).unwrap(), Ok(())));
    });
}

/// The messages that are left are in the read buffer, and nothing more arrives from the kernel.
#[test]
fn one_receive_for_each_wait_is_enough() {
    let server = TestServer::start(Config::default(), |conn: &mut Connection| {
        loop {
            conn.ready(Interest::READ)?.recv()?;
            match conn.try_recv() {
                Ok(Some(message)) => conn.send(message)?,
                Ok(None) => return Ok(()),
                Err(TryRecvError::Empty) => {}
                Err(error) => return Err(error.into()),
            }
        }
    });
    let frames = (0..100).map(|n| Frame::new(op::TEXT, format!("{n}")).bytes());
    let frames = frames.collect::<Vec<_>>().concat();
    // The first messages arrive together with the request.
    let connect = server.client();
    let mut client = connect.open();
    client.bytes([connect.head().as_bytes(), &frames].concat());
    assert_eq!(client.read_head().status, 101);
    for _ in 0..2 {
        for n in 0..100 {
            client.expect_text(&format!("{n}"));
        }
        client.bytes(&frames);
    }
    for n in 0..100 {
        client.expect_text(&format!("{n}"));
    }
    client.leave();
}

#[test]
fn ping_is_answered_while_the_handler_waits_in_select() {
    let (server, _texts, _results) = select_server(Config::default());
    let mut client = server.connect();
    for payload in ["one", "two"] {
        client.ping(payload);
        let pong = client.next_frame();
        assert_eq!(
            (pong.opcode, &pong.payload[..]),
            (op::PONG, payload.as_bytes())
        );
    }
    client.leave();
}

#[test]
fn silent_client_of_a_handler_in_select_is_pinged_and_reset() {
    let config = Config::default()
        .ping_interval(Duration::from_millis(100))
        .ping_timeout(Duration::from_millis(300));
    let (server, _texts, results) = select_server(config);
    let mut client = server.connect();
    for _ in 0..2 {
        let ping = client.next_frame();
        assert_eq!(ping.opcode, op::PING);
        client.frame(&Frame::new(op::PONG, &ping.payload));
    }
    assert_eq!(client.next_frame().opcode, op::PING);
    client.expect_reset();
    let result = results.recv_timeout(DEADLINE).unwrap();
    assert_ping_timed_out(&result);
}

#[track_caller]
fn assert_ping_timed_out<T: Debug>(result: &Result<T, TryRecvError>) {
    let timed_out = matches!(
        result,
        Err(TryRecvError::Failed(RecvError::TimedOut(Clock::Ping)))
    );
    assert!(timed_out, "{result:?}");
}

/// The handler never waits in `recv`, so the watchdog never finds it there.
#[test]
fn silent_client_of_a_handler_that_polls_is_pinged_and_reset() {
    let config = Config::default()
        .ping_interval(Duration::from_millis(100))
        .ping_timeout(Duration::from_millis(300));
    let (results, ended) = bounded(1);
    let server = TestServer::start(config, move |conn: &mut Connection| {
        let tick = crossbeam_channel::tick(Duration::from_millis(10));
        loop {
            match conn.try_recv() {
                Ok(Some(_)) => {}
                Err(TryRecvError::Empty) => drop(tick.recv().unwrap()),
                result => {
                    results.send(result).unwrap();
                    return Ok(());
                }
            }
        }
    });
    let mut client = server.connect();
    let ping = client.next_frame();
    assert_eq!(ping.opcode, op::PING);
    client.frame(&Frame::new(op::PONG, &ping.payload));
    assert_eq!(client.next_frame().opcode, op::PING);
    client.expect_reset();
    let result = ended.recv_timeout(DEADLINE).unwrap();
    assert_ping_timed_out(&result);
}

#[test]
fn every_end_wakes_a_handler_in_select() {
    let (outboxes, outbox) = unbounded();
    let (sender, results) = unbounded();
    let (_texts, channel) = unbounded::<String>();
    // The handler must not be woken by a reset at the end of these times.
    let config = Config::default()
        .close_timeout(2 * DEADLINE)
        .shutdown_timeout(2 * DEADLINE);
    let server = TestServer::start(config, move |conn: &mut Connection| {
        // Made before the test goes on, so that it is armed, or about to be.
        conn.ready(Interest::READ)?;
        outboxes.send(conn.outbox()).unwrap();
        sender.send(echo_and(conn, &channel)).unwrap();
        Ok(())
    });
    type End = fn(&TestServer, &Outbox, TestClient) -> Option<TestClient>;
    let ends: [(&str, End, bool); 6] = [
        (
            "the client closes",
            |_, _, client| {
                client.leave();
                None
            },
            true,
        ),
        (
            "the client ends its stream",
            |_, _, client| {
                client.end();
                Some(client)
            },
            false,
        ),
        (
            "the client resets",
            |_, _, client| {
                client.reset();
                None
            },
            false,
        ),
        (
            "close",
            |_, outbox, client| {
                outbox.close(1000, "");
                Some(client)
            },
            true,
        ),
        (
            "terminate",
            |_, outbox, client| {
                outbox.terminate();
                Some(client)
            },
            true,
        ),
        (
            "shutdown",
            |server, _, client| {
                server.handle().shutdown();
                Some(client)
            },
            true,
        ),
    ];
    for (what, end, is_regular) in ends {
        let client = server.connect();
        let outbox = outbox.recv_timeout(DEADLINE).unwrap();
        let _client = end(&server, &outbox, client);
        let result = results.recv_timeout(DEADLINE);
        let result = result.unwrap_or_else(|_| panic!("{what}: the handler waits on"));
        assert_eq!(result.is_ok(), is_regular, "{what}: {result:?}");
    }
}

#[test]
fn all_clients_in_select_share_one_thread() {
    const NAME: &str = "receive::all_clients_in_select_share_one_thread";
    in_own_process(NAME, || {
        let process = Process::this();
        let ready_threads = || {
            let threads = process.threads();
            threads.iter().filter(|name| *name == "sp-ready").count()
        };
        let (server, _texts, _results) = select_server(Config::default());
        for _ in 0..2 {
            let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
            for client in &mut clients {
                client.text("hello");
                client.expect_text("hello");
            }
            assert_eq!(ready_threads(), 1);
            assert_eq!(
                process.client_threads().len(),
                40,
                "{:?}",
                process.client_threads()
            );
            let descriptors = process.descriptors();
            for client in clients {
                client.leave();
            }
            until("all clients have gone", || server.handle().clients() == 0);
            assert_eq!(ready_threads(), 0, "the thread has been joined");
            // Both ends of 20 connections, and the two descriptors of the thread.
            let closed = descriptors - process.descriptors();
            assert_eq!(closed, 42);
        }
    });
}

#[test]
fn receives_of_a_millisecond_lose_nothing() {
    with_both_flush_modes(|config| {
        let server = TestServer::start(config.read_buffer(1024), |conn: &mut Connection| {
            loop {
                match conn.recv_timeout(Duration::from_millis(1)) {
                    Ok(Some(message)) => conn.send(message)?,
                    Ok(None) => return Ok(()),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        });
        let mut client = server.connect();
        for size in [0, 1, 100, 126, 1000, 5000, 60_000] {
            let payload: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let (first, second) = payload.split_at(size / 3);
            let frames = [
                Frame::new(op::BINARY, first).unfinished().bytes(),
                Frame::new(op::PING, "between").bytes(),
                Frame::new(op::CONTINUATION, second).bytes(),
            ];
            let bytes = frames.concat();
            for piece in bytes.chunks(1 + bytes.len() / 30) {
                client.bytes(piece);
                crate::support::let_time_pass(Duration::from_millis(3));
            }
            assert_eq!(client.next_frame().opcode, op::PONG);
            assert!(
                client.read_message() == Message::binary(payload),
                "{size} bytes"
            );
        }
        client.leave();
    });
}

#[test]
fn iterator_ends_at_the_closing_handshake() {
    let server = TestServer::start(Config::default(), |conn: &mut Connection| {
        let outbox = conn.outbox();
        let mut messages = conn.messages();
        for message in messages.by_ref() {
            outbox.send(message?)?;
        }
        assert!(messages.next().is_none());
        Ok(())
    });
    let mut client = server.connect();
    for text in ["a", "b"] {
        client.text(text);
        client.expect_text(text);
    }
    client.leave();
}

/// Answers each message with its kind, its size and the sum of its bytes.
fn sum_streams(conn: &mut Connection) -> Result<(), Failure> {
    let outbox = conn.outbox();
    let mut buffer = vec![0; 32 << 10];
    while let Some(mut message) = conn.recv_stream()? {
        let (mut size, mut sum) = (0, 0_u64);
        loop {
            let read = message.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            size += read;
            sum += buffer[..read]
                .iter()
                .map(|byte| u64::from(*byte))
                .sum::<u64>();
        }
        outbox.send(format!("{} {size} {sum}", message.is_text()))?;
    }
    Ok(())
}

#[test]
fn large_message_is_streamed_in_little_memory() {
    const NAME: &str = "receive::large_message_is_streamed_in_little_memory";
    const SIZE: usize = 100 << 20;
    in_own_process(NAME, || {
        let config = Config::default().max_streamed_message(Some(SIZE));
        let server = TestServer::start(config, sum_streams);
        let mut client = server.connect();
        let high_water = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status
                .lines()
                .find(|line| line.starts_with("VmHWM"))
                .unwrap();
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<usize>()
                .unwrap()
        };
        client.text("small");
        client.expect_text("true 5 537");
        let before = high_water();
        // A frame whose payload is sent in pieces, so that the test needs little memory too.
        let mut header = Frame::new(op::BINARY, "");
        header.length = crate::support::Length::Eight(SIZE as u64);
        let header = header.bytes();
        let mask: [u8; 4] = header[header.len() - 4..].try_into().unwrap();
        client.bytes(&header);
        let piece: Vec<u8> = mask
            .iter()
            .map(|mask| mask ^ 3)
            .cycle()
            .take(1 << 20)
            .collect();
        for _ in 0..SIZE >> 20 {
            client.bytes(&piece);
        }
        client.expect_text(&format!("false {SIZE} {}", SIZE * 3));
        let grown = high_water().saturating_sub(before);
        assert!(grown < 8 << 10, "{grown} KiB for {SIZE} bytes");
        client.leave();
    });
}

#[test]
fn messages_follow_a_stream_that_was_dropped() {
    let config = Config::default().max_streamed_message(Some(1 << 20));
    let server = TestServer::start(config, |conn: &mut Connection| {
        while let Some(mut message) = conn.recv_stream()? {
            let mut start = [0; 4];
            message.read_exact(&mut start)?;
            conn.send(&start[..])?;
            let Some(message) = conn.recv()? else {
                return Ok(());
            };
            conn.send(message)?;
        }
        Ok(())
    });
    let mut client = server.connect();
    for size in [4, 5, 100, 20_000, 1 << 20] {
        client.binary(vec![7; size]);
        assert_eq!(client.read_message(), Message::binary(vec![7; 4]));
        client.text("behind");
        client.expect_text("behind");
    }
    client.leave();
}

/// The example of [`Watch`].
fn bridge(conn: &mut Connection, mut tcp: &TcpStream) -> Result<(), Failure> {
    tcp.set_nonblocking(true)?;
    let mut watch = Watch::new(tcp)?;
    let outbox = conn.outbox();
    let mut to_tcp = Bytes::new(); // What the service has not accepted yet.
    let mut to_client = None; // A message that the queue had no room for.
    let mut buffer = [0; 16 << 10];
    while conn.is_open() {
        if to_tcp.is_empty() {
            match conn.try_recv() {
                Ok(Some(message)) => to_tcp = message.into_bytes(),
                Ok(None) => break,
                Err(TryRecvError::Empty) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !to_tcp.is_empty() {
            match tcp.write(&to_tcp) {
                Ok(written) => drop(to_tcp.split_to(written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        if to_client.is_none() {
            match tcp.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => to_client = Some(Message::from(&buffer[..read])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(message) = to_client.take() {
            match outbox.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Full(message)) => to_client = Some(message),
                Err(TrySendError::Closed(_)) => break,
            }
        }
        // Each side is waited for only as far as the other one accepts something.
        let client = conn.ready(Interest {
            read: to_tcp.is_empty(),
            write: to_client.is_some(),
        })?;
        let service = watch.ready(Interest {
            read: to_client.is_none(),
            write: !to_tcp.is_empty(),
        })?;
        select! {
            recv(client) -> _ => {}
            recv(service) -> _ => {}
        }
    }
    Ok(())
}

/// The client sends everything before it reads, and so does the service. Neither direction may wait for the other one.
#[test]
fn bridge_carries_both_directions_at_the_same_time() {
    const PIECE: usize = 32 << 10;
    const PIECES: usize = 1000;
    with_both_flush_modes(|config| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = TestServer::start(config, move |conn: &mut Connection| {
            bridge(conn, &TcpStream::connect(address)?)
        });
        let mut client = server.connect();
        let (mut service, _) = listener.accept().unwrap();
        let mut sending = service.try_clone().unwrap();
        let sender = thread::spawn(move || {
            for n in 0..PIECES {
                sending.write_all(&vec![n as u8; PIECE]).unwrap();
            }
        });
        // The client does not read yet, so the service's bytes wait. The other direction goes on.
        let upload = client.send_half();
        let uploader = thread::spawn(move || {
            for n in 0..PIECES {
                upload.binary(vec![n as u8; PIECE]);
            }
        });
        service.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut piece = vec![0; PIECE];
        for n in 0..PIECES {
            service.read_exact(&mut piece).unwrap();
            assert!(piece.iter().all(|byte| *byte == n as u8), "piece {n}");
        }
        within(20, "the client has sent everything", || {
            uploader.join().unwrap()
        });
        let mut read = 0;
        while read < PIECES * PIECE {
            let bytes = client.read_message().into_bytes();
            for (offset, byte) in bytes.iter().enumerate() {
                assert_eq!(*byte, ((read + offset) / PIECE) as u8);
            }
            read += bytes.len();
        }
        within(20, "the service has sent everything", || {
            sender.join().unwrap()
        });
        client.leave();
        assert_eq!(service.read(&mut piece).unwrap(), 0, "the bridge has ended");
    });
}

/// The service does not read, so the handler waits for it alone.
#[test]
fn close_ends_a_bridge_that_waits_for_its_service() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (outboxes, outbox) = bounded(1);
    let server = TestServer::start(Config::default(), move |conn: &mut Connection| {
        outboxes.send(conn.outbox()).unwrap();
        bridge(conn, &TcpStream::connect(address)?)
    });
    let client = server.connect();
    let (_service, _) = listener.accept().unwrap();
    let outbox = outbox.recv_timeout(DEADLINE).unwrap();
    // Until nothing more is accepted anywhere.
    let piece = Frame::new(op::BINARY, vec![0; 60 << 10]).bytes();
    let deadline = Instant::now() + DEADLINE;
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_millis(300) {
        assert!(Instant::now() < deadline, "the service accepts everything");
        if client.send_available(&piece) > 0 {
            last = Instant::now();
        }
        thread::yield_now();
    }
    outbox.terminate();
    until("the handler has returned", || {
        server.handle().clients() == 0
    });
}

#[test]
fn doc_example_of_watch_is_the_tested_bridge() {
    let squeeze = |text: &str| {
        text.split_whitespace()
            .collect::<String>()
            .replace(",}", "}")
    };
    let docs = include_str!("../../src/watch/mod.rs").replace("///", "");
    let body = include_str!("receive.rs")
        .split("fn bridge(")
        .nth(1)
        .and_then(|rest| rest.split_once("{\n"))
        .and_then(|(_, rest)| rest.split_once("\n}\n"))
        .expect("the bridge is above")
        .0;
    assert!(
        squeeze(&docs).contains(&squeeze(body)),
        "src/watch/mod.rs shows another bridge"
    );
}
