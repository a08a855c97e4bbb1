//! Learn: five designs that look right, and what happens to each. Every one of them was shipped by somebody.
//! Run:   cargo run --example broken    shows all; with a name, one: cargo run --example broken two_writers
//! Watch: each says what it waited for, and that it did not come. The threads that are stuck end with the process.
//! Try next: read a file's four first lines, guess what will be printed, run it. Then read what stands under *Right*.
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

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

/// What a deadlock is here: a whole second for something that takes microseconds.
const LONG: Duration = Duration::from_secs(1);

/// Does `work` on a thread of its own, and waits for it, but not for ever. `None`: it is stuck.
fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Option<T>> {
    let (done, result) = bounded(1);
    thread::Builder::new().spawn(move || done.send(work()))?;
    Ok(result.recv_timeout(LONG).ok())
}
