//! [`Healthy`]: the well-behaved clients that a fault must not affect. They are a publisher of numbered messages, its
//! subscribers, and clients whose echoes are counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::frame::{BINARY, Got, PONG, frame};
use crate::report::Report;
use crate::server::{Standpipe, until};
use crate::target::Target;

const SUBSCRIBERS: usize = 40;
const ECHOERS: usize = 10;
/// The subscribers and the publisher, which is a member, too, but does not receive its own messages.
pub(crate) const MEMBERS: u64 = SUBSCRIBERS as u64 + 1;
pub(crate) const CLIENTS: usize = SUBSCRIBERS + 1 + ECHOERS;

pub(crate) const TOPIC: &str = "/ws/siege";

/// 50 messages of 4 KiB per second: 200 KiB/s.
const INTERVAL: Duration = Duration::from_millis(20);
const MESSAGE: usize = 4 << 10;

/// How long after the last message every subscriber must have it, and how long an echo may take.
const DELIVERY_LIMIT: Duration = Duration::from_secs(20);

/// The pause between two rounds over all clients, whose sockets are polled.
const POLL: Duration = Duration::from_millis(2);

/// State that the threads of a drill share with the healthy clients.
pub(crate) struct Run {
    pub(crate) to: Target,
    /// Tells the floods to stop.
    pub(crate) stop_floods: AtomicBool,
    /// Tells the publisher to stop.
    pub(crate) stop: AtomicBool,
    /// The last message has been published.
    done: AtomicBool,
    published: AtomicU64,
}

impl Run {
    pub(crate) fn new(to: Target) -> Run {
        Run {
            to,
            stop_floods: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            done: AtomicBool::new(false),
            published: AtomicU64::new(0),
        }
    }
}

/// Causes a fault while healthy clients work, and checks that none of them is affected. When the fault and the clients
/// are gone, the server must have exactly the threads and descriptors that it had before.
pub(crate) fn alongside<T>(
    server: &Standpipe,
    report: &mut Report,
    fault: impl FnOnce(&mut Report) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let idle = server.usage()?;
    let healthy = Healthy::connect(server.address)?;
    healthy.wait_for_members(server)?;
    let run = Run::new(server.address);
    let began = Instant::now();
    let (result, health) = thread::scope(|scope| {
        let working = scope.spawn(|| healthy.work(&run));
        let result = fault(report);
        run.stop.store(true, Relaxed);
        (result, working.join())
    });
    let (health, healthy) = health.map_err(|_| "the healthy clients panicked")??;
    health.check(began.elapsed(), report);
    let result = result?;
    server.check_released(idle.with_clients(CLIENTS), report)?;
    drop(healthy);
    server.check_released(idle, report)?;
    Ok(result)
}

pub(crate) struct Healthy {
    publisher: Client,
    subscribers: Vec<Client>,
    echoers: Vec<Client>,
}

/// The observations of the healthy clients.
#[derive(Default)]
pub(crate) struct Health {
    pub(crate) published: u64,
    pub(crate) subscribers: Group,
    pub(crate) echoers: Group,
    pub(crate) worst_publish: Duration,
}

impl Health {
    /// Checks that no client lost a message, got one twice, or was disconnected.
    pub(crate) fn check(&self, lasted: Duration, report: &mut Report) {
        let Health {
            published,
            subscribers,
            echoers,
            ..
        } = self;
        let wrong = |group: &Group| match &group.wrong[..] {
            [] => String::new(),
            [first, ..] => format!("; {} wrong: {first}", group.wrong.len()),
        };
        let expected = published * subscribers.clients as u64;
        report.lost(expected.saturating_sub(subscribers.messages) + echoers.unanswered);
        report.check(
            "healthy subscribers receive every message, in order and once",
            subscribers.wrong.is_empty() && subscribers.messages == expected && *published > 0,
            format!(
                "{published} numbered messages × {} = {} of {expected}, {} pings answered{}",
                subscribers.clients,
                subscribers.messages,
                subscribers.pings,
                wrong(subscribers)
            ),
        );
        report.check(
            "healthy echo clients stay connected and get every echo",
            echoers.wrong.is_empty() && echoers.messages > 0,
            format!(
                "{} clients, {} echoes{}",
                echoers.clients,
                echoers.messages,
                wrong(echoers)
            ),
        );
        report.info(format!(
        "in {:.1} s, worst latency: published → received {:.0?}, echo {:.0?}, publisher's write {:.0?}",
        lasted.as_secs_f64(),
        subscribers.worst,
        echoers.worst,
        self.worst_publish
    ));
    }
}

