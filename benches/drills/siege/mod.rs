//! *siege*: hostile and broken clients of every kind at once, and healthy ones that must not notice.

mod attackers;
mod findings;
mod floods;
mod frozen;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::healthy::{self, Field, Healthy};
use crate::report::Report;
use crate::server::{Standpipe, tcp_pages, until};
use attackers::{Attacker, Kind};
pub(crate) use frozen::client_process;
use frozen::{Frozen, Thawed};

/// What a frozen helper is started as.
pub(crate) const CLIENT_PROCESS: &str = "client-process";

/// The clocks of this drill.
const WRITE: Duration = Duration::from_secs(5);
const PING: Duration = Duration::from_secs(2);
const PONG: Duration = Duration::from_secs(2);
const HEAD: Duration = Duration::from_secs(4);
const CLOSE: Duration = Duration::from_secs(3);

/// How long the publisher takes to fill what the kernel and the queue hold for one that does not read.
const FILL: Duration = Duration::from_secs(6);

/// How much later a busy machine may show an end than its clock asks for.
const SLACK: Duration = Duration::from_secs(5);

/// Pages of 4 KiB that the kernel's TCP memory may be above the start: other programs use it too.
const TOLERANCE: usize = 4096;

/// How many of each.
struct Size {
    waves: u32,
    never_read: usize,
    read_on: usize,
    slow: usize,
    heads: usize,
    silent: usize,
    frozen: usize,
}

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    let size = if small {
        Size {
            waves: 1,
            never_read: 90,
            read_on: 10,
            slow: 10,
            heads: 100,
            silent: 20,
            frozen: 20,
        }
    } else {
        Size {
            waves: 3,
            never_read: 270,
            read_on: 30,
            slow: 20,
            heads: 200,
            silent: 50,
            frozen: 50,
        }
    };
    let seconds = |clock: Duration| format!("{}s", clock.as_secs());
    let (write, ping, pong) = (seconds(WRITE), seconds(PING), seconds(PONG));
    let (head, close) = (seconds(HEAD), seconds(CLOSE));
    let flags = [
        ["--write-timeout", &*write],
        ["--ping-interval", &*ping],
        ["--ping-timeout", &*pong],
        ["--handshake-timeout", &*head],
        ["--close-timeout", &*close],
    ];
    let server = Standpipe::start(flags.as_flattened())?;
    report.say(format!("clocks: {}", flags.as_flattened().join(" ")));
    let alone = server.has()?;
    let healthy = Healthy::connect(server.address)?;
    healthy.are_in(&server)?;
    // A request that was just answered has a thread for a moment longer.
    let start = alone.with_clients(healthy::CLIENTS);
    until("only the healthy clients to be there", || {
        Ok(server.has()? == start)
    })?;
    let pages = tcp_pages()?;

    let field = Field::new(server.address);
    let began = Instant::now();
    let (result, floods, health) = thread::scope(|scope| {
        let watched = scope.spawn(|| healthy.run(&field));
        let floods = scope.spawn(|| floods::run(&field));
        let result = (0..size.waves)
            .map(|_| Wave::send(&size, &server))
            .collect::<Result<Vec<_>, Failure>>();
        field.no_floods.store(true, Relaxed);
        let floods = floods.join();
        field.no_more.store(true, Relaxed);
        (result, floods, watched.join())
    });
    let floods = floods.map_err(|_| "the floods panicked")??;
    let health = health.map_err(|_| "the healthy clients panicked")?;
    let lasted = began.elapsed();
    let waves = result?;
    findings::waves(&waves, &size, report);
    findings::floods(&floods, report);
    let (health, healthy) = health?;
    report.fault("all of these at once, beside healthy clients");
    health.check(lasted, report);

    afterwards(&server, start, pages, &waves, report)?;
    drop(healthy);
    server.check_back(alone, report)?;
    server.check_end(report)
}

/// One assault: everybody at once, until the last is gone or its deadline is past.
struct Wave {
    attackers: Vec<Attacker>,
    thawed: Vec<Thawed>,
    /// The server had let go of all frozen clients after so long.
    frozen_gone: Option<Duration>,
    newcomers: usize,
    slowest_newcomer: Duration,
    most_pages: usize,
}

