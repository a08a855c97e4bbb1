//! *tls*: a fan-out over TLS with members that never read, and clients that send and receive large messages at the same
//! time while both sides change their keys.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use standpipe::rustls::SupportedProtocolVersion;

use crate::Failure;
use crate::client::{Client, End, PATIENCE};
use crate::frame::{BINARY, Got, PONG, frame};
use crate::report::{Report, after};
use crate::server::{Standpipe, until};
use crate::siege::slow_consumer_port;
use crate::stream::{TLS_FLAGS, TLS12, TLS13};

const TOPIC: &str = "/ws/tls";
const MEMBERS: usize = 1000;
const NEVER_READ: usize = 10;
/// The members of these that read again after their disconnection.
const READ_ON: usize = 5;
const RCVBUF: usize = 4096;
const MESSAGE: usize = 4 << 10;
/// As many messages as fill the queue of a member and the buffers of its socket, and then more.
const MESSAGES: u64 = 450;
/// The publisher is at most this many messages ahead of the slowest member that reads, so none of these is slow.
const AHEAD: u64 = 16;
const CLOSE: Duration = Duration::from_secs(3);
const SLACK: Duration = Duration::from_secs(5);

const LARGE: usize = 1 << 20;
/// A client changes the keys after this many messages.
const PER_KEY: usize = 3;

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    let close = format!("{}s", CLOSE.as_secs());
    // At `-v`, every disconnected subscriber has a line of its own.
    let flags = ["--close-timeout", &close, "--max-message", "2MiB", "-v"];
    let server = Standpipe::start(&[&flags[..], &TLS_FLAGS].concat())?;
    let start = server.usage()?;
    fan_out(&server, if small { 1 } else { 4 }, report)?;
    server.check_released(start, report)?;
    let messages = if small { 12 } else { 100 };
    report.fault("1 MiB messages in both directions at the same time, with key updates");
    for (name, version, updates) in [
        ("TLS 1.3 with key updates", TLS13, true),
        ("TLS 1.3", TLS13, false),
        ("TLS 1.2", TLS12, false),
    ] {
        full_duplex(&server, name, version, updates, messages, report)?;
    }
    server.check_released(start, report)?;
    server.check_end(report)
}

/// A member that must receive every message.
struct Member {
    client: Client,
    received: u64,
    wrong: Option<String>,
}

impl Member {
    /// Reads what has arrived. Returns whether there was anything.
    fn read(&mut self) -> bool {
        let before = self.received;
        let Member {
            client,
            received,
            wrong,
        } = self;
        let mut pings = Vec::new();
        let end = client.read_available(usize::MAX, |got| match got {
            Got::Message(bytes) if bytes == message(*received) => *received += 1,
            Got::Ping(payload) => pings.push(payload),
            Got::Message(bytes) => {
                wrong.get_or_insert(format!("{} bytes, not message {received}", bytes.len()));
            }
            other => *wrong = Some(format!("{other:?}")),
        });
        if let Some(end) = end {
            wrong.get_or_insert(format!("{end:?} after {received} messages"));
        }
        for payload in pings {
            // An error shows at the next read.
            let _ = client.try_bytes(&frame(PONG, &payload));
        }
        self.received > before
    }
}

/// A member that never reads, or only after its disconnection.
struct Stalled {
    client: Option<Client>,
    port: u16,
    reads_on: bool,
    disconnected: Option<Instant>,
    code: Option<u16>,
    /// How long after its disconnection it was reset.
    gone: Option<Duration>,
}

impl Stalled {
    fn look(&mut self) {
        let Some(since) = self.disconnected else {
            return;
        };
        let Some(mut client) = self.client.take() else {
            return;
        };
        let code = &mut self.code;
        let limit = if self.reads_on { usize::MAX } else { 0 };
        let end = client.read_available(limit, |got| {
            if let Got::Close(with) = got {
                *code = Some(with);
            }
        });
        // The reset is seen without reading.
        let end = end.or(client.was_reset().then_some(End::Reset));
        match end {
            Some(_) => self.gone = Some(since.elapsed()),
            None => self.client = Some(client),
        }
    }
}