/// The sum of the observations of one kind of healthy client.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) clients: usize,
    pub(crate) messages: u64,
    pub(crate) pings: u64,
    /// Echoes that never arrived.
    pub(crate) unanswered: u64,
    pub(crate) wrong: Vec<String>,
    pub(crate) worst: Duration,
}

impl Healthy {
    pub(crate) fn connect(to: Target) -> Result<Healthy, Failure> {
        let many = |count: usize, path: &str| -> Result<Vec<Client>, Failure> {
            let clients = (0..count).map(|_| Client::connect(to, path));
            clients.collect()
        };
        Ok(Healthy {
            publisher: Client::connect(to, &format!("{TOPIC}?echo=false"))?,
            subscribers: many(SUBSCRIBERS, TOPIC)?,
            echoers: many(ECHOERS, "/echo")?,
        })
    }

    /// Waits until all subscribers are members.
    pub(crate) fn wait_for_members(&self, server: &Standpipe) -> Result<(), Failure> {
        until("the subscribers to be members", || {
            Ok(server.members()? == MEMBERS)
        })
    }

    /// Works until the run is stopped. Returns what the clients observed, and the clients, which are still connected.
    pub(crate) fn work(mut self, run: &Run) -> Result<(Health, Healthy), Failure> {
        let Healthy {
            publisher,
            subscribers,
            echoers,
        } = &mut self;
        let epoch = Instant::now();
        let health = thread::scope(|scope| {
            let subscribers = scope.spawn(move || subscribe(subscribers, run, epoch));
            let echoers = scope.spawn(move || echo(echoers, run));
            // The other threads must end even if publishing has failed.
            let published = publish(publisher, run, epoch);
            run.done.store(true, Relaxed);
            let panicked = |_| "a healthy client's thread panicked";
            let subscribers = subscribers.join().map_err(panicked)??;
            let echoers = echoers.join().map_err(panicked)??;
            Ok::<_, Failure>(Health {
                published: run.published.load(Relaxed),
                subscribers,
                echoers,
                worst_publish: published?,
            })
        })?;
        Ok((health, self))
    }
}

