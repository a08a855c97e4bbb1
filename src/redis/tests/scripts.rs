//! The ids that the scripts assign, on a real server: each row of the table of ids.

use redis::{Value, from_redis_value};

use super::record::{Payload, append};
use super::redis_server::RedisServer;
use super::script_caller::{Caller, Entry, NODE, TOPIC, heard, keys, now, parsed, state, step};

#[test]
fn first_id_of_a_topic_is_the_clock() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let before = now(&server);
    let mut id = 0;
    let payloads = heard(&server, || id = Caller::of(&server).id());
    assert!((before..=now(&server)).contains(&id), "{before} {id}");
    assert_eq!(step(&payloads), 0, "a new sequence");
}

#[test]
fn messages_of_one_call_have_consecutive_ids() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let caller = Caller::of(&server);
    let before = caller.id();
    let mut first = 0;
    let payloads = heard(&server, || {
        first = caller
            .publish(&["a", "é", ""])
            .expect("they are published")
            .0;
    });
    assert_eq!(first, before + 1);
    let Payload::Messages {
        first_id,
        step: 1,
        at_ms,
        records,
    } = parsed(&payloads)
    else {
        panic!("the step is 1");
    };
    assert_eq!(first_id, first as u64);
    let texts = records
        .iter()
        .map(|record| record.publication.clone().into_message().to_string());
    assert_eq!(texts.collect::<Vec<_>>(), ["a", "é", ""]);
    assert_eq!(caller.id(), first + 3);

    let entries: Vec<Entry> = from_redis_value(state(&server).1).expect("entries");
    let ids: Vec<_> = entries.iter().map(|(id, _)| id.clone()).collect();
    // The entry of a call has the id of its last message.
    let expected = [before, first + 2, first + 3];
    assert_eq!(ids, expected.map(|id| format!("{id}-0")));
    let (_, fields) = &entries[1];
    let mut written = Vec::new();
    for (seq, text) in (0..).zip(["a", "é", ""]) {
        append(&mut written, NODE, seq, &text.into());
    }
    assert_eq!(fields[0], ("m".into(), written));
    assert_eq!(fields[1], ("t".into(), at_ms.to_string().into_bytes()));
    assert!(now(&server) / 1000 - (at_ms as i64) < 60_000);
}

#[test]
fn topic_without_history_has_no_stream() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let caller = Caller::of(&server).without_history();
    let first = caller.id();
    assert_eq!(caller.id(), first + 1);
    let all: Vec<String> = from_redis_value(server.command(&["KEYS", "*"])).expect("names");
    assert_eq!(all, [keys().counter(TOPIC)]);
    let lifetime: i64 = from_redis_value(server.command(&["PTTL", &all[0]])).expect("a number");
    assert!((3_000_000..=3_600_000).contains(&lifetime), "{lifetime}");
}

#[test]
fn history_is_trimmed() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let caller = Caller::of(&server);
    let length = || -> usize {
        from_redis_value(server.command(&["XLEN", &keys().stream(TOPIC)])).expect("a number")
    };
    for _ in 0..300 {
        caller.publish(&["x"]).expect("it is published");
    }
    assert!((10..250).contains(&length()), "{}", length());
    // The server removes whole nodes of a stream, each of up to 100 entries.
    for _ in 0..300 {
        caller.publish(&["x"; 10]).expect("they are published");
    }
    assert!((1..250).contains(&length()), "{}", length());
}

#[test]
fn ids_rise_when_the_server_has_forgotten_everything() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    let mut last = Caller::of(&server).id();
    for lost in ["restart", "FLUSHALL", "DEL"] {
        match lost {
            "restart" => server.restart(),
            "FLUSHALL" => drop(server.command(&["FLUSHALL"])),
            _ => drop(server.command(&["DEL", &keys().counter(TOPIC)])),
        }
        let mut id = 0;
        let payloads = heard(&server, || id = Caller::of(&server).id());
        assert!(id > last, "{lost}: {id} after {last}");
        assert_eq!(step(&payloads), 0, "{lost}: a new sequence");
        last = id;
    }
}

