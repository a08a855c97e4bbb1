//! Back-pressure: a client that does not read makes its senders wait, and a deadline ends the wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use standpipe::{Config, Connection, Message, Outbox, TrySendError};

use crate::support::{
    Failure, Frame, Process, Seen, SendHalf, TestClient, TestServer, assert_lasted, in_own_process,
    let_time_pass, op, until, with_both_flush_modes, within,
};

/// The size of the kernel's buffers, so small that a queue fills soon.
const SMALL: usize = 16 << 10;

fn small(config: Config) -> Config {
    config.queue(8).sndbuf(Some(SMALL)).unsent(SMALL)
}

/// Returns 4 KiB that begin with the number `n`.
fn numbered(n: usize) -> Vec<u8> {
    let mut payload = vec![0; 4096];
    payload[..8].copy_from_slice(&n.to_be_bytes());
    payload
}

fn number(message: &Message) -> usize {
    let data = message.clone().into_bytes();
    assert_eq!(data.len(), 4096);
    usize::from_be_bytes(data[..8].try_into().unwrap())
}

/// Sends a message, and reports to `waits` before it waits for room.
fn send_and_report(outbox: &Outbox, message: Message, waits: &Sender<()>) -> Result<(), Failure> {
    match outbox.try_send(message) {
        Err(TrySendError::Full(message)) => {
            let _ = waits.send(());
            Ok(outbox.send(message)?)
        }
        sent => Ok(sent?),
    }
}

#[track_caller]
fn expect_a_wait(waits: &Receiver<()>) {
    let waited = waits.recv_timeout(crate::support::DEADLINE);
    waited.expect("a sender finds the outbox full before the deadline");
}

#[test]
fn unread_echo_blocks_the_handler_and_the_client() {
    const MESSAGES: usize = 2000;
    with_both_flush_modes(|config| {
        let received = Arc::new(AtomicUsize::new(0));
        let (report_wait, waits) = unbounded();
        let (outbox_sender, outboxes) = unbounded();
        let counts = Arc::clone(&received);
        let echo = move |conn: &mut Connection| -> Result<(), Failure> {
            outbox_sender.send(conn.outbox())?;
            while let Some(message) = conn.recv()? {
                counts.fetch_add(1, Ordering::SeqCst);
                send_and_report(&conn.outbox(), message, &report_wait)?;
            }
            Ok(())
        };
        let server = TestServer::start(small(config), echo);
        let mut client = server.client().rcvbuf(SMALL).connect();
        let outbox = outboxes.recv().unwrap();
        let frames = (0..MESSAGES).map(|n| Frame::new(op::BINARY, numbered(n)).bytes());
        let stream: Vec<u8> = frames.flatten().collect();

        let mut sent = 0;
        until(
            "the outbox and all buffers on the way to it are full",
            || {
                let taken = client.send_available(&stream[sent..]);
                sent += taken;
                taken == 0 && outbox.len() == outbox.capacity()
            },
        );
        expect_a_wait(&waits);
        // Each message that the handler has received is queued, in flight, in a buffer of the kernel, or held by the
        // handler.
        let seen = received.load(Ordering::SeqCst);
        assert!(
            sent < stream.len(),
            "the kernel accepted everything that was sent"
        );
        assert!(
            seen < 200,
            "the handler received {seen} messages though the client does not read"
        );
        assert!(outbox.bytes() >= 8 * 4096, "{} bytes", outbox.bytes());

        // When the client reads again, everything arrives.
        let send_half = client.send_half();
        let rest = thread::spawn(move || send_half.bytes(&stream[sent..]));
        for n in 0..MESSAGES {
            assert_eq!(number(&client.read_message()), n);
        }
        rest.join().unwrap();
        client.leave();
        let counts = outbox.counts();
        assert_eq!(counts.accepted, MESSAGES as u64);
        assert_eq!(counts.delivered, MESSAGES as u64);
    });
}

