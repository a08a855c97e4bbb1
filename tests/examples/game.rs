use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tungstenite::Message;

use crate::support::{Client, DEADLINE, Example, close_code, connect};

// The parts of the game that know no client are tested directly.
#[path = "../../examples/game/layout.rs"]
#[allow(dead_code, reason = "the tests do not use all of it")]
mod layout;
#[path = "../../examples/game/schedule.rs"]
mod schedule;
#[path = "../../examples/game/world.rs"]
#[allow(dead_code, reason = "the tests do not use all of it")]
mod world;

/// The item that those parts import from another file of the example.
mod seats {
    pub(super) const SEATS: usize = 12;
}

use layout::{Input, PlayerMessage};
use schedule::Schedule;
use seats::SEATS;
use world::World;

const RIGHT: u8 = 8;

/// A parsed snapshot. `layout.rs` describes the layout.
#[derive(Debug)]
struct Snapshot {
    tick: u32,
    players: Vec<Player>,
    dots: Vec<(u16, u16)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Player {
    seat: u8,
    away: bool,
    at: (u16, u16),
    score: u16,
    ack: u16,
    waiting: u8,
    skipped: u32,
}

impl Snapshot {
    fn parse(bytes: &[u8]) -> Snapshot {
        let mut rest = bytes.iter().copied();
        let mut number =
            |size: usize| (0..size).fold(0, |n, _| n << 8 | u32::from(rest.next().unwrap()));
        assert_eq!(number(1), 1, "a snapshot");
        let (tick, _late) = (number(4), number(2));
        let (players, dots) = (number(1), number(1));
        let player = |number: &mut dyn FnMut(usize) -> u32| Player {
            seat: number(1) as u8,
            away: number(1) == 1,
            at: (number(2) as u16, number(2) as u16),
            score: number(2) as u16,
            ack: number(2) as u16,
            waiting: number(1) as u8,
            skipped: number(4),
        };
        let players = (0..players).map(|_| player(&mut number)).collect();
        let dots = (0..dots)
            .map(|_| (number(2) as u16, number(2) as u16))
            .collect();
        assert_eq!(rest.next(), None, "no bytes follow the snapshot");
        Snapshot {
            tick,
            players,
            dots,
        }
    }

    fn player(&self, seat: u8) -> Option<Player> {
        self.players
            .iter()
            .copied()
            .find(|player| player.seat == seat)
    }
}

/// A message from the server.
enum ServerMessage {
    Snapshot(Snapshot),
    Echo(u32),
    Event(Value),
    Closed(u16, String),
}

/// A player with its connection.
struct TestPlayer {
    client: Client,
    seat: u8,
    token: String,
    back: bool,
}

impl TestPlayer {
    #[track_caller]
    fn join(address: SocketAddr, query: &str) -> TestPlayer {
        TestPlayer::receive_welcome(connect(address, &format!("/ws?{query}")))
    }

    /// Joins with a small receive buffer, so that the kernel buffers little while the test does not read.
    fn join_with_small_buffer(address: SocketAddr, query: &str) -> TestPlayer {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.connect(&address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let url = format!("ws://{address}/ws?{query}");
        TestPlayer::receive_welcome(tungstenite::client(url, stream).unwrap().0)
    }

    #[track_caller]
    fn receive_welcome(client: Client) -> TestPlayer {
        let mut player = TestPlayer {
            client,
            seat: 0,
            token: String::new(),
            back: false,
        };
        let ServerMessage::Event(welcome) = player.next_message() else {
            panic!("the first message is not the welcome");
        };
        assert_eq!(welcome["type"], "welcome");
        player.seat = welcome["seat"].as_u64().unwrap() as u8;
        player.token = welcome["token"].as_str().unwrap().to_owned();
        player.back = welcome["back"].as_bool().unwrap();
        player
    }

    #[track_caller]
    fn next_message(&mut self) -> ServerMessage {
        loop {
            match self.client.read().expect("waited for a message") {
                Message::Binary(bytes) if bytes[0] == 2 => {
                    return ServerMessage::Echo(u32::from_be_bytes(bytes[1..].try_into().unwrap()));
                }
                Message::Binary(bytes) => return ServerMessage::Snapshot(Snapshot::parse(&bytes)),
                Message::Text(text) => {
                    return ServerMessage::Event(serde_json::from_str(&text).unwrap());
                }
                Message::Close(Some(frame)) => {
                    return ServerMessage::Closed(frame.code.into(), frame.reason.to_string());
                }
                _ => {}
            }
        }
    }

    /// Returns the next snapshot for which `is` returns true.
    #[track_caller]
    fn wait_for_snapshot(&mut self, what: &str, is: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(
                Instant::now() < deadline,
                "waited for a snapshot with {what}"
            );
            match self.next_message() {
                ServerMessage::Snapshot(snapshot) if is(&snapshot) => return snapshot,
                ServerMessage::Closed(code, reason) => {
                    panic!("waited for {what}, but the server closed with {code} {reason}")
                }
                _ => {}
            }
        }
    }

