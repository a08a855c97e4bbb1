//! *cycles*: threads that wait for each other in a circle. A deadline must break each of these cycles.
//! `tests/it/cycles.rs` tests all known cycles; this drill tries four of them on the binary.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Client;
use crate::frame::{BINARY, frame};
use crate::healthy;
use crate::report::{Report, after};
use crate::server::{Standpipe, signal, until};

/// The timeout of the write rule, which ends the cycles of clients that never read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// The shutdown timeout.
const GRACE: Duration = Duration::from_secs(2);

/// How much later than its deadline an end may be seen on a busy machine.
const SLACK: Duration = Duration::from_secs(8);

/// Clients that join and leave while a topic is blocked.
const VISITS: usize = 10;

/// The receive buffer of a client that does not read.
const RCVBUF: usize = 16 << 10;

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    let many = if small { 10 } else { 100 };
    let write_timeout = format!("{}s", WRITE_TIMEOUT.as_secs());
    // On topics whose names begin with `hold-`, publishers wait without a time limit. This is the worst configuration.
    let flags = [
        "--write-timeout",
        &write_timeout,
        "--close-timeout",
        &write_timeout,
        "--sndbuf",
        "16KiB",
        "--topic",
        "hold-*:policy=block",
    ];
    let server = Standpipe::start(&flags)?;

    report.fault("two clients wait for each other's queues");
    healthy::alongside(&server, report, |report| {
        let mut pairs = Vec::new();
        for n in 0..many {
            let path = format!("/ws/hold-{n}");
            pairs.push(Sender::connect(&server, &path)?);
            pairs.push(Sender::connect(&server, &path)?);
        }
        check_resets(
            "each client of a pair that never reads is reset by the write rule",
            pairs,
            report,
        )
    })?;

    report.fault("a client waits for its own echo");
    healthy::alongside(&server, report, |report| {
        let clients = (0..many).map(|_| Sender::connect(&server, "/echo"));
        let clients = clients.collect::<Result<_, _>>()?;
        check_resets(
            "each echo client that never reads is reset by the write rule",
            clients,
            report,
        )
    })?;

    report.fault("a member with a full queue blocks its topic");
    healthy::alongside(&server, report, |report| blocked_topic(&server, report))?;
    server.check_end(report)?;

    report.fault("a shutdown while all writers are blocked");
    shut_down(many, report)
}

/// A client that sends whenever the server accepts bytes, and never reads.
struct Sender {
    client: Client,
    bytes: Vec<u8>,
    sent: usize,
}

impl Sender {
    fn connect(server: &Standpipe, path: &str) -> Result<Sender, Failure> {
        let mut client = Client::open_narrow(RCVBUF, server.address)?;
        client.upgrade(server.address, path)?;
        client.unblock()?;
        Ok(Sender {
            client,
            bytes: frame(BINARY, &[0; 60 << 10]),
            sent: 0,
        })
    }

    /// Sends as much as the server accepts now. Returns false if the connection has ended.
    fn push(&mut self) -> bool {
        loop {
            match self.client.try_bytes(&self.bytes[self.sent..]) {
                Ok(0) => return true,
                Ok(accepted) => self.sent = (self.sent + accepted) % self.bytes.len(),
                Err(_) => return false,
            }
        }
    }
}

/// Lets the clients send until each has been disconnected, which must happen soon after the write timeout.
fn check_resets(
    what: &'static str,
    clients: Vec<Sender>,
    report: &mut Report,
) -> Result<(), Failure> {
    let (count, began) = (clients.len(), Instant::now());
    let mut left = clients;
    while !left.is_empty() && began.elapsed() < WRITE_TIMEOUT * 2 + SLACK {
        left.retain_mut(Sender::push);
        // There is no event for room in a socket, so it is polled.
        std::thread::sleep(Duration::from_millis(10));
    }
    report.bad_inputs(count as u64);
    let took = left.is_empty().then(|| began.elapsed());
    report.check(
        what,
        left.is_empty(),
        format!(
            "{} of {count}, the last {} with a timeout of {WRITE_TIMEOUT:?}",
            count - left.len(),
            after(took)
        ),
    );
    Ok(())
}

/// A member that does not read makes its topic's publisher wait. Clients that join and leave must not wait.
fn blocked_topic(server: &Standpipe, report: &mut Report) -> Result<(), Failure> {
    let mut stalled = Client::open_narrow(RCVBUF, server.address)?;
    stalled.upgrade(server.address, "/ws/hold-room")?;
    let mut publisher = Sender::connect(server, "/ws/hold-room?echo=false")?;
    until("the publisher to wait for the full queue", || {
        publisher.push();
        is_blocked(server)
    })?;
    let began = Instant::now();
    for _ in 0..VISITS {
        Client::connect(server.address, "/ws/hold-room")?.close()?;
        server.get("/topics")?;
    }
    let still_blocked = is_blocked(server)?;
    report.check(
        "clients join and leave while the topic is blocked",
        still_blocked,
        format!(
            "{VISITS} in {:.1?}; still blocked: {still_blocked}",
            began.elapsed()
        ),
    );
    let unblocked = until("the publisher to continue", || {
        publisher.push();
        Ok(!is_blocked(server)?)
    });
    report.bad_inputs(1);
    report.check(
        "the write rule resets the member, and the publisher continues",
        unblocked.is_ok(),
        format!(
            "{:.1} s after it was blocked",
            began.elapsed().as_secs_f64()
        ),
    );
    Ok(())
}

/// Returns whether some publisher waits for room in a member's queue.
fn is_blocked(server: &Standpipe) -> Result<bool, Failure> {
    let clients = server.clients()?;
    let mut states = clients
        .iter()
        .filter_map(|client| client["reader"]["state"].as_str());
    Ok(states.any(|state| state.starts_with("waiting for room")))
}

/// Sends SIGTERM while every writer is blocked in the kernel.
fn shut_down(many: usize, report: &mut Report) -> Result<(), Failure> {
    let grace = format!("{}s", GRACE.as_secs());
    let flags = ["--shutdown-timeout", &grace, "--sndbuf", "16KiB"];
    let mut server = Standpipe::start(&flags)?;
    let mut clients = Vec::new();
    for _ in 0..many {
        clients.push(Sender::connect(&server, "/echo")?);
    }
    until("every writer to be blocked", || {
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
        // Polled, because a wait without a deadline could hang.
        std::thread::sleep(Duration::from_millis(10));
    }
    report.bad_inputs(many as u64);
    let expected = format!("drained 0, lost {many}");
    let reported = until("the report", || Ok(server.printed().contains(&expected)));
    report.check(
        "the server ends within shutdown_timeout and reports them as lost",
        ended.is_some_and(|(status, _)| status.success()) && reported.is_ok(),
        ended.map_or("the server did not end".into(), |(status, took)| {
            format!(
                "{status} after {:.1} s of {GRACE:?}: {expected}",
                took.as_secs_f64()
            )
        }),
    );
    Ok(())
}