impl Wave {
    fn send(size: &Size, server: &Standpipe) -> Result<Wave, Failure> {
        let to = server.address;
        let mut lines = server.log_from(0).len();
        let frozen = Frozen::start(to, size.frozen)?;
        let frozen_at = Instant::now();
        let mut attackers = Vec::new();
        for (kind, count) in [
            (Kind::Silent, size.silent),
            (Kind::NeverReads, size.never_read),
            (Kind::ReadsOn, size.read_on),
            (Kind::Slow, size.slow),
            // Last: while they last they take most of the places for requests.
            (Kind::Head, size.heads),
        ] {
            for n in 0..count {
                let attacker = Attacker::new(kind, to);
                attackers.push(attacker.map_err(|error| format!("{kind:?} {n}: {error}"))?);
            }
        }
        let mut wave = Wave {
            attackers,
            thawed: Vec::new(),
            frozen_gone: None,
            newcomers: 0,
            slowest_newcomer: Duration::ZERO,
            most_pages: 0,
        };
        let deadline = Instant::now() + FILL + CLOSE + SLACK * 2;
        let mut next_newcomer = Instant::now();
        while Instant::now() < deadline && !wave.is_over() {
            let logged = server.log_from(lines);
            lines += logged.len();
            let cut: HashSet<u16> = logged.iter().filter_map(|line| cut_port(line)).collect();
            for attacker in &mut wave.attackers {
                attacker.is_cut |= cut.contains(&attacker.port);
                attacker.act();
            }
            if Instant::now() >= next_newcomer {
                next_newcomer += Duration::from_secs(1);
                wave.newcomer(to)?;
                if wave.frozen_gone.is_none() && frozen.is_forgotten(server)? {
                    wave.frozen_gone = Some(frozen_at.elapsed());
                }
                wave.most_pages = wave.most_pages.max(tcp_pages()?);
            }
            // Attackers are slow by trade.
            thread::sleep(Duration::from_millis(20));
        }
        wave.thawed = frozen.thaw()?;
        Ok(wave)
    }

    fn is_over(&self) -> bool {
        self.frozen_gone.is_some() && self.attackers.iter().all(|one| one.gone.is_some())
    }

    /// Somebody who comes in the middle of it, and wants nothing unusual.
    fn newcomer(&mut self, to: SocketAddr) -> Result<(), Failure> {
        let came = Instant::now();
        let failed = |error| format!("a newcomer was not served: {error}");
        let mut client = Client::connect(to, "/echo").map_err(failed)?;
        client.echo("hello").map_err(failed)?;
        client.close().map_err(failed)?;
        self.newcomers += 1;
        self.slowest_newcomer = self.slowest_newcomer.max(came.elapsed());
        Ok(())
    }
}

/// The client's port, of a line that says that it was cut as a slow consumer.
fn cut_port(line: &str) -> Option<u16> {
    let (before, after) = line.split_once(" disconnected by topic ")?;
    if !after.contains(": 4008, ") {
        return None;
    }
    before.rsplit_once(':')?.1.parse().ok()
}

/// Attackers gone, healthy clients still there: what is left of the siege?
fn afterwards(
    server: &Standpipe,
    start: crate::server::Has,
    pages: usize,
    waves: &[Wave],
    report: &mut Report,
) -> Result<(), Failure> {
    server.check_back(start, report)?;
    let members = server.members()?;
    report.check(
        "only the healthy subscribers are members",
        members == healthy::MEMBERS,
        format!("{members}"),
    );
    let back = until("the kernel's TCP memory", || {
        Ok(tcp_pages()? <= pages + TOLERANCE)
    });
    let most = waves.iter().map(|wave| wave.most_pages).max();
    report.check(
        "the kernel's TCP memory is back",
        back.is_ok(),
        format!(
            "{pages} pages → {} at most → {} ({TOLERANCE} above the start are allowed)",
            most.unwrap_or_default(),
            tcp_pages()?
        ),
    );
    Ok(())
}