    /// Returns the next event of this type about this seat.
    #[track_caller]
    fn wait_for_event(&mut self, what: &str, seat: u8) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(
                Instant::now() < deadline,
                "waited for the event {what} of {seat}"
            );
            match self.next_message() {
                ServerMessage::Event(event) if event["type"] == what && event["seat"] == seat => {
                    return event;
                }
                ServerMessage::Closed(code, reason) => {
                    panic!("waited for {what}, but the server closed with {code} {reason}")
                }
                _ => {}
            }
        }
    }

    #[track_caller]
    fn wait_for_close(&mut self) -> (u16, String) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "waited for a Close");
            if let ServerMessage::Closed(code, reason) = self.next_message() {
                return (code, reason);
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.client.send(Message::binary(bytes.to_vec())).unwrap();
    }

    fn steer(&mut self, seq: u16, keys: u8) {
        let [high, low] = seq.to_be_bytes();
        self.send(&[1, high, low, keys]);
    }
}

fn start(arguments: &[&str]) -> (Example, SocketAddr) {
    let mut game = Example::start("game", &[&["127.0.0.1:0"], arguments].concat());
    let address = game.address();
    (game, address)
}

#[test]
fn joined_event_names_all_players() {
    let (game, address) = start(&[]);
    let mut ann = TestPlayer::join(address, "name=ann");
    let mut bob = TestPlayer::join(address, "name=bob");
    let event = bob.wait_for_event("joined", bob.seat);
    assert_eq!(
        event["players"][usize::from(ann.seat)]["name"],
        "ann",
        "{event}"
    );
    let joined = ann.wait_for_event("joined", bob.seat);
    assert_eq!(joined["name"], "bob");
    drop((ann, bob));
    game.report();
}

#[test]
fn ping_is_echoed() {
    let (game, address) = start(&[]);
    let mut ann = TestPlayer::join(address, "name=ann");
    ann.send(&[2, 1, 2, 3, 4]);
    let deadline = Instant::now() + DEADLINE;
    let stamp = loop {
        assert!(Instant::now() < deadline, "waited for the echo");
        if let ServerMessage::Echo(stamp) = ann.next_message() {
            break stamp;
        }
    };
    assert_eq!(stamp, 0x0102_0304);
    drop(ann);
    game.report();
}