#[test]
fn ids_rise_above_a_history_without_a_counter() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let future = now(&server) + 5_000_000;
    for open_first in [true, false] {
        server.command(&["FLUSHALL"]);
        let newest = format!("{future}-0");
        server.command(&["XADD", &keys().stream(TOPIC), &newest, "m", "x", "t", "1"]);
        let caller = Caller::of(&server);
        if open_first {
            assert_eq!(caller.open(false).expect("it is opened").0, future);
        }
        assert_eq!(caller.id(), future + 1);
    }
}

#[test]
fn other_epoch_makes_the_ids_jump() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let last = Caller::new(&server, "aaaaaaaa").id();
    let mut id = 0;
    let payloads = heard(&server, || id = Caller::new(&server, "bbbbbbbb").id());
    assert!(id > last + 1, "{id} after {last}");
    assert_eq!(
        step(&payloads),
        (id - last) as u64,
        "a jump, but no new sequence"
    );
}

#[test]
fn clock_that_is_behind_does_not_lower_the_ids() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    // The caller has seen ids of a server whose clock is five seconds ahead.
    let floor = now(&server) + 5_000_000;
    assert_eq!(Caller::of(&server).above(floor).id(), floor + 1);
    assert_eq!(
        Caller::of(&server).id(),
        floor + 2,
        "another hub goes on from there"
    );
    assert_eq!(
        Caller::new(&server, "bbbbbbbb").above(7).id(),
        floor + 3,
        "so does another epoch"
    );
    let caller = Caller::of(&server).above(floor + 100);
    assert_eq!(caller.id(), floor + 101);
    let caller = Caller::of(&server).above(floor + 200);
    assert_eq!(caller.id(), floor + 201, "the counter is below the floor");
}

#[test]
fn stale_replica_repeats_no_id() {
    let Some(mut master) = RedisServer::start() else {
        return;
    };
    let first = Caller::of(&master).id();
    let Some(replica) = RedisServer::start_replica_of(master.port()) else {
        return;
    };
    replica.promote();
    let last = Caller::of(&master)
        .publish(&["x"; 10])
        .expect("they are published")
        .0
        + 9;
    assert_ne!(state(&replica), state(&master), "the replica lacks these");
    master.kill();
    let mut id = 0;
    let payloads = heard(&replica, || id = Caller::of(&replica).id());
    assert!(id > last, "{id} after {last}");
    assert_eq!(step(&payloads), (id - first) as u64);
}

#[test]
fn ids_rise_through_failover_and_failback() {
    let Some(a) = RedisServer::start() else {
        return;
    };
    let Some(b) = RedisServer::start_replica_of(a.port()) else {
        return;
    };
    let mut ids = vec![Caller::of(&a).id(), Caller::of(&a).id()];
    for (old, new) in [(&a, &b), (&b, &a), (&a, &b)] {
        new.promote();
        ids.extend([Caller::of(new).id(), Caller::of(new).id()]);
        old.follow(new.port());
        let steps: Vec<_> = ids.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().step_by(2).all(|&step| step == 1), "{steps:?}");
        assert!(
            steps.iter().skip(1).step_by(2).all(|&step| step > 1),
            "{steps:?}"
        );
    }
}

#[test]
fn two_masters_have_one_order_for_each_hub() {
    let Some(a) = RedisServer::start() else {
        return;
    };
    let Some(b) = RedisServer::start() else {
        return;
    };
    let of_b = Caller::of(&b).id();
    let of_a = Caller::of(&a)
        .publish(&["x"; 64])
        .expect("they are published")
        .0
        + 63;
    assert!(of_a > of_b);
    let top = Caller::of(&b)
        .above(of_a)
        .open(false)
        .expect("it is opened")
        .0;
    assert!(top >= of_a, "{top} after {of_a}");
    assert_eq!(Caller::of(&b).id(), top + 1);
}

