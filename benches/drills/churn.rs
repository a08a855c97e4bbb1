//! *churn*: clients that come and break off, at every moment of a client's life.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use crate::Failure;
use crate::client::{Client, head};
use crate::frame::{BEGINS, BINARY, GOES_ON, PING, TEXT, close, frame};
use crate::report::Report;
use crate::server::{Standpipe, until};

/// Clients that come and go at a time, each from an address of its own: the ports of one would run out.
const AT_A_TIME: u8 = 8;

/// How much the resident memory may grow from the first third to the last, in KiB: what an allocator keeps varies, what
/// leaks grows with the thousands of clients between.
const TOLERANCE: usize = 4 << 10;

const SEED: u64 = 0x5eed_0f57_a4d9_19e5;

/// The moments at which a client breaks off.
const PHASES: [(&str, Phase); 9] = [
    ("after connect", |_, _, _| Ok(())),
    ("in mid-head", mid_head),
    ("after the head", after_head),
    ("after 101", |client, to, _| client.upgrade(to, "/echo")),
    ("in mid-frame", mid_frame),
    ("in mid-message, in fragments", mid_message),
    ("with echoes unread", echoes_unread),
    ("as a member that has published", published),
    ("after its Close", after_close),
];

type Phase = fn(&mut Client, SocketAddr, &mut Random) -> Result<(), Failure>;

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    let cycles = if small { 1500 } else { 12_000 };
    let server = Standpipe::start(&[])?;
    // A healthy client beside them, whose echoes are counted.
    let start = server.has()?.with_clients(1);
    let mut healthy = Client::connect(server.address, "/echo")?;
    healthy.echo("begin")?;
    report.say(format!(
        "{cycles} clients, {AT_A_TIME} at a time, seed {SEED:#x}"
    ));

    let tallies: Vec<_> = PHASES
        .iter()
        .map(|_| [AtomicUsize::new(0), AtomicUsize::new(0)])
        .collect();
    let cut = AtomicUsize::new(0);
    let mut resident = Vec::new();
    let mut echoes = 0;
    let began = Instant::now();
    for third in 0..3u64 {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_A_TIME)
                .map(|worker| {
                    let random = Random(SEED ^ (third << 8 | u64::from(worker)));
                    // The first of them take what does not divide.
                    let share =
                        (cycles / 3 + usize::from(AT_A_TIME - 1 - worker)) / usize::from(AT_A_TIME);
                    let (tallies, cut, to) = (&tallies, &cut, server.address);
                    scope.spawn(move || {
                        let from = Ipv4Addr::new(127, 0, 0, 2 + worker);
                        come_and_go(share, from, to, random, tallies, cut)
                    })
                })
                .collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                healthy.echo(&format!("echo {echoes}"))?;
                echoes += 1;
            }
            for worker in workers {
                worker.join().map_err(|_| "a worker panicked")??;
            }
            Ok::<_, Failure>(())
        })?;
        until("the clients of this third to be gone", || {
            Ok(server.has()? == start)
        })?;
        resident.push(server.rss()?);
    }
    let took = began.elapsed();

    let mut done = 0;
    for ((name, _), [finned, reset]) in PHASES.iter().zip(&tallies) {
        let (finned, reset) = (finned.load(Relaxed), reset.load(Relaxed));
        done += finned + reset;
        report.say(format!("{name}: {finned} by FIN, {reset} by RST"));
    }
    // A client that is served to where it breaks off has met no refusal on its way there.
    report.check(
        "every client came as far as it wanted, and broke off",
        done == cycles && cut.load(Relaxed) == 0,
        format!(
            "{done} of {cycles}, {:.0} a second, {} were cut short",
            done as f64 / took.as_secs_f64(),
            cut.load(Relaxed)
        ),
    );
    healthy.echo("end")?;
    report.check(
        "a healthy client beside them has all its echoes",
        echoes > 0,
        format!("{}", echoes + 2),
    );
    server.check_back(start, report)?;
    let (clients, members) = (server.clients()?.len(), server.members()?);
    report.check(
        "no client and no member is left",
        (clients, members) == (1, 0),
        format!("{clients} client (the healthy one), {members} members"),
    );
    topic_is_empty(&server, report)?;
    let [first, _, last] = resident[..] else {
        Err("three thirds")?
    };
    report.check(
        "resident memory stays where it was",
        last <= first + TOLERANCE,
        format!(
            "{resident:?} KiB after each third; {} KiB more are allowed",
            TOLERANCE
        ),
    );
    healthy.close()?;
    server.check_end(report)
}