#[test]
fn input_moves_its_player_for_fifteen_ticks() {
    let (game, address) = start(&[]);
    let mut ann = TestPlayer::join(address, "name=ann");
    let mut bob = TestPlayer::join(address, "name=bob");

    // The player moves towards the middle, because a wall could stop it on the other side.
    let seat = ann.seat;
    let before = ann
        .wait_for_snapshot("ann", |snapshot| snapshot.player(seat).is_some())
        .player(seat)
        .unwrap();
    let keys = if before.at.0 < 800 * 32 { RIGHT } else { 4 };
    ann.steer(7, keys);
    let has_moved = |snapshot: &Snapshot| {
        snapshot
            .player(seat)
            .is_some_and(|now| now.ack == 7 && now.at.0.abs_diff(before.at.0) > 100 * 32)
    };
    let snapshot = ann.wait_for_snapshot("ann moved", has_moved);
    assert_eq!(
        snapshot.player(seat).unwrap().at.1,
        before.at.1,
        "the player moves in no other direction"
    );
    assert_eq!(snapshot.dots.len(), 30);
    bob.wait_for_snapshot("ann moved", has_moved);

    // Without further input the player stands still after fifteen ticks.
    let mut last = ann.wait_for_snapshot("any", |_| true);
    for _ in 0..20 {
        let next = ann.wait_for_snapshot("any", |_| true);
        assert_eq!(next.tick, last.tick + 1, "no tick is missing");
        last = next;
    }
    let next = ann.wait_for_snapshot("any", |_| true);
    assert_eq!(next.player(seat).unwrap().at, last.player(seat).unwrap().at);
    drop((ann, bob));
    game.report();
}

#[test]
fn all_players_receive_each_hit() {
    let (game, address) = start(&[]);
    let mut ann = TestPlayer::join(address, "name=ann");
    let mut bob = TestPlayer::join(address, "name=bob");
    let seat = ann.seat;
    let deadline = Instant::now() + DEADLINE;
    let mut seq = 0;
    // Ann follows the nearest dot until somebody catches one.
    let hit = loop {
        assert!(Instant::now() < deadline, "waited for a hit");
        match ann.next_message() {
            ServerMessage::Event(event) if event["type"] == "hit" => break event,
            ServerMessage::Snapshot(snapshot) => {
                let Some(player) = snapshot.player(seat) else {
                    continue;
                };
                let (x, y) = (i32::from(player.at.0), i32::from(player.at.1));
                let offset = |&(dx, dy): &(u16, u16)| (i32::from(dx) - x, i32::from(dy) - y);
                let distance = |&(dx, dy): &(i32, i32)| dx.abs() + dy.abs();
                let (dx, dy) = snapshot
                    .dots
                    .iter()
                    .map(offset)
                    .min_by_key(distance)
                    .unwrap();
                let (left, right, up, down) = (dx < -384, dx > 384, dy < -384, dy > 384);
                seq += 1;
                let keys = u8::from(up) | u8::from(down) << 1 | u8::from(left) << 2;
                ann.steer(seq, keys | u8::from(right) << 3);
            }
            ServerMessage::Closed(code, reason) => {
                panic!("waited for a hit, but the server closed with {code} {reason}")
            }
            _ => {}
        }
    };
    let catcher = hit["seat"].as_u64().unwrap() as u8;
    assert_eq!(
        bob.wait_for_event("hit", catcher),
        hit,
        "all players receive the same event"
    );
    let score = hit["score"].as_u64().unwrap() as u16;
    ann.wait_for_snapshot("the score", |snapshot| {
        snapshot
            .player(catcher)
            .is_some_and(|now| now.score >= score)
    });
    drop((ann, bob));
    game.report();
}

#[test]
fn slow_player_skips_snapshots_without_delaying_others() {
    let (game, address) = start(&[]);
    let mut ann = TestPlayer::join(address, "name=ann");
    let mut slow = TestPlayer::join_with_small_buffer(address, "name=slow");
    let seat = slow.seat;
    slow.wait_for_snapshot("slow", |snapshot| snapshot.player(seat).is_some());

    let seen = read_until_60_are_skipped(&mut ann, seat);
    // Slow first receives the snapshots that the kernels had buffered, without a gap, and then the newest.
    let mut last = None;
    let (before, after) = loop {
        let snapshot = slow.wait_for_snapshot("any", |_| true);
        if let Some(last) = last.replace(snapshot.tick)
            && snapshot.tick != last + 1
        {
            break (last, snapshot.tick);
        }
    };
    assert!(
        after - before > 50,
        "only the ticks from {before} to {after} were skipped"
    );
    // Two snapshots may be queued, so the first one after the gap is the newest or the one before it.
    assert!(
        after + 1 >= seen,
        "tick {after} is old, because {seen} had already been received by ann"
    );
    let snapshot = slow.wait_for_snapshot("nothing queued for slow", |snapshot| {
        snapshot.player(seat).is_some_and(|slow| slow.waiting == 0)
    });
    let skipped = snapshot.player(seat).unwrap().skipped;
    assert!(
        skipped >= after - before - 1,
        "each skipped snapshot is counted: {skipped}"
    );
    drop((ann, slow));
    game.report();
}

