//! The scripts on a real server: each row of the table of ids, and each error.

use std::time::Duration;

use redis::{Cmd, ErrorKind, PubSub, RedisResult, ServerErrorKind, Value, from_redis_value};

use super::keys::Keys;
use super::record::{Limits, Payload, encode, parse};
use super::redis_server::RedisServer;

const PUBLISH: &str = include_str!("../publish.lua");
const OPEN: &str = include_str!("../open.lua");

const NODE: u64 = 7;
const LIMITS: Limits = Limits {
    own_node: NODE,
    max_message: 1000,
};

/// The topic of all tests.
const TOPIC: &str = "news";

/// An entry of a stream: its id, and its fields with their values.
type Entry = (String, Vec<(String, Vec<u8>)>);

/// The answer of the script: the first id, or -1, and the clock in us.
type Answer = RedisResult<(i64, i64)>;

/// What one hub sends to one server.
struct Caller<'a> {
    server: &'a RedisServer,
    epoch: String,
    floor: i64,
    keep: u32,
    deadline: i64,
}

impl<'a> Caller<'a> {
    fn new(server: &'a RedisServer, epoch: &str) -> Caller<'a> {
        Caller {
            server,
            epoch: epoch.into(),
            floor: 0,
            keep: 10,
            deadline: 1 << 53,
        }
    }

    /// The epoch is that of the server's mastership.
    fn of(server: &'a RedisServer) -> Caller<'a> {
        let info = server.info("server") + &server.info("replication");
        let value = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.expect("INFO has this field").to_owned()
        };
        let text = value("run_id:") + &value("master_replid:");
        let hash = text.bytes().fold(5381_u32, |hash, byte| {
            hash.wrapping_mul(33) ^ u32::from(byte)
        });
        Caller::new(server, &format!("{hash:08x}"))
    }

    fn above(mut self, floor: i64) -> Self {
        self.floor = floor;
        self
    }

    fn without_history(mut self) -> Self {
        self.keep = 0;
        self
    }

    fn publish(&self, texts: &[&str]) -> Answer {
        let reply: Vec<i64> = self.command(texts).query(&mut self.server.connection()?)?;
        Ok((reply[0], reply[1]))
    }

    fn command(&self, texts: &[&str]) -> Cmd {
        let keys = keys();
        let mut command = redis::cmd("EVAL");
        command.arg(PUBLISH).arg(2);
        command.arg(keys.counter(TOPIC)).arg(keys.stream(TOPIC));
        command.arg(self.deadline).arg(&self.epoch).arg(self.floor);
        command
            .arg(self.keep)
            .arg(3_600_000)
            .arg(keys.channel(TOPIC));
        for (seq, &text) in (0..).zip(texts) {
            command.arg(encode(NODE, seq, &text.into()));
        }
        command
    }

    /// Publishes one message and returns its id.
    fn id(&self) -> i64 {
        self.publish(&["hello"])
            .expect("the message is published")
            .0
    }

    fn open(&self, raise: bool) -> Answer {
        let keys = keys();
        let mut command = redis::cmd("EVAL");
        command.arg(OPEN).arg(2);
        command.arg(keys.counter(TOPIC)).arg(keys.stream(TOPIC));
        command.arg(&self.epoch).arg(self.floor);
        command.arg(u8::from(raise)).arg(keys.channel(TOPIC));
        command.query(&mut self.server.connection()?)
    }
}

fn keys() -> Keys {
    Keys::new("test", NODE)
}

/// Everything that the scripts change: the counter and the stream.
fn state(server: &RedisServer) -> (Value, Value) {
    let counter = server.command(&["GET", &keys().counter(TOPIC)]);
    let stream = server.command(&["XRANGE", &keys().stream(TOPIC), "-", "+"]);
    (counter, stream)
}

/// Returns the server's clock in us.
fn now(server: &RedisServer) -> i64 {
    let (seconds, micros): (i64, i64) =
        from_redis_value(server.command(&["TIME"])).expect("TIME is two numbers");
    seconds * 1_000_000 + micros
}

/// Listens to the channel of the topic until `run` has ended, and returns the payloads.
fn heard(server: &RedisServer, run: impl FnOnce()) -> Vec<Vec<u8>> {
    let channel = keys().channel(TOPIC);
    let mut connection = server.connection().expect("the server accepts connections");
    let mut listener: PubSub<'_> = connection.as_pubsub();
    listener.subscribe(&channel).expect("the server answers");
    run();
    server.command(&["PUBLISH", &channel, "end"]);
    let mut payloads = Vec::new();
    loop {
        let message = listener.get_message().expect("the last message arrives");
        match message.get_payload_bytes() {
            b"end" => return payloads,
            payload => payloads.push(payload.to_vec()),
        }
    }
}

/// Returns the step of the only payload.
fn step(payloads: &[Vec<u8>]) -> u64 {
    match parsed(payloads) {
        Payload::Messages { step, .. } => step,
        other => panic!("not messages: {other:?}"),
    }
}

fn parsed(payloads: &[Vec<u8>]) -> Payload {
    let [payload] = payloads else {
        panic!("{} payloads", payloads.len());
    };
    parse(payload, &LIMITS, u64::MAX).expect("the script writes valid payloads")
}

/// Returns from the test if there is no server to test with.
macro_rules! start {
    ($start:expr) => {
        match $start {
            Some(server) => server,
            None => return,
        }
    };
}

#[test]
fn first_id_of_a_topic_is_the_clock() {
    let server = start!(RedisServer::start());
    let before = now(&server);
    let mut id = 0;
    let payloads = heard(&server, || id = Caller::of(&server).id());
    assert!((before..=now(&server)).contains(&id), "{before} {id}");
    assert_eq!(step(&payloads), 0, "a new sequence");
}

#[test]
fn messages_of_one_call_have_consecutive_ids() {
    let server = start!(RedisServer::start());
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
    assert_eq!(
        ids,
        (before..before + 5)
            .map(|id| format!("{id}-0"))
            .collect::<Vec<_>>()
    );
    let (_, fields) = &entries[2];
    assert_eq!(fields[0], ("m".into(), encode(NODE, 1, &"é".into())));
    assert_eq!(fields[1], ("t".into(), at_ms.to_string().into_bytes()));
    assert!(now(&server) / 1000 - (at_ms as i64) < 60_000);
}

#[test]
fn topic_without_history_has_no_stream() {
    let server = start!(RedisServer::start());
    let caller = Caller::of(&server).without_history();
    let first = caller.id();
    assert_eq!(caller.id(), first + 1);
    let keys: Vec<String> = from_redis_value(server.command(&["KEYS", "*"])).expect("names");
    assert_eq!(keys, [self::keys().counter(TOPIC)]);
    let lifetime: i64 = from_redis_value(server.command(&["PTTL", &keys[0]])).expect("a number");
    assert!((3_000_000..=3_600_000).contains(&lifetime), "{lifetime}");
}

#[test]
fn history_is_trimmed() {
    let server = start!(RedisServer::start());
    let caller = Caller::of(&server);
    for _ in 0..10 {
        caller.publish(&["x"; 64]).expect("they are published");
    }
    let length: usize =
        from_redis_value(server.command(&["XLEN", &keys().stream(TOPIC)])).expect("a number");
    assert!((10..300).contains(&length), "{length}");
}

#[test]
fn ids_rise_when_the_server_has_forgotten_everything() {
    let mut server = start!(RedisServer::start());
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
    let server = start!(RedisServer::start());
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
    let server = start!(RedisServer::start());
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
    let server = start!(RedisServer::start());
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
    let mut master = start!(RedisServer::start());
    let first = Caller::of(&master).id();
    let replica = start!(RedisServer::start_replica_of(master.port()));
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
    let a = start!(RedisServer::start());
    let b = start!(RedisServer::start_replica_of(a.port()));
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
    let a = start!(RedisServer::start());
    let b = start!(RedisServer::start());
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
fn late_publish_changes_nothing() {
    let server = start!(RedisServer::start());
    let mut caller = Caller::of(&server);
    for is_new in [true, false] {
        let before = state(&server);
        caller.deadline = now(&server) - 1;
        let payloads = heard(&server, || {
            let (id, now) = caller.publish(&["late"]).expect("the script answers");
            assert_eq!(id, -1);
            assert!(now > caller.deadline);
        });
        assert_eq!(
            (payloads.len(), state(&server)),
            (0, before),
            "new: {is_new}"
        );
        caller.deadline = now(&server) + 60_000_000;
        assert!(caller.id() > 0, "in time");
    }
}

#[test]
fn publish_that_a_frozen_server_kept_is_late() {
    let server = start!(RedisServer::start());
    let mut caller = Caller::of(&server);
    caller.id();
    let before = state(&server);
    caller.deadline = now(&server) + 50_000;
    let mut connection = server.connection().expect("the server accepts connections");
    server.freeze();
    let command = caller.command(&["late"]);
    connection
        .send_packed_command(&command.get_packed_command())
        .expect("the kernel receives it");
    // The end of the connection does not take the command back.
    drop(connection);
    crossbeam_channel::after(Duration::from_millis(100))
        .recv()
        .expect("the time passes");
    server.thaw();
    assert_eq!(state(&server), before);
}

/// Publishes with and without a history while the server refuses writes. Nothing may change.
fn assert_refused(server: &RedisServer, epoch: &str, code: &str) {
    let before = state(server);
    let payloads = heard(server, || {
        // The epoch of the counter, and another one, with which the script takes the other way.
        for epoch in [epoch, "ffffffff"] {
            for caller in [
                Caller::new(server, epoch),
                Caller::new(server, epoch).without_history(),
            ] {
                let error = caller
                    .publish(&["x", "y"])
                    .expect_err("the server refuses it");
                assert_eq!(error.code(), Some(code), "{error}");
            }
            let raised = Caller::new(server, epoch)
                .open(true)
                .expect_err("the server refuses it");
            assert_eq!(raised.code(), Some(code), "{raised}");
        }
    });
    assert_eq!((payloads.len(), state(server)), (0, before));
}

#[test]
fn server_without_memory_changes_nothing() {
    let server = start!(RedisServer::start());
    let caller = Caller::of(&server);
    let id = caller.id();
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_refused(&server, &caller.epoch, "OOM");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(caller.id(), id + 1);
}

#[test]
fn server_without_replicas_changes_nothing() {
    let server = start!(RedisServer::start());
    let caller = Caller::of(&server);
    let id = caller.id();
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert_refused(&server, &caller.epoch, "NOREPLICAS");
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    assert_eq!(caller.id(), id + 1);
}

#[test]
fn replica_changes_nothing() {
    let master = start!(RedisServer::start());
    let epoch = Caller::of(&master).epoch;
    Caller::new(&master, &epoch).id();
    let replica = start!(RedisServer::start_replica_of(master.port()));
    assert_refused(&replica, &epoch, "READONLY");
    let opened = Caller::new(&replica, &epoch).open(false);
    assert!(
        opened.is_err(),
        "a master that was demoted is noticed: {opened:?}"
    );
}

#[test]
fn key_of_another_type_changes_nothing() {
    let server = start!(RedisServer::start());
    let caller = Caller::of(&server);
    caller.id();
    server.command(&["DEL", &keys().stream(TOPIC)]);
    server.command(&["SET", &keys().stream(TOPIC), "not a stream"]);
    let counter = server.command(&["GET", &keys().counter(TOPIC)]);
    let payloads = heard(&server, || {
        caller.publish(&["x"]).expect_err("XADD fails");
    });
    assert_eq!(payloads.len(), 0);
    assert_eq!(server.command(&["GET", &keys().counter(TOPIC)]), counter);
}

#[test]
fn forgotten_script_is_an_error_of_its_own() {
    let server = start!(RedisServer::start());
    let sha: String =
        from_redis_value(server.command(&["SCRIPT", "LOAD", PUBLISH])).expect("a hash");
    server.command(&["SCRIPT", "FLUSH"]);
    let error = server
        .try_command(&["EVALSHA", &sha, "0"])
        .expect_err("it is not loaded");
    assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::NoScript));
}

#[test]
fn open_announces_a_new_counter_only() {
    let server = start!(RedisServer::start());
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
    let server = start!(RedisServer::start());
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
    let server = start!(RedisServer::start());
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
    assert_eq!(entries[1].0, format!("{}-0", first + 1));
    assert_eq!(caller.open(false).expect("it is opened").0, first + 1);
}
