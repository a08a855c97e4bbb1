use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tungstenite::Message;

use crate::support::{Client, DEADLINE, Example, close_code, connect};

// The parts of the game that know no client, tested as they are.
#[path = "../../examples/game/layout.rs"]
#[allow(dead_code, reason = "its other half is the program's")]
mod layout;
#[path = "../../examples/game/schedule.rs"]
mod schedule;
#[path = "../../examples/game/world.rs"]
#[allow(dead_code, reason = "its other half is the program's")]
mod world;

/// What those parts take from their neighbours.
mod seats {
    pub(super) const SEATS: usize = 12;
}

use layout::{Input, Said};
use schedule::Schedule;
use seats::SEATS;
use world::World;

const RIGHT: u8 = 8;

/// A snapshot, read as `layout.rs` describes it.
#[derive(Debug)]
struct Shot {
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

impl Shot {
    fn of(bytes: &[u8]) -> Shot {
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
        assert_eq!(rest.next(), None, "nothing is behind it");
        Shot {
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

/// What the server says to a player.
enum Told {
    Shot(Shot),
    Echo(u32),
    Event(Value),
    Closed(u16, String),
}

/// Somebody who plays.
struct Human {
    client: Client,
    seat: u8,
    token: String,
    back: bool,
}

impl Human {
    #[track_caller]
    fn sit(address: SocketAddr, query: &str) -> Human {
        Human::welcomed(connect(address, &format!("/ws?{query}")))
    }

    /// With a window so small that the kernel hides little of its slowness.
    fn sit_small(address: SocketAddr, query: &str) -> Human {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.connect(&address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let url = format!("ws://{address}/ws?{query}");
        Human::welcomed(tungstenite::client(url, stream).unwrap().0)
    }

    #[track_caller]
    fn welcomed(client: Client) -> Human {
        let mut human = Human {
            client,
            seat: 0,
            token: String::new(),
            back: false,
        };
        let Told::Event(welcome) = human.told() else {
            panic!("waited for the welcome, which is the first message");
        };
        assert_eq!(welcome["type"], "welcome");
        human.seat = welcome["seat"].as_u64().unwrap() as u8;
        human.token = welcome["token"].as_str().unwrap().to_owned();
        human.back = welcome["back"].as_bool().unwrap();
        human
    }

    #[track_caller]
    fn told(&mut self) -> Told {
        loop {
            match self.client.read().expect("waited for a message") {
                Message::Binary(bytes) if bytes[0] == 2 => {
                    return Told::Echo(u32::from_be_bytes(bytes[1..].try_into().unwrap()));
                }
                Message::Binary(bytes) => return Told::Shot(Shot::of(&bytes)),
                Message::Text(text) => return Told::Event(serde_json::from_str(&text).unwrap()),
                Message::Close(Some(frame)) => {
                    return Told::Closed(frame.code.into(), frame.reason.to_string());
                }
                _ => {}
            }
        }
    }

    /// The next snapshot for which `is` holds.
    #[track_caller]
    fn shot(&mut self, what: &str, is: impl Fn(&Shot) -> bool) -> Shot {
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(
                Instant::now() < deadline,
                "waited for a snapshot with {what}"
            );
            match self.told() {
                Told::Shot(shot) if is(&shot) => return shot,
                Told::Closed(code, why) => panic!("waited for {what}, and {code} {why} came"),
                _ => {}
            }
        }
    }

    /// The next event of this type about this seat.
    #[track_caller]
    fn event(&mut self, what: &str, seat: u8) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(
                Instant::now() < deadline,
                "waited for the event {what} of {seat}"
            );
            match self.told() {
                Told::Event(event) if event["type"] == what && event["seat"] == seat => {
                    return event;
                }
                Told::Closed(code, why) => panic!("waited for {what}, and {code} {why} came"),
                _ => {}
            }
        }
    }

    #[track_caller]
    fn closed(&mut self) -> (u16, String) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "waited for a Close");
            if let Told::Closed(code, why) = self.told() {
                return (code, why);
            }
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.client.send(Message::binary(bytes.to_vec())).unwrap();
    }

    fn steer(&mut self, seq: u16, keys: u8) {
        let [high, low] = seq.to_be_bytes();
        self.say(&[1, high, low, keys]);
    }
}

fn start(arguments: &[&str]) -> (Example, SocketAddr) {
    let mut game = Example::start("game", &[&["127.0.0.1:0"], arguments].concat());
    let address = game.address();
    (game, address)
}

