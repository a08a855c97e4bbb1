//! What somebody could publish who can reach the Redis server: bytes that are not valid, and old bytes once more.
//!
//! A payload that hubs must not take has an id that they would have to reach: an accepted one would silence its topic or
//! show a payload that nobody has published.

use std::time::{Duration, SystemTime};

use redis::Connection;

use crate::client::Random;
use crate::cluster::Cluster;
use crate::wait::DEADLINE;

/// Publishes garbage into every channel for `time`, and at least a thousand payloads. Returns how many.
pub(crate) fn publish(cluster: &Cluster, time: Duration) -> usize {
    let mut connection = cluster.redis.connection().expect("the server is running");
    let channels: Vec<String> = redis::cmd("PUBSUB")
        .arg("CHANNELS")
        .arg("standpipe:*")
        .query(&mut connection)
        .expect("the server lists its channels");
    // The topics, and a channel of each hub.
    assert!(channels.len() >= 6, "{channels:?}");
    let old = listen(cluster, &channels);
    let began = SystemTime::now();
    let mut random = Random::new(7);
    let mut count = 0;
    let has_time = |limit| began.elapsed().is_ok_and(|elapsed| elapsed < limit);
    while has_time(time) || (count <= 1_000 && has_time(DEADLINE)) {
        for channel in &channels {
            let mut payloads = if channel.contains(":to:") {
                of_node(&mut random)
            } else {
                of_topic(&mut random)
            };
            payloads.extend(
                old.iter()
                    .filter(|(of, _)| of == channel)
                    .map(|(_, old)| old.clone()),
            );
            count += payloads.len();
            send(&mut connection, channel, &payloads);
        }
        // This cannot be an event: the pace of the garbage is chosen, so that the hubs also have work to do.
        std::thread::sleep(Duration::from_millis(50));
    }
    count
}

fn send(connection: &mut Connection, channel: &str, payloads: &[Vec<u8>]) {
    for payload in payloads {
        let sent: redis::RedisResult<u64> = redis::cmd("PUBLISH")
            .arg(channel)
            .arg(payload)
            .query(connection);
        let receivers = sent.expect("the server takes a PUBLISH");
        assert!(receivers > 0, "no hub listens to {channel}");
    }
}

/// Returns real payloads of these channels: of topics, and heartbeats. Published again, they are old.
fn listen(cluster: &Cluster, channels: &[String]) -> Vec<(String, Vec<u8>)> {
    let mut connection = cluster.redis.connection().expect("the server is running");
    let mut listener = connection.as_pubsub();
    listener
        .subscribe(channels)
        .expect("the server takes a SUBSCRIBE");
    let mut heard = Vec::new();
    let (mut of_topics, mut of_nodes) = (0, 0);
    while of_topics < 20 || of_nodes < 10 {
        let message = listener.get_message().expect("hubs publish all the time");
        let channel = message.get_channel_name().to_owned();
        let count = if channel.contains(":to:") {
            &mut of_nodes
        } else {
            &mut of_topics
        };
        *count += 1;
        if *count <= 20 {
            heard.push((channel, message.get_payload_bytes().to_vec()));
        }
    }
    heard
}

fn bytes(random: &mut Random) -> Vec<u8> {
    let length = random.below(200);
    let byte = |_| u8::try_from(random.below(256)).expect("it is below 256");
    (0..length).map(byte).collect()
}

fn of_node(random: &mut Random) -> Vec<Vec<u8>> {
    let mut payloads: Vec<Vec<u8>> = (0..10).map(|_| bytes(random)).collect();
    for text in [
        "",
        "w",
        "h",
        "h 1",
        "h 18446744073709551616",
        "H 5",
        "J",
        "1 1 1 1 ",
        "\0",
    ] {
        payloads.push(text.into());
    }
    payloads
}

/// The version, the kind, the flags, a node, a number and the excepted client of a record. Its text follows.
const HEAD: [u8; 13] = [1, b'm', 1, 9, 9, 9, 9, 9, 9, 9, 9, 3, 0];

fn record(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut record = HEAD.to_vec();
    record.extend(b"\"forged\"");
    change(&mut record);
    record
}

fn payload(id: impl ToString, step: u64, count: u64, records: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = format!("{} {step} 1700000000000 {count} ", id.to_string()).into_bytes();
    for record in records {
        payload.extend(format!("{} ", record.len()).into_bytes());
        payload.extend(record);
    }
    payload
}

fn of_topic(random: &mut Random) -> Vec<Vec<u8>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = u64::try_from(now.expect("the clock is set").as_micros()).expect("it fits");
    // Hubs believe ids of up to a minute from now, so only the rest of the payload is wrong.
    let soon = now + 30_000_000;
    let valid = || record(|_| {});
    let mut payloads: Vec<Vec<u8>> = (0..10).map(|_| bytes(random)).collect();
    // Ids that are too high, or no numbers.
    for id in [now + 120_000_000, u64::MAX, 1 << 53, 0] {
        payloads.push(payload(id, 1, 1, &[valid()]));
        if id != 0 {
            payloads.push(format!("H {id}").into_bytes());
        }
    }
    for id in [
        "18446744073709551616",
        "99999999999999999999999999",
        "-1",
        "+5",
        "1e9",
        "",
        " ",
    ] {
        payloads.push(payload(id, 1, 1, &[valid()]));
        payloads.push(format!("H {id}").into_bytes());
    }
    // A payload that is cut off somewhere, or goes on.
    let whole = payload(soon, 1, 2, &[valid(), valid()]);
    payloads.extend((0..whole.len()).map(|length| whole[..length].to_vec()));
    payloads.push([&whole[..], b"\n"].concat());
    // Numbers that lie.
    for (step, count) in [(soon + 1, 1), (1, 0), (1, 2), (1, 65), (1, u64::MAX)] {
        payloads.push(payload(soon, step, count, &[valid()]));
    }
    payloads.push(payload(soon, 1, 65, &vec![valid(); 65]));
    payloads.push([format!("{soon} 1 1 1 99999999999 ").as_bytes(), &valid()].concat());
    // Records that are not valid.
    let wrong: [fn(&mut Vec<u8>); 8] = [
        |record| record[0] = 2,
        |record| record[1] = b'x',
        |record| record[2] = 0x81,
        |record| record.push(0xff),
        // JSON that is none, and that is binary.
        |record| {
            record[2] = 3;
            record.push(b'"');
        },
        |record| record[2] = 2,
        // A key that is longer than the record.
        |record| {
            record[2] = 5;
            record[13] = 0x7f;
        },
        |record| record.resize(70_000, b'x'),
    ];
    payloads.extend(wrong.map(|change| payload(soon, 1, 1, &[record(change)])));
    // Names of a node that does not exist, and names that are none.
    for kind in [b'J', b'L'] {
        for name in ["ghost", "", "a\u{1b}b", &"x".repeat(201)] {
            let head = [&[kind, 1][..], &[7; 8]].concat();
            payloads.push([&head, name.as_bytes()].concat());
        }
        payloads.push(vec![kind]);
        payloads.push(vec![kind, 2, 0, 0]);
    }
    payloads
}
