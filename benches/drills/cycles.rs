//! *cycles*: waits that wait for each other, in which a server of blocking threads can be caught: each ends by its
//! deadline. C1, C2, C3 and C7 of the list that `tests/it/cycles.rs` has whole.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::frame::{BINARY, frame};
use crate::healthy;
use crate::report::{Report, after};
use crate::server::{Standpipe, signal, until};

/// The write rule's clock, which ends the cycles of clients that take nothing.
const CLOCK: Duration = Duration::from_secs(2);

const GRACE: Duration = Duration::from_secs(2);

/// How much later than its clock a busy machine may show an end.
const SLACK: Duration = Duration::from_secs(8);

/// Clients that come and go beside a topic that is held.
const VISITS: usize = 10;

/// What the kernel keeps for a client that does not read.
const NARROW: usize = 16 << 10;

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    let many = if small { 10 } else { 100 };
    let clock = format!("{}s", CLOCK.as_secs());
    // The topics whose names begin with `hold` let their publishers wait as long as it takes: the worst that can be asked.
    let flags = [
        "--write-timeout",
        &clock,
        "--close-timeout",
        &clock,
        "--sndbuf",
        "16KiB",
        "--topic",
        "hold-*:policy=block",
    ];
    let server = Standpipe::start(&flags)?;

    report.fault("C1: two clients wait for each other's queues");
    healthy::beside(&server, report, |report| {
        let mut pairs = Vec::new();
        for n in 0..many {
            let path = format!("/ws/hold-{n}");
            pairs.push(Stuffing::begin(&server, &path)?);
            pairs.push(Stuffing::begin(&server, &path)?);
        }
        ends(
            "each of a pair that sends and does not read is let go by the write rule",
            pairs,
            report,
        )
    })?;

    report.fault("C2: a client waits for its own echo");
    healthy::beside(&server, report, |report| {
        let clients = (0..many).map(|_| Stuffing::begin(&server, "/echo"));
        let clients = clients.collect::<Result<_, _>>()?;
        ends(
            "who is echoed and does not read is let go by the write rule",
            clients,
            report,
        )
    })?;

    report.fault("C3: a topic held by a member that is full");
    healthy::beside(&server, report, |report| held(&server, report))?;
    server.check_end(report)?;

    report.fault("C7: a shutdown behind writers whose peers take nothing");
    shut_down(many, report)
}

/// A client that sends whenever the server takes something, and never reads.
struct Stuffing {
    client: Client,
    bytes: Vec<u8>,
    sent: usize,
}

impl Stuffing {
    fn begin(server: &Standpipe, path: &str) -> Result<Stuffing, Failure> {
        let mut client = Client::open_narrow(NARROW, server.address)?;
        client.upgrade(server.address, path)?;
        client.unblock()?;
        Ok(Stuffing {
            client,
            bytes: frame(BINARY, &[0; 60 << 10]),
            sent: 0,
        })
    }

    /// As much as is taken now. False: it is gone.
    fn push(&mut self) -> bool {
        loop {
            match self.client.try_bytes(&self.bytes[self.sent..]) {
                Ok(0) => return true,
                Ok(taken) => self.sent = (self.sent + taken) % self.bytes.len(),
                Err(_) => return false,
            }
        }
    }
}

/// Lets them push until each is gone, which has to be soon after the clock.
fn ends(what: &'static str, clients: Vec<Stuffing>, report: &mut Report) -> Result<(), Failure> {
    let (count, began) = (clients.len(), Instant::now());
    let mut left = clients;
    while !left.is_empty() && began.elapsed() < CLOCK * 2 + SLACK {
        left.retain_mut(Stuffing::push);
        // Nobody tells when a socket that is full has room again.
        std::thread::sleep(Duration::from_millis(10));
    }
    report.bad_inputs(count as u64);
    let took = left.is_empty().then(|| began.elapsed());
    report.check(
        what,
        left.is_empty(),
        format!(
            "{} of {count}, the last {} at a clock of {CLOCK:?}",
            count - left.len(),
            after(took)
        ),
    );
    Ok(())
}

/// A member that does not read keeps its topic's publisher waiting; nobody else may: not who comes, not who goes.
fn held(server: &Standpipe, report: &mut Report) -> Result<(), Failure> {
    let mut stalled = Client::open_narrow(NARROW, server.address)?;
    stalled.upgrade(server.address, "/ws/hold-room")?;
    let mut publisher = Stuffing::begin(server, "/ws/hold-room?echo=false")?;
    until("the publisher to wait for the member that is full", || {
        publisher.push();
        is_held(server)
    })?;
    let began = Instant::now();
    for _ in 0..VISITS {
        Client::connect(server.address, "/ws/hold-room")?.close()?;
        server.get("/topics")?;
    }
    let still = is_held(server)?;
    report.check(
        "clients come and go while the topic is held",
        still,
        format!("{VISITS} in {:.1?}; held still: {still}", began.elapsed()),
    );
    let freed = until("the publisher to go on", || {
        publisher.push();
        Ok(!is_held(server)?)
    });
    report.bad_inputs(1);
    report.check(
        "the member is let go by the write rule, and the publisher goes on",
        freed.is_ok(),
        format!("{:.1} s after it was held", began.elapsed().as_secs_f64()),
    );
    Ok(())
}

/// Some publisher waits for room in a member's queue.
fn is_held(server: &Standpipe) -> Result<bool, Failure> {
    let clients = server.clients()?;
    let mut states = clients
        .iter()
        .filter_map(|client| client["reader"]["state"].as_str());
    Ok(states.any(|state| state.starts_with("waiting for room")))
}

/// SIGTERM while every writer waits in the kernel.
fn shut_down(many: usize, report: &mut Report) -> Result<(), Failure> {
    let grace = format!("{}s", GRACE.as_secs());
    let flags = ["--shutdown-timeout", &grace, "--sndbuf", "16KiB"];
    let mut server = Standpipe::start(&flags)?;
    let mut clients = Vec::new();
    for _ in 0..many {
        clients.push(Stuffing::begin(&server, "/echo")?);
    }
    until("every writer to wait", || {
        clients.iter_mut().for_each(|client| {
            client.push();
        });
        let states = server.clients()?;
        let blocked = |client: &&serde_json::Value| client["writer"]["state"] == "blocked in write";
        Ok(states.iter().filter(blocked).count() == many)
    })?;
    signal(server.pid(), "TERM")?;
    let began = Instant::now();
    let mut ended = None;
    while ended.is_none() && began.elapsed() < GRACE + SLACK {
        ended = server.ended()?.map(|status| (status, began.elapsed()));
        // A process that is waited for in vain tells nobody.
        std::thread::sleep(Duration::from_millis(10));
    }
    report.bad_inputs(many as u64);
    let expected = format!("drained 0, lost {many}");
    let said = until("the report", || Ok(server.printed().contains(&expected)));
    report.check(
        "it ends within its grace, and counts them as lost",
        ended.is_some_and(|(status, _)| status.success()) && said.is_ok(),
        ended.map_or("it did not end".into(), |(status, took)| {
            format!(
                "{status} after {:.1} s of {GRACE:?}: {expected}",
                took.as_secs_f64()
            )
        }),
    );
    Ok(())
}
