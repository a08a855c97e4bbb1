//! *soak*: mixed work for a long time. Threads, descriptors and memory must stay constant.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::churn::Random;
use crate::client::{Client, head};
use crate::frame::{BINARY, TEXT};
use crate::healthy;
use crate::report::Report;
use crate::server::Standpipe;

/// Workers that connect and leave at the same time.
const AT_A_TIME: u8 = 8;

/// How much the fitted line may rise from the first sample to the last. For threads and descriptors, this is what one
/// client of each worker uses, because a sample may find all workers connected, or none. Memory is in KiB: the arenas
/// of an allocator vary by megabytes, and a leak of 100 bytes per connection exceeds this within a few minutes.
const ALLOWED_RISES: [(&str, f64); 3] = [
    ("threads", 2.0 * AT_A_TIME as f64),
    ("descriptors", AT_A_TIME as f64),
    ("resident KiB", 6.0 * 1024.0),
];

const TOPICS: [&str; 5] = ["block", "newest", "oldest", "conflate", "disconnect"];

#[derive(Default)]
struct Counts {
    finished: AtomicBool,
    connections: AtomicU64,
    published: AtomicU64,
    failed: AtomicU64,
}

/// `more_flags` are flags of the server, for example those of TLS.
pub(crate) fn run(
    duration: Duration,
    more_flags: &[&str],
    report: &mut Report,
) -> Result<(), Failure> {
    let flags = [
        ["--topic", "block:policy=block:5s"],
        ["--topic", "newest:policy=drop-newest,history=100"],
        ["--topic", "oldest:policy=drop-oldest,history=100"],
        ["--topic", "conflate:policy=conflate"],
        ["--topic", "disconnect:policy=disconnect,history=100"],
    ];
    let server = Standpipe::start(&[flags.as_flattened(), more_flags].concat())?;
    report.fault("mixed work for a long time");
    let counts = Counts::default();
    let samples = healthy::alongside(&server, report, |_| {
        thread::scope(|scope| {
            let (server, counts) = (&server, &counts);
            for worker in 0..AT_A_TIME {
                scope.spawn(move || {
                    // Each worker has an address of its own, because the ports of one address would run out.
                    let from = Ipv4Addr::new(127, 0, 0, 2 + worker);
                    let mut random = Random::from(u64::from(worker));
                    while !counts.finished.load(Relaxed) {
                        counts.connections.fetch_add(1, Relaxed);
                        if connect_once(server, from, &mut random, counts).is_err() {
                            counts.failed.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
            let samples = sample(server, duration);
            counts.finished.store(true, Relaxed);
            samples
        })
    })?;
    let (connections, failed) = (counts.connections.into_inner(), counts.failed.into_inner());
    report.check(
        "every connection was served",
        failed == 0 && connections > 0,
        format!(
            "{connections} connections, {failed} failed; {} messages published",
            counts.published.into_inner()
        ),
    );
    for (n, (what, allowed)) in ALLOWED_RISES.iter().enumerate() {
        let rises = rise(&samples, n);
        let (first, last) = (samples[0][n], samples[samples.len() - 1][n]);
        report.check(
            &format!("{what} stay constant"),
            rises <= *allowed,
            format!(
                "{rises:+.1} by least squares over {} samples ({first} at first, {last} at last); +{allowed} are allowed",
                samples.len()
            ),
        );
    }
    server.check_end(report)
}

/// Takes one sample per second. It starts after a fifth of the time, up to a minute, in which caches and arenas fill.
fn sample(server: &Standpipe, duration: Duration) -> Result<Vec<[f64; 3]>, Failure> {
    let mut samples = Vec::new();
    let warm_up = (duration / 5).min(Duration::from_secs(60));
    let began = Instant::now();
    // The warm-up.
    thread::sleep(warm_up);
    while began.elapsed() < duration || samples.len() < 2 {
        let usage = server.usage()?;
        samples.push([usage.threads, usage.descriptors, server.rss()?].map(|n| n as f64));
        thread::sleep(Duration::from_secs(1));
    }
    Ok(samples)
}

/// Returns how much the line fitted by least squares rises from the first sample to the last.
fn rise(samples: &[[f64; 3]], n: usize) -> f64 {
    let count = samples.len() as f64;
    let middle = (count - 1.0) / 2.0;
    let mean = samples.iter().map(|sample| sample[n]).sum::<f64>() / count;
    let (mut above, mut below) = (0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let x = at as f64 - middle;
        above += x * (sample[n] - mean);
        below += x * x;
    }
    above / below * (count - 1.0)
}

/// Connects one client in raw or JSON mode, on a topic of a random policy, which leaves with a Close, without one, or
/// by a reset.
fn connect_once(
    server: &Standpipe,
    from: Ipv4Addr,
    random: &mut Random,
    counts: &Counts,
) -> Result<(), Failure> {
    let topic = TOPICS[random.below(TOPICS.len())];
    let messages = 1 + random.below(5);
    let mut client = Client::open_from(from, server.address)?;
    if random.below(2) == 0 {
        json(&mut client, server, topic, messages)?;
    } else {
        client.upgrade(server.address, &format!("/ws/{topic}"))?;
        for _ in 0..messages {
            let mine = random.next().to_be_bytes();
            client.send(BINARY, &mine)?;
            while client.message()? != mine {}
        }
    }
    counts.published.fetch_add(messages as u64, Relaxed);
    match random.below(3) {
        0 => client.reset(),
        1 => drop(client),
        _ => client.close()?,
    }
    Ok(())
}

/// Subscribes with the whole history, publishes, and waits for the answer to every command.
fn json(
    client: &mut Client,
    server: &Standpipe,
    topic: &str,
    messages: usize,
) -> Result<(), Failure> {
    let offer = "Sec-WebSocket-Protocol: standpipe.v1\r\n\r\n";
    let head = head(server.address, "/ws");
    client.bytes(
        format!(
            "{}{offer}",
            head.trim_end_matches("\r\n\r\n").to_owned() + "\r\n"
        )
        .as_bytes(),
    )?;
    let answer = client.answer()?;
    if !answer.starts_with("HTTP/1.1 101") {
        Err(answer)?;
    }
    let sub = format!(r#"{{"sub":"{topic}","since":0,"ref":"sub"}}"#);
    client.send(TEXT, sub.as_bytes())?;
    wait_for_ack(client, r#"{"ack":"sub""#)?;
    for n in 0..messages {
        let publish = format!(r#"{{"pub":"{topic}","data":{n},"key":"k{n}","ref":{n}}}"#);
        client.send(TEXT, publish.as_bytes())?;
        wait_for_ack(client, &format!(r#"{{"ack":{n},"#))?;
    }
    Ok(())
}

/// Waits for the answer that begins with `prefix`.
fn wait_for_ack(client: &mut Client, prefix: &str) -> Result<(), Failure> {
    loop {
        let message = client.message()?;
        if message.starts_with(prefix.as_bytes()) {
            return Ok(());
        }
        if message.starts_with(b"{\"error\"") {
            Err(String::from_utf8_lossy(&message).into_owned())?;
        }
    }
}
