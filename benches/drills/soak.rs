//! *soak*: mixed work for long; what the process has must be a flat line.

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

/// Clients that come and go at a time.
const AT_A_TIME: u8 = 8;

/// What the fitted line may rise by from its first second to its last. Threads and descriptors: what one client of each
/// worker has, for a sample may find all of them in the middle of a visit, or none. Memory in KiB: an allocator's arenas
/// come and go by megabytes; a leak of a hundred bytes a visit is more than this within some minutes.
const RISES: [(&str, f64); 3] = [
    ("threads", 2.0 * AT_A_TIME as f64),
    ("descriptors", AT_A_TIME as f64),
    ("resident KiB", 6.0 * 1024.0),
];

const TOPICS: [&str; 5] = ["block", "newest", "oldest", "conflate", "disconnect"];

#[derive(Default)]
struct Counts {
    over: AtomicBool,
    visits: AtomicU64,
    published: AtomicU64,
    failed: AtomicU64,
}

pub(crate) fn run(lasts: Duration, report: &mut Report) -> Result<(), Failure> {
    let flags = [
        ["--topic", "block:policy=block:5s"],
        ["--topic", "newest:policy=drop-newest,history=100"],
        ["--topic", "oldest:policy=drop-oldest,history=100"],
        ["--topic", "conflate:policy=conflate"],
        ["--topic", "disconnect:policy=disconnect,history=100"],
    ];
    let server = Standpipe::start(flags.as_flattened())?;
    report.fault("mixed work for long");
    let counts = Counts::default();
    let samples = healthy::alongside(&server, report, |_| {
        thread::scope(|scope| {
            let (server, counts) = (&server, &counts);
            for worker in 0..AT_A_TIME {
                scope.spawn(move || {
                    // Each from an address of its own: the ports of one would run out.
                    let from = Ipv4Addr::new(127, 0, 0, 2 + worker);
                    let mut random = Random::from(u64::from(worker));
                    while !counts.over.load(Relaxed) {
                        counts.visits.fetch_add(1, Relaxed);
                        if visit(server, from, &mut random, counts).is_err() {
                            counts.failed.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
            let samples = sample(server, lasts);
            counts.over.store(true, Relaxed);
            samples
        })
    })?;
    let (visits, failed) = (counts.visits.into_inner(), counts.failed.into_inner());
    report.check(
        "every visitor was served",
        failed == 0 && visits > 0,
        format!(
            "{visits} visits, {failed} not; {} messages published",
            counts.published.into_inner()
        ),
    );
    for (n, (what, most)) in RISES.iter().enumerate() {
        let rises = rise(&samples, n);
        let (first, last) = (samples[0][n], samples[samples.len() - 1][n]);
        report.check(
            &format!("{what}: a flat line"),
            rises <= *most,
            format!(
                "{rises:+.1} by least squares over {} samples ({first} at first, {last} at last); +{most} are allowed",
                samples.len()
            ),
        );
    }
    server.check_end(report)
}

/// A sample a second, after a fifth of the time (a minute at most) in which pools and arenas fill.
fn sample(server: &Standpipe, lasts: Duration) -> Result<Vec<[f64; 3]>, Failure> {
    let mut samples = Vec::new();
    let warm_up = (lasts / 5).min(Duration::from_secs(60));
    let began = Instant::now();
    // The samples' own rhythm.
    thread::sleep(warm_up);
    while began.elapsed() < lasts || samples.len() < 2 {
        let has = server.has()?;
        samples.push([has.threads, has.descriptors, server.rss()?].map(|n| n as f64));
        thread::sleep(Duration::from_secs(1));
    }
    Ok(samples)
}

/// By how much the straight line that fits best rises from the first sample to the last.
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

/// One client: raw or JSON, in a topic of one policy, leaving politely or not.
fn visit(
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

/// Subscribes with all the history there is, and publishes; every command is answered.
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
    acknowledged(client, r#"{"ack":"sub""#)?;
    for n in 0..messages {
        let publish = format!(r#"{{"pub":"{topic}","data":{n},"key":"k{n}","ref":{n}}}"#);
        client.send(TEXT, publish.as_bytes())?;
        acknowledged(client, &format!(r#"{{"ack":{n},"#))?;
    }
    Ok(())
}

fn acknowledged(client: &mut Client, by: &str) -> Result<(), Failure> {
    loop {
        let message = client.message()?;
        if message.starts_with(by.as_bytes()) {
            return Ok(());
        }
        if message.starts_with(b"{\"error\"") {
            Err(String::from_utf8_lossy(&message).into_owned())?;
        }
    }
}