#[test]
fn stalled_client_is_reset_at_write_timeout() {
    const NAME: &str = "backpressure::stalled_client_is_reset_at_write_timeout";
    const TIMEOUT: Duration = Duration::from_millis(300);
    let test = |config: Config| {
        let (outbox_sender, outboxes) = unbounded();
        let receives = move |conn: &mut Connection| -> Result<(), Failure> {
            outbox_sender.send(conn.outbox())?;
            while conn.recv()?.is_some() {}
            Ok(())
        };
        let server = TestServer::start(small(config).write_timeout(TIMEOUT), receives);
        // A healthy client, which must stay connected.
        let healthy = server.connect();
        let _ = outboxes.recv().unwrap();
        let descriptors = Process::this().descriptors();
        let threads = Process::this().settled_client_threads();

        let mut client = server.client().rcvbuf(SMALL).connect();
        let outbox = outboxes.recv().unwrap();
        assert_eq!(Process::this().settled_client_threads(), threads + 2);
        let sender = outbox.clone();
        let (accepted, waited) = within(20, "a blocked send to fail", move || {
            let mut n = 0;
            loop {
                let began = Instant::now();
                match sender.send(Message::binary(numbered(n))) {
                    Ok(()) => n += 1,
                    Err(error) => {
                        assert_eq!(number(&error.0), n, "send returned a different message");
                        return (n, began.elapsed());
                    }
                }
            }
        });
        assert!(
            waited >= TIMEOUT / 2,
            "the last send waited only {waited:?}"
        );
        // The client's side of the socket is still open and counts as one descriptor.
        until("the server has closed the descriptor", || {
            Process::this().descriptors() == descriptors + 1
        });
        until("the threads of the client have ended", || {
            Process::this().client_threads().len() == threads
        });
        assert_eq!(server.handle().clients(), 1);
        assert_eq!(server.disconnects("write_timeout"), 1);
        // The client still receives what was in the kernel's buffers. Then it sees the reset.
        let rest = client.rest();
        assert!(rest.closes.is_empty(), "no Close: {:?}", rest.closes);
        assert!(rest.reset, "after {} messages", rest.messages.len());
        drop(client);
        assert_eq!(Process::this().descriptors(), descriptors);
        assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
        let counts = outbox.counts();
        assert_eq!(counts.accepted, accepted as u64);
        assert_eq!(counts.accepted, counts.delivered + counts.discarded);
        assert!(
            counts.discarded >= 8,
            "the full queue was not discarded: {counts:?}"
        );
        healthy.leave();
    };
    in_own_process(NAME, || with_both_flush_modes(test));
}

#[test]
fn slow_but_steady_reader_receives_everything() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    const MESSAGES: usize = 600;
    with_both_flush_modes(|config| {
        let sends = |conn: &mut Connection| -> Result<(), Failure> {
            for n in 0..MESSAGES {
                conn.send(Message::binary(numbered(n)))?;
            }
            Ok(())
        };
        let server = TestServer::start(small(config).write_timeout(TIMEOUT), sends);
        let mut client = server.client().rcvbuf(4 * SMALL).connect();
        let began = Instant::now();
        for n in 0..MESSAGES {
            assert_eq!(number(&client.read_message()), n);
            if n % 4 == 3 {
                // The pace of the reader is what this test is about: 64 KiB in 80 ms.
                let_time_pass(Duration::from_millis(20));
            }
        }
        client.expect_close(1000);
        assert!(
            began.elapsed() > 2 * TIMEOUT,
            "the reader was too fast for this test"
        );
    });
}

/// Sends without reading until the connection fails.
fn flood(send_half: SendHalf) {
    let frame = Frame::new(op::BINARY, numbered(0)).bytes();
    while send_half.try_bytes(&frame) {}
}

#[test]
fn clients_that_flood_each_other_end_at_write_timeout() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    with_both_flush_modes(|config| {
        // Each handler puts its outbox into its own slot and takes the other handler's.
        let outboxes: Arc<[(Sender<Outbox>, Receiver<Outbox>); 2]> =
            Arc::new([bounded(1), bounded(1)]);
        let (report_wait, waits) = unbounded();
        let relays = move |conn: &mut Connection| -> Result<(), Failure> {
            let own = usize::from(conn.request().path() == "/b");
            outboxes[own].0.send(conn.outbox())?;
            let other = outboxes[1 - own].1.recv()?;
            while let Some(message) = conn.recv()? {
                send_and_report(&other, message, &report_wait)?;
            }
            Ok(())
        };
        let config = small(config).write_timeout(TIMEOUT).close_timeout(TIMEOUT);
        let server = TestServer::start(config, relays);
        let clients = ["/a", "/b"].map(|path| server.client().path(path).rcvbuf(SMALL).connect());
        let began = Instant::now();
        let floods = clients.each_ref().map(|client| {
            let send_half = client.send_half();
            thread::spawn(move || flood(send_half))
        });
        expect_a_wait(&waits);
        expect_a_wait(&waits);
        until("both clients are disconnected", || {
            server.handle().clients() == 0
        });
        assert!(
            server.disconnects("write_timeout") > 0,
            "{:?}",
            server.handle().disconnects()
        );
        assert_lasted(began, TIMEOUT);
        for flood in floods {
            within(20, "the client's send to end", || flood.join()).unwrap();
        }
    });
}