/// A message that can be recognized.
fn message(number: u64) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().repeat(MESSAGE / 8);
    bytes[MESSAGE - 1] ^= 1;
    bytes
}

/// Publishes to a topic of many members, of which some never read. The others must have every message.
fn fan_out(server: &Standpipe, rounds: u64, report: &mut Report) -> Result<(), Failure> {
    report.fault("ten of 1,000 members never read");
    let to = server.address;
    let mut members = Vec::new();
    for _ in 0..MEMBERS - NEVER_READ {
        let client = Client::connect(to, TOPIC)?;
        client.unblock()?;
        members.push(Member {
            client,
            received: 0,
            wrong: None,
        });
    }
    let mut stalled = Vec::new();
    for n in 0..NEVER_READ {
        let mut client = Client::open_narrow(RCVBUF, to)?;
        client.upgrade(to, TOPIC)?;
        client.unblock()?;
        stalled.push(Stalled {
            port: client.port,
            client: Some(client),
            reads_on: n < READ_ON,
            disconnected: None,
            code: None,
            gone: None,
        });
    }
    let mut publisher = Client::connect(to, &format!("{TOPIC}?echo=false"))?;
    let all = MEMBERS as u64 + 1;
    until("all members to be in the topic", || {
        Ok(server.members()? == all)
    })?;
    report.held(MEMBERS + 1);

    let count = MESSAGES * rounds;
    let (mut published, mut lines) = (0, 0);
    let began = Instant::now();
    let mut last_progress = Instant::now();
    let slowest = |members: &[Member]| members.iter().map(|one| one.received).min();
    loop {
        let slowest = slowest(&members).unwrap_or_default();
        let has_all = slowest == count;
        let over = has_all && stalled.iter().all(|one| one.gone.is_some());
        let limit = if has_all { CLOSE + SLACK } else { PATIENCE };
        if over || last_progress.elapsed() > limit || members.iter().any(|one| one.wrong.is_some())
        {
            break;
        }
        while published < count && published < slowest + AHEAD {
            publisher.send(BINARY, &message(published))?;
            published += 1;
        }
        let mut progress = false;
        for member in &mut members {
            progress |= member.read();
        }
        let logged = server.log_from(lines);
        lines += logged.len();
        let ports: HashSet<u16> = logged
            .iter()
            .filter_map(|line| slow_consumer_port(line))
            .collect();
        for one in &mut stalled {
            if ports.contains(&one.port) {
                one.disconnected.get_or_insert_with(Instant::now);
            }
            one.look();
        }
        if progress {
            last_progress = Instant::now();
        } else {
            // This cannot be an event: a thousand sockets are read by this thread, which waits for none of them.
            thread::sleep(Duration::from_millis(1));
        }
    }
    let took = began.elapsed();

    let received: u64 = members.iter().map(|one| one.received).sum();
    let expected = count * members.len() as u64;
    let wrong: Vec<&String> = members
        .iter()
        .filter_map(|one| one.wrong.as_ref())
        .collect();
    report.lost(expected.saturating_sub(received));
    report.check(
        "members that read have every message, in order and once",
        received == expected && wrong.is_empty(),
        format!(
            "{count} messages × {} = {received} of {expected} in {:.1} s, {} wrong{}",
            members.len(),
            took.as_secs_f64(),
            wrong.len(),
            wrong
                .first()
                .map_or(String::new(), |first| format!(": {first}"))
        ),
    );
    let disconnected = stalled.iter().filter(|one| one.disconnected.is_some());
    let disconnected = disconnected.count();
    report.check(
        "members that never read are disconnected with 4008",
        disconnected == NEVER_READ,
        format!("{disconnected} of {NEVER_READ}"),
    );
    let saw = stalled.iter().filter(|one| one.code == Some(4008)).count();
    report.check(
        "those that read again see 4008",
        saw == READ_ON,
        format!("{saw} of {READ_ON}"),
    );
    let gone: Vec<_> = stalled.iter().filter_map(|one| one.gone).collect();
    report.check(
        "the others are reset after close_timeout",
        gone.len() == NEVER_READ && gone.iter().all(|gone| *gone < CLOSE + SLACK),
        format!("the last {}", after(gone.iter().max().copied())),
    );
    Ok(())
}

