//! `recv_timeout`: what it waits for, what it handles meanwhile, and what it costs the peer's deadlines.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::clock;
use crate::connection::activity::Activity;
use crate::connection::deadlines::DeadlineCheck;
use crate::connection::shared::Shared;
use crate::connection::socket::{PeerState, Transport};
use crate::connection::testing::scripted_socket::ScriptedSocket;
use crate::error::RecvError;
use crate::sync::lock;

const SHORT: Duration = Duration::from_millis(5);

/// Receives for at most `timeout`. The error `None` means that the time was over.
fn recv_timeout(
    reader: &mut Reader,
    timeout: Duration,
) -> Result<Option<Message>, Option<RecvError>> {
    reader.recv_deadline(Instant::now() + timeout)
}

#[track_caller]
fn times_out(reader: &mut Reader, timeout: Duration) {
    match recv_timeout(reader, timeout) {
        Err(None) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn recv_timeout_returns_messages_and_continues_after_a_timeout() {
    let client = TestClient::new(Config::default());
    let mut reader = client.reader(&from_client(0x81, b"ahead"));
    let received = recv_timeout(&mut reader, Duration::ZERO).expect("it has arrived");
    assert_eq!(received, Some(text("ahead")));
    times_out(&mut reader, Duration::ZERO);
    times_out(&mut reader, SHORT);
    client.socket.send(from_client(0x81, b"later"));
    let received = recv_timeout(&mut reader, DEADLINE).expect("it has arrived");
    assert_eq!(received, Some(text("later")));
    times_out(&mut reader, SHORT);
    client.socket.hang_up();
    let ended = recv_timeout(&mut reader, DEADLINE);
    assert!(matches!(ended, Err(Some(RecvError::Gone))), "{ended:?}");
    client.end();
}

#[test]
fn recv_timeout_answers_pings_and_a_close() {
    let client = TestClient::new(Config::default());
    let mut reader = client.reader(&[]);
    client.socket.send(from_client(0x89, b"there?"));
    times_out(&mut reader, SHORT);
    client.socket.until_written(8);
    assert_eq!(client.frames(), [(0x8a, b"there?".to_vec())]);
    client.socket.send(from_client(0x88, &[0x03, 0xe8]));
    let ended = recv_timeout(&mut reader, DEADLINE).expect("a closing handshake");
    assert_eq!(ended, None);
    client.socket.until_written(12);
    client.end();
}

/// The time may be over at every byte of a message, also of one that is read into its own memory.
#[test]
fn timeout_inside_a_message_loses_nothing() {
    for size in [0, 5, 100, 9000, 40_000] {
        let config = Config::default().read_buffer(8 << 10);
        let client = TestClient::new(config);
        let mut reader = client.reader(&[]);
        let frame = from_client(0x82, &vec![b'x'; size]);
        let step = 1 + frame.len() / 500;
        for piece in frame.chunks(step) {
            times_out(&mut reader, Duration::ZERO);
            client.socket.send(piece);
        }
        let received = recv_timeout(&mut reader, Duration::ZERO).expect("it has arrived");
        assert_eq!(received.map(|message| message.len()), Some(size));
        times_out(&mut reader, Duration::ZERO);
        client.end();
    }
}

#[test]
fn closed_connection_ends_the_loop() {
    let client = TestClient::new(Config::default());
    let mut reader = client.reader(&[]);
    times_out(&mut reader, SHORT);
    client.outbox.close(1000, "");
    let ended = recv_timeout(&mut reader, SHORT).expect("we have closed");
    assert_eq!(ended, None);
    client.end();
}

fn clocks() -> Config {
    let ms = Duration::from_millis;
    Config::default()
        .ping_interval(ms(40))
        .ping_timeout(ms(40))
        .message_timeout(ms(40))
}

/// Receives without waiting, with other work in between, until `check_deadlines` returns `expected`. No call waits, so
/// the watchdog never finds the reader in `read`.
#[track_caller]
fn polls_until(client: &TestClient, reader: &mut Reader, expected: &DeadlineCheck) {
    let deadline = Instant::now() + DEADLINE;
    while client.shared.check_deadlines(clock::now()) != *expected {
        assert!(
            Instant::now() < deadline,
            "timed out waiting for {expected:?}"
        );
        times_out(reader, Duration::ZERO);
        let work = clock::now();
        until("the work is done", || clock::now() >= work + 2);
    }
}

#[test]
fn silent_peer_of_a_handler_that_polls_is_pinged_and_reset() {
    let client = TestClient::new(clocks());
    let mut reader = client.reader(&[]);
    polls_until(&client, &mut reader, &DeadlineCheck::PingDue);
    client.shared.write.deadlines.ping_sent(clock::now(), 0);
    polls_until(&client, &mut reader, &DeadlineCheck::Passed(Clock::Ping));
    client.end();
}

#[test]
fn slow_message_to_a_handler_that_polls_is_late() {
    let client = TestClient::new(clocks().ping_interval(DEADLINE));
    let mut reader = client.reader(&[]);
    client.socket.send(&from_client(0x81, b"slow")[..3]);
    polls_until(&client, &mut reader, &DeadlineCheck::Passed(Clock::Message));
    client.end();
}

/// What arrives while the handler is in its own code waits in the kernel. The peer is not late then.
#[test]
fn handler_that_is_away_does_not_make_its_peer_late() {
    let client = TestClient::new(clocks());
    let mut reader = client.reader(&[]);
    let (begin, rest) = (
        &from_client(0x81, b"slow")[..3],
        &from_client(0x81, b"slow")[3..],
    );
    client.socket.send(begin);
    times_out(&mut reader, Duration::ZERO);
    client.shared.write.deadlines.ping_sent(clock::now(), 0);
    // The rest arrives in time, but the handler does not look for it.
    client.socket.send(&rest[..2]);
    let left = clock::now();
    until("all clocks have passed", || clock::now() >= left + 100);
    assert_eq!(
        client.shared.check_deadlines(clock::now()),
        DeadlineCheck::Met
    );
    // The handler comes back. The message clock has not run meanwhile.
    times_out(&mut reader, Duration::ZERO);
    let check = client.shared.check_deadlines(clock::now());
    assert!(
        matches!(check, DeadlineCheck::Met | DeadlineCheck::PingDue),
        "{check:?}"
    );
    client.socket.send(&rest[2..]);
    let received = recv_timeout(&mut reader, Duration::ZERO).expect("it has arrived");
    assert_eq!(received, Some(text("slow")));
    client.end();
}

#[test]
fn answer_to_a_mark_that_the_handler_has_not_read_is_not_late() {
    let client = TestClient::new(Config::default());
    let mut reader = client.reader(&[]);
    times_out(&mut reader, Duration::ZERO);
    client.shared.mark(clock::now(), 0);
    let is_late = || client.shared.is_late(clock::now() + 1000, 500);
    assert!(is_late(), "the peer has sent nothing");
    client.socket.send(from_client(0x8a, b"12345678"));
    assert!(!is_late(), "the handler has not looked");
    client.end();
}

/// A socket that does what the watchdog does when a read begins.
#[derive(Debug)]
struct CheckedSocket {
    socket: Arc<ScriptedSocket>,
    shared: Arc<Shared>,
    checks: Mutex<Vec<DeadlineCheck>>,
}

impl AsFd for CheckedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Transport for CheckedSocket {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        lock(&self.checks).push(self.shared.check_deadlines(clock::now()));
        self.socket.read(buffer)
    }

    fn wait_readable(&self, limit: Duration) -> io::Result<bool> {
        self.socket.wait_readable(limit)
    }

    fn try_write(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        unreachable!("only the reader has this socket")
    }

    fn write(&self, _: &[u8]) -> io::Result<usize> {
        unreachable!("only the reader has this socket")
    }

    fn peer_state(&self) -> PeerState {
        self.socket.peer_state()
    }

    fn shutdown(&self, _: Shutdown) {}

    fn reset_at_end(&self) {}

    fn limit_read(&self, _: Duration) {}
}

/// A read without a deadline looks for the answer to a ping before the clocks run again. Otherwise the watchdog could
/// reset the client between the beginning of the read and its end.
#[test]
fn answer_that_has_waited_for_recv_counts() {
    let client = TestClient::new(clocks());
    let checked = Arc::new(CheckedSocket {
        socket: Arc::clone(&client.socket),
        shared: Arc::clone(&client.shared),
        checks: Mutex::default(),
    });
    let transport: Arc<dyn Transport> = checked.clone();
    let mut reader = Reader::new(transport, &client.shared, Vec::new());
    client.shared.write.deadlines.ping_sent(clock::now(), 0);
    client.socket.send(from_client(0x8a, b"12345678"));
    client.socket.send(from_client(0x81, b"text"));
    let left = clock::now();
    until("the ping clock has passed", || clock::now() >= left + 100);
    assert_eq!(reader.recv().expect("a message"), Some(text("text")));
    let checks = lock(&checked.checks);
    assert!(!checks.is_empty());
    let late = DeadlineCheck::Passed(Clock::Ping);
    assert!(checks.iter().all(|check| *check != late), "{checks:?}");
    drop(checks);
    client.end();
}

/// A handler that waits for a second again and again must not keep a silent peer from being pinged.
#[test]
fn silence_over_several_calls_is_counted_together() {
    let interval = Duration::from_millis(50);
    let client = TestClient::new(Config::default().ping_interval(interval));
    let mut reader = client.reader(&[]);
    let begin = clock::now();
    while clock::now() < begin + 60 {
        times_out(&mut reader, SHORT);
    }
    // What the watchdog sees while the next call waits.
    let socket = Arc::clone(&client.socket);
    let shared = Arc::clone(&client.shared);
    let watchdog = thread::spawn(move || {
        socket.until_in_read();
        let due = shared.check_deadlines(clock::now());
        socket.send(from_client(0x81, b"end"));
        due
    });
    let received = recv_timeout(&mut reader, DEADLINE).expect("a message");
    assert_eq!(received, Some(text("end")));
    let due = watchdog.join().expect("no panic");
    assert_eq!(due, DeadlineCheck::PingDue);
    // The byte ends the silence.
    times_out(&mut reader, Duration::ZERO);
    client.shared.reader.set(Activity::Reading);
    assert_eq!(
        client.shared.check_deadlines(clock::now()),
        DeadlineCheck::Met
    );
    client.end();
}