/// What a newcomer publishes comes to it once, and nothing else does.
fn topic_is_empty(server: &Standpipe, report: &mut Report) -> Result<(), Failure> {
    let mut probe = Client::connect(server.address, "/ws/churn")?;
    probe.echo("is anybody here?")?;
    probe.echo("nobody")?;
    probe.close()?;
    report.check(
        "the topic is empty for a newcomer",
        true,
        "it hears itself alone",
    );
    Ok(())
}

fn come_and_go(
    times: usize,
    from: Ipv4Addr,
    to: SocketAddr,
    mut random: Random,
    tallies: &[[AtomicUsize; 2]],
    cut: &AtomicUsize,
) -> Result<(), Failure> {
    for _ in 0..times {
        let at = random.below(PHASES.len());
        let mut client = Client::open_from(from, to)?;
        if PHASES[at].1(&mut client, to, &mut random).is_err() {
            cut.fetch_add(1, Relaxed);
        }
        let reset = random.below(2);
        tallies[at][reset].fetch_add(1, Relaxed);
        if reset == 1 {
            client.reset();
        } else {
            // What is unread here would make the kernel send a reset all the same.
            client.end();
            drop(client);
        }
    }
    Ok(())
}

fn mid_head(client: &mut Client, to: SocketAddr, random: &mut Random) -> Result<(), Failure> {
    let head = head(to, "/echo");
    let part = 1 + random.below(head.len() - 1);
    Ok(client.bytes(&head.as_bytes()[..part])?)
}

fn after_head(client: &mut Client, to: SocketAddr, _: &mut Random) -> Result<(), Failure> {
    Ok(client.bytes(head(to, "/ws/churn").as_bytes())?)
}

fn mid_frame(client: &mut Client, to: SocketAddr, random: &mut Random) -> Result<(), Failure> {
    client.upgrade(to, "/echo")?;
    let frame = frame(BINARY, &[7; 5000]);
    let part = 1 + random.below(frame.len() - 1);
    Ok(client.bytes(&frame[..part])?)
}

fn mid_message(client: &mut Client, to: SocketAddr, random: &mut Random) -> Result<(), Failure> {
    client.upgrade(to, "/ws/churn?echo=false")?;
    client.send(BEGINS, b"a message that")?;
    for _ in 0..random.below(5) {
        client.send(GOES_ON, b" goes on")?;
        client.send(PING, b"between")?;
    }
    Ok(())
}

fn echoes_unread(client: &mut Client, to: SocketAddr, random: &mut Random) -> Result<(), Failure> {
    client.upgrade(to, "/echo")?;
    for _ in 0..1 + random.below(8) {
        client.send(BINARY, &[1; 20_000])?;
    }
    Ok(())
}

fn published(client: &mut Client, to: SocketAddr, random: &mut Random) -> Result<(), Failure> {
    client.upgrade(to, "/ws/churn")?;
    for _ in 0..1 + random.below(3) {
        client.send(TEXT, b"from a member that will be gone")?;
    }
    // Its own message: now it is a member, and has published.
    client.message()?;
    Ok(())
}

fn after_close(client: &mut Client, to: SocketAddr, random: &mut Random) -> Result<(), Failure> {
    client.upgrade(
        to,
        if random.below(2) == 0 {
            "/echo"
        } else {
            "/ws/churn"
        },
    )?;
    Ok(client.bytes(&close(1000))?)
}

/// splitmix64: the same run from the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}
