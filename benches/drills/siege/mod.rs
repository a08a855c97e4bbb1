//! *siege*: all kinds of hostile and broken clients at the same time, and healthy clients that must not be affected.

mod attackers;
mod findings;
mod floods;
mod stopped;

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::healthy::{self, Healthy, Run};
use crate::report::Report;
use crate::server::{Standpipe, tcp_pages, until};
use crate::stream::TLS_FLAGS;
use crate::target::Target;
use attackers::{Attacker, Kind};
pub(crate) use stopped::client_process;
use stopped::{Resumed, Stopped};

/// The helper name with which the stopped process is started.
pub(crate) const CLIENT_PROCESS: &str = "client-process";

/// The timeouts of this drill.
const WRITE: Duration = Duration::from_secs(5);
const PING: Duration = Duration::from_secs(2);
const PONG: Duration = Duration::from_secs(2);
const HANDSHAKE: Duration = Duration::from_secs(4);
const CLOSE: Duration = Duration::from_secs(3);

/// How long the publisher takes to fill the kernel's buffers and the queue of a client that does not read.
const FILL: Duration = Duration::from_secs(6);

/// How much later than its deadline an end may be seen on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// By how many pages of 4 KiB the kernel's TCP memory may exceed its start, because other programs use it, too.
const TOLERANCE: usize = 4096;

/// The number of waves, and of clients of each kind in a wave.
struct Size {
    waves: u32,
    never_read: usize,
    read_on: usize,
    slow: usize,
    slow_requests: usize,
    silent: usize,
    stopped: usize,
}

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    siege(&[], small, report)
}

/// The same over TLS: the attackers have sessions, and so have the healthy clients.
pub(crate) fn run_secure(small: bool, report: &mut Report) -> Result<(), Failure> {
    siege(&TLS_FLAGS, small, report)
}

fn siege(more_flags: &[&str], small: bool, report: &mut Report) -> Result<(), Failure> {
    let size = if small {
        Size {
            waves: 1,
            never_read: 90,
            read_on: 10,
            slow: 10,
            slow_requests: 100,
            silent: 20,
            stopped: 20,
        }
    } else {
        Size {
            waves: 3,
            never_read: 270,
            read_on: 30,
            slow: 20,
            slow_requests: 200,
            silent: 50,
            stopped: 50,
        }
    };
    let seconds = |timeout: Duration| format!("{}s", timeout.as_secs());
    let (write, ping, pong) = (seconds(WRITE), seconds(PING), seconds(PONG));
    let (head, close) = (seconds(HANDSHAKE), seconds(CLOSE));
    let flags = [
        ["--write-timeout", &*write],
        ["--ping-interval", &*ping],
        ["--ping-timeout", &*pong],
        ["--handshake-timeout", &*head],
        ["--close-timeout", &*close],
    ];
    // At `-v`, every disconnected subscriber has a line of its own.
    let server = Standpipe::start(&[flags.as_flattened(), &["-v"], more_flags].concat())?;
    report.info(format!("timeouts: {}", flags.as_flattened().join(" ")));
    let idle = server.usage()?;
    let healthy = Healthy::connect(server.address)?;
    healthy.wait_for_members(&server)?;
    // The thread of an answered request ends a moment after the answer.
    let start = idle.with_clients(healthy::CLIENTS);
    until("only the healthy clients to be connected", || {
        Ok(server.usage()? == start)
    })?;
    let pages = tcp_pages()?;

    let run = Run::new(server.address);
    let began = Instant::now();
    let (result, floods, health) = thread::scope(|scope| {
        let working = scope.spawn(|| healthy.work(&run));
        let floods = scope.spawn(|| floods::run(&run));
        let result = (0..size.waves)
            .map(|_| Wave::send(&size, &server))
            .collect::<Result<Vec<_>, Failure>>();
        run.stop_floods.store(true, Relaxed);
        let floods = floods.join();
        run.stop.store(true, Relaxed);
        (result, floods, working.join())
    });
    let floods = floods.map_err(|_| "the floods panicked")??;
    let health = health.map_err(|_| "the healthy clients panicked")?;
    let elapsed = began.elapsed();
    let waves = result?;
    findings::waves(&waves, &size, report);
    findings::floods(&floods, report);
    let (health, healthy) = health?;
    report.fault("all of these at the same time, alongside healthy clients");
    health.check(elapsed, report);

    check_aftermath(&server, start, pages, &waves, report)?;
    drop(healthy);
    server.check_released(idle, report)?;
    server.check_end(report)
}

