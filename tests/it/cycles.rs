//! Deadlock cycles: for each cycle of waits that a server of blocking threads can form, a test shows that a deadline
//! breaks it, and which one. `src/SECURITY.md` lists the cycles.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use standpipe::{Activity, Clock, Config, Connection, Disconnect, Message, Outbox};

use crate::support::{
    DEADLINE, Frame, TestClient, TestServer, op, until, with_both_flush_modes, within,
};

// Cycles through the server itself, and through a topic.
mod server;
mod topic;

const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(60);

/// Sets small buffers and long timeouts. A test shortens only the timeouts that it is about.
fn slow_timeouts(config: Config) -> Config {
    config
        .sndbuf(Some(16 << 10))
        .unsent(16 << 10)
        .queue(8)
        .write_timeout(LONG)
        .close_timeout(LONG)
        .ping_interval(LONG)
        .ping_timeout(LONG)
        .message_timeout(LONG)
}

/// Starts a thread that sends until the connection ends. The client never reads.
fn send_forever(client: &TestClient) -> thread::JoinHandle<()> {
    let send_half = client.send_half();
    let message = Frame::new(op::BINARY, vec![0; 32 << 10]).bytes();
    thread::spawn(move || while send_half.try_bytes(&message) {})
}

fn wait_until_empty(server: &TestServer) {
    until("all clients are gone", || server.handle().clients() == 0);
}

/// Waits until the server has counted `total` disconnects, and asserts that each had one of these causes.
#[track_caller]
fn assert_causes(server: &TestServer, total: u64, causes: &[&str]) {
    let mut counts = Vec::new();
    until("all disconnects are counted", || {
        counts = server.handle().disconnects();
        counts.iter().map(|(_, count)| count).sum::<u64>() >= total
    });
    let expected = counts.iter().filter(|(by, _)| causes.contains(&by.name()));
    let expected: u64 = expected.map(|(_, count)| count).sum();
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    assert_eq!((expected, all), (total, total), "{counts:?}");
}

#[test]
fn mutual_relay_without_reading_is_ended_by_deadlines() {
    with_both_flush_modes(|config| {
        let pair: Arc<Mutex<Vec<Outbox>>> = Arc::default();
        let server = TestServer::start(
            // The write rule resets one client. The send to it then fails, and the server closes the other client with
            // 1011, which that client does not read either.
            slow_timeouts(config)
                .write_timeout(SHORT)
                .close_timeout(SHORT),
            move |conn: &mut Connection| {
                pair.lock().unwrap().push(conn.outbox());
                while let Some(message) = conn.recv()? {
                    let other = pair
                        .lock()
                        .unwrap()
                        .iter()
                        .find(|outbox| outbox.number() != conn.number())
                        .cloned();
                    if let Some(other) = other {
                        // A send without a deadline is the worst that a handler can do.
                        other.send(message)?;
                    }
                }
                Ok(())
            },
        );
        let (a, b) = (
            server.client().small_rcvbuf().connect(),
            server.client().small_rcvbuf().connect(),
        );
        let senders = [send_forever(&a), send_forever(&b)];
        wait_until_empty(&server);
        // The clients would also be gone if the handlers had merely failed, so the test checks the causes.
        assert_causes(&server, 2, &["write_timeout", "close_timeout"]);
        let counts = server.handle().disconnects();
        let by_write = counts.iter().find(|(by, _)| by.name() == "write_timeout");
        assert!(by_write.unwrap().1 >= 1, "{counts:?}");
        within(
            20,
            "the senders to see the end of their connections",
            || senders.map(|sender| sender.join().unwrap()),
        );
    });
}

#[test]
fn echo_client_that_never_reads_is_reset() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(slow_timeouts(config).write_timeout(SHORT));
        let client = server.client().small_rcvbuf().connect();
        let sender = send_forever(&client);
        wait_until_empty(&server);
        assert_causes(&server, 1, &["write_timeout"]);
        within(20, "the sender to see the end of its connection", || {
            sender.join().unwrap()
        });
    });
}

