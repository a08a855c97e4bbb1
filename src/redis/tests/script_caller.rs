//! [`Caller`]: calls the scripts as a hub does, and what the tests see of the result.

use redis::{Cmd, PubSub, RedisResult, Value, from_redis_value};

use super::keys::Keys;
use super::record::{Limits, Payload, append, parse};
use super::redis_server::RedisServer;

pub(super) const PUBLISH: &str = include_str!("../publish.lua");
const OPEN: &str = include_str!("../open.lua");
const CLEAR: &str = include_str!("../clear.lua");

pub(super) const NODE: u64 = 7;
pub(super) const LIMITS: Limits = Limits {
    own_node: NODE,
    max_message: 1000,
};

/// The topic of all tests.
pub(super) const TOPIC: &str = "news";

/// An entry of a stream: its id, and its fields with their values.
pub(super) type Entry = (String, Vec<(String, Vec<u8>)>);

/// The answer of the script: the first id, or -1, and the clock in us.
pub(super) type Answer = RedisResult<(i64, i64)>;

/// What one hub sends to one server.
pub(super) struct Caller<'a> {
    pub(super) server: &'a RedisServer,
    pub(super) epoch: String,
    pub(super) floor: i64,
    pub(super) keep: u32,
    pub(super) deadline: i64,
}

impl<'a> Caller<'a> {
    pub(super) fn new(server: &'a RedisServer, epoch: &str) -> Caller<'a> {
        Caller {
            server,
            epoch: epoch.into(),
            floor: 0,
            keep: 10,
            deadline: 1 << 53,
        }
    }

    /// The epoch is that of the server's mastership.
    pub(super) fn of(server: &'a RedisServer) -> Caller<'a> {
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

    pub(super) fn above(mut self, floor: i64) -> Self {
        self.floor = floor;
        self
    }

    pub(super) fn without_history(mut self) -> Self {
        self.keep = 0;
        self
    }

    pub(super) fn publish(&self, texts: &[&str]) -> Answer {
        let reply: Vec<i64> = self.command(texts).query(&mut self.server.connection()?)?;
        Ok((reply[0], reply[1]))
    }

    pub(super) fn command(&self, texts: &[&str]) -> Cmd {
        let keys = keys();
        let mut command = redis::cmd("EVAL");
        command.arg(PUBLISH).arg(2);
        command.arg(keys.counter(TOPIC)).arg(keys.stream(TOPIC));
        command.arg(self.deadline).arg(&self.epoch).arg(self.floor);
        command
            .arg(self.keep)
            .arg(3_600_000)
            .arg(keys.channel(TOPIC));
        let mut records = Vec::new();
        for (seq, &text) in (0..).zip(texts) {
            append(&mut records, NODE, seq, &text.into());
        }
        command.arg(texts.len()).arg(records);
        command
    }

    /// Publishes one message and returns its id.
    pub(super) fn id(&self) -> i64 {
        self.publish(&["hello"])
            .expect("the message is published")
            .0
    }

    /// Removes the history. Returns the id up to which it is removed.
    pub(super) fn clear(&self) -> i64 {
        let keys = keys();
        let mut command = redis::cmd("EVAL");
        command.arg(CLEAR).arg(3);
        command.arg(keys.counter(TOPIC)).arg(keys.stream(TOPIC));
        command.arg(keys.cleared(TOPIC)).arg(keys.channel(TOPIC));
        command.arg(self.floor);
        let mut connection = self.server.connection().expect("it accepts connections");
        command.query(&mut connection).expect("the script runs")
    }

    pub(super) fn open(&self, raise: bool) -> Answer {
        let keys = keys();
        let mut command = redis::cmd("EVAL");
        command.arg(OPEN).arg(3);
        command.arg(keys.counter(TOPIC)).arg(keys.stream(TOPIC));
        command
            .arg(keys.cleared(TOPIC))
            .arg(&self.epoch)
            .arg(self.floor);
        command.arg(u8::from(raise)).arg(keys.channel(TOPIC));
        let (last, now, _): (i64, i64, i64) = command.query(&mut self.server.connection()?)?;
        Ok((last, now))
    }
}

pub(super) fn keys() -> Keys {
    Keys::new("test", NODE)
}

/// Everything that the scripts change: the counter and the stream.
pub(super) fn state(server: &RedisServer) -> (Value, Value) {
    let counter = server.command(&["GET", &keys().counter(TOPIC)]);
    let stream = server.command(&["XRANGE", &keys().stream(TOPIC), "-", "+"]);
    (counter, stream)
}

/// Returns the server's clock in us.
pub(super) fn now(server: &RedisServer) -> i64 {
    let (seconds, micros): (i64, i64) =
        from_redis_value(server.command(&["TIME"])).expect("TIME is two numbers");
    seconds * 1_000_000 + micros
}

/// Listens to the channel of the topic until `run` has ended, and returns the payloads.
pub(super) fn heard(server: &RedisServer, run: impl FnOnce()) -> Vec<Vec<u8>> {
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
pub(super) fn step(payloads: &[Vec<u8>]) -> u64 {
    match parsed(payloads) {
        Payload::Messages { step, .. } => step,
        other => panic!("not messages: {other:?}"),
    }
}

pub(super) fn parsed(payloads: &[Vec<u8>]) -> Payload {
    let [payload] = payloads else {
        panic!("{} payloads", payloads.len());
    };
    parse(payload, &LIMITS, u64::MAX).expect("the script writes valid payloads")
}