/// One wave: all attackers at the same time, until the last is gone or its deadline has passed.
struct Wave {
    attackers: Vec<Attacker>,
    resumed: Vec<Resumed>,
    /// After how long the server had disconnected all clients of the stopped process.
    stopped_gone: Option<Duration>,
    newcomers: usize,
    slowest_newcomer: Duration,
    most_pages: usize,
}

impl Wave {
    fn send(size: &Size, server: &Standpipe) -> Result<Wave, Failure> {
        let to = server.address;
        let mut lines = server.log_from(0).len();
        let stopped = Stopped::start(to, size.stopped)?;
        let stopped_at = Instant::now();
        let mut attackers = Vec::new();
        for (kind, count) in [
            (Kind::Silent, size.silent),
            (Kind::NeverReads, size.never_read),
            (Kind::ReadsOn, size.read_on),
            (Kind::Slow, size.slow),
            // These come last, because they take most of the handshake slots.
            (Kind::SlowRequest, size.slow_requests),
        ] {
            for n in 0..count {
                let attacker = Attacker::new(kind, to);
                attackers.push(attacker.map_err(|error| format!("{kind:?} {n}: {error}"))?);
            }
        }
        let mut wave = Wave {
            attackers,
            resumed: Vec::new(),
            stopped_gone: None,
            newcomers: 0,
            slowest_newcomer: Duration::ZERO,
            most_pages: 0,
        };
        let deadline = Instant::now() + FILL + CLOSE + SLACK * 2;
        let mut next_newcomer = Instant::now();
        while Instant::now() < deadline && !wave.is_over() {
            let logged = server.log_from(lines);
            lines += logged.len();
            let disconnected: HashSet<u16> = logged
                .iter()
                .filter_map(|line| slow_consumer_port(line))
                .collect();
            for attacker in &mut wave.attackers {
                attacker.is_disconnected |= disconnected.contains(&attacker.port);
                attacker.act();
            }
            if Instant::now() >= next_newcomer {
                next_newcomer += Duration::from_secs(1);
                wave.newcomer(to)?;
                if wave.stopped_gone.is_none() && stopped.is_disconnected(server)? {
                    wave.stopped_gone = Some(stopped_at.elapsed());
                }
                wave.most_pages = wave.most_pages.max(tcp_pages()?);
            }
            // The attackers need no faster pace.
            thread::sleep(Duration::from_millis(20));
        }
        wave.resumed = stopped.resume()?;
        Ok(wave)
    }

    fn is_over(&self) -> bool {
        self.stopped_gone.is_some() && self.attackers.iter().all(|one| one.gone.is_some())
    }

    /// Serves a new client during the wave.
    fn newcomer(&mut self, to: Target) -> Result<(), Failure> {
        let started = Instant::now();
        let failed = |error| format!("a new client was not served: {error}");
        let mut client = Client::connect(to, "/echo").map_err(failed)?;
        client.echo("hello").map_err(failed)?;
        client.close().map_err(failed)?;
        self.newcomers += 1;
        self.slowest_newcomer = self.slowest_newcomer.max(started.elapsed());
        Ok(())
    }
}

/// Returns the client's port if the log line says that it was disconnected as a slow consumer.
pub(crate) fn slow_consumer_port(line: &str) -> Option<u16> {
    let (before, after) = line.split_once(" disconnected by topic ")?;
    if !after.contains(": 4008, ") {
        return None;
    }
    before.rsplit_once(':')?.1.parse().ok()
}

/// Checks, when the attackers are gone and the healthy clients still connected, that nothing is left of the attack.
fn check_aftermath(
    server: &Standpipe,
    start: crate::server::Usage,
    pages: usize,
    waves: &[Wave],
    report: &mut Report,
) -> Result<(), Failure> {
    server.check_released(start, report)?;
    let members = server.members()?;
    report.check(
        "only the healthy subscribers are members",
        members == healthy::MEMBERS,
        format!("{members}"),
    );
    let released = until("the kernel's TCP memory to be released", || {
        Ok(tcp_pages()? <= pages + TOLERANCE)
    });
    let most = waves.iter().map(|wave| wave.most_pages).max();
    report.check(
        "the kernel's TCP memory is released",
        released.is_ok(),
        format!(
            "{pages} pages → {} at most → {} ({TOLERANCE} more than at the start are allowed)",
            most.unwrap_or_default(),
            tcp_pages()?
        ),
    );
    Ok(())
}