#[test]
fn shutdown_does_not_wait_for_blocked_writers() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(slow_timeouts(config).shutdown_timeout(SHORT));
        let clients: Vec<_> = (0..10)
            .map(|_| server.client().small_rcvbuf().connect())
            .collect();
        let senders: Vec<_> = clients.iter().map(send_forever).collect();
        until("all writers are blocked", || {
            let states = server.handle().client_states();
            states
                .iter()
                .filter(|state| state.writer.activity == Activity::Blocked)
                .count()
                == 10
        });
        let handle = server.handle().clone();
        let report = within(20, "the server to end", || server.shut_down());
        assert_eq!((report.drained, report.lost), (0, 10));
        let counts = handle.disconnects();
        assert!(
            counts.contains(&(Disconnect::Deadline(Clock::Shutdown), 10)),
            "{counts:?}"
        );
        senders
            .into_iter()
            .for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn ping_overtakes_queued_messages() {
    with_both_flush_modes(|config| {
        let (filled, full) = bounded::<u32>(1);
        let config = slow_timeouts(config)
            .ping_interval(SHORT)
            .ping_timeout(LONG);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            if conn.request().path() == "/full" {
                let mut queued = 0;
                // The kernel accepts the first messages. The rest stays in the queue.
                let message = || Message::binary(vec![0; 16 << 10]);
                while conn.outbox().send_timeout(message(), SHORT).is_ok() {
                    queued += 1;
                }
                filled.send(queued)?;
            }
            while conn.recv()?.is_some() {}
            Ok(())
        });
        let mut busy = server.client().path("/full").small_rcvbuf().connect();
        let queued = full
            .recv_timeout(DEADLINE)
            .expect("the outbox should become full");
        // This client connected later. When it has been pinged twice, the busy one has been pinged, too.
        let mut idle = server.connect();
        for _ in 0..2 {
            let ping = idle.next_frame();
            assert_eq!(ping.opcode, op::PING);
            idle.frame(&Frame::new(op::PONG, ping.payload));
        }
        let (mut before, mut after) = (0, 0);
        while before + after < queued {
            match (busy.next_frame().opcode, after) {
                (op::PING, _) => after = queued - before,
                (_, 0) => before += 1,
                _ => unreachable!("the loop ends after the ping"),
            }
        }
        // The eight messages of the queue come after the ping, and of those in flight all but the frame in progress.
        assert!(
            after >= 8,
            "{before} messages before the ping, {after} after it"
        );
    });
}

#[test]
fn unanswerable_pings_do_not_block_the_reader() {
    with_both_flush_modes(|config| {
        let (sender, received) = bounded::<Message>(1);
        let server = TestServer::start(slow_timeouts(config), move |conn: &mut Connection| {
            let outbox = conn.outbox();
            while outbox
                .send_timeout(Message::binary(vec![0; 16 << 10]), SHORT / 5)
                .is_ok()
            {}
            while let Some(message) = conn.recv()? {
                sender.send(message)?;
            }
            Ok(())
        });
        let client = server.client().small_rcvbuf().connect();
        for round in 0..10 {
            (0..10).for_each(|_| client.ping("unanswered"));
            let text = Message::text(format!("round {round}"));
            client.text(format!("round {round}"));
            assert_eq!(received.recv_timeout(DEADLINE), Ok(text));
        }
    });
}

#[test]
fn kept_outbox_keeps_no_thread_alive() {
    with_both_flush_modes(|config| {
        let kept: Arc<Mutex<Vec<Outbox>>> = Arc::default();
        let outboxes = Arc::clone(&kept);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            outboxes.lock().unwrap().push(conn.outbox());
            while conn.recv()?.is_some() {}
            Ok(())
        });
        for _ in 0..10 {
            server.connect().leave();
            drop(server.connect());
            server.connect().reset();
        }
        wait_until_empty(&server);
        // The report comes after every thread has been joined. The outboxes still exist then.
        within(20, "all threads to be joined", || server.shut_down());
        assert_eq!(kept.lock().unwrap().len(), 30);
        assert!(kept.lock().unwrap()[0].send(Message::text("late")).is_err());
    });
}