#[test]
fn an_input_moves_its_player_in_everybodys_snapshots_and_no_tick_is_missing() {
    let (game, address) = start(&[]);
    let mut ann = Human::sit(address, "name=ann");
    let mut bob = Human::sit(address, "name=bob");
    let told = bob.event("joined", bob.seat);
    assert_eq!(
        told["players"][usize::from(ann.seat)]["name"],
        "ann",
        "{told}"
    );
    let joined = ann.event("joined", bob.seat);
    assert_eq!(joined["name"], "bob");

    // To the middle first, as nobody knows how near the wall it is.
    let seat = ann.seat;
    let before = ann
        .shot("ann", |shot| shot.player(seat).is_some())
        .player(seat)
        .unwrap();
    let keys = if before.at.0 < 800 * 32 { RIGHT } else { 4 };
    ann.steer(7, keys);
    let has_moved = |shot: &Shot| {
        shot.player(seat)
            .is_some_and(|now| now.ack == 7 && now.at.0.abs_diff(before.at.0) > 100 * 32)
    };
    let shot = ann.shot("ann moved", has_moved);
    assert_eq!(
        shot.player(seat).unwrap().at.1,
        before.at.1,
        "and in no other direction"
    );
    assert_eq!(shot.dots.len(), 30);
    bob.shot("ann moved", has_moved);

    // An input holds for fifteen ticks: who says no more stands still.
    let mut last = ann.shot("any", |_| true);
    for _ in 0..20 {
        let next = ann.shot("any", |_| true);
        assert_eq!(next.tick, last.tick + 1, "no tick is missing");
        last = next;
    }
    let next = ann.shot("any", |_| true);
    assert_eq!(next.player(seat).unwrap().at, last.player(seat).unwrap().at);

    ann.say(&[2, 1, 2, 3, 4]);
    let deadline = Instant::now() + DEADLINE;
    let stamp = loop {
        assert!(Instant::now() < deadline, "waited for the echo");
        if let Told::Echo(stamp) = ann.told() {
            break stamp;
        }
    };
    assert_eq!(stamp, 0x0102_0304);
    drop((ann, bob));
    game.report();
}

#[test]
fn what_is_caught_is_told_to_all_and_counted() {
    let (game, address) = start(&[]);
    let mut ann = Human::sit(address, "name=ann");
    let mut bob = Human::sit(address, "name=bob");
    let seat = ann.seat;
    let deadline = Instant::now() + DEADLINE;
    let mut seq = 0;
    // After the nearest dot, until one is caught.
    let hit = loop {
        assert!(Instant::now() < deadline, "waited for a hit");
        match ann.told() {
            Told::Event(event) if event["type"] == "hit" => break event,
            Told::Shot(shot) => {
                let Some(player) = shot.player(seat) else {
                    continue;
                };
                let (x, y) = (i32::from(player.at.0), i32::from(player.at.1));
                let by = |&(dx, dy): &(u16, u16)| (i32::from(dx) - x, i32::from(dy) - y);
                let far = |&(dx, dy): &(i32, i32)| dx.abs() + dy.abs();
                let (dx, dy) = shot.dots.iter().map(by).min_by_key(far).unwrap();
                let (left, right, up, down) = (dx < -384, dx > 384, dy < -384, dy > 384);
                seq += 1;
                let keys = u8::from(up) | u8::from(down) << 1 | u8::from(left) << 2;
                ann.steer(seq, keys | u8::from(right) << 3);
            }
            Told::Closed(code, why) => panic!("waited for a hit, and {code} {why} came"),
            _ => {}
        }
    };
    let who = hit["seat"].as_u64().unwrap() as u8;
    assert_eq!(bob.event("hit", who), hit, "the same for all");
    let score = hit["score"].as_u64().unwrap() as u16;
    ann.shot("the score", |shot| {
        shot.player(who).is_some_and(|now| now.score >= score)
    });
    drop((ann, bob));
    game.report();
}