#[test]
fn unread_echo_ends_at_write_timeout() {
    const TIMEOUT: Duration = Duration::from_millis(400);
    with_both_flush_modes(|config| {
        let server = TestServer::echo(small(config).write_timeout(TIMEOUT));
        let client = server.client().rcvbuf(SMALL).connect();
        let send_half = client.send_half();
        let began = Instant::now();
        within(20, "the client's send to end", move || flood(send_half));
        assert_lasted(began, TIMEOUT);
        until("the client is disconnected", || {
            server.handle().clients() == 0
        });
        assert_eq!(server.disconnects("write_timeout"), 1);
    });
}

/// Reads until the Close. Answers pings, and passes the numbers of the messages to `seen`.
fn read_to_close(
    mut client: TestClient,
    send_half: &Mutex<SendHalf>,
    seen: &Sender<usize>,
) -> TestClient {
    loop {
        match client.next() {
            Seen::Frame(frame) if frame.opcode == op::PING => {
                let pong = Frame::new(op::PONG, frame.payload);
                send_half.lock().unwrap().frame(&pong);
            }
            Seen::Frame(frame) if frame.opcode == op::BINARY => {
                let _ = seen.send(number(&Message::binary(frame.payload)));
            }
            Seen::Frame(frame) if frame.opcode == op::CLOSE => {
                assert_eq!(frame.code().0, 1000);
                return client;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn publisher_blocked_for_three_ping_periods_stays_connected() {
    const INTERVAL: Duration = Duration::from_millis(100);
    const TIMEOUT: Duration = Duration::from_millis(400);
    const MESSAGES: usize = 300;
    with_both_flush_modes(|config| {
        let consumer: Arc<Mutex<Option<Outbox>>> = Arc::default();
        let (report_wait, waits) = unbounded();
        let (ready, consumer_ready) = bounded(1);
        let slot = Arc::clone(&consumer);
        let publishes = move |conn: &mut Connection| -> Result<(), Failure> {
            if conn.request().path() == "/consumer" {
                *slot.lock().unwrap() = Some(conn.outbox());
                ready.send(())?;
                while conn.recv()?.is_some() {}
                return Ok(());
            }
            let consumer = slot.lock().unwrap().clone().unwrap();
            while let Some(message) = conn.recv()? {
                send_and_report(&consumer, message, &report_wait)?;
            }
            Ok(())
        };
        let config = small(config).ping_interval(INTERVAL).ping_timeout(TIMEOUT);
        let server = TestServer::start(config, publishes);
        let slow = server.client().path("/consumer").rcvbuf(SMALL).connect();
        consumer_ready.recv().unwrap();
        // The slow client does not read, but it sends pongs all the time to show that it is alive.
        let (read, reads) = bounded::<()>(0);
        let send_half = slow.send_half();
        let alive = thread::spawn(move || {
            while reads
                .recv_timeout(INTERVAL / 5)
                .is_err_and(|end| end.is_timeout())
            {
                send_half.frame(&Frame::new(op::PONG, "alive"));
            }
        });

        let publisher = TestClient::connect(server.addr(), "/");
        let send_half = Arc::new(Mutex::new(publisher.send_half()));
        let answers = Arc::clone(&send_half);
        let (none, _nothing) = unbounded();
        let publisher = thread::spawn(move || read_to_close(publisher, &answers, &none));
        let sender = Arc::clone(&send_half);
        let sends = thread::spawn(move || {
            for n in 0..MESSAGES {
                sender.lock().unwrap().binary(numbered(n));
            }
        });
        expect_a_wait(&waits);
        // This test is about these periods. Each is an interval and a timeout.
        let_time_pass(3 * (INTERVAL + TIMEOUT));
        assert_eq!(server.handle().clients(), 2, "a client was disconnected");
        let outbox = consumer.lock().unwrap().clone().unwrap();
        assert_eq!(outbox.len(), outbox.capacity());

        drop(read);
        alive.join().unwrap();
        let (see, seen) = unbounded();
        let consumer_half = Mutex::new(slow.send_half());
        let consumer = thread::spawn(move || read_to_close(slow, &consumer_half, &see));
        let next = || seen.recv_timeout(crate::support::DEADLINE).unwrap();
        for n in 0..MESSAGES {
            assert_eq!(next(), n);
        }
        sends.join().unwrap();
        send_half.lock().unwrap().binary(numbered(MESSAGES));
        assert_eq!(next(), MESSAGES, "the publisher can still publish");
        send_half.lock().unwrap().close(1000, "");
        publisher.join().unwrap();
        outbox.close(1000, "");
        consumer.join().unwrap();
    });
}
