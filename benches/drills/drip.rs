//! *drip*: readers that are slow, and those that are too slow.
//!
//! The write rule: a socket that has refused bytes takes the next 64 KiB within `write_timeout`. At the default of 30 s
//! that asks for a little over 2 KiB/s; a shorter clock asks for more in proportion, and ends sooner.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::{Client, End};
use crate::frame::{BINARY, Got, PONG, frame};
use crate::report::{Report, after};
use crate::server::Standpipe;

const MESSAGE: usize = 8 << 10;

/// The default, which the rates are written for.
const DEFAULT_CLOCK: u64 = 30;

/// Narrow enough for a slow reader to be seen as one.
const RCVBUF: usize = 32 << 10;

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    // At full size longer than the clock is.
    let mib = if small { 2 } else { 12 };
    report.fault("slow readers, and those that are too slow");
    let server = Standpipe::start(&[])?;
    let start = server.has()?;
    let messages = (mib << 20) / MESSAGE;
    let limit = Duration::from_secs(mib as u64 * 4 * 3 + 30);
    let seen = drip(&server, messages, 256 << 10, limit)?;
    report.lost((messages - seen.whole) as u64);
    report.check(
        "a reader of 256 KiB/s is served to the end at the default clocks",
        seen.whole == messages && seen.wrong == 0 && seen.end.is_none(),
        format!(
            "{} of {messages} messages of 8 KiB in order, {} wrong, in {:.1} s",
            seen.whole,
            seen.wrong,
            seen.took.as_secs_f64()
        ),
    );
    server.check_back(start, report)?;
    server.check_end(report)?;

    let clock = if small { 4 } else { 10 };
    let write_timeout = format!("{clock}s");
    let server = Standpipe::start(&["--write-timeout", &write_timeout])?;
    let start = server.has()?;
    let scaled = |rate: u64| rate * DEFAULT_CLOCK / clock;
    let rate = scaled(1 << 10);
    let limit = Duration::from_secs(clock * 4 + 10);
    let seen = drip(&server, usize::MAX, rate as usize, limit)?;
    // A second clock, in case the kernel has taken one more lump.
    let due = Duration::from_secs(clock)..Duration::from_secs(2 * clock + 5);
    report.check(
        "a reader of 1 KiB/s is cut by the write rule, and sees an end",
        seen.cut.is_some_and(|cut| due.contains(&cut)) && seen.end.is_some(),
        format!(
            "{:.1} KiB/s at {clock} s: reset {}",
            rate as f64 / 1024.0,
            after(seen.cut)
        ),
    );
    // Five times what the rule asks for: the kernel passes room on in lumps.
    let rate = scaled(10 << 10);
    let messages = (rate * clock * 3) as usize / MESSAGE;
    let seen = drip(&server, messages, rate as usize, limit * 3)?;
    report.lost((messages - seen.whole) as u64);
    report.check(
        "a reader of 10 KiB/s is served for three times as long",
        seen.whole == messages && seen.wrong == 0 && seen.end.is_none(),
        format!(
            "{:.0} KiB/s at {clock} s: {} of {messages} messages, in {:.1} s",
            rate as f64 / 1024.0,
            seen.whole,
            seen.took.as_secs_f64()
        ),
    );
    server.check_back(start, report)?;
    server.check_end(report)
}

struct Seen {
    whole: usize,
    wrong: usize,
    /// With two halves one of them learns of a reset, and the other finds the end of the stream.
    end: Option<End>,
    /// The log said so long after the beginning that the write rule had cut it.
    cut: Option<Duration>,
    took: Duration,
}

/// Sends numbered messages to `/echo` as fast as they are taken, and reads what comes back at `rate` bytes a second.
fn drip(
    server: &Standpipe,
    messages: usize,
    rate: usize,
    limit: Duration,
) -> Result<Seen, Failure> {
    let mut client = Client::open_narrow(RCVBUF, server.address)?;
    client.upgrade(server.address, "/echo")?;
    let mut pen = client.pen()?;
    let writer = thread::spawn(move || {
        for n in 0..messages {
            let mut message = vec![0; MESSAGE];
            message[..8].copy_from_slice(&(n as u64).to_be_bytes());
            // Failing means that the client is cut, which its reading half tells.
            if pen.write_all(&frame(BINARY, &message)).is_err() {
                return;
            }
        }
    });
    let mut seen = Seen {
        whole: 0,
        wrong: 0,
        end: None,
        cut: None,
        took: Duration::ZERO,
    };
    let lines = server.log_from(0).len();
    let is_cut = |line: &String| line.contains("reset: write_timeout passed");
    let began = Instant::now();
    let mut read = 0;
    while began.elapsed() < limit && seen.whole + seen.wrong < messages && seen.end.is_none() {
        if seen.cut.is_none() && server.log_from(lines).iter().any(is_cut) {
            seen.cut = Some(began.elapsed());
        }
        let due = match seen.cut {
            None => (began.elapsed().as_secs_f64() * rate as f64) as usize,
            // What the kernel still has for it hides the end.
            Some(_) => read + (1 << 20),
        };
        if due > read {
            let mut number = seen.whole as u64;
            let mut pings = Vec::new();
            seen.end = client.glance(due - read, |got| match got {
                Got::Message(message)
                    if message.len() == MESSAGE && message[..8] == number.to_be_bytes() =>
                {
                    number += 1;
                    seen.whole += 1;
                }
                Got::Ping(payload) => pings.push(payload),
                _ => seen.wrong += 1,
            })?;
            read = due;
            // A ping comes when nothing has for long: then the other half has no frame in progress.
            for payload in pings {
                client.send(PONG, &payload)?;
            }
        }
        // This is the slowness itself.
        thread::sleep(Duration::from_millis(60));
    }
    seen.took = began.elapsed();
    // Wakes the writing half.
    client.end();
    client.reset();
    writer.join().map_err(|_| "the writing half panicked")?;
    Ok(seen)
}