/// Reads until 60 snapshots of the player on `slow_seat` have been replaced, and returns the tick at which they were.
///
/// Checks that the reading player receives every snapshot.
#[track_caller]
fn read_until_60_are_skipped(ann: &mut TestPlayer, slow_seat: u8) -> u32 {
    let mut events = 0;
    let mut last = None;
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(
            Instant::now() < deadline,
            "waited for 60 replaced snapshots, at tick {last:?}"
        );
        match ann.next_message() {
            ServerMessage::Event(_) => events += 1,
            ServerMessage::Snapshot(snapshot) => {
                assert!(
                    last.is_none_or(|last| snapshot.tick == last + 1),
                    "after {last:?} came {}",
                    snapshot.tick
                );
                last = Some(snapshot.tick);
                assert_eq!(snapshot.player(ann.seat).map_or(0, |ann| ann.skipped), 0);
                let Some(slow) = snapshot.player(slow_seat) else {
                    continue;
                };
                assert!(
                    usize::from(slow.waiting) <= 2 + events,
                    "{slow:?}, {events} events"
                );
                if slow.skipped >= 60 {
                    return snapshot.tick;
                }
            }
            _ => {}
        }
    }
}

#[test]
fn slow_player_is_disconnected_by_events_and_returns() {
    let (game, address) = start(&[]);
    let mut ann = TestPlayer::join(address, "name=ann");
    let mut slow = TestPlayer::join_with_small_buffer(address, "name=slow");
    let (deadline, mut before) = (Instant::now() + DEADLINE, 0);
    // While slow is connected, each tick increases either its queue or its skipped snapshots. Once both stand still,
    // slow has been disconnected.
    let mut is_disconnected = false;
    while !is_disconnected {
        assert!(
            Instant::now() < deadline,
            "waited for slow to be disconnected; {before} messages were queued or skipped"
        );
        // A player that joins and leaves causes two events.
        let mut other = TestPlayer::join(address, "name=other");
        other.wait_for_event("joined", other.seat);
        other.send(&[3]);
        assert_eq!(other.wait_for_close(), (1000, "left".into()));
        loop {
            match ann.next_message() {
                ServerMessage::Snapshot(snapshot) => {
                    let Some(slow) = snapshot.player(slow.seat) else {
                        continue;
                    };
                    let now = u32::from(slow.waiting) + slow.skipped;
                    is_disconnected |= slow.waiting >= 64 && now == before;
                    before = now;
                }
                ServerMessage::Event(event) if event["type"] == "left" => break,
                ServerMessage::Closed(code, reason) => {
                    panic!("waited for events, but the server closed with {code} {reason}")
                }
                _ => {}
            }
        }
    }
    assert_eq!(slow.wait_for_close().0, 4008);
    let mut back = TestPlayer::join(address, &format!("name=slow&token={}", slow.token));
    assert!(back.back);
    assert_eq!(back.seat, slow.seat);
    back.wait_for_event("back", slow.seat);
    ann.wait_for_event("back", slow.seat);
    drop((ann, back));
    game.report();
}