#[test]
fn who_does_not_read_costs_others_nothing_and_then_sees_what_is_now() {
    let (game, address) = start(&[]);
    let mut ann = Human::sit(address, "name=ann");
    let mut slow = Human::sit_small(address, "name=slow");
    let seat = slow.seat;
    slow.shot("slow", |shot| shot.player(seat).is_some());

    // Slow reads nothing until 60 of its snapshots have been replaced; Ann sees every one.
    let mut events = 0;
    let mut last = None;
    let deadline = Instant::now() + DEADLINE;
    let seen = loop {
        assert!(
            Instant::now() < deadline,
            "waited for 60 replaced snapshots, at tick {last:?}"
        );
        match ann.told() {
            Told::Event(_) => events += 1,
            Told::Shot(shot) => {
                assert!(
                    last.is_none_or(|last| shot.tick == last + 1),
                    "after {last:?} came {}",
                    shot.tick
                );
                last = Some(shot.tick);
                assert_eq!(shot.player(ann.seat).map_or(0, |ann| ann.skipped), 0);
                let Some(slow) = shot.player(seat) else {
                    continue;
                };
                assert!(
                    usize::from(slow.waiting) <= 2 + events,
                    "{slow:?}, {events} events"
                );
                if slow.skipped >= 60 {
                    break shot.tick;
                }
            }
            _ => {}
        }
    };

    // First what the kernels had taken, without a hole; then the newest, and none of those between.
    let mut last = None;
    let (before, after) = loop {
        let shot = slow.shot("any", |_| true);
        if let Some(last) = last.replace(shot.tick) {
            if shot.tick != last + 1 {
                break (last, shot.tick);
            }
        }
    };
    assert!(
        after - before > 50,
        "from {before} to {after}: most were skipped"
    );
    // Two may wait: the newest, or the one before it and then that.
    assert!(
        after + 1 >= seen,
        "{after} is recent, as {seen} had been seen"
    );
    let shot = slow.shot("nothing waiting", |shot| {
        shot.player(seat).is_some_and(|slow| slow.waiting == 0)
    });
    let skipped = shot.player(seat).unwrap().skipped;
    assert!(skipped >= after - before - 1, "each is counted: {skipped}");
    drop((ann, slow));
    game.report();
}

#[test]
fn who_is_too_slow_for_the_events_is_cut_and_comes_back_to_its_seat() {
    let (game, address) = start(&[]);
    let mut ann = Human::sit(address, "name=ann");
    let mut slow = Human::sit_small(address, "name=slow");
    let (deadline, mut before) = (Instant::now() + DEADLINE, 0);
    // While it is there, each tick one more waits for it or is skipped. Where neither grows any more, it has been cut.
    let mut is_cut = false;
    while !is_cut {
        assert!(
            Instant::now() < deadline,
            "waited for slow to be cut; {before} messages waited or were skipped"
        );
        // Each comes and goes: two events.
        let mut guest = Human::sit(address, "name=guest");
        guest.event("joined", guest.seat);
        guest.say(&[3]);
        assert_eq!(guest.closed(), (1000, "left".into()));
        loop {
            match ann.told() {
                Told::Shot(shot) => {
                    let Some(slow) = shot.player(slow.seat) else {
                        continue;
                    };
                    let now = u32::from(slow.waiting) + slow.skipped;
                    is_cut |= slow.waiting >= 64 && now == before;
                    before = now;
                }
                Told::Event(event) if event["type"] == "left" => break,
                Told::Closed(code, why) => panic!("waited for events, and {code} {why} came"),
                _ => {}
            }
        }
    }
    assert_eq!(slow.closed().0, 4008);
    let mut back = Human::sit(address, &format!("name=slow&token={}", slow.token));
    assert!(back.back);
    assert_eq!(back.seat, slow.seat);
    back.event("back", slow.seat);
    ann.event("back", slow.seat);
    drop((ann, back));
    game.report();
}

#[test]
fn a_flood_of_inputs_is_one_input_a_tick_and_then_the_end() {
    let (game, address) = start(&[]);
    let mut ann = Human::sit(address, "name=ann");
    let seat = ann.seat;
    for seq in 1..=50 {
        ann.steer(seq, RIGHT);
    }
    // The newest won: it is known in no more snapshots than ticks, and nothing of the fifty comes after it.
    ann.shot("the newest", |shot| {
        shot.player(seat).is_some_and(|ann| ann.ack == 50)
    });
    for _ in 0..20 {
        let shot = ann.shot("any", |_| true);
        assert_eq!(shot.player(seat).unwrap().ack, 50);
    }
    for seq in 51..=1000 {
        // The server may have closed by now.
        let _ = ann.client.send(Message::binary(vec![1, 0, seq as u8, 0]));
    }
    assert_eq!(ann.closed().0, 1008);
    let back = Human::sit(address, &format!("name=ann&token={}", ann.token));
    assert_eq!(
        (back.seat, back.back),
        (seat, true),
        "the seat is kept all the same"
    );
    drop(back);
    game.report();
}

