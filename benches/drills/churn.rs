//! *churn*: clients that come and break off, at every moment of a client's life.

use std::collections::HashSet;
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
const TOLERANCE: usize = 6 << 10;

const TOPIC: &str = "/ws/churn";

const SEED: u64 = 0x5eed_0f57_a4d9_19e5;

/// The moments at which a client breaks off.
const PHASES: [(&str, Phase); 9] = [
    ("after connect", |_, _| Ok(())),
    ("in mid-head", mid_head),
    ("after the head", after_head),
    ("after 101", |client, visitor| {
        client.upgrade(visitor.to, "/echo")
    }),
    ("in mid-frame", mid_frame),
    ("in mid-message, in fragments", mid_message),
    ("with echoes unread", echoes_unread),
    ("as a member that has published", published),
    ("after its Close", after_close),
];

/// Of each phase: broken off by FIN, by RST.
type Tallies = [[AtomicUsize; 2]; PHASES.len()];

type Phase = fn(&mut Client, &mut Visitor) -> Result<(), Failure>;

/// One of those who come and go, again and again.
struct Visitor {
    from: Ipv4Addr,
    to: SocketAddr,
    random: Random,
    /// What it has published and got back.
    published: Vec<u64>,
    /// How often it was refused before it could break off.
    refused: usize,
}

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    let cycles = if small { 1500 } else { 12_000 };
    report.fault("clients that break off at every moment");
    let server = Standpipe::start(&[])?;
    // A healthy member of the same topic, without whom the topic itself would come and go.
    let start = server.has()?.with_clients(1);
    let mut healthy = Client::connect(server.address, TOPIC)?;
    let mut heard = Vec::new();
    own(&mut healthy, "begin", &mut heard)?;
    report.say(format!(
        "{cycles} clients, {AT_A_TIME} at a time, seed {SEED:#x}"
    ));

    let tallies = Tallies::default();
    let (mut published, mut refused) = (Vec::new(), 0);
    let mut resident = Vec::new();
    let mut owns = 0;
    let began = Instant::now();
    for third in 0..3u64 {
        let visitors = (0..AT_A_TIME).map(|number| Visitor {
            from: Ipv4Addr::new(127, 0, 0, 2 + number),
            to: server.address,
            random: Random(SEED ^ (third << 8 | u64::from(number))),
            published: Vec::new(),
            refused: 0,
        });
        thread::scope(|scope| {
            let tallies = &tallies;
            let visits: Vec<_> = (0..AT_A_TIME)
                .zip(visitors)
                .map(|(number, visitor)| {
                    // The first of them take what does not divide.
                    let times =
                        (cycles / 3 + usize::from(AT_A_TIME - 1 - number)) / usize::from(AT_A_TIME);
                    scope.spawn(move || visitor.come_and_go(times, tallies))
                })
                .collect();
            while visits.iter().any(|visit| !visit.is_finished()) {
                own(&mut healthy, &format!("healthy {owns}"), &mut heard)?;
                owns += 1;
            }
            for visit in visits {
                let visitor = visit.join().map_err(|_| "a visitor panicked")??;
                published.extend(visitor.published);
                refused += visitor.refused;
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
        done == cycles && refused == 0,
        format!(
            "{done} of {cycles}, {:.0} a second, {refused} were cut short",
            done as f64 / took.as_secs_f64()
        ),
    );
    report.bad_inputs(done as u64);
    own(&mut healthy, "end", &mut heard)?;
    let all = heard.len();
    let heard: HashSet<u64> = heard.into_iter().collect();
    let missing = published.iter().filter(|one| !heard.contains(one)).count();
    report.lost(missing as u64);
    report.check(
        "a healthy member has each of its own messages, and each that a visitor got back",
        missing == 0 && all == heard.len() && owns > 0 && !published.is_empty(),
        format!(
            "{} own, {} of theirs ({all} heard), {missing} missing, {} twice",
            owns + 2,
            published.len(),
            all - heard.len()
        ),
    );
    server.check_back(start, report)?;
    let (clients, members) = (server.clients()?.len(), server.members()?);
    report.check(
        "no client and no member is left",
        (clients, members) == (1, 1),
        format!("{clients} client and {members} member: the healthy one"),
    );
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

/// Publishes a message and waits for it to come; what others published comes before it.
fn own(healthy: &mut Client, text: &str, heard: &mut Vec<u64>) -> Result<(), Failure> {
    healthy.send(TEXT, text.as_bytes())?;
    loop {
        let message = healthy.message()?;
        if message == text.as_bytes() {
            return Ok(());
        }
        match message[..].try_into() {
            Ok(number) => heard.push(u64::from_be_bytes(number)),
            Err(_) => Err(format!(
                "waited for {text:?}, got {} other bytes",
                message.len()
            ))?,
        }
    }
}

impl Visitor {
    fn come_and_go(mut self, times: usize, tallies: &Tallies) -> Result<Visitor, Failure> {
        for _ in 0..times {
            let at = self.random.below(PHASES.len());
            let mut client = Client::open_from(self.from, self.to)?;
            if PHASES[at].1(&mut client, &mut self).is_err() {
                self.refused += 1;
            }
            let reset = self.random.below(2);
            tallies[at][reset].fetch_add(1, Relaxed);
            if reset == 1 {
                client.reset();
            } else {
                // What is unread here would make the kernel send a reset all the same.
                client.end();
            }
        }
        Ok(self)
    }
}

fn mid_head(client: &mut Client, visitor: &mut Visitor) -> Result<(), Failure> {
    let head = head(visitor.to, "/echo");
    let part = 1 + visitor.random.below(head.len() - 1);
    Ok(client.bytes(&head.as_bytes()[..part])?)
}

fn after_head(client: &mut Client, visitor: &mut Visitor) -> Result<(), Failure> {
    Ok(client.bytes(head(visitor.to, TOPIC).as_bytes())?)
}

fn mid_frame(client: &mut Client, visitor: &mut Visitor) -> Result<(), Failure> {
    client.upgrade(visitor.to, "/echo")?;
    let frame = frame(BINARY, &[7; 5000]);
    let part = 1 + visitor.random.below(frame.len() - 1);
    Ok(client.bytes(&frame[..part])?)
}

fn mid_message(client: &mut Client, visitor: &mut Visitor) -> Result<(), Failure> {
    client.upgrade(visitor.to, "/ws/churn?echo=false")?;
    client.send(BEGINS, b"a message that")?;
    for _ in 0..visitor.random.below(5) {
        client.send(GOES_ON, b" goes on")?;
        client.send(PING, b"between")?;
    }
    Ok(())
}

fn echoes_unread(client: &mut Client, visitor: &mut Visitor) -> Result<(), Failure> {
    client.upgrade(visitor.to, "/echo")?;
    for _ in 0..1 + visitor.random.below(8) {
        client.send(BINARY, &[1; 20_000])?;
    }
    Ok(())
}

fn published(client: &mut Client, visitor: &mut Visitor) -> Result<(), Failure> {
    client.upgrade(visitor.to, TOPIC)?;
    let first = visitor.random.next();
    client.send(BINARY, &first.to_be_bytes())?;
    for _ in 0..visitor.random.below(3) {
        client.send(BINARY, &visitor.random.next().to_be_bytes())?;
    }
    // Its own message: now it is a member, and has published.
    while client.message()? != first.to_be_bytes() {}
    visitor.published.push(first);
    Ok(())
}

fn after_close(client: &mut Client, visitor: &mut Visitor) -> Result<(), Failure> {
    client.upgrade(
        visitor.to,
        if visitor.random.below(2) == 0 {
            "/echo"
        } else {
            TOPIC
        },
    )?;
    Ok(client.bytes(&close(1000))?)
}

/// splitmix64: the same run from the same seed.
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