#[test]
fn flood_of_inputs_is_conflated_and_then_closed() {
    let (game, address) = start(&[]);
    let mut ann = TestPlayer::join(address, "name=ann");
    let seat = ann.seat;
    for seq in 1..=50 {
        ann.steer(seq, RIGHT);
    }
    // Only the newest input of each tick counts, so no earlier input follows the last one.
    ann.wait_for_snapshot("the newest", |snapshot| {
        snapshot.player(seat).is_some_and(|ann| ann.ack == 50)
    });
    for _ in 0..20 {
        let snapshot = ann.wait_for_snapshot("any", |_| true);
        assert_eq!(snapshot.player(seat).unwrap().ack, 50);
    }
    for seq in 51..=1000 {
        // Sending may fail, because the server closes the connection at some point.
        let _ = ann.client.send(Message::binary(vec![1, 0, seq as u8, 0]));
    }
    assert_eq!(ann.wait_for_close().0, 1008);
    let back = TestPlayer::join(address, &format!("name=ann&token={}", ann.token));
    assert_eq!(
        (back.seat, back.back),
        (seat, true),
        "the seat is kept after the violation"
    );
    drop(back);
    game.report();
}

#[test]
fn token_takes_its_seat_from_an_older_connection() {
    let (game, address) = start(&["1"]);
    let mut ann = TestPlayer::join(address, "name=ann");
    let mut bob = TestPlayer::join(address, "name=bob");
    bob.wait_for_event("joined", bob.seat);
    let (seat, token) = (bob.seat, bob.token.clone());
    assert!(token.len() == 32 && token != ann.token);
    let position = bob
        .wait_for_snapshot("bob", |snapshot| snapshot.player(seat).is_some())
        .player(seat)
        .unwrap()
        .at;

    // Bob reconnects while his first connection is still open.
    let mut again = TestPlayer::join(address, &format!("name=bob&token={token}"));
    assert_eq!((again.seat, &again.token, again.back), (seat, &token, true));
    assert_eq!(bob.wait_for_close().0, 4101);
    ann.wait_for_event("back", seat);
    let event = again.wait_for_event("back", seat);
    assert_eq!(event["players"].as_array().unwrap().len(), 2, "{event}");
    let now = again.wait_for_snapshot("bob", |snapshot| {
        snapshot.player(seat).is_some_and(|bob| !bob.away)
    });
    assert_eq!(now.player(seat).unwrap().at, position, "position");

    // Without a connection, Bob is away, and after one second he has left. His token is then unknown.
    drop(again);
    ann.wait_for_event("away", seat);
    ann.wait_for_event("left", seat);
    let other = TestPlayer::join(address, &format!("name=bob&token={token}"));
    assert!(!other.back && other.token != token);
    ann.wait_for_event("joined", other.seat);
    drop((ann, other));
    game.report();
}

#[test]
fn full_match_refuses_players_until_a_seat_is_free() {
    let (game, address) = start(&[]);
    let mut players: Vec<TestPlayer> = (0..SEATS)
        .map(|n| TestPlayer::join(address, &format!("name=n{n}")))
        .collect();
    let seats: HashSet<u8> = players.iter().map(|player| player.seat).collect();
    assert_eq!(seats.len(), SEATS, "each player has its own seat");
    let full =
        players[0].wait_for_snapshot("everybody", |snapshot| snapshot.players.len() == SEATS);
    assert_eq!(full.dots.len(), 30);

    let mut late = connect(address, "/ws?name=late");
    let Message::Close(Some(frame)) = late.read().unwrap() else {
        panic!("the first message is not a Close");
    };
    assert_eq!(u16::from(frame.code), 1013);
    assert_eq!(frame.reason.as_str(), "the match is full: 12 players");
    drop(late);

    // A player that loses its connection keeps its seat. A player that leaves does not.
    let mut leaver = players.pop().unwrap();
    let TestPlayer {
        client,
        seat: lost,
        token,
        ..
    } = players.pop().unwrap();
    drop(client);
    players[0].wait_for_event("away", lost);
    assert_eq!(close_code(&mut connect(address, "/ws?name=late")), 1013);
    let free = leaver.seat;
    leaver.send(&[3]);
    assert_eq!(leaver.wait_for_close().0, 1000);
    players[0].wait_for_event("left", free);
    assert_eq!(TestPlayer::join(address, "name=late").seat, free);
    assert_eq!(
        TestPlayer::join(address, &format!("name=lost&token={token}")).seat,
        lost
    );
    drop(players);
    game.report();
}

