//! [`Healthy`]: who must not notice: a publisher of numbered messages, its subscribers, and clients whose echoes are
//! counted.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use super::Field;
use crate::Failure;
use crate::client::Client;
use crate::frame::{BINARY, Got, PONG, frame};

const SUBSCRIBERS: usize = 40;
const ECHOERS: usize = 10;
/// The publisher is a member too; it asked not to hear itself.
pub(super) const MEMBERS: u64 = SUBSCRIBERS as u64 + 1;
pub(super) const CLIENTS: usize = SUBSCRIBERS + 1 + ECHOERS;

pub(super) const TOPIC: &str = "/ws/siege";

/// 50 messages of 4 KiB a second: 200 KiB/s.
const EVERY: Duration = Duration::from_millis(20);
const MESSAGE: usize = 4 << 10;

/// How long after the last message everybody must have it, and how long an echo may take.
const LAST: Duration = Duration::from_secs(20);

/// Nobody here waits for one client alone, so all are looked at again after a moment.
const LOOK: Duration = Duration::from_millis(2);

pub(super) struct Healthy {
    publisher: Client,
    subscribers: Vec<Client>,
    echoers: Vec<Client>,
}

/// How they fared.
#[derive(Default)]
pub(super) struct Health {
    pub(super) published: u64,
    pub(super) subscribers: Group,
    pub(super) echoers: Group,
    pub(super) worst_publish: Duration,
}

/// What one kind of them has seen, all together.
#[derive(Default)]
pub(super) struct Group {
    pub(super) clients: usize,
    pub(super) messages: u64,
    pub(super) pings: u64,
    pub(super) wrong: Vec<String>,
    pub(super) worst: Duration,
}

impl Healthy {
    pub(super) fn connect(to: SocketAddr) -> Result<Healthy, Failure> {
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

    /// Until the field says that it is enough. The connections are still there then.
    pub(super) fn run(mut self, field: &Field) -> Result<(Health, Healthy), Failure> {
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
