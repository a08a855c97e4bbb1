//! *cap*: as many clients as the connection limit allows, and then more.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::{Client, head};
use crate::report::Report;
use crate::server::{Standpipe, until};
use crate::target::Target;

/// Clients above the limit that connect at the same time: fewer than there are handshake slots.
const AT_A_TIME: usize = 100;

/// Descriptors and ports that this process needs in addition to its clients.
const SPARE: usize = 500;

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    let too_many = if small { 200 } else { 2000 };
    let mut flags = vec!["--ping-interval", "5m"];
    if small {
        flags.extend(["--max-clients", "300"]);
    }
    let mut server = Standpipe::start(&flags)?;
    report.fault("more clients than fit");
    let (mut cap, mut set_by) = server.connection_limit()?;
    report.info(format!("connection limit: {cap} (set by {set_by})"));
    let (ours, ours_set_by) = own_limit()?;
    if ours < cap + SPARE {
        // This process cannot exceed the server's own limit, so give the server a lower one.
        report.info(format!(
            "this process can hold only {ours} sockets (set by {ours_set_by})"
        ));
        let lower = ours.saturating_sub(SPARE).to_string();
        server = Standpipe::start(&[&flags[..], &["--max-clients", &lower]].concat())?;
        (cap, set_by) = server.connection_limit()?;
    }
    let start = server.usage()?;
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
        "the server holds its limit, and every client echoes",
        echoing == cap,
        format!(
            "{echoing} of {cap} (set by {set_by}), {:.0} connections/s",
            cap as f64 / took.as_secs_f64()
        ),
    );
    let (usage, rss) = (server.usage()?, server.rss()?);
    report.info(format!(
        "{} threads, {} descriptors, {} MiB resident: {:.1} KiB per client",
        usage.threads,
        usage.descriptors,
        rss >> 10,
        rss.saturating_sub(idle) as f64 / cap as f64
    ));

    report.held(echoing);
    above_the_limit(&server, too_many, report)?;
    report.bad_inputs(too_many as u64);

    let echoing = echo_all(&mut clients)?;
    report.check(
        "every client still echoes",
        echoing == cap,
        format!("{echoing} of {cap}"),
    );
    clients.pop().ok_or("the connection limit is 0")?.close()?;
    let mut tries = 0;
    let admitted = until("a client to be admitted", || {
        tries += 1;
        let client = Client::connect(server.address, "/echo");
        Ok(client.is_ok_and(|mut client| {
            let echoes = client.echo("late").is_ok();
            clients.push(client);
            echoes
        }))
    });
    let refused = Client::connect(server.address, "/echo").is_err();
    report.check(
        "after one client leaves, exactly one more is admitted",
        admitted.is_ok() && refused,
        format!("admitted at attempt {tries}"),
    );

    // Half of the clients send a Close. The others end their connection without one.
    for (n, client) in clients.into_iter().enumerate() {
        if n % 2 == 0 {
            client.close()?;
        }
    }
    server.check_released(start, report)?;
    report.info(format!("{} MiB resident afterwards", server.rss()? >> 10));
    server.check_end(report)
}

/// Sends to 500 clients at a time before reading from any of them. Returns how many echoed.
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

/// Checks that every client above the limit gets 503, while another thread requests `/healthz` without a pause.
fn above_the_limit(
    server: &Standpipe,
    too_many: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let finished = AtomicBool::new(false);
    let (healthy, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let worst = thread::scope(|scope| {
        let checker = scope.spawn(|| {
            let mut worst = Duration::ZERO;
            while !finished.load(Relaxed) {
                let sent = Instant::now();
                match server.healthz() {
                    Ok(()) => healthy.fetch_add(1, Relaxed),
                    Err(_) => failed.fetch_add(1, Relaxed),
                };
                worst = worst.max(sent.elapsed());
            }
            worst
        });
        let refused = refuse(server.address, too_many);
        finished.store(true, Relaxed);
        let worst = checker.join().map_err(|_| "the /healthz thread panicked")?;
        let refused = refused?;
        report.check(
            "every client above the limit gets 503 with Retry-After, and EOF",
            refused == too_many,
            format!("{refused} of {too_many}"),
        );
        Ok::<_, Failure>(worst)
    })?;
    let (healthy, failed) = (healthy.into_inner(), failed.into_inner());
    report.check(
        "/healthz always answers 200",
        healthy > 0 && failed == 0,
        format!("{healthy} times, {failed} failures, slowest {worst:.0?}"),
    );
    Ok(())
}

/// Connects `too_many` clients in groups. Returns how many got 503 with `Retry-After` and then the end of the stream.
fn refuse(address: Target, too_many: usize) -> Result<usize, Failure> {
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
            // Reads to the end of the stream. An error here is a reset.
            let closed = client.rest().is_ok();
            let is_503 = answer.starts_with("http/1.1 503") && answer.contains("\r\nretry-after: ");
            refused += usize::from(is_503 && closed);
        }
        left -= group;
    }
    Ok(refused)
}

/// Returns how many sockets this process can have, and which limit sets that.
fn own_limit() -> Result<(usize, String), Failure> {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX)?;
    let ports = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let ports: Vec<u64> = ports
        .split_whitespace()
        .filter_map(|port| port.parse().ok())
        .collect();
    let [low, high] = ports[..] else {
        Err("ip_local_port_range is not two numbers")?
    };
    let (limit, name) = [
        (descriptors, "ulimit -n (hard)"),
        (high - low, "net.ipv4.ip_local_port_range (sysctl)"),
    ]
    .into_iter()
    .min()
    .expect("the array has two entries");
    Ok((limit as usize, format!("{name} = {limit}")))
}
