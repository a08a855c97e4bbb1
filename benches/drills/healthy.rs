//! [`Healthy`]: who must not notice: a publisher of numbered messages, its subscribers, and clients whose echoes are
//! counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::frame::{BINARY, Got, PONG, frame};
use crate::report::Report;
use crate::server::{Standpipe, until};

const SUBSCRIBERS: usize = 40;
const ECHOERS: usize = 10;
/// The publisher is a member too; it asked not to hear itself.
pub(crate) const MEMBERS: u64 = SUBSCRIBERS as u64 + 1;
pub(crate) const CLIENTS: usize = SUBSCRIBERS + 1 + ECHOERS;

pub(crate) const TOPIC: &str = "/ws/siege";

/// 50 messages of 4 KiB a second: 200 KiB/s.
const EVERY: Duration = Duration::from_millis(20);
const MESSAGE: usize = 4 << 10;

/// How long after the last message everybody must have it, and how long an echo may take.
const LAST: Duration = Duration::from_secs(20);

/// Nobody here waits for one client alone, so all are looked at again after a moment.
const LOOK: Duration = Duration::from_millis(2);

/// What the threads of a drill share with the healthy clients.
pub(crate) struct Field {
    pub(crate) to: SocketAddr,
    /// The floods end, and then the publisher.
    pub(crate) no_floods: AtomicBool,
    pub(crate) no_more: AtomicBool,
    /// The last message is published.
    done: AtomicBool,
    published: AtomicU64,
}

impl Field {
    pub(crate) fn new(to: SocketAddr) -> Field {
        Field {
            to,
            no_floods: AtomicBool::new(false),
            no_more: AtomicBool::new(false),
            done: AtomicBool::new(false),
            published: AtomicU64::new(0),
        }
    }
}

/// Lets a fault happen while healthy clients are at work: none of them may notice, and when fault and clients are gone
/// the server must have what it had.
pub(crate) fn beside<T>(
    server: &Standpipe,
    report: &mut Report,
    fault: impl FnOnce(&mut Report) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let alone = server.has()?;
    let healthy = Healthy::connect(server.address)?;
    healthy.are_in(server)?;
    let field = Field::new(server.address);
    let began = Instant::now();
    let (result, health) = thread::scope(|scope| {
        let watched = scope.spawn(|| healthy.run(&field));
        let result = fault(report);
        field.no_more.store(true, Relaxed);
        (result, watched.join())
    });
    let (health, healthy) = health.map_err(|_| "the healthy clients panicked")??;
    health.check(began.elapsed(), report);
    let result = result?;
    server.check_back(alone.with_clients(CLIENTS), report)?;
    drop(healthy);
    server.check_back(alone, report)?;
    Ok(result)
}

pub(crate) struct Healthy {
    publisher: Client,
    subscribers: Vec<Client>,
    echoers: Vec<Client>,
}

/// How they fared.
#[derive(Default)]
pub(crate) struct Health {
    pub(crate) published: u64,
    pub(crate) subscribers: Group,
    pub(crate) echoers: Group,
    pub(crate) worst_publish: Duration,
}

impl Health {
    /// Nobody may have lost anything, been cut, or be told twice.
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
            "no healthy subscriber is lost, cut or gapped",
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
            "no healthy echo client is lost or cut",
            echoers.wrong.is_empty() && echoers.messages > 0,
            format!(
                "{} clients, {} echoes{}",
                echoers.clients,
                echoers.messages,
                wrong(echoers)
            ),
        );
        report.say(format!(
        "in {:.1} s, worst latency: published → received {:.0?}, echo {:.0?}, publisher's write {:.0?}",
        lasted.as_secs_f64(),
        subscribers.worst,
        echoers.worst,
        self.worst_publish
    ));
    }
}

/// What one kind of them has seen, all together.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) clients: usize,
    pub(crate) messages: u64,
    pub(crate) pings: u64,
    /// Echoes that never came.
    pub(crate) unanswered: u64,
    pub(crate) wrong: Vec<String>,
    pub(crate) worst: Duration,
}

