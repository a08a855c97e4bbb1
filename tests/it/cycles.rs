//! A drill for every cycle of waits that a server of blocking threads can fall into: each has to end by its deadline.
//! The numbers are those of the project's list.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use standpipe::{Config, Connection, Message, Outbox};

use crate::support::{
    DEADLINE, Frame, TestClient, TestServer, op, until, with_both_flush_modes, within,
};

// The cycles through a topic, and through the server itself.
mod house;
mod room;

const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(60);

/// Small buffers, and clocks that are far away unless a drill brings one near.
fn tight(config: Config) -> Config {
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

/// Sends and never reads, on a thread of its own, until the server ends it.
fn sends_for_ever(client: &TestClient) -> thread::JoinHandle<()> {
    let send_half = client.send_half();
    let message = Frame::new(op::BINARY, vec![0; 32 << 10]).bytes();
    thread::spawn(move || while send_half.try_bytes(&message) {})
}

fn everybody_is_gone(server: &TestServer) {
    until("everybody is gone", || server.handle().clients() == 0);
}

#[test]
fn c01_two_clients_relayed_to_each_other_without_reading_end_by_a_deadline() {
    with_both_flush_modes(|config| {
        let pair: Arc<Mutex<Vec<Outbox>>> = Arc::default();
        let server = TestServer::start(
            // Whose send fails first is closed with 1011, and does not read that either.
            tight(config).write_timeout(SHORT).close_timeout(SHORT),
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
                        // Waits as long as it takes: the worst a handler can do.
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
        let sending = [sends_for_ever(&a), sends_for_ever(&b)];
        everybody_is_gone(&server);
        within(20, "the senders to see their end", || {
            sending.map(|sender| sender.join().unwrap())
        });
    });
}

#[test]
fn c02_a_client_that_is_echoed_and_does_not_read_ends_by_a_deadline() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(tight(config).write_timeout(SHORT));
        let client = server.client().small_rcvbuf().connect();
        let sending = sends_for_ever(&client);
        everybody_is_gone(&server);
        within(20, "the sender to see its end", || sending.join().unwrap());
    });
}

#[test]
fn c07_shutdown_does_not_wait_for_writers_whose_peers_take_nothing() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(tight(config).shutdown_timeout(SHORT));
        let clients: Vec<_> = (0..10)
            .map(|_| server.client().small_rcvbuf().connect())
            .collect();
        let sending: Vec<_> = clients.iter().map(sends_for_ever).collect();
        let blocked = "blocked in write";
        until("all writers are blocked", || {
            let states = server.handle().client_states();
            states
                .iter()
                .filter(|state| state.writer.state == blocked)
                .count()
                == 10
        });
        let report = within(20, "the end of the server", || server.shut_down());
        assert_eq!((report.drained, report.lost), (0, 10));
        sending
            .into_iter()
            .for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn c08_a_ping_overtakes_the_data_that_waits() {
    with_both_flush_modes(|config| {
        let (filled, full) = bounded::<u32>(1);
        let config = tight(config).ping_interval(SHORT).ping_timeout(LONG);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            if conn.request().path() == "/full" {
                let mut queued = 0;
                // Room for the first ones comes from the kernel; the rest stays.
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
        let queued = full.recv_timeout(DEADLINE).expect("the outbox is full");
        // When one that came later has been pinged twice, this one has been pinged too.
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
                _ => unreachable!("left the loop at the ping"),
            }
        }
        // The queue's eight, and all but the frame in progress of what was in hand.
        assert!(
            after >= 8,
            "{before} messages before the ping, {after} after it"
        );
    });
}

#[test]
fn c09_pings_that_cannot_be_answered_do_not_stop_the_reader() {
    with_both_flush_modes(|config| {
        let (heard, hears) = bounded::<Message>(1);
        let server = TestServer::start(tight(config), move |conn: &mut Connection| {
            let outbox = conn.outbox();
            while outbox
                .send_timeout(Message::binary(vec![0; 16 << 10]), SHORT / 5)
                .is_ok()
            {}
            while let Some(message) = conn.recv()? {
                heard.send(message)?;
            }
            Ok(())
        });
        let client = server.client().small_rcvbuf().connect();
        for round in 0..10 {
            (0..10).for_each(|_| client.ping("unanswered"));
            let text = Message::text(format!("round {round}"));
            client.text(format!("round {round}"));
            assert_eq!(hears.recv_timeout(DEADLINE), Ok(text));
        }
    });
}

#[test]
fn c10_a_client_whose_outbox_is_kept_ends_with_both_its_threads() {
    with_both_flush_modes(|config| {
        let kept: Arc<Mutex<Vec<Outbox>>> = Arc::default();
        let keep = Arc::clone(&kept);
        let server = TestServer::start(config, move |conn: &mut Connection| {
            keep.lock().unwrap().push(conn.outbox());
            while conn.recv()?.is_some() {}
            Ok(())
        });
        for _ in 0..10 {
            server.connect().leave();
            drop(server.connect());
            server.connect().reset();
        }
        everybody_is_gone(&server);
        // Its report comes when every thread is joined; the outboxes are still here.
        within(20, "the join", || server.shut_down());
        assert_eq!(kept.lock().unwrap().len(), 30);
        assert!(kept.lock().unwrap()[0].send(Message::text("late")).is_err());
    });
}
