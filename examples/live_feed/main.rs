//! Learn: ten thousand prices a second, and a reader whose line takes eight hundred: it gets fewer of them, and new ones.
//! Run:   cargo run --release --example live_feed    then open http://127.0.0.1:9001/ and add a slow reader there
//! Watch: at 20 KiB/s the oldest of the 500 prices it shows is a second old: they come in turn, each the newest there is.
//! Try next: choose `drop-newest`, and its oldest price is from long ago; `block`, and everybody is slow. Then start it with
//!        `127.0.0.1:9001 1000 20`: the arguments are an address, symbols, and updates of each in a second.
//!
//! ```text
//!                    key = symbol   ┌─▶ a place for each symbol, the newest price in it ─▶ writer of 1
//! generator ─▶ book ─────────────────┤
//!               └─snapshot─▶ (who    └─▶ a place for each symbol, the newest price in it ─▶ writer of 2
//!                             comes)
//! ```
//! Quotes *conflate* by symbol: a price is a state, and of a state only the newest counts. Trades *drop the oldest*: each
//! is an event, and it has a number, so that a reader sees how many it has missed.
//!
//! What a client is sent, and the rule for gaps, are in `book.rs`; how a client follows it, in `latest_quotes.rs`.
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

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

/// The topics a client may ask for, in `/ws?topics=quotes,trades`.
const TOPICS: [&str; 3] = ["quotes", "trades", "status"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    let mut number = |most: u32, default: u32| match arguments.next() {
        None => Ok(default),
        Some(given) => match given.parse() {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => Err(format!("{given:?} is no number from 1 to {most}")),
        },
    };
    let symbols = number(book::SYMBOLS, 500)? as usize;
    let rate = number(100, 20)?;

    let server = Server::bind(address, config(symbols))?;
    let handle = server.handle();
    println!("live_feed on http://{}/", handle.local_addr());
    let stop = handle.clone();
    ctrlc::set_handler(move || stop.shutdown())?;

    let (give, orders) = bounded(4);
    let feed = Feed::new(symbols, rate, handle.clone(), give)?;
    let report = thread::scope(|scope| {
        // Nothing is ever sent on it: its end is the message.
        let (running, ended) = bounded(0);
        let feed = &feed;
        let generator = thread::Builder::new().name("generator".into());
        let until = ended.clone();
        generator.spawn_scoped(scope, move || {
            generator::run(feed, &orders, &until, handle);
        })?;
        let status = thread::Builder::new().name("status".into());
        status.spawn_scoped(scope, move || tell(feed, &ended))?;
        let report = server.serve(feed);
        drop(running);
        feed.readers.end();
        report.map_err(Box::<dyn Error>::from)
    })?;
    println!("{report}");
    Ok(())
}

fn config(symbols: usize) -> Config {
    // A page pings once a second and looks at a slow reader twice. Beyond that it is a flood, and is closed with 1008.
    let rate = Rate {
        per_second: 10,
        burst: 40,
    };
    Config::default()
        .rate(Some(rate))
        // The longest command has 25 bytes; beyond 256 it is closed with 1009 before it is read whole.
        .max_message(256)
        // A reader costs what its messages cost: at 10,000 a second processors have their fill long before memory has.
        .max_clients(Some(256))
        // Places for all that the topics may have waiting, and a few for answers.
        .queue(symbols + TRADES + ANSWERS)
        // What the kernel has taken cannot be replaced any more, and grows old there: at 20 KiB/s each 2 KiB are 100 ms.
        // So it takes 2 KiB beyond what the peer's window has room for.
        .unsent(2 << 10)
        .sndbuf(Some(16 << 10))
}

/// Twice a second, for those who look.
fn tell(feed: &Feed, ended: &Receiver<()>) {
    while ended.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
        feed.tell_status();
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
            "/ws" => Reply::text(400, "/ws?topics=quotes,trades,status, or some of them\n"),
            _ => Reply::status(404),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        let _memberships = self.welcome(conn)?;
        self.readers.met(conn.peer(), conn.outbox());
        while let Some(message) = conn.recv()? {
            conn.send(self.answer(conn, &message))?;
        }
        Ok(())
    }
}

/// What a client asks for; without a word, the feed itself.
fn topics(request: &Request) -> impl Iterator<Item = &str> {
    let asked = request.query("topics").unwrap_or("quotes,trades");
    asked.split(',')
}
