//! *cap*: as many clients as there is room for, and then too many.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::{Client, head};
use crate::report::Report;
use crate::server::{Standpipe, until};

/// Refused ones at a time: fewer than there may be requests in flight.
const AT_A_TIME: usize = 100;

/// Descriptors and ports that this process needs besides its clients.
const SPARE: usize = 500;

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    let too_many = if small { 200 } else { 2000 };
    let mut flags = vec!["--ping-interval", "5m"];
    if small {
        flags.extend(["--max-clients", "300"]);
    }
    let mut server = Standpipe::start(&flags)?;
    report.fault("more clients than fit");
    let (mut cap, mut binds) = server.room()?;
    report.say(format!("room for {cap} clients, by {binds}"));
    let (ours, what) = our_room()?;
    if ours < cap + SPARE {
        // The server's own limit is out of reach: hold it to one that this side can go beyond.
        report.say(format!("this side can hold only {ours} sockets, by {what}"));
        let held = ours.saturating_sub(SPARE).to_string();
        server = Standpipe::start(&[&flags[..], &["--max-clients", &held]].concat())?;
        (cap, binds) = server.room()?;
    }
    let start = server.has()?;
    let idle = server.rss()?;

    let began = Instant::now();
    let mut clients = Vec::new();
    for n in 0..cap {
        let client = Client::connect(server.address, "/echo");
        clients.push(client.map_err(|error| format!("client {n} of {cap}: {error}"))?);
    }
    let took = began.elapsed();
    let echoing = echo_all(&mut clients)?;
    report.check(
        "the cap is held, and every client echoes",
        echoing == cap,
        format!(
            "{echoing} of {cap} ({binds}), {:.0} connections/s",
            cap as f64 / took.as_secs_f64()
        ),
    );
    let (has, rss) = (server.has()?, server.rss()?);
    report.say(format!(
        "{} threads, {} descriptors, resident {} MiB: {:.1} KiB a client",
        has.threads,
        has.descriptors,
        rss >> 10,
        rss.saturating_sub(idle) as f64 / cap as f64
    ));

    report.held(echoing);
    over_the_cap(&server, too_many, report)?;
    report.bad_inputs(too_many as u64);

    let echoing = echo_all(&mut clients)?;
    report.check(
        "every client still echoes",
        echoing == cap,
        format!("{echoing} of {cap}"),
    );
    clients.pop().ok_or("a cap of 0")?.close()?;
    let mut tries = 0;
    let entered = until("a free place", || {
        tries += 1;
        let one = Client::connect(server.address, "/echo");
        Ok(one.is_ok_and(|mut one| {
            let echoes = one.echo("late").is_ok();
            clients.push(one);
            echoes
        }))
    });
    let refused = Client::connect(server.address, "/echo").is_err();
    report.check(
        "one leaves, one more gets in, and then no other",
        entered.is_ok() && refused,
        format!("in at try {tries}"),
    );

    // Half of them say goodbye, half are just gone.
    for (n, client) in clients.into_iter().enumerate() {
        if n % 2 == 0 {
            client.close()?;
        }
    }
    server.check_back(start, report)?;
    report.say(format!("resident afterwards {} MiB", server.rss()? >> 10));
    server.check_end(report)
}

/// Sends to all before reading from any, some hundreds at a time.
fn echo_all(clients: &mut [Client]) -> Result<usize, Failure> {
    let mut echoing = 0;
    for (part, clients) in clients.chunks_mut(500).enumerate() {
        let text = |n: usize| format!("client {} of part {part}", n);
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(crate::frame::TEXT, text(n).as_bytes())?;
        }
        for (n, client) in clients.iter_mut().enumerate() {
            client
                .expect(&text(n))
                .map_err(|error| format!("echo {n} of part {part}: {error}"))?;
            echoing += 1;
        }
    }
    Ok(echoing)
}

/// Everybody beyond the cap is told so, while `/healthz` is asked without a pause.
fn over_the_cap(server: &Standpipe, too_many: usize, report: &mut Report) -> Result<(), Failure> {
    let over = AtomicBool::new(false);
    let (well, ill) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let worst = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut worst = Duration::ZERO;
            while !over.load(Relaxed) {
                let asked = Instant::now();
                match server.healthz() {
                    Ok(()) => well.fetch_add(1, Relaxed),
                    Err(_) => ill.fetch_add(1, Relaxed),
                };
                worst = worst.max(asked.elapsed());
            }
            worst
        });
        let refused = refuse(server.address, too_many);
        over.store(true, Relaxed);
        let worst = asking.join().map_err(|_| "asking for /healthz panicked")?;
        let refused = refused?;
        report.check(
            "everyone beyond it gets 503 and Retry-After, and is closed",
            refused == too_many,
            format!("{refused} of {too_many}"),
        );
        Ok::<_, Failure>(worst)
    })?;
    let (well, ill) = (well.into_inner(), ill.into_inner());
    report.check(
        "/healthz answers 200 all along",
        well > 0 && ill == 0,
        format!("{well} times, {ill} times not, slowest {worst:.0?}"),
    );
    Ok(())
}

fn refuse(address: SocketAddr, too_many: usize) -> Result<usize, Failure> {
    let mut refused = 0;
    let mut left = too_many;
    while left > 0 {
        let group = left.min(AT_A_TIME);
        let mut clients = Vec::new();
        for _ in 0..group {
            let mut client = Client::open(address)?;
            client.bytes(head(address, "/echo").as_bytes())?;
            clients.push(client);
        }
        for mut client in clients {
            let answer = client.answer()?.to_ascii_lowercase();
            // To its end: an error here is a reset.
            let closed = client.rest().is_ok();
            let told = answer.starts_with("http/1.1 503") && answer.contains("\r\nretry-after: ");
            refused += usize::from(told && closed);
        }
        left -= group;
    }
    Ok(refused)
}

/// Sockets this process can have, and what sets that.
fn our_room() -> Result<(usize, String), Failure> {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX)?;
    let ports = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let ports: Vec<u64> = ports
        .split_whitespace()
        .filter_map(|port| port.parse().ok())
        .collect();
    let [low, high] = ports[..] else {
        Err("ip_local_port_range is not two numbers")?
    };
    let (room, what) = [
        (descriptors, "ulimit -n (hard)"),
        (high - low, "net.ipv4.ip_local_port_range (sysctl)"),
    ]
    .into_iter()
    .min()
    .expect("there are two");
    Ok((room as usize, format!("{what} = {room}")))
}
