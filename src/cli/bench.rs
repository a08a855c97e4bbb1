//! `standpipe bench URL`: generates load for any WebSocket server, with one blocking thread per client, and prints the
//! result.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, scope};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::args::{BenchArgs, Kind};
use super::{Failure, stdout};
use client::{Client, PROBE, Read};
use latency::Latency;

mod client;
mod latency;

/// Stack size of a client's thread. A small stack is enough, because the opening handshake, which needs the most stack,
/// runs on the main thread.
const STACK: usize = 256 << 10;

/// A server that sends nothing for this time has lost a message, because every message is answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the benchmark and prints the result.
///
/// # Errors
/// When a client cannot connect, is disconnected, or gets no answer.
pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
    // An error is ignored: the limit is often high enough, and otherwise connecting fails with a clear error.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let secure = args.secure.secure(args.url.has_tls())?;
    let began = Instant::now();
    let mut clients: Vec<Client> = (0..args.clients)
        .map(|n| {
            Client::connect(&args.url, &secure)
                .map_err(|error| format!("client {n}: {error}").into())
        })
        .collect::<Result<_, Failure>>()?;
    let connected = began.elapsed();
    if args.kind == Kind::Fanout {
        wait_until_all_receive(&mut clients)?;
    }
    let results = run_all(args, clients)?;
    let failed = results.iter().filter(|result| result.is_err()).count();
    let (clients, size, time) = (args.clients, args.size, args.time);
    let (in_flight, mut out) = (in_flight(args.window), String::new());
    match args.kind {
        Kind::Echo => writeln!(
            out,
            "echo: {clients} clients, {in_flight} each, {size}, {time}: every message waits for its echo"
        )?,
        Kind::Fanout => writeln!(
            out,
            "fanout: 1 client publishes, {clients} receive, including itself, {in_flight}, {size}, {time}: a message is \
             in flight until all have received it"
        )?,
        Kind::Idle => writeln!(
            out,
            "idle: {} of {clients} clients stayed connected for {time}; connecting took {} ms",
            clients - failed,
            connected.as_millis()
        )?,
    }
    let mut all = Latency::default();
    let mut first = None;
    for result in results {
        match result {
            Ok(latency) => all.add(&latency),
            Err(error) => first = first.or(Some(error)),
        }
    }
    if let Some(error) = first {
        stdout::write(out.as_bytes())?;
        return Err(
            format!("{failed} of {clients} clients failed; the first error: {error}").into(),
        );
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
    stdout::write(out.as_bytes())
}

fn in_flight(window: usize) -> String {
    let s = if window == 1 { "" } else { "s" };
    format!("{window} message{s} in flight")
}

/// Waits until each client receives what the first client sends. A server may subscribe a client shortly after its 101,
/// and a message sent in between would never reach all clients.
fn wait_until_all_receive(clients: &mut [Client]) -> Result<(), Failure> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    clients[0].probe()?;
    for n in 0..clients.len() {
        while !clients[n].receive_probe()? {
            if Instant::now() >= deadline {
                return Err(format!("client {n} does not receive what client 0 sends").into());
            }
            clients[0].probe()?;
        }
    }
    Ok(())
}

/// Runs every client on its own thread. All start at the same time, when the last thread exists.
fn run_all(
    args: &BenchArgs,
    clients: Vec<Client>,
) -> Result<Vec<Result<Latency, Failure>>, Failure> {
    let (start, started) = bounded::<Instant>(clients.len());
    let run = Run::new(args);
    scope(|scope| {
        let mut threads = Vec::new();
        for (n, mut client) in clients.into_iter().enumerate() {
            let (started, run) = (started.clone(), &run);
            let body = move || {
                // The channel is closed without a start time if another thread could not be started.
                let Ok(at) = started.recv() else {
                    return Ok(Latency::default());
                };
                let latency = match run.args.kind {
                    Kind::Echo => run.echo(&mut client, at),
                    Kind::Fanout => run.member(&mut client, at, n == 0),
                    Kind::Idle => run.idle(&mut client, at),
                }?;
                client.close();
                Ok(latency)
            };
            let name = format!("bench-{n}");
            match Builder::new()
                .name(name)
                .stack_size(STACK)
                .spawn_scoped(scope, body)
            {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    drop(start);
                    return Err(format!("cannot start a thread for client {n}: {error}").into());
                }
            }
        }
        let at = Instant::now();
        for _ in &threads {
            // The channel has room for all, and each thread takes one.
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

/// State that the clients of one benchmark share.
struct Run<'a> {
    args: &'a BenchArgs,
    /// Fan-out: the number of clients that have received message `n`, at index `n % window`. At most `window` messages
    /// are in flight.
    seen: Vec<AtomicUsize>,
    /// Fan-out: one token for each message that all clients have received.
    complete: (Sender<()>, Receiver<()>),
}

impl<'a> Run<'a> {
    fn new(args: &'a BenchArgs) -> Run<'a> {
        Run {
            args,
            seen: (0..args.window).map(|_| AtomicUsize::new(0)).collect(),
            complete: bounded(args.window),
        }
    }

    /// Keeps `window` messages in flight: sends a message for each one that comes back.
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

    /// Receives what is published. The first client also publishes the next message whenever all clients have received
    /// one.
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
                    // This client has received everything, so the next event is a token: the other clients have
                    // received one more message.
                    client.flush()?;
                    match self
                        .complete
                        .1
                        .recv_deadline(end.min(Instant::now() + ANSWER_TIMEOUT))
                    {
                        Ok(()) => completed += 1,
                        Err(_) if Instant::now() >= end => return Ok(latency),
                        Err(_) => return Err(no_answer()),
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
                // The channel has room for every message in flight.
                let _ = self.complete.0.try_send(());
            }
        }
    }

    /// Reads until the end. It is not an error to receive nothing.
    fn idle(&self, client: &mut Client, start: Instant) -> Result<Latency, Failure> {
        let end = start + self.args.time.0;
        while Instant::now() < end {
            client.read(end)?;
        }
        Ok(Latency::default())
    }
}

/// Returns when the next message was sent, counted from the start, or `None` at the end of the run.
fn next(client: &mut Client, end: Instant) -> Result<Option<Duration>, Failure> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        match client.read(end.min(deadline))? {
            Read::Message(sent) if Instant::now() < end && sent != PROBE => return Ok(Some(sent)),
            _ if Instant::now() >= end => return Ok(None),
            Read::Nothing if Instant::now() >= deadline => return Err(no_answer()),
            _ => {}
        }
    }
}

fn no_answer() -> Failure {
    format!(
        "the server has sent nothing for {} s",
        ANSWER_TIMEOUT.as_secs()
    )
    .into()
}
