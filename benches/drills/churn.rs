//! *churn*: clients that connect and break off at every moment of a connection's life.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use crate::Failure;
use crate::client::{Client, head};
use crate::frame::{BINARY, FIRST_FRAGMENT, MIDDLE_FRAGMENT, PING, TEXT, close, frame};
use crate::report::Report;
use crate::server::{Standpipe, until};
use crate::stream::{TLS_FLAGS, client_hello};
use crate::target::Target;

/// Workers that connect at the same time. Each has an address of its own, because the ports of one address would run
/// out.
const AT_A_TIME: u8 = 8;

/// The allowed growth of the resident memory from the first third to the last, in KiB. An allocator keeps a varying
/// number of megabytes, but a leak grows with each of the thousands of clients.
const TOLERANCE: usize = 6 << 10;

const TOPIC: &str = "/ws/churn";

const SEED: u64 = 0x5eed_0f57_a4d9_19e5;

/// The moments at which a client breaks off.
const PHASES: [(&str, Phase); 9] = [
    ("after connect", |_, _| Ok(())),
    ("in the middle of the request head", mid_head),
    ("after the request head", after_head),
    ("after the 101", |client, worker| {
        client.upgrade(worker.to, "/echo")
    }),
    ("in the middle of a frame", mid_frame),
    ("between fragments of a message", mid_message),
    ("with echoes unread", echoes_unread),
    ("as a member that has published", published),
    ("after its Close", after_close),
];

/// The moments that exist only with TLS.
const TLS_PHASES: [(&str, Phase); 3] = [
    ("in the middle of the ClientHello", mid_hello),
    ("in the middle of a record", mid_record),
    ("after a record that cannot be opened", after_forgery),
];

/// For each phase, how many clients broke off by FIN and by RST.
type Tallies = Vec<[AtomicUsize; 2]>;

type Phase = fn(&mut Client, &mut Worker) -> Result<(), Failure>;

/// One thread that connects and breaks off again and again.
struct Worker {
    from: Ipv4Addr,
    to: Target,
    phases: Vec<(&'static str, Phase)>,
    random: Random,
    /// The messages that it has published and received back.
    published: Vec<u64>,
    /// How often it was refused before it could break off.
    refused: usize,
}

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    churn(&PHASES, &[], small, report)
}

/// The same over TLS, with its moments.
pub(crate) fn run_secure(small: bool, report: &mut Report) -> Result<(), Failure> {
    let phases = [&PHASES[..], &TLS_PHASES[..]].concat();
    churn(&phases, &TLS_FLAGS, small, report)
}

