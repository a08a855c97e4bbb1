//! Learn: workers behind a bounded queue, answers out of order, cancellation when a client leaves, and a shutdown that
//!        first finishes what is in flight.
//! Run:   cargo run --example rpc    In a second terminal:  cargo run -- client ws://127.0.0.1:9001/
//! Watch: `1 sleep 5000` and then `2 square 7`: the second answer comes first. During another `sleep`, press Ctrl-C in
//!        the server's terminal: new requests are refused, the answer still comes, and then the server ends.
//! Try next: end the client during a `sleep`. The worker prints that the job is cancelled.
//!
//! ```text
//! client ──▶ reader ──try_send──▶ 16 jobs ──▶ 4 workers ──try_send──▶ queue of the client ──▶ client
//!              └─ waits for requests, for the shutdown, and then for the end of its jobs
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::convert::Infallible;
use std::time::Duration;
use std::{env, error::Error, thread};

use standpipe::crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never, select};
use standpipe::{Config, Connection, Handler, Interest, Message, Outbox, Server, TryRecvError};

const WORKERS: usize = 4;
const GRACE: Duration = Duration::from_secs(10);

type Failure = Box<dyn Error + Send + Sync>;

/// A request such as `17 sleep 500` or `18 square 7`.
struct Job {
    request: Message,
    outbox: Outbox,
    /// Dropped with the job. The handler waits for the last one.
    _in_flight: Sender<Infallible>,
}

struct Rpc(Sender<Job>);

impl Handler for Rpc {
    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        let (in_flight, all_done) = bounded(0);
        let mut in_flight = Some(in_flight); // `None` when no more work is accepted.
        let mut draining = conn.draining().clone();
        loop {
            match conn.try_recv() {
                Ok(Some(request)) => self.accept(conn, request, in_flight.as_ref())?,
                Ok(None) => return Ok(()),
                Err(TryRecvError::Empty) => select! {
                    recv(conn.ready(Interest::READ)?) -> _ => {}
                    recv(draining) -> _ => (in_flight, draining) = (None, never()),
                    recv(all_done) -> _ => return Ok(()), // Closes with 1001 after the last answer.
                },
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Rpc {
    /// Gives a request to the workers, or refuses it.
    fn accept(
        &self,
        conn: &Connection,
        request: Message,
        in_flight: Option<&Sender<Infallible>>,
    ) -> Result<(), Failure> {
        let id = request
            .to_text()?
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        let Some(in_flight) = in_flight.cloned() else {
            return Ok(conn.send(format!("{id} error draining"))?);
        };
        let job = Job {
            request,
            outbox: conn.outbox(),
            _in_flight: in_flight,
        };
        if self.0.try_send(job).is_err() {
            conn.send(format!("{id} error busy"))?;
        }
        Ok(())
    }
}

/// Does one job after the other, until there is no handler left that could send one.
fn work(jobs: &Receiver<Job>) {
    for Job {
        request,
        outbox,
        _in_flight,
    } in jobs
    {
        let words: Vec<&str> = request.to_text().unwrap_or_default().split(' ').collect();
        let answer = match words[..] {
            _ if !outbox.is_open() => Err("cancelled"),
            [_, "square", n] => square(n).ok_or("argument"),
            [_, "sleep", ms] => sleep(ms, &outbox),
            _ => Err("what?"),
        };
        let id = words.first().unwrap_or(&"");
        let answer = match answer {
            Err("cancelled") => {
                println!("cancelled {id}");
                continue;
            }
            Ok(result) => format!("{id} ok {result}"),
            Err(error) => format!("{id} error {error}"),
        };
        // A client that does not read its answers must not hold up the workers.
        if outbox.try_send(answer).is_err() {
            outbox.terminate();
        }
    }
}

fn square(n: &str) -> Option<u64> {
    let n: u64 = n.parse().ok()?;
    n.checked_mul(n)
}

/// Stands for a long job. It stops as soon as its client has left.
fn sleep(ms: &str, outbox: &Outbox) -> Result<u64, &'static str> {
    let ms = ms.parse().map_err(|_| "argument")?;
    match outbox.closed().recv_timeout(Duration::from_millis(ms)) {
        Err(RecvTimeoutError::Timeout) => Ok(ms),
        _ => Err("cancelled"),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let server = Server::bind(address, Config::default())?;
    let handle = server.handle();
    println!(
        "rpc on ws://{}/",
        handle.local_addr().ok_or("no TCP address")?
    );
    ctrlc::set_handler(move || handle.drain(GRACE))?;
    let (sender, jobs) = bounded(16);
    let report = thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(&jobs));
        }
        // The server drops the handler, and with it the last sender, so the workers end.
        server.serve(Rpc(sender))
    })?;
    println!("{report}");
    Ok(())
}