#[test]
fn invalid_message_closes_with_its_reason() {
    let (game, address) = start(&[]);
    let long = "x".repeat(65).into_bytes();
    for (message, code, expected) in [
        (
            Message::text("right"),
            1003,
            "a player's messages are binary",
        ),
        (
            Message::binary(vec![]),
            4102,
            "a message is 1 (input), 2 (ping) or 3 (leave)",
        ),
        (
            Message::binary(vec![9, 1, 2]),
            4102,
            "a message is 1 (input), 2 (ping) or 3 (leave)",
        ),
        (
            Message::binary(vec![1, 0, 1, 16]),
            4102,
            "an input is 1, seq (2 bytes), keys (0 to 15)",
        ),
        (
            Message::binary(vec![1, 0, 1]),
            4102,
            "an input is 1, seq (2 bytes), keys (0 to 15)",
        ),
        (
            Message::binary(vec![2, 0]),
            4102,
            "a ping is 2, stamp (4 bytes)",
        ),
        (
            Message::binary(vec![3, 0]),
            4102,
            "a message is 1 (input), 2 (ping) or 3 (leave)",
        ),
        (Message::binary(long), 1009, ""),
    ] {
        let mut player = TestPlayer::join(address, "name=eve");
        player.client.send(message.clone()).unwrap();
        let (closed, reason) = player.wait_for_close();
        assert_eq!(closed, code, "{message:?}: {reason}");
        assert!(reason.contains(expected), "{message:?}: {reason}");
        // The seat is kept after the close. Leaving frees it, because otherwise the match would soon be full.
        TestPlayer::join(address, &format!("name=eve&token={}", player.token)).send(&[3]);
    }
    game.report();
}

#[test]
fn invalid_request_is_rejected() {
    let (game, address) = start(&[]);
    let token = "0".repeat(31);
    for (path, status) in [
        ("/ws", "400"),
        ("/ws?name=", "400"),
        ("/ws?name=%20eve", "400"),
        ("/ws?name=%E2%80%AEeve", "400"),
        ("/ws?name=seventeen-letters", "400"),
        (&format!("/ws?name=eve&token={token}"), "400"),
        (&format!("/ws?name=eve&token={token}g"), "400"),
        (&format!("/ws?name=eve&token=%2B{token}"), "400"),
        ("/elsewhere", "404"),
    ] {
        let result = tungstenite::connect(format!("ws://{address}{path}"));
        let error = result.expect_err(path).to_string();
        assert!(error.contains(status), "{path}: {error}");
    }
    // An unknown token is not an error, because it may be from a previous match.
    assert!(!TestPlayer::join(address, &format!("name=eve&token={token}0")).back);
    game.report();
}

#[test]
fn slow_player_prints_what_it_missed() {
    let (game, address) = start(&[]);
    let mut slow = Example::start("game", &[&address.to_string(), "slow"]);
    slow.line("reads nothing");
    let line = slow.line("were never sent");
    assert!(!line.contains(" 0 were never sent"), "{line}");
    drop(slow);
    game.report();
}

#[test]
fn same_seed_and_inputs_make_the_same_world() {
    let mut worlds = [World::new(7), World::new(7)];
    assert_ne!(worlds[0], World::new(8));
    let mut hits = [0, 0];
    for (world, hits) in worlds.iter_mut().zip(&mut hits) {
        world.enter(3);
        for seq in 0..3000 {
            // The player goes around the arena, and an input is renewed before it expires.
            if seq % 10 == 0 {
                world.steer(
                    3,
                    Input {
                        seq,
                        keys: 1 << (seq / 50 % 4),
                    },
                );
            }
            for hit in world.step() {
                *hits += 1;
                assert_eq!((hit.seat, hit.score), (3, *hits));
            }
        }
    }
    assert_eq!(worlds[0], worlds[1]);
    assert!(hits[0] > 0 && hits[0] == hits[1]);
    for (x, y) in worlds[0].dots.map(|dot| (dot.x, dot.y)) {
        assert!(
            (10.0..=1590.0).contains(&x) && (10.0..=890.0).contains(&y),
            "{x}, {y} is inside"
        );
    }
}