#[test]
fn a_token_finds_its_seat_and_score_again_and_takes_it_from_an_older_connection() {
    let (game, address) = start(&["1"]);
    let mut ann = Human::sit(address, "name=ann");
    let mut bob = Human::sit(address, "name=bob");
    bob.event("joined", bob.seat);
    let (seat, token) = (bob.seat, bob.token.clone());
    assert!(token.len() == 32 && token != ann.token);
    let place = bob
        .shot("bob", |shot| shot.player(seat).is_some())
        .player(seat)
        .unwrap()
        .at;

    // While the first is still there.
    let mut again = Human::sit(address, &format!("name=bob&token={token}"));
    assert_eq!((again.seat, &again.token, again.back), (seat, &token, true));
    assert_eq!(bob.closed().0, 4001);
    ann.event("back", seat);
    let told = again.event("back", seat);
    assert_eq!(told["players"].as_array().unwrap().len(), 2, "{told}");
    let now = again.shot("bob", |shot| shot.player(seat).is_some_and(|bob| !bob.away));
    assert_eq!(now.player(seat).unwrap().at, place, "where it stood");

    // Gone without a word: away, then left, and the token is worth nothing.
    drop(again);
    ann.event("away", seat);
    ann.event("left", seat);
    let other = Human::sit(address, &format!("name=bob&token={token}"));
    assert!(!other.back && other.token != token);
    ann.event("joined", other.seat);
    drop((ann, other));
    game.report();
}

#[test]
fn a_full_match_says_so_and_has_room_again_when_somebody_leaves() {
    let (game, address) = start(&[]);
    let mut humans: Vec<Human> = (0..SEATS)
        .map(|n| Human::sit(address, &format!("name=n{n}")))
        .collect();
    let seats: HashSet<u8> = humans.iter().map(|human| human.seat).collect();
    assert_eq!(seats.len(), SEATS, "each has its own");
    let full = humans[0].shot("everybody", |shot| shot.players.len() == SEATS);
    assert_eq!(full.dots.len(), 30);

    let mut late = connect(address, "/ws?name=late");
    let Message::Close(Some(frame)) = late.read().unwrap() else {
        panic!("waited for a Close before anything else");
    };
    assert_eq!(u16::from(frame.code), 1013);
    assert_eq!(frame.reason.as_str(), "the match is full: 12 play");
    drop(late);

    // Who loses its connection keeps the seat; who leaves does not.
    let mut leaver = humans.pop().unwrap();
    let Human {
        client,
        seat: lost,
        token,
        ..
    } = humans.pop().unwrap();
    drop(client);
    humans[0].event("away", lost);
    assert_eq!(close_code(&mut connect(address, "/ws?name=late")), 1013);
    let free = leaver.seat;
    leaver.say(&[3]);
    assert_eq!(leaver.closed().0, 1000);
    humans[0].event("left", free);
    assert_eq!(Human::sit(address, "name=late").seat, free);
    assert_eq!(
        Human::sit(address, &format!("name=lost&token={token}")).seat,
        lost
    );
    drop(humans);
    game.report();
}

#[test]
fn what_is_wrong_is_answered_with_its_reason() {
    let (game, address) = start(&[]);
    let long = "x".repeat(65).into_bytes();
    for (message, code, why) in [
        (
            Message::text("right"),
            1003,
            "a player's messages are binary",
        ),
        (
            Message::binary(vec![]),
            4002,
            "a message is 1 (input), 2 (ping) or 3 (leave)",
        ),
        (
            Message::binary(vec![9, 1, 2]),
            4002,
            "a message is 1 (input), 2 (ping) or 3 (leave)",
        ),
        (
            Message::binary(vec![1, 0, 1, 16]),
            4002,
            "an input is 1, seq (2 bytes), keys (0 to 15)",
        ),
        (
            Message::binary(vec![1, 0, 1]),
            4002,
            "an input is 1, seq (2 bytes), keys (0 to 15)",
        ),
        (
            Message::binary(vec![2, 0]),
            4002,
            "a ping is 2, stamp (4 bytes)",
        ),
        (
            Message::binary(vec![3, 0]),
            4002,
            "a message is 1 (input), 2 (ping) or 3 (leave)",
        ),
        (Message::binary(long), 1009, ""),
    ] {
        let mut human = Human::sit(address, "name=eve");
        human.client.send(message.clone()).unwrap();
        let (closed, reason) = human.closed();
        assert_eq!(closed, code, "{message:?}: {reason}");
        assert!(reason.contains(why), "{message:?}: {reason}");
        // Its seat is kept, and given back here, or the match would be full soon.
        Human::sit(address, &format!("name=eve&token={}", human.token)).say(&[3]);
    }
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
        let refused = tungstenite::connect(format!("ws://{address}{path}"));
        let refused = refused.expect_err(path).to_string();
        assert!(refused.contains(status), "{path}: {refused}");
    }
    // A token that nobody has is no mistake: it is of a match before.
    assert!(!Human::sit(address, &format!("name=eve&token={token}0")).back);
    game.report();
}

