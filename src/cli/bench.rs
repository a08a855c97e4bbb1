//! `standpipe bench URL`: a load for any WebSocket server, from plain blocking threads, and what came of it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, scope};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Failure;
use super::args::{BenchArgs, Kind};
use client::{Client, PROBE, Read};
use latency::Latency;

mod client;
mod latency;

/// What is touched of it counts; the handshake, which goes deepest, runs on the caller's.
const STACK: usize = 256 << 10;

/// A server that sends nothing for so long has lost a message: every one of ours is answered.
const SILENCE: Duration = Duration::from_secs(10);

/// Loads the server and prints the result.
///
/// # Errors
/// When a client cannot be connected, is cut, or gets no answer, and when an idle one did not stay.
pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    // Fewer are enough for most, and for others the error says what is missing.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let began = Instant::now();
    let mut clients: Vec<Client> = (0..args.clients)
        .map(|n| Client::connect(&args.url).map_err(|error| format!("client {n}: {error}").into()))
        .collect::<Result<_, Failure>>()?;
    let connected = began.elapsed();
    if args.kind == Kind::Fanout {
        gather(&mut clients)?;
    }
    let ends = together(args, clients)?;
    let failed = ends.iter().filter(|end| end.is_err()).count();
    let (clients, size, time) = (args.clients, args.size, args.time);
    let (in_flight, mut out) = (in_flight(args.window), io::stdout().lock());
    match args.kind {
        Kind::Echo => writeln!(
            out,
            "echo: {clients} clients, {in_flight} each, {size}, {time}: every message waits for its echo"
        )?,
        Kind::Fanout => writeln!(
            out,
            "fanout: 1 client publishes, {clients} receive, itself among them, {in_flight}, {size}, {time}: a message is \
             in flight until all have it"
        )?,
        Kind::Idle => writeln!(
            out,
            "idle: {} of {clients} clients stayed for {time}; they were connected in {} ms",
            clients - failed,
            connected.as_millis()
        )?,
    }
    let mut all = Latency::default();
    let mut first = None;
    for end in ends {
        match end {
            Ok(latency) => all.add(&latency),
            Err(error) => first = first.or(Some(error)),
        }
    }
    if let Some(error) = first {
        return Err(format!("{failed} of {clients} clients failed, one with: {error}").into());
    }
    if args.kind != Kind::Idle {
        let rate = all.count() as f64 / args.time.0.as_secs_f64();
        writeln!(out, "  {} messages received, {rate:.0} msgs/s", all.count())?;
        let (p50, p99) = (all.quantile(0.5), all.quantile(0.99));
        writeln!(
            out,
            "  latency in us: p50 {p50}, p99 {p99}, max {}",
            all.max()
        )?;
    }
    Ok(())
}

fn in_flight(window: usize) -> String {
    let s = if window == 1 { "" } else { "s" };
    format!("{window} message{s} in flight")
}

/// Waits until each client hears what the first one says: a server may let a client in a moment after its 101, and a message
/// that went out in between would never have come to all.
fn gather(clients: &mut [Client]) -> Result<(), Failure> {
    let deadline = Instant::now() + SILENCE;
    let say = |clients: &mut [Client]| clients[0].probe();
    say(clients)?;
    for n in 0..clients.len() {
        while !clients[n].hears_a_probe()? {
            if Instant::now() >= deadline {
                return Err(format!("client {n} does not hear what client 0 sends").into());
            }
            say(clients)?;
        }
    }
    Ok(())
}

