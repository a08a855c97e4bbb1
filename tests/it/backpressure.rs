//! A client that does not read makes its sender wait, and the wait has an end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use standpipe::{Config, Connection, Message, Outbox, TrySendError};

use crate::support::{
    Failure, Frame, Process, Seen, SendHalf, TestClient, TestServer, in_own_process, let_time_pass,
    op, until, with_both_flush_modes, within,
};

/// Small buffers in the kernel, so that a queue fills soon.
const SMALL: usize = 16 << 10;

fn small(config: Config) -> Config {
    config.queue(8).sndbuf(Some(SMALL)).unsent(SMALL)
}

/// 4 KiB that begin with a number.
fn numbered(n: usize) -> Vec<u8> {
    let mut payload = vec![0; 4096];
    payload[..8].copy_from_slice(&n.to_be_bytes());
    payload
}

fn number(message: &Message) -> usize {
    let data = message.clone().into_data();
    assert_eq!(data.len(), 4096);
    usize::from_be_bytes(data[..8].try_into().unwrap())
}

/// Says so, and waits, when there is no room at once.
fn send_and_say(outbox: &Outbox, message: Message, waits: &Sender<()>) -> Result<(), Failure> {
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
    waited.expect("a sender that finds the outbox full");
}

#[test]
fn a_client_that_does_not_read_makes_its_handler_wait_and_its_own_sends_too() {
    const MESSAGES: usize = 2000;
    with_both_flush_modes(|config| {
        let received = Arc::new(AtomicUsize::new(0));
        let (say, waits) = unbounded();
        let (outbox_sender, outboxes) = unbounded();
        let counts = Arc::clone(&received);
        let echo = move |conn: &mut Connection| -> Result<(), Failure> {
            outbox_sender.send(conn.outbox())?;
            while let Some(message) = conn.recv()? {
                counts.fetch_add(1, Ordering::SeqCst);
                send_and_say(&conn.outbox(), message, &say)?;
            }
            Ok(())
        };
        let server = TestServer::start(small(config), echo);
        let mut client = server.client().rcvbuf(SMALL).connect();
        let outbox = outboxes.recv().unwrap();
        let frames = (0..MESSAGES).map(|n| Frame::new(op::BINARY, numbered(n)).bytes());
        let stream: Vec<u8> = frames.flatten().collect();

        let mut sent = 0;
        until("the outbox is full, and so is the way to it", || {
            let taken = client.send_available(&stream[sent..]);
            sent += taken;
            taken == 0 && outbox.len() == outbox.capacity()
        });
        expect_a_wait(&waits);
        // What the handler has seen is in the outbox, in the writer's hand, in the kernel or in its own.
        let seen = received.load(Ordering::SeqCst);
        assert!(sent < stream.len(), "the kernel took all of it");
        assert!(seen < 200, "{seen} messages went where nobody reads");
        assert!(outbox.bytes() >= 8 * 4096, "{} bytes", outbox.bytes());

        // It reads again, and everything comes.
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
fn a_client_that_stops_reading_is_reset_after_write_timeout_and_leaves_nothing() {
    const NAME: &str =
        "backpressure::a_client_that_stops_reading_is_reset_after_write_timeout_and_leaves_nothing";
    const TIMEOUT: Duration = Duration::from_millis(300);
    let test = |config: Config| {
        let (outbox_sender, outboxes) = unbounded();
        let keeps = move |conn: &mut Connection| -> Result<(), Failure> {
            outbox_sender.send(conn.outbox())?;
            while conn.recv()?.is_some() {}
            Ok(())
        };
        let server = TestServer::start(small(config).write_timeout(TIMEOUT), keeps);
        // A client that is well stays.
        let well = server.connect();
        let _ = outboxes.recv().unwrap();
        let descriptors = Process::this().descriptors();
        let threads = Process::this().settled_client_threads();

        let mut client = server.client().rcvbuf(SMALL).connect();
        let outbox = outboxes.recv().unwrap();
        assert_eq!(Process::this().settled_client_threads(), threads + 2);
        let sender = outbox.clone();
        let (lost, waited) = within(20, "a blocked send to be given up", move || {
            let mut n = 0;
            loop {
                let began = Instant::now();
                match sender.send(Message::binary(numbered(n))) {
                    Ok(()) => n += 1,
                    Err(error) => {
                        assert_eq!(number(&error.0), n, "the message comes back");
                        return (n, began.elapsed());
                    }
                }
            }
        });
        assert!(waited >= TIMEOUT / 2, "it waited {waited:?} only");
        // The client's own end is open still.
        until("its descriptor is gone", || {
            Process::this().descriptors() == descriptors + 1
        });
        until("its threads are gone", || {
            Process::this().client_threads().len() == threads
        });
        assert_eq!(server.handle().clients(), 1);
        // What was in the kernel comes, then the reset.
        let rest = client.rest();
        assert!(rest.closes.is_empty(), "no Close: {:?}", rest.closes);
        assert!(rest.reset, "after {} messages", rest.messages.len());
        drop(client);
        assert_eq!(Process::this().descriptors(), descriptors);
        assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
        let counts = outbox.counts();
        assert_eq!(counts.accepted, lost as u64);
        assert_eq!(counts.accepted, counts.delivered + counts.discarded);
        assert!(counts.discarded >= 8, "a full queue: {counts:?}");
        well.leave();
    };
    in_own_process(NAME, || with_both_flush_modes(test));
}

#[test]
fn a_slow_but_steady_reader_is_served_to_the_end() {
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
                // Its pace is what is tested: 64 KiB in 80 ms.
                let_time_pass(Duration::from_millis(20));
            }
        }
        client.expect_close(1000);
        assert!(began.elapsed() > 2 * TIMEOUT, "too fast to show anything");
    });
}