#[test]
fn the_slow_player_that_comes_with_it_says_what_it_missed() {
    let (game, address) = start(&[]);
    let mut slow = Example::start("game", &[&address.to_string(), "slow"]);
    slow.line("reads nothing");
    let line = slow.line("were never sent");
    assert!(!line.contains(" 0 were never sent"), "{line}");
    drop(slow);
    game.report();
}

#[test]
fn a_world_of_the_same_luck_and_inputs_is_the_same_world() {
    let mut worlds = [World::new(7), World::new(7)];
    assert_ne!(worlds[0], World::new(8));
    let mut hits = [0, 0];
    for (world, hits) in worlds.iter_mut().zip(&mut hits) {
        world.enter(3);
        for seq in 0..3000 {
            // Round the arena, and longer than an input holds.
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
fn a_player_stops_at_the_wall_and_half_a_second_after_its_last_input() {
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
    assert_eq!(run(4 | 8, 15), (24.0, 24.0), "left and right are none");
    let (x, _) = run(8, 15);
    assert_eq!(x, 24.0 + 15.0 * 12.0);
    let (x, _) = run(8, 100);
    assert_eq!(x, 24.0 + 30.0 * 12.0, "the input does not hold longer");
    let (aslant, _) = run(8 | 2, 1);
    assert!((aslant - x - 12.0 / 2_f32.sqrt()).abs() < 0.01);
}

#[test]
fn each_message_is_read_as_it_is_laid_out() {
    let input = Input {
        seq: 0x0102,
        keys: 15,
    };
    let said = |bytes: &[u8]| Said::parse(&Message::binary(bytes.to_vec()));
    assert_eq!(said(&[1, 1, 2, 15]), Ok(Said::Input(input)));
    assert_eq!(said(&[2, 0, 0, 1, 0]), Ok(Said::Ping(256)));
    assert_eq!(said(&[3]), Ok(Said::Leave));
    assert_eq!(layout::echo(256), Message::binary(vec![2, 0, 0, 1, 0]));

    let mut world = World::new(1);
    (0..SEATS).for_each(|seat| world.enter(seat));
    let lines = [layout::Line {
        is_away: true,
        waiting: 300,
        skipped: 1 << 40,
    }; SEATS];
    let Message::Binary(bytes) = layout::snapshot(&world, Duration::from_secs(1), &lines) else {
        panic!("a snapshot is binary");
    };
    assert_eq!(bytes.len(), 309);
    let shot = Shot::of(&bytes);
    assert_eq!((shot.players.len(), shot.dots.len()), (SEATS, 30));
    let last = shot.player(11).unwrap();
    assert_eq!(
        (last.away, last.waiting, last.skipped),
        (true, 255, u32::MAX),
        "capped"
    );
    assert_eq!(last.at.0, (world.players[11].unwrap().x * 32.0) as u16);
}

#[test]
fn the_schedule_does_not_drift_catches_up_and_begins_anew_after_a_long_stop() {
    let begun = Instant::now();
    let mut schedule = Schedule::new(begun);
    let ms = Duration::from_millis;
    // Each tick is 5 ms late, for a minute: the next is due when it would have been without.
    for _ in 0..30 * 60 {
        let due = schedule.due();
        assert_eq!(schedule.begin(due + ms(5)), ms(5));
    }
    let due = schedule.due();
    assert_eq!(due - begun, ms(60_000) + Duration::from_nanos(33_333_333));

    // 100 ms late: three are due by now, and after them it is as before.
    let now = due + ms(100);
    let mut made = 0;
    while schedule.due() <= now {
        schedule.begin(now);
        made += 1;
    }
    assert_eq!(made, 4);

    // An hour late: none is made up for.
    let now = schedule.due() + Duration::from_secs(3600);
    assert_eq!(schedule.begin(now), Duration::from_secs(3600));
    assert_eq!(schedule.due() - now, Duration::from_nanos(33_333_333));
}
