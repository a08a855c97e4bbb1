//! The generator: the one thread that makes prices. It sets a quote in the book, publishes it, and knows no client.

use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, at, never, select};
use serde_json::json;
use standpipe::{Message, Publication, ServerHandle};

use super::feed::Feed;
use super::market::Market;
use super::schedule::Schedule;

/// Quotes that are published together: as many as a member gets in one write.
const TOGETHER: u64 = 64;

/// To pause, or to go on. Answered when it is obeyed: then all that was made has been published.
pub(crate) struct Order {
    pub(crate) is_pause: bool,
    pub(crate) obeyed: Sender<()>,
}

/// Makes prices until `ended` ends.
///
/// It waits for a client under `block` alone, 2 s at most for each publish. Under the others a publish has 100 ms in all, for
/// queues that are full although their sockets take bytes: our own delay, and nobody's slowness.
pub(crate) fn run(
    feed: &Feed,
    orders: &Receiver<Order>,
    ended: &Receiver<()>,
    server: ServerHandle,
) {
    // Also by a panic: a server whose prices stand still should end, and not look alive.
    let _server = EndsWithIt(server);
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let mut market = Market::new(feed.book.len(), since_1970.as_nanos() as u64);
    let mut trades = 0;
    let per_second = feed.book.len() as u64 * u64::from(feed.rate);
    let mut schedule = Schedule::new(per_second, Instant::now());
    let mut is_paused = false;
    loop {
        let due = if is_paused {
            never()
        } else {
            at(schedule.due())
        };
        select! {
            recv(ended) -> _ => return,
            recv(orders) -> order => {
                let Ok(order) = order else { return };
                is_paused = order.is_pause;
                schedule = Schedule::new(per_second, Instant::now());
                feed.is_paused.store(is_paused, Ordering::Relaxed);
                // There is a place for the answer; nobody may wait for it any more.
                let _ = order.obeyed.try_send(());
            }
            recv(due) -> _ => {
                let mut owed = schedule.owed(Instant::now());
                // Under `block` each may take its time, and who wants something of us has waited enough.
                while owed > 0 && orders.is_empty() {
                    let made = owed.min(TOGETHER);
                    let rounds = quote(feed, &mut market, made);
                    schedule.made(made);
                    owed -= made;
                    // One trade for each round of quotes.
                    for _ in 0..rounds {
                        trades += 1;
                        trade(feed, &mut market, trades);
                    }
                }
            }
        }
    }
}

/// Makes so many quotes, publishes them together, and gives how many rounds ended with one of them.
///
/// Together a fast reader gets them in one write. They stay messages of their own: several in one could not be replaced one
/// by one, and a slow reader would get all of their prices, old ones too, or none.
fn quote(feed: &Feed, market: &mut Market, count: u64) -> u64 {
    let mut rounds = 0;
    let next = |_| {
        let (symbol, price) = market.step();
        rounds += u64::from(market.is_round());
        // First the book: who comes in between has it in the snapshot.
        let quote = Publication::from(feed.book.set(symbol, price));
        quote.key(feed.book.symbol(symbol))
    };
    let quotes = (0..count).map(next).collect();
    let published = feed.quotes.publish_all(quotes);
    // Nobody else publishes here, so the turn is always there; and text is data.
    debug_assert!(published.is_ok(), "{published:?}");
    feed.published.fetch_add(count, Ordering::Relaxed);
    rounds
}

/// Its number makes a gap visible: numbers of trades are consecutive.
fn trade(feed: &Feed, market: &mut Market, number: u64) {
    let at = market.chance(feed.book.len() as u64) as usize;
    let trade = json!({
        "type": "trade", "id": number, "t": feed.book.now(), "symbol": feed.book.symbol(at),
        "price": market.price(at), "size": 100 * (1 + market.chance(20)),
    });
    let published = feed.trades.publish(Message::text(trade.to_string()));
    debug_assert!(published.is_ok(), "{published:?}");
}

struct EndsWithIt(ServerHandle);

impl Drop for EndsWithIt {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}