/// Every client on a thread of its own, begun at once when the last is there.
fn together(
    args: &BenchArgs,
    clients: Vec<Client>,
) -> Result<Vec<Result<Latency, Failure>>, Failure> {
    let (start, started) = bounded::<Instant>(clients.len());
    let round = Round::new(args);
    scope(|scope| {
        let mut threads = Vec::new();
        for (n, mut client) in clients.into_iter().enumerate() {
            let (started, round) = (started.clone(), &round);
            let life = move || {
                // Without a start there is nothing to do: another thread could not be had.
                let Ok(at) = started.recv() else {
                    return Ok(Latency::default());
                };
                let latency = match round.args.kind {
                    Kind::Echo => round.echo(&mut client, at),
                    Kind::Fanout => round.member(&mut client, at, n == 0),
                    Kind::Idle => round.idle(&mut client, at),
                }?;
                client.leave();
                Ok(latency)
            };
            let name = format!("bench-{n}");
            match Builder::new()
                .name(name)
                .stack_size(STACK)
                .spawn_scoped(scope, life)
            {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    drop(start);
                    return Err(format!("no thread for client {n}: {error}").into());
                }
            }
        }
        let at = Instant::now();
        for _ in &threads {
            // There is room for each, and each takes one.
            let _ = start.send(at);
        }
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|_| Err("its thread panicked".into()))
        };
        Ok(threads.into_iter().map(join).collect())
    })
}

/// What the clients of one run share.
struct Round<'a> {
    args: &'a BenchArgs,
    /// Fan-out: who has message `n` so far, at `n % window`: no more than that are in flight.
    seen: Vec<AtomicUsize>,
    /// Fan-out: a token for each message that all have.
    complete: (Sender<()>, Receiver<()>),
}

impl<'a> Round<'a> {
    fn new(args: &'a BenchArgs) -> Round<'a> {
        Round {
            args,
            seen: (0..args.window).map(|_| AtomicUsize::new(0)).collect(),
            complete: bounded(args.window),
        }
    }

    /// Sends a message for each that comes back.
    fn echo(&self, client: &mut Client, start: Instant) -> Result<Latency, Failure> {
        let (mut latency, end) = (Latency::default(), start + self.args.time.0);
        for _ in 0..self.args.window {
            client.write(self.args.size.0, start)?;
        }
        while let Some(sent) = next(client, end)? {
            latency.record(start.elapsed().saturating_sub(sent));
            client.write(self.args.size.0, start)?;
        }
        Ok(latency)
    }

    /// Takes what is published; the first publishes, too, whenever all have one more.
    fn member(&self, client: &mut Client, start: Instant, first: bool) -> Result<Latency, Failure> {
        let (mut latency, end) = (Latency::default(), start + self.args.time.0);
        let (mut published, mut completed, mut received) = (0, 0, 0);
        loop {
            if first {
                completed += self.complete.1.try_iter().count();
                while published - completed < self.args.window {
                    client.write(self.args.size.0, start)?;
                    published += 1;
                }
                if received == published {
                    // Only the others have not got all of it: their tokens are all that can come.
                    client.flush()?;
                    match self
                        .complete
                        .1
                        .recv_deadline(end.min(Instant::now() + SILENCE))
                    {
                        Ok(()) => completed += 1,
                        Err(_) if Instant::now() >= end => return Ok(latency),
                        Err(_) => return Err(silence()),
                    }
                    continue;
                }
            }
            let Some(sent) = next(client, end)? else {
                return Ok(latency);
            };
            latency.record(start.elapsed().saturating_sub(sent));
            let slot = &self.seen[received % self.args.window];
            received += 1;
            if slot.fetch_add(1, Ordering::AcqRel) + 1 == self.args.clients {
                slot.store(0, Ordering::Release);
                // There is room for every message in flight.
                let _ = self.complete.0.try_send(());
            }
        }
    }

    /// Takes what comes, and is satisfied with nothing.
    fn idle(&self, client: &mut Client, start: Instant) -> Result<Latency, Failure> {
        let end = start + self.args.time.0;
        while Instant::now() < end {
            client.read(end)?;
        }
        Ok(Latency::default())
    }
}

/// When the next message was sent, counted from the start. None at the end of the time.
fn next(client: &mut Client, end: Instant) -> Result<Option<Duration>, Failure> {
    let patience = Instant::now() + SILENCE;
    loop {
        match client.read(end.min(patience))? {
            Read::Message(sent) if Instant::now() < end && sent != PROBE => return Ok(Some(sent)),
            _ if Instant::now() >= end => return Ok(None),
            Read::Nothing if Instant::now() >= patience => return Err(silence()),
            _ => {}
        }
    }
}

fn silence() -> Failure {
    format!("the server has sent nothing for {} s", SILENCE.as_secs()).into()
}