impl Healthy {
    pub(crate) fn connect(to: SocketAddr) -> Result<Healthy, Failure> {
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

    /// Waits until all its subscribers are members.
    pub(crate) fn are_in(&self, server: &Standpipe) -> Result<(), Failure> {
        until("the subscribers to be members", || {
            Ok(server.members()? == MEMBERS)
        })
    }

    /// Until the field says that it is enough. The connections are still there then.
    pub(crate) fn run(mut self, field: &Field) -> Result<(Health, Healthy), Failure> {
        let Healthy {
            publisher,
            subscribers,
            echoers,
        } = &mut self;
        let epoch = Instant::now();
        let health = thread::scope(|scope| {
            let subscribers = scope.spawn(move || subscribe(subscribers, field, epoch));
            let echoers = scope.spawn(move || echo(echoers, field));
            // However publishing ends, the others have to hear of it.
            let published = publish(publisher, field, epoch);
            field.done.store(true, Relaxed);
            let panicked = |_| "a healthy client's thread panicked";
            let subscribers = subscribers.join().map_err(panicked)??;
            let echoers = echoers.join().map_err(panicked)??;
            Ok::<_, Failure>(Health {
                published: field.published.load(Relaxed),
                subscribers,
                echoers,
                worst_publish: published?,
            })
        })?;
        Ok((health, self))
    }
}

/// Numbered messages at a steady rate; gives the longest time that one took to be written.
fn publish(publisher: &mut Client, field: &Field, epoch: Instant) -> Result<Duration, Failure> {
    let mut worst = Duration::ZERO;
    let mut next = Instant::now();
    while !field.no_more.load(Relaxed) {
        let mut message = vec![0; MESSAGE];
        let number = field.published.load(Relaxed);
        let micros = epoch.elapsed().as_micros() as u64;
        message[..8].copy_from_slice(&number.to_be_bytes());
        message[8..16].copy_from_slice(&micros.to_be_bytes());
        let begins = Instant::now();
        publisher
            .send(BINARY, &message)
            .map_err(|error| format!("the publisher was cut: {error}"))?;
        worst = worst.max(begins.elapsed());
        field.published.store(number + 1, Relaxed);
        next += EVERY;
        // The rate.
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(worst)
}

/// Reads what comes to all subscribers, answers pings, and goes on until each has all that was published.
fn subscribe(clients: &mut [Client], field: &Field, epoch: Instant) -> Result<Group, Failure> {
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
        if field.done.load(Relaxed) {
            let since = *last.get_or_insert_with(Instant::now);
            let published = field.published.load(Relaxed);
            let all = next.iter().all(|next| *next >= published);
            if all || lost.contains(&true) || since.elapsed() > LAST {
                break;
            }
        }
        for (n, client) in clients.iter_mut().enumerate() {
            if lost[n] {
                continue;
            }
            let mut pings = Vec::new();
            let end = client.look(usize::MAX, |got| match got {
                Got::Message(message) if message.len() == MESSAGE => {
                    let number = |at: usize| {
                        u64::from_be_bytes(message[at..at + 8].try_into().expect("eight bytes"))
                    };
                    if number(0) != next[n] {
                        let text = format!("{n} got {} and not {}", number(0), next[n]);
                        group.wrong.push(text);
                    }
                    next[n] = number(0) + 1;
                    group.messages += 1;
                    let took = epoch.elapsed().as_micros() as u64 - number(8);
                    group.worst = group.worst.max(Duration::from_micros(took));
                }
                Got::Ping(payload) => pings.push(payload),
                other => group.wrong.push(format!("{n} got {other:?}")),
            });
            if let Some(end) = end {
                group.wrong.push(format!("{n} was cut: {end:?}"));
                lost[n] = true;
            }
            group.pings += pings.len() as u64;
            pong(client, pings);
        }
        thread::sleep(LOOK);
    }
    for (n, next) in next.iter().enumerate() {
        let published = field.published.load(Relaxed);
        if *next != published {
            group.wrong.push(format!("{n} has {next} of {published}"));
        }
    }
    Ok(group)
}

/// Each sends the next message when the last has come back.
fn echo(clients: &mut [Client], field: &Field) -> Result<Group, Failure> {
    let mut group = Group {
        clients: clients.len(),
        ..Group::default()
    };
    let mut sent: Vec<Option<(u64, Instant)>> = vec![None; clients.len()];
    let mut count = 0u64;
    for client in clients.iter() {
        client.unblock()?;
    }
    while !field.done.load(Relaxed) || sent.iter().any(Option::is_some) {
        for (n, client) in clients.iter_mut().enumerate() {
            if sent[n].is_none() && !field.done.load(Relaxed) {
                count += 1;
                let bytes = frame(BINARY, &count.to_be_bytes());
                if client.try_bytes(&bytes).ok() != Some(bytes.len()) {
                    group.wrong.push(format!("{n} could not send"));
                    return Ok(group);
                }
                sent[n] = Some((count, Instant::now()));
            }
            let mut pings = Vec::new();
            let end = client.look(usize::MAX, |got| match (got, sent[n].take()) {
                (Got::Message(message), Some((number, at))) if message == number.to_be_bytes() => {
                    group.messages += 1;
                    group.worst = group.worst.max(at.elapsed());
                }
                (Got::Ping(payload), before) => {
                    sent[n] = before;
                    pings.push(payload);
                }
                (other, _) => group.wrong.push(format!("{n} got {other:?}")),
            });
            let overdue = sent[n].is_some_and(|(_, at)| at.elapsed() > LAST);
            if end.is_some() || overdue {
                let text = format!("{n} was cut: {end:?}, or its echo did not come");
                group.wrong.push(text);
                group.unanswered += u64::from(sent[n].is_some());
                return Ok(group);
            }
            group.pings += pings.len() as u64;
            pong(client, pings);
        }
        thread::sleep(LOOK * 5);
    }
    Ok(group)
}

fn pong(client: &mut Client, pings: Vec<Vec<u8>>) {
    for payload in pings {
        // A client that cannot answer is cut, and that is noticed where it reads.
        let _ = client.try_bytes(&frame(PONG, &payload));
    }
}