/// Each client sends large messages and receives their echoes, as fast as the socket allows. None waits for an echo
/// before it sends.
fn full_duplex(
    server: &Standpipe,
    name: &str,
    version: &'static SupportedProtocolVersion,
    updates: bool,
    messages: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    const CLIENTS: usize = 4;
    let began = Instant::now();
    let results: Vec<Result<(usize, usize), Failure>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|n| {
                scope.spawn(move || {
                    let mut client = Client::open_version(version, server.address)?;
                    client.upgrade(server.address, "/echo")?;
                    both_directions(client, n as u8, updates, messages)
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|joined| joined.unwrap_or_else(|_| Err("a client panicked".into())))
            .collect()
    });
    let (mut echoed, mut updated, mut wrong) = (0, 0, String::new());
    for result in results {
        match result {
            Ok((messages, updates)) => {
                echoed += messages;
                updated += updates;
            }
            Err(error) => wrong = format!("; {error}"),
        }
    }
    report.lost((CLIENTS * messages - echoed) as u64);
    report.check(
        name,
        echoed == CLIENTS * messages && wrong.is_empty(),
        format!(
            "{echoed} of {} messages came back in {:.1} s, {updated} key updates{wrong}",
            CLIENTS * messages,
            began.elapsed().as_secs_f64()
        ),
    );
    Ok(())
}

/// Sends and receives on a non-blocking socket. Returns the number of echoes and of key updates.
fn both_directions(
    mut client: Client,
    seed: u8,
    updates: bool,
    messages: usize,
) -> Result<(usize, usize), Failure> {
    client.unblock()?;
    let payload = |number: usize| vec![seed ^ number as u8; LARGE];
    let (mut sent, mut received, mut updated) = (0, 0, 0);
    // The frames that are being sent, and how much of them the session has accepted.
    let (mut bytes, mut at) = (Vec::new(), 0);
    let mut last_progress = Instant::now();
    while received < messages {
        if at == bytes.len() && sent < messages {
            (bytes, at) = (frame(BINARY, &payload(sent)), 0);
            sent += 1;
            if updates && sent % PER_KEY == 0 {
                client.update_keys()?;
                updated += 1;
            }
        }
        let accepted = client.try_bytes(&bytes[at..])?;
        at += accepted;
        let before = received;
        let (mut wrong, mut pings) = (None, Vec::new());
        let end = client.read_available(LARGE, |got| match got {
            Got::Message(bytes) if bytes == payload(received) => received += 1,
            Got::Ping(payload) => pings.push(payload),
            Got::Message(bytes) => wrong = Some(format!("{} bytes", bytes.len())),
            other => wrong = Some(format!("{other:?}")),
        });
        for payload in pings {
            // Behind the frame that is being sent.
            bytes.extend(frame(PONG, &payload));
        }
        if let Some(wrong) = wrong {
            Err(format!("expected message {received}, got {wrong}"))?;
        }
        if let Some(end) = end {
            Err(format!("{end:?} after {received} of {messages} messages"))?;
        }
        if accepted > 0 || received > before {
            last_progress = Instant::now();
        } else if last_progress.elapsed() > PATIENCE {
            Err(format!(
                "no progress for {PATIENCE:?} at message {received}"
            ))?;
        } else {
            // This cannot be an event: this thread both reads and writes the socket, and waits for neither.
            thread::sleep(Duration::from_millis(1));
        }
    }
    client.end();
    Ok((received, updated))
}