#[test]
fn player_stops_at_walls_and_without_input() {
    let mut world = World::new(1);
    world.enter(0);
    let mut run = |keys, ticks| {
        world.steer(0, Input { seq: 1, keys });
        (0..ticks).for_each(|_| drop(world.step()));
        let player = world.players[0].unwrap();
        (player.x, player.y)
    };
    for _ in 0..20 {
        run(4 | 1, 15);
    }
    assert_eq!(run(4 | 1, 15), (24.0, 24.0), "the corner");
    assert_eq!(run(4 | 8, 15), (24.0, 24.0), "left and right cancel out");
    let (x, _) = run(8, 15);
    assert_eq!(x, 24.0 + 15.0 * 12.0);
    let (x, _) = run(8, 100);
    assert_eq!(x, 24.0 + 30.0 * 12.0, "the input expires after 15 ticks");
    let (diagonal, _) = run(8 | 2, 1);
    assert!((diagonal - x - 12.0 / 2_f32.sqrt()).abs() < 0.01);
}

#[test]
fn messages_follow_the_layout() {
    let input = Input {
        seq: 0x0102,
        keys: 15,
    };
    let parse = |bytes: &[u8]| PlayerMessage::parse(&standpipe::Message::binary(bytes.to_vec()));
    assert_eq!(parse(&[1, 1, 2, 15]), Ok(PlayerMessage::Input(input)));
    assert_eq!(parse(&[2, 0, 0, 1, 0]), Ok(PlayerMessage::Ping(256)));
    assert_eq!(parse(&[3]), Ok(PlayerMessage::Leave));
    assert_eq!(
        layout::echo(256),
        standpipe::Message::binary(vec![2, 0, 0, 1, 0])
    );

    let mut world = World::new(1);
    (0..SEATS).for_each(|seat| world.enter(seat));
    let statuses = [layout::PlayerStatus {
        is_away: true,
        waiting: 300,
        skipped: 1 << 40,
    }; SEATS];
    let standpipe::Message::Binary(bytes) =
        layout::snapshot(&world, Duration::from_secs(1), &statuses)
    else {
        panic!("a snapshot is binary");
    };
    assert_eq!(bytes.len(), 309);
    let snapshot = Snapshot::parse(&bytes);
    assert_eq!((snapshot.players.len(), snapshot.dots.len()), (SEATS, 30));
    let last = snapshot.player(11).unwrap();
    assert_eq!(
        (last.away, last.waiting, last.skipped),
        (true, 255, u32::MAX),
        "capped"
    );
    assert_eq!(last.at.0, (world.players[11].unwrap().x * 32.0) as u16);
}

#[test]
fn schedule_catches_up_and_restarts_after_a_long_stop() {
    let start = Instant::now();
    let mut schedule = Schedule::new(start);
    let ms = Duration::from_millis;
    // For a minute, each tick is 5 ms late. The delays do not add up.
    for _ in 0..30 * 60 {
        let due = schedule.due();
        assert_eq!(schedule.start_tick(due + ms(5)), ms(5));
    }
    let due = schedule.due();
    assert_eq!(due - start, ms(60_000) + Duration::from_nanos(33_333_333));

    // After a delay of 100 ms, the schedule makes up for the missed ticks.
    let now = due + ms(100);
    let mut made = 0;
    while schedule.due() <= now {
        schedule.start_tick(now);
        made += 1;
    }
    assert_eq!(made, 4);

    // After a delay of one hour, the schedule starts again from now.
    let now = schedule.due() + Duration::from_secs(3600);
    assert_eq!(schedule.start_tick(now), Duration::from_secs(3600));
    assert_eq!(schedule.due() - now, Duration::from_nanos(33_333_333));
}