fn churn(
    phases: &[(&'static str, Phase)],
    flags: &[&str],
    small: bool,
    report: &mut Report,
) -> Result<(), Failure> {
    report.fault("clients that break off at every moment");
    let cycles = if small { 1500 } else { 12_000 };
    let server = Standpipe::start(flags)?;
    // A healthy member of the same topic. Without it, the topic itself would be created and removed again and again.
    let start = server.usage()?.with_clients(1);
    let mut healthy = Client::connect(server.address, TOPIC)?;
    let mut received = Vec::new();
    publish_own(&mut healthy, "begin", &mut received)?;
    report.info(format!(
        "{cycles} clients, {AT_A_TIME} at the same time, seed {SEED:#x}"
    ));

    let tallies: Tallies = phases.iter().map(|_| Default::default()).collect();
    let (mut published, mut refused) = (Vec::new(), 0);
    let mut resident = Vec::new();
    let mut owns = 0;
    let began = Instant::now();
    for third in 0..3u64 {
        let workers = (0..AT_A_TIME).map(|number| Worker {
            from: Ipv4Addr::new(127, 0, 0, 2 + number),
            to: server.address,
            phases: phases.to_vec(),
            random: Random(SEED ^ (third << 8 | u64::from(number))),
            published: Vec::new(),
            refused: 0,
        });
        thread::scope(|scope| {
            let tallies = &tallies;
            let threads: Vec<_> = (0..AT_A_TIME)
                .zip(workers)
                .map(|(number, worker)| {
                    // The first workers take the remainder of the division.
                    let times =
                        (cycles / 3 + usize::from(AT_A_TIME - 1 - number)) / usize::from(AT_A_TIME);
                    scope.spawn(move || worker.run(times, tallies))
                })
                .collect();
            while threads.iter().any(|thread| !thread.is_finished()) {
                publish_own(&mut healthy, &format!("healthy {owns}"), &mut received)?;
                owns += 1;
            }
            for thread in threads {
                let worker = thread.join().map_err(|_| "a worker panicked")??;
                published.extend(worker.published);
                refused += worker.refused;
            }
            Ok::<_, Failure>(())
        })?;
        until("the clients of this third to be gone", || {
            Ok(server.usage()? == start)
        })?;
        resident.push(server.rss()?);
    }
    let took = began.elapsed();

    let mut done = 0;
    for ((name, _), [fins, resets]) in phases.iter().zip(&tallies) {
        let (fins, resets) = (fins.load(Relaxed), resets.load(Relaxed));
        done += fins + resets;
        report.info(format!("{name}: {fins} by FIN, {resets} by RST"));
    }
    // A refused client could not reach the moment at which it was to break off.
    report.check(
        "every client reached its moment and broke off",
        done == cycles && refused == 0,
        format!(
            "{done} of {cycles}, {:.0} per second, {refused} refused",
            done as f64 / took.as_secs_f64()
        ),
    );
    report.bad_inputs(done as u64);
    publish_own(&mut healthy, "end", &mut received)?;
    let all = received.len();
    let received: HashSet<u64> = received.into_iter().collect();
    let missing = published
        .iter()
        .filter(|one| !received.contains(one))
        .count();
    report.lost(missing as u64);
    report.check(
        "the healthy member has its own messages, and all that were acknowledged",
        missing == 0 && all == received.len() && owns > 0 && !published.is_empty(),
        format!(
            "{} own, {} of other clients ({all} received), {missing} missing, {} duplicated",
            owns + 2,
            published.len(),
            all - received.len()
        ),
    );
    server.check_released(start, report)?;
    let (clients, members) = (server.clients()?.len(), server.members()?);
    report.check(
        "no client and no member is left",
        (clients, members) == (1, 1),
        format!("{clients} client and {members} member, the healthy one"),
    );
    let [first, _, last] = resident[..] else {
        Err("there are not three samples")?
    };
    report.check(
        "resident memory does not grow",
        last <= first + TOLERANCE,
        format!(
            "{resident:?} KiB after each third; {} KiB of growth are allowed",
            TOLERANCE
        ),
    );
    healthy.close()?;
    server.check_end(report)
}

/// Publishes a message as the healthy member and waits until it arrives. Collects the messages of others that arrive
/// before it.
fn publish_own(healthy: &mut Client, text: &str, received: &mut Vec<u64>) -> Result<(), Failure> {
    healthy.send(TEXT, text.as_bytes())?;
    loop {
        let message = healthy.message()?;
        if message == text.as_bytes() {
            return Ok(());
        }
        match message[..].try_into() {
            Ok(number) => received.push(u64::from_be_bytes(number)),
            Err(_) => Err(format!(
                "waited for {text:?}, got {} other bytes",
                message.len()
            ))?,
        }
    }
}

impl Worker {
    fn run(mut self, times: usize, tallies: &[[AtomicUsize; 2]]) -> Result<Worker, Failure> {
        for _ in 0..times {
            let at = self.random.below(self.phases.len());
            let mut client = Client::open_from(self.from, self.to)?;
            if self.phases[at].1(&mut client, &mut self).is_err() {
                self.refused += 1;
            }
            let reset = self.random.below(2);
            tallies[at][reset].fetch_add(1, Relaxed);
            if reset == 1 {
                client.reset();
            } else {
                // If the client has not read everything, its kernel sends a reset nevertheless.
                client.end();
            }
        }
        Ok(self)
    }
}

fn mid_head(client: &mut Client, worker: &mut Worker) -> Result<(), Failure> {
    let head = head(worker.to, "/echo");
    let part = 1 + worker.random.below(head.len() - 1);
    Ok(client.bytes(&head.as_bytes()[..part])?)
}

fn after_head(client: &mut Client, worker: &mut Worker) -> Result<(), Failure> {
    Ok(client.bytes(head(worker.to, TOPIC).as_bytes())?)
}

fn mid_frame(client: &mut Client, worker: &mut Worker) -> Result<(), Failure> {
    client.upgrade(worker.to, "/echo")?;
    let frame = frame(BINARY, &[7; 5000]);
    let part = 1 + worker.random.below(frame.len() - 1);
    Ok(client.bytes(&frame[..part])?)
}

fn mid_message(client: &mut Client, worker: &mut Worker) -> Result<(), Failure> {
    client.upgrade(worker.to, "/ws/churn?echo=false")?;
    client.send(FIRST_FRAGMENT, b"a message that")?;
    for _ in 0..worker.random.below(5) {
        client.send(MIDDLE_FRAGMENT, b" goes on")?;
        client.send(PING, b"between")?;
    }
    Ok(())
}

fn echoes_unread(client: &mut Client, worker: &mut Worker) -> Result<(), Failure> {
    client.upgrade(worker.to, "/echo")?;
    for _ in 0..1 + worker.random.below(8) {
        client.send(BINARY, &[1; 20_000])?;
    }
    Ok(())
}

fn published(client: &mut Client, worker: &mut Worker) -> Result<(), Failure> {
    client.upgrade(worker.to, TOPIC)?;
    let first = worker.random.next();
    client.send(BINARY, &first.to_be_bytes())?;
    for _ in 0..worker.random.below(3) {
        client.send(BINARY, &worker.random.next().to_be_bytes())?;
    }
    // The client has received its own message, so it is a member and has published.
    while client.message()? != first.to_be_bytes() {}
    worker.published.push(first);
    Ok(())
}

fn after_close(client: &mut Client, worker: &mut Worker) -> Result<(), Failure> {
    client.upgrade(
        worker.to,
        if worker.random.below(2) == 0 {
            "/echo"
        } else {
            TOPIC
        },
    )?;
    Ok(client.bytes(&close(1000))?)
}

fn mid_hello(client: &mut Client, worker: &mut Worker) -> Result<(), Failure> {
    *client = Client::open_plain(worker.from, worker.to)?;
    let hello = client_hello()?;
    let part = 1 + worker.random.below(hello.len() - 1);
    Ok(client.raw_bytes(&hello[..part])?)
}

fn mid_record(client: &mut Client, worker: &mut Worker) -> Result<(), Failure> {
    client.upgrade(worker.to, "/echo")?;
    let part = 1 + worker.random.below(RECORD.len() - 1);
    Ok(client.raw_bytes(&RECORD[..part])?)
}

fn after_forgery(client: &mut Client, worker: &mut Worker) -> Result<(), Failure> {
    client.upgrade(worker.to, TOPIC)?;
    Ok(client.raw_bytes(&RECORD)?)
}

/// A record of 512 bytes that no session has sealed.
const RECORD: [u8; 517] = {
    let mut record = [0x5a; 517];
    [record[0], record[1], record[2], record[3], record[4]] = [0x17, 3, 3, 2, 0];
    record
};

/// A splitmix64 generator. The same seed gives the same run.
pub(crate) struct Random(u64);

impl From<u64> for Random {
    fn from(seed: u64) -> Random {
        Random(SEED ^ seed)
    }
}

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