/// Publishes numbered messages at a steady rate. Returns the longest time that writing one took.
fn publish(publisher: &mut Client, run: &Run, epoch: Instant) -> Result<Duration, Failure> {
    let mut worst = Duration::ZERO;
    let mut next = Instant::now();
    while !run.stop.load(Relaxed) {
        let mut message = vec![0; MESSAGE];
        let number = run.published.load(Relaxed);
        let micros = epoch.elapsed().as_micros() as u64;
        message[..8].copy_from_slice(&number.to_be_bytes());
        message[8..16].copy_from_slice(&micros.to_be_bytes());
        let start = Instant::now();
        publisher
            .send(BINARY, &message)
            .map_err(|error| format!("the publisher was disconnected: {error}"))?;
        worst = worst.max(start.elapsed());
        run.published.store(number + 1, Relaxed);
        next += INTERVAL;
        // The steady rate.
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(worst)
}

/// Reads from all subscribers and answers pings, until each subscriber has every published message.
fn subscribe(clients: &mut [Client], run: &Run, epoch: Instant) -> Result<Group, Failure> {
    let mut group = Group {
        clients: clients.len(),
        ..Group::default()
    };
    let mut next = vec![0u64; clients.len()];
    let mut lost = vec![false; clients.len()];
    let mut last = None;
    for client in clients.iter() {
        client.unblock()?;
    }
    loop {
        if run.done.load(Relaxed) {
            let since = *last.get_or_insert_with(Instant::now);
            let published = run.published.load(Relaxed);
            let all = next.iter().all(|next| *next >= published);
            if all || lost.contains(&true) || since.elapsed() > DELIVERY_LIMIT {
                break;
            }
        }
        for (n, client) in clients.iter_mut().enumerate() {
            if lost[n] {
                continue;
            }
            let mut pings = Vec::new();
            let end = client.read_available(usize::MAX, |got| match got {
                Got::Message(message) if message.len() == MESSAGE => {
                    let number = |at: usize| {
                        u64::from_be_bytes(message[at..at + 8].try_into().expect("eight bytes"))
                    };
                    if number(0) != next[n] {
                        let text = format!("client {n} got {}, expected {}", number(0), next[n]);
                        group.wrong.push(text);
                    }
                    next[n] = number(0) + 1;
                    group.messages += 1;
                    let took = epoch.elapsed().as_micros() as u64 - number(8);
                    group.worst = group.worst.max(Duration::from_micros(took));
                }
                Got::Ping(payload) => pings.push(payload),
                other => group.wrong.push(format!("client {n} got {other:?}")),
            });
            if let Some(end) = end {
                group
                    .wrong
                    .push(format!("client {n} was disconnected: {end:?}"));
                lost[n] = true;
            }
            group.pings += pings.len() as u64;
            pong(client, pings);
        }
        thread::sleep(POLL);
    }
    for (n, next) in next.iter().enumerate() {
        let published = run.published.load(Relaxed);
        if *next != published {
            group
                .wrong
                .push(format!("client {n} has {next} of {published}"));
        }
    }
    Ok(group)
}

/// Lets each client send its next message when the last one has come back.
fn echo(clients: &mut [Client], run: &Run) -> Result<Group, Failure> {
    let mut group = Group {
        clients: clients.len(),
        ..Group::default()
    };
    let mut sent: Vec<Option<(u64, Instant)>> = vec![None; clients.len()];
    let mut count = 0u64;
    for client in clients.iter() {
        client.unblock()?;
    }
    while !run.done.load(Relaxed) || sent.iter().any(Option::is_some) {
        for (n, client) in clients.iter_mut().enumerate() {
            if sent[n].is_none() && !run.done.load(Relaxed) {
                count += 1;
                let bytes = frame(BINARY, &count.to_be_bytes());
                if client.try_bytes(&bytes).ok() != Some(bytes.len()) {
                    group.wrong.push(format!("client {n} could not send"));
                    return Ok(group);
                }
                sent[n] = Some((count, Instant::now()));
            }
            let mut pings = Vec::new();
            let end = client.read_available(usize::MAX, |got| match (got, sent[n].take()) {
                (Got::Message(message), Some((number, at))) if message == number.to_be_bytes() => {
                    group.messages += 1;
                    group.worst = group.worst.max(at.elapsed());
                }
                (Got::Ping(payload), before) => {
                    sent[n] = before;
                    pings.push(payload);
                }
                (other, _) => group.wrong.push(format!("client {n} got {other:?}")),
            });
            let overdue = sent[n].is_some_and(|(_, at)| at.elapsed() > DELIVERY_LIMIT);
            if end.is_some() || overdue {
                let text = format!("client {n} was disconnected ({end:?}), or its echo is missing");
                group.wrong.push(text);
                group.unanswered += u64::from(sent[n].is_some());
                return Ok(group);
            }
            group.pings += pings.len() as u64;
            pong(client, pings);
        }
        thread::sleep(POLL * 5);
    }
    Ok(group)
}

fn pong(client: &mut Client, pings: Vec<Vec<u8>>) {
    for payload in pings {
        // An error means that the client was disconnected, which the next read reports.
        let _ = client.try_bytes(&frame(PONG, &payload));
    }
}
