//! A market data feed: a snapshot, then the updates, conflated by symbol.
//!
//! Learn: the server publishes 10,000 prices per second. A reader whose connection carries 800 per second receives
//!        fewer of them, but current ones.
//! Run:   cargo run --release --example live_feed    It prints `live_feed on http://127.0.0.1:9001/`. Open that page
//!        and add a slow reader there.
//! Watch: at 20 KiB/s, the oldest of the 500 prices that the slow reader shows is about a second old. The symbols take
//!        turns, and each message carries the newest price of its symbol.
//! Try next: choose `drop-newest`: the oldest price of the slow reader gets older and older. Choose `block`: all
//!        readers become slow. Then start the example with the arguments `127.0.0.1:9001 1000 20`, which are the
//!        address, the number of symbols, and the updates of each symbol per second.
//!
//! ```text
//!                    key = symbol    ┌─▶ one slot per symbol, with its newest price ─▶ writer of 1
//! generator ─▶ book ─────────────────┤
//!               │                    └─▶ one slot per symbol, with its newest price ─▶ writer of 2
//!               └─▶ snapshot, for each new reader
//! ```
//! The topic of the quotes *conflates* by symbol, because a price is a state and only the newest one counts. The topic
//! of the trades *drops the oldest*. Each trade is an event with a number, so that a reader sees how many it has
//! missed.
//!
//! `book.rs` defines the messages and how gaps are handled. `latest_quotes.rs` shows how a client follows the feed.
#![allow(clippy::print_stdout, reason = "an example prints what happens")]

mod book;
mod command;
mod feed;
mod generator;
mod latest_quotes;
mod market;
mod schedule;
mod slow_reader;
mod slow_readers;
mod throttle;
#[path = "../web/mod.rs"]
mod web;

use std::{env, error::Error, thread, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use feed::{ANSWERS, Feed, TRADES};
use standpipe::{Config, Connection, Handler, Rate, Reply, Request, Server};

/// The topics that a client may request, for example with `/ws?topics=quotes,trades`.
const TOPICS: [&str; 3] = ["quotes", "trades", "status"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    let mut number = |max: u32, default: u32| match arguments.next() {
        None => Ok(default),
        Some(argument) => match argument.parse() {
            Ok(number) if (1..=max).contains(&number) => Ok(number),
            _ => Err(format!("{argument:?} is not a number from 1 to {max}")),
        },
    };
    let symbols = number(book::SYMBOLS, 500)? as usize;
    let rate = number(100, 20)?;

    let server = Server::bind(address, config(symbols))?;
    let handle = server.handle();
    println!(
        "live_feed on http://{}/",
        handle.local_addr().ok_or("no TCP address")?
    );
    let stop = handle.clone();
    ctrlc::set_handler(move || stop.shutdown())?;

    let (to_generator, requests) = bounded(4);
    let feed = Feed::new(symbols, rate, handle.clone(), to_generator)?;
    let report = thread::scope(|scope| {
        // Nothing is sent on this channel. Dropping `running` ends the threads.
        let (running, ended) = bounded(0);
        let feed = &feed;
        let generator = thread::Builder::new().name("generator".into());
        let generator_ended = ended.clone();
        generator.spawn_scoped(scope, move || {
            generator::run(feed, &requests, &generator_ended, handle);
        })?;
        let status = thread::Builder::new().name("status".into());
        status.spawn_scoped(scope, move || publish_status(feed, &ended))?;
        let report = server.serve(feed);
        drop(running);
        feed.readers.end();
        report.map_err(Box::<dyn Error>::from)
    })?;
    println!("{report}");
    Ok(())
}

fn config(symbols: usize) -> Config {
    // Per second, a page sends one ping and asks twice for the prices of a slow reader. A client that exceeds this rate
    // is closed with 1008.
    let rate = Rate::per_second(10).burst(40);
    Config::default()
        .rate(Some(rate))
        // The longest command has 25 bytes. A message of more than 256 bytes is rejected with 1009 before its payload
        // is read.
        .max_message(256)
        // At 10,000 messages per second for each reader, the processors are the limit long before memory is.
        .max_clients(Some(256))
        // Room for everything that the topics may queue, and for a few answers.
        .queue(symbols + TRADES + ANSWERS)
        // Messages in the kernel's send buffer cannot be replaced and get old there: at 20 KiB/s, 2 KiB take 100 ms.
        // Therefore the kernel takes at most 2 KiB beyond what fits into the peer's window.
        .unsent(2 << 10)
        .sndbuf(Some(16 << 10))
}

/// Publishes the status twice per second.
fn publish_status(feed: &Feed, ended: &Receiver<()>) {
    while ended.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
        feed.publish_status();
    }
}

impl Handler for &Feed {
    fn request(&self, request: &mut Request) -> Reply {
        match request.path() {
            "/" => web::page(
                "Live feed",
                include_str!("style.css"),
                include_str!("body.html"),
                include_str!("script.js"),
            ),
            "/ws" if topics(request).all(|topic| TOPICS.contains(&topic)) => Reply::upgrade(),
            "/ws" => Reply::text(
                400,
                "topics are quotes, trades and status, as in /ws?topics=quotes,trades\n",
            ),
            _ => Reply::status(404),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        let _subscriptions = self.subscribe(conn)?;
        self.readers.attach(conn.peer(), conn.outbox());
        while let Some(message) = conn.recv()? {
            conn.send(self.answer(conn, &message))?;
        }
        Ok(())
    }
}

/// Returns the topics that a client requests. The default is quotes and trades.
fn topics(request: &Request) -> impl Iterator<Item = &str> {
    let topics = request.query("topics").unwrap_or("quotes,trades");
    topics.split(',')
}
