//! Learn: five designs that look right, and how each of them fails. Every one was shipped in a real project.
//! Run:   cargo run --example broken    runs all five. With a name, one:  cargo run --example broken two_writers
//! Watch: each prints what it waited for and did not get. The threads that are stuck end with the process.
//! Try next: read the first lines of a file, predict the output, and run it. Then read the code that *Right* names.
//!
//! ```text
//! == mutex_socket
//! pushed within a second: false
//! after the client spoke: news
//! == two_writers
//! the client got no message, but: UTF-8 encoding error: invalid utf-8 sequence of 1 bytes from index 50
//! == unbounded_queue
//! unbounded: after 10000 messages, send has never waited; the queue holds 36148 KiB
//! bounded(64): after 1027 messages, send waits; the queue holds 256 KiB
//! == hub_waits_for_slowest
//! the fast member received 2 of 10 messages, and then nothing for a second
//! a new member joined within a second: false
//! once the slow member reads, the fast member has received 10
//! == join_before_drop
//! join, then drop: ended within a second: false
//! drop, then join, but a clone is left: false
//! drop, then join: true
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{env, error::Error, io, thread, time::Duration};

use crossbeam_channel::bounded;

mod hub_waits_for_slowest;
mod join_before_drop;
mod mutex_socket;
mod two_writers;
mod unbounded_queue;

type Outcome = Result<(), Box<dyn Error>>;
type Design = (&'static str, fn() -> Outcome);

const DESIGNS: [Design; 5] = [
    ("mutex_socket", mutex_socket::run),
    ("two_writers", two_writers::run),
    ("unbounded_queue", unbounded_queue::run),
    ("hub_waits_for_slowest", hub_waits_for_slowest::run),
    ("join_before_drop", join_before_drop::run),
];

fn main() -> Outcome {
    let only = env::args().nth(1);
    let chosen = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let designs: Vec<Design> = DESIGNS
        .into_iter()
        .filter(|(name, _)| chosen(name))
        .collect();
    if designs.is_empty() {
        return Err(format!("the designs are {:?}", DESIGNS.map(|(name, _)| name)).into());
    }
    for (name, run) in designs {
        println!("== {name}");
        run()?;
    }
    Ok(())
}

/// A step that takes microseconds and has not ended after this time counts as a deadlock.
const LONG: Duration = Duration::from_secs(1);

/// Runs `work` on its own thread, and returns its result, or `None` if it has not ended after [`LONG`].
fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Option<T>> {
    let (done, result) = bounded(1);
    thread::Builder::new().spawn(move || done.send(work()))?;
    Ok(result.recv_timeout(LONG).ok())
}