/// Sends without reading, until the connection is of no use any more.
fn floods(send_half: SendHalf) {
    let frame = Frame::new(op::BINARY, numbered(0)).bytes();
    while send_half.try_bytes(&frame) {}
}

#[test]
fn two_clients_that_send_without_reading_to_each_other_end_by_a_deadline() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    with_both_flush_modes(|config| {
        // Each puts its outbox in its own place and takes the other's.
        let outboxes: Arc<[(Sender<Outbox>, Receiver<Outbox>); 2]> =
            Arc::new([bounded(1), bounded(1)]);
        let (say, waits) = unbounded();
        let relays = move |conn: &mut Connection| -> Result<(), Failure> {
            let own = usize::from(conn.request().path() == "/b");
            outboxes[own].0.send(conn.outbox())?;
            let other = outboxes[1 - own].1.recv()?;
            while let Some(message) = conn.recv()? {
                send_and_say(&other, message, &say)?;
            }
            Ok(())
        };
        let config = small(config).write_timeout(TIMEOUT).close_timeout(TIMEOUT);
        let server = TestServer::start(config, relays);
        let clients = ["/a", "/b"].map(|path| server.client().path(path).rcvbuf(SMALL).connect());
        let began = Instant::now();
        let floods = clients.each_ref().map(|client| {
            let send_half = client.send_half();
            thread::spawn(move || floods(send_half))
        });
        expect_a_wait(&waits);
        expect_a_wait(&waits);
        until("both are gone", || server.handle().clients() == 0);
        assert!(began.elapsed() >= TIMEOUT, "nothing had run out yet");
        for flood in floods {
            within(20, "the client's send to end", || flood.join()).unwrap();
        }
    });
}

#[test]
fn an_echo_that_is_never_read_ends_by_a_deadline() {
    const TIMEOUT: Duration = Duration::from_millis(400);
    with_both_flush_modes(|config| {
        let server = TestServer::echo(small(config).write_timeout(TIMEOUT));
        let client = server.client().rcvbuf(SMALL).connect();
        let send_half = client.send_half();
        let began = Instant::now();
        within(20, "the client's send to end", move || floods(send_half));
        assert!(began.elapsed() >= TIMEOUT, "nothing had run out yet");
        until("it is gone", || server.handle().clients() == 0);
    });
}

/// Answers pings, between frames, and gives the numbers of the messages on.
fn reads_on(
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
fn a_publisher_held_by_backpressure_for_three_ping_periods_stays_connected() {
    const INTERVAL: Duration = Duration::from_millis(100);
    const TIMEOUT: Duration = Duration::from_millis(400);
    const MESSAGES: usize = 300;
    with_both_flush_modes(|config| {
        let consumer: Arc<Mutex<Option<Outbox>>> = Arc::default();
        let (say, waits) = unbounded();
        let (ready, is_ready) = bounded(1);
        let place = Arc::clone(&consumer);
        let publishes = move |conn: &mut Connection| -> Result<(), Failure> {
            if conn.request().path() == "/consumer" {
                *place.lock().unwrap() = Some(conn.outbox());
                ready.send(())?;
                while conn.recv()?.is_some() {}
                return Ok(());
            }
            let consumer = place.lock().unwrap().clone().unwrap();
            while let Some(message) = conn.recv()? {
                send_and_say(&consumer, message, &say)?;
            }
            Ok(())
        };
        let config = small(config).ping_interval(INTERVAL).ping_timeout(TIMEOUT);
        let server = TestServer::start(config, publishes);
        let slow = server.client().path("/consumer").rcvbuf(SMALL).connect();
        is_ready.recv().unwrap();
        // It does not read, but it is not dead: it says so all the time.
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
        let publisher = thread::spawn(move || reads_on(publisher, &answers, &none));
        let sender = Arc::clone(&send_half);
        let sends = thread::spawn(move || {
            for n in 0..MESSAGES {
                sender.lock().unwrap().binary(numbered(n));
            }
        });
        expect_a_wait(&waits);
        // The periods are what is tested, each an interval and a timeout.
        let_time_pass(3 * (INTERVAL + TIMEOUT));
        assert_eq!(server.handle().clients(), 2, "both are still there");
        let outbox = consumer.lock().unwrap().clone().unwrap();
        assert_eq!(outbox.len(), outbox.capacity());

        drop(read);
        alive.join().unwrap();
        let (see, seen) = unbounded();
        let consumer_pen = Mutex::new(slow.send_half());
        let consumer = thread::spawn(move || reads_on(slow, &consumer_pen, &see));
        let next = || seen.recv_timeout(crate::support::DEADLINE).unwrap();
        for n in 0..MESSAGES {
            assert_eq!(next(), n);
        }
        sends.join().unwrap();
        send_half.lock().unwrap().binary(numbered(MESSAGES));
        assert_eq!(next(), MESSAGES, "the publisher works on");
        send_half.lock().unwrap().close(1000, "");
        publisher.join().unwrap();
        outbox.close(1000, "");
        consumer.join().unwrap();
    });
}
