//! *drip*: readers that are slow, and readers that are too slow.
//!
//! The write rule: a socket that has refused bytes must accept the next 64 KiB within `write_timeout`. At the default
//! of 30 s this demands a little over 2 KiB/s. A shorter timeout demands proportionally more, and ends the drill
//! sooner.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::{Client, End};
use crate::frame::{BINARY, Got, PONG, frame};
use crate::report::{Report, after};
use crate::server::Standpipe;

const MESSAGE: usize = 8 << 10;

/// The default `write_timeout` in seconds, for which the rates are given.
const DEFAULT_TIMEOUT: u64 = 30;

/// A receive buffer small enough to make a slow reader visible.
const RCVBUF: usize = 32 << 10;

pub(crate) fn run(small: bool, report: &mut Report) -> Result<(), Failure> {
    // The full size takes longer than the timeout.
    let mib = if small { 2 } else { 12 };
    report.fault("slow readers, and readers that are too slow");
    let server = Standpipe::start(&[])?;
    let start = server.usage()?;
    let messages = (mib << 20) / MESSAGE;
    let limit = Duration::from_secs(mib as u64 * 4 * 3 + 30);
    let seen = drip(&server, messages, 256 << 10, limit)?;
    report.lost((messages - seen.correct) as u64);
    report.check(
        "a reader of 256 KiB/s is served to the end with default timeouts",
        seen.correct == messages && seen.wrong == 0 && seen.end.is_none(),
        format!(
            "{} of {messages} messages of 8 KiB in order, {} wrong, in {:.1} s",
            seen.correct,
            seen.wrong,
            seen.took.as_secs_f64()
        ),
    );
    server.check_released(start, report)?;
    server.check_end(report)?;

    let timeout = if small { 4 } else { 10 };
    let write_timeout = format!("{timeout}s");
    let server = Standpipe::start(&["--write-timeout", &write_timeout])?;
    let start = server.usage()?;
    let scaled = |rate: u64| rate * DEFAULT_TIMEOUT / timeout;
    let rate = scaled(1 << 10);
    let limit = Duration::from_secs(timeout * 4 + 10);
    let seen = drip(&server, usize::MAX, rate as usize, limit)?;
    // The reset may take twice the timeout, because the kernel may accept one more block of data first.
    let due = Duration::from_secs(timeout)..Duration::from_secs(2 * timeout + 5);
    report.check(
        "a reader of 1 KiB/s is reset by the write rule and sees the end",
        seen.reset.is_some_and(|reset| due.contains(&reset)) && seen.end.is_some(),
        format!(
            "{:.1} KiB/s with {timeout} s: reset {}",
            rate as f64 / 1024.0,
            after(seen.reset)
        ),
    );
    // Five times the demanded rate, because the kernel reports free space in large steps.
    let rate = scaled(10 << 10);
    let messages = (rate * timeout * 3) as usize / MESSAGE;
    let seen = drip(&server, messages, rate as usize, limit * 3)?;
    report.lost((messages - seen.correct) as u64);
    report.check(
        "a reader of 10 KiB/s is served for three timeouts",
        seen.correct == messages && seen.wrong == 0 && seen.end.is_none(),
        format!(
            "{:.0} KiB/s with {timeout} s: {} of {messages} messages, in {:.1} s",
            rate as f64 / 1024.0,
            seen.correct,
            seen.took.as_secs_f64()
        ),
    );
    server.check_released(start, report)?;
    server.check_end(report)
}

struct Seen {
    correct: usize,
    wrong: usize,
    /// The reading side may see the end of the stream instead of a reset, because the writing side has seen the reset.
    end: Option<End>,
    /// How long after the start the log reported that the write rule had reset the client.
    reset: Option<Duration>,
    took: Duration,
}

/// Sends numbered messages to `/echo` as fast as the server accepts them, and reads the echoes at `rate` bytes per
/// second.
fn drip(
    server: &Standpipe,
    messages: usize,
    rate: usize,
    limit: Duration,
) -> Result<Seen, Failure> {
    let mut client = Client::open_narrow(RCVBUF, server.address)?;
    client.upgrade(server.address, "/echo")?;
    let mut sender = client.write_handle()?;
    let writer = thread::spawn(move || {
        for n in 0..messages {
            let mut message = vec![0; MESSAGE];
            message[..8].copy_from_slice(&(n as u64).to_be_bytes());
            // An error means that the client was reset, which the reading side reports.
            if sender.write_all(&frame(BINARY, &message)).is_err() {
                return;
            }
        }
    });
    let mut seen = Seen {
        correct: 0,
        wrong: 0,
        end: None,
        reset: None,
        took: Duration::ZERO,
    };
    let lines = server.log_from(0).len();
    let is_reset = |line: &String| line.contains("reset: write_timeout passed");
    let began = Instant::now();
    let mut read = 0;
    while began.elapsed() < limit && seen.correct + seen.wrong < messages && seen.end.is_none() {
        if seen.reset.is_none() && server.log_from(lines).iter().any(is_reset) {
            seen.reset = Some(began.elapsed());
        }
        let due = match seen.reset {
            None => (began.elapsed().as_secs_f64() * rate as f64) as usize,
            // Read what the kernel still holds, because the end comes after it.
            Some(_) => read + (1 << 20),
        };
        if due > read {
            let mut number = seen.correct as u64;
            let mut pings = Vec::new();
            seen.end = client.read_briefly(due - read, |got| match got {
                Got::Message(message)
                    if message.len() == MESSAGE && message[..8] == number.to_be_bytes() =>
                {
                    number += 1;
                    seen.correct += 1;
                }
                Got::Ping(payload) => pings.push(payload),
                _ => seen.wrong += 1,
            })?;
            read = due;
            // The server pings only after a silence, so the writing side has no frame in progress then.
            for payload in pings {
                client.send(PONG, &payload)?;
            }
        }
        // The slow pace is what the drill is about.
        thread::sleep(Duration::from_millis(60));
    }
    seen.took = began.elapsed();
    // Wakes the writing thread.
    client.end();
    client.reset();
    writer.join().map_err(|_| "the writing thread panicked")?;
    Ok(seen)
}
