//! The server's own pings: what they measure, and which pongs count.

use std::time::{Duration, Instant};

use standpipe::{Config, Outbox};

use crate::support::{
    DEADLINE, Frame, Seen, TestClient, TestServer, echo_with_outboxes, let_time_pass, op, until,
    with_both_flush_modes,
};

const LONG: Duration = Duration::from_secs(600);

fn pong(client: &TestClient, payload: impl AsRef<[u8]>) {
    client.frame(&Frame::new(op::PONG, payload));
}

/// Reads the next frame, which must be a ping, and returns its payload.
#[track_caller]
fn expect_ping(client: &mut TestClient) -> Vec<u8> {
    let frame = client.next_frame();
    assert_eq!(frame.opcode, op::PING, "{frame:?}");
    frame.payload
}

/// Sends a text, and checks that its echo is the next frame: the server has read everything before it, and has sent
/// nothing else.
#[track_caller]
fn echoes(client: &mut TestClient) {
    client.text("are you there?");
    let frame = client.next_frame();
    assert_eq!(frame.opcode, op::TEXT, "{frame:?}");
}

fn start(config: Config) -> (TestServer, TestClient, Outbox) {
    let (server, outboxes) = echo_with_outboxes(config);
    let client = server.connect();
    let outbox = outboxes.recv_timeout(DEADLINE).expect("the handler runs");
    (server, client, outbox)
}

#[test]
fn ping_measures_the_round_trip() {
    const TAKES: Duration = Duration::from_millis(30);
    with_both_flush_modes(|config| {
        let (server, mut client, outbox) = start(config.ping_interval(LONG));
        assert_eq!(outbox.round_trip(), None);
        let began = Instant::now();
        outbox.ping();
        let payload = expect_ping(&mut client);
        assert_eq!(payload.len(), 8);
        let_time_pass(TAKES);
        pong(&client, &payload);
        until("the pong is read", || outbox.round_trip().is_some());
        let took = began.elapsed();
        let round_trip = outbox.round_trip().expect("it was measured");
        assert!((TAKES..=took).contains(&round_trip), "{round_trip:?}");
        let shown = &server.handle().client_states()[0];
        assert_eq!(shown.round_trip, Some(round_trip));

        // An answer that is sent at once: loopback takes far less than the first.
        let deadline = Instant::now() + DEADLINE;
        while outbox.round_trip().is_none_or(|took| took >= TAKES) {
            assert!(Instant::now() < deadline, "waited for a short round trip");
            outbox.ping();
            let next = expect_ping(&mut client);
            assert_ne!(next, payload);
            pong(&client, &next);
            echoes(&mut client);
        }
    });
}

#[test]
fn only_the_answer_to_our_ping_counts() {
    let (_server, mut client, outbox) = start(Config::default().ping_interval(LONG));
    // Before a ping was sent, and while one is outstanding.
    for round in 0..2 {
        for forged in [
            &[0; 8][..],
            &[0, 0, 0, 0, 0, 0, 0, 1],
            b"",
            b"later than now",
        ] {
            pong(&client, forged);
        }
        echoes(&mut client);
        assert_eq!(outbox.round_trip(), None, "round {round}");
        if round == 0 {
            outbox.ping();
            let payload = expect_ping(&mut client);
            let mut longer = payload.clone();
            longer.push(0);
            pong(&client, &longer);
            pong(&client, &payload[1..]);
            echoes(&mut client);
            assert_eq!(outbox.round_trip(), None);
        }
    }
}

#[test]
fn later_ping_joins_an_unanswered_one() {
    let (_server, mut client, outbox) = start(Config::default().ping_interval(LONG));
    outbox.ping();
    let payload = expect_ping(&mut client);
    for _ in 0..10 {
        outbox.ping();
    }
    echoes(&mut client);
    pong(&client, &payload);
    until("the pong is read", || outbox.round_trip().is_some());
    outbox.ping();
    assert_ne!(expect_ping(&mut client), payload);
    outbox.close(1000, "");
    client.expect_close(1000);
    outbox.ping();
    outbox.close_now(4100, "");
    client.close(1000, "");
    client.expect_eof();
}

/// Sends a text every few milliseconds, for `time`, and reads the echoes. Returns the payloads of the pings.
fn stay_busy(client: &mut TestClient, time: Duration, answers: bool) -> Vec<Vec<u8>> {
    let began = Instant::now();
    let mut pings = Vec::new();
    while began.elapsed() < time {
        client.text("busy");
        loop {
            match client.next() {
                Seen::Frame(frame) if frame.opcode == op::PING => {
                    if answers {
                        pong(client, &frame.payload);
                    }
                    pings.push(frame.payload);
                }
                Seen::Frame(frame) if frame.opcode == op::TEXT => break,
                other => panic!("a client that sends is disconnected: {other:?}"),
            }
        }
        let_time_pass(Duration::from_millis(5));
    }
    pings
}

#[test]
fn busy_client_is_pinged_once_per_interval() {
    const INTERVAL: Duration = Duration::from_millis(300);
    let config = Config::default().ping_interval(INTERVAL).ping_timeout(LONG);
    let (_server, mut client, outbox) = start(config);
    let began = Instant::now();
    let pings = stay_busy(&mut client, INTERVAL * 5, true);
    let most = began.elapsed().as_millis() / INTERVAL.as_millis();
    let count = pings.len();
    assert!((1..=most).contains(&(count as u128)), "{count} pings");
    let mut different = pings.clone();
    different.dedup();
    assert_eq!(different, pings);
    until("the pong is read", || outbox.round_trip().is_some());
}

/// The pings of a busy client only measure. Its bytes prove that it is alive.
#[test]
fn busy_client_that_never_answers_stays_connected() {
    const SHORT: Duration = Duration::from_millis(150);
    let config = Config::default().ping_interval(SHORT).ping_timeout(SHORT);
    let (server, mut client, outbox) = start(config);
    let pings = stay_busy(&mut client, SHORT * 10, false);
    assert!(!pings.is_empty(), "it was pinged");
    // The outstanding ping is repeated.
    assert!(pings.iter().all(|ping| *ping == pings[0]));
    assert_eq!(outbox.round_trip(), None);
    assert_eq!(server.disconnects("ping_timeout"), 0);
}