#[test]
fn open_announces_a_new_counter_only() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let caller = Caller::of(&server);
    let before = now(&server);
    let mut top = 0;
    let payloads = heard(&server, || {
        top = caller.open(false).expect("it is opened").0
    });
    assert!((before..=now(&server)).contains(&top));
    assert_eq!(parsed(&payloads), Payload::Jump { to: top as u64 });

    server.command(&["PEXPIRE", &keys().counter(TOPIC), "1000"]);
    let payloads = heard(&server, || {
        assert_eq!(caller.open(false).expect("it is opened").0, top);
    });
    assert_eq!(payloads.len(), 0, "other hubs need not hear it");
    let lifetime: i64 =
        from_redis_value(server.command(&["PTTL", &keys().counter(TOPIC)])).expect("a number");
    assert!(lifetime > 1_000_000, "{lifetime}");

    let mut id = 0;
    let payloads = heard(&server, || id = caller.id());
    assert_eq!((id, step(&payloads)), (top + 1, 1));
}

#[test]
fn open_raises_the_counter_where_ids_could_repeat() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let caller = Caller::new(&server, "aaaaaaaa");
    let mut last = caller.id();
    let mut expect_raised = |caller: Caller<'_>, raise: bool, least: i64, why: &str| {
        let mut top = 0;
        let payloads = heard(&server, || {
            top = caller.open(raise).expect("it is opened").0
        });
        assert_eq!(parsed(&payloads), Payload::Jump { to: top as u64 }, "{why}");
        assert!(top > last && top >= least, "{why}: {top} after {last}");
        last = top;
    };
    let clock = now(&server);
    expect_raised(Caller::new(&server, "aaaaaaaa"), true, clock, "on request");
    let clock = now(&server);
    expect_raised(
        Caller::new(&server, "bbbbbbbb"),
        false,
        clock,
        "another epoch",
    );
    let floor = now(&server) + 5_000_000;
    expect_raised(
        Caller::new(&server, "bbbbbbbb").above(floor),
        false,
        floor,
        "a higher floor",
    );
    assert_eq!(Caller::new(&server, "bbbbbbbb").id(), floor + 1);
}

#[test]
fn ids_keep_all_their_digits() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    // The highest id that a double represents exactly, minus a few.
    let floor = (1_i64 << 53) - 10;
    let caller = Caller::of(&server).above(floor);
    let mut first = 0;
    let payloads = heard(&server, || {
        first = caller.publish(&["a", "b"]).expect("they are published").0
    });
    assert_eq!(first, floor + 1);
    let Payload::Messages { first_id, .. } = parsed(&payloads) else {
        panic!("not messages");
    };
    assert_eq!(first_id, first as u64);
    let entries: Vec<(String, Vec<String>)> = from_redis_value(state(&server).1).expect("entries");
    assert_eq!(entries[0].0, format!("{}-0", first + 1));
    assert_eq!(caller.open(false).expect("it is opened").0, first + 1);
}

#[test]
fn removed_history_is_told_up_to_the_last_id() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let caller = Caller::of(&server);
    let last = caller.publish(&["a", "b"]).expect("they are published").0 + 1;
    let mut cleared = 0;
    let payloads = heard(&server, || cleared = caller.clear());
    assert_eq!(cleared, last);
    let to = last as u64;
    assert_eq!(parsed(&payloads), Payload::Cleared { to });
    let (counter, stream) = state(&server);
    assert_ne!(counter, Value::Nil, "ids continue");
    assert_eq!(stream, Value::Array(Vec::new()));
    assert_eq!(caller.id(), last + 1);
    // Without the counter and the stream, a hub may still have messages: with its own ids, or below the clock.
    for key in [keys().counter(TOPIC), keys().stream(TOPIC)] {
        server.command(&["DEL", &key]);
    }
    let before = now(&server);
    let cleared = Caller::of(&server).clear();
    assert!((before..=now(&server)).contains(&cleared));
    let floor = now(&server) + 60_000_000;
    assert_eq!(Caller::of(&server).above(floor).clear(), floor);
}
