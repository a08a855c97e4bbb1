//! The generator thread: it makes prices, sets them in the book, and publishes them. It knows no client.

use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, at, never, select};
use serde_json::json;
use standpipe::{Message, Publication, ServerHandle};

use super::feed::Feed;
use super::market::Market;
use super::schedule::Schedule;

/// Number of quotes that are published in one call. A member receives up to this many in one write.
const BATCH: u64 = 64;

/// A request to pause or to resume.
pub(crate) struct PauseRequest {
    pub(crate) is_pause: bool,
    /// Receives an answer when the request is done. By then all quotes made so far have been published.
    pub(crate) done: Sender<()>,
}

/// Makes prices until the other end of `ended` is dropped.
///
/// # Blocking Under `block`, each publish waits up to 2 s for slow readers. Under the other policies, a publish waits
/// only for queues that are full although their sockets accept bytes, up to 100 ms in all. Such a delay is our own, not
/// the reader's.
pub(crate) fn run(
    feed: &Feed,
    requests: &Receiver<PauseRequest>,
    ended: &Receiver<()>,
    server: ServerHandle,
) {
    // The server also shuts down if this thread panics. Otherwise it would go on with prices that never change.
    let _server = ShutdownOnDrop(server);
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
            recv(requests) -> request => {
                let Ok(request) = request else { return };
                is_paused = request.is_pause;
                schedule = Schedule::new(per_second, Instant::now());
                feed.is_paused.store(is_paused, Ordering::Relaxed);
                // The channel has room for one answer. Sending fails if the requester has given up.
                let _ = request.done.try_send(());
            }
            recv(due) -> _ => {
                let mut due = schedule.check(Instant::now());
                // A request interrupts the loop, because each publish may wait under `block`.
                while due > 0 && requests.is_empty() {
                    let count = due.min(BATCH);
                    let rounds = publish_quotes(feed, &mut market, count);
                    schedule.record_made(count);
                    due -= count;
                    // One trade for each complete round of quotes.
                    for _ in 0..rounds {
                        trades += 1;
                        publish_trade(feed, &mut market, trades);
                    }
                }
            }
        }
    }
}

/// Makes `count` quotes, publishes them in one call, and returns how many rounds they completed.
///
/// A fast reader receives the whole batch in one write. Each quote is still its own message. If one message held
/// several quotes, they could not be replaced one by one: a slow reader would receive all of them, including old ones,
/// or none.
fn publish_quotes(feed: &Feed, market: &mut Market, count: u64) -> u64 {
    let mut rounds = 0;
    let next = |_| {
        let (symbol, price) = market.step();
        rounds += u64::from(market.is_round_complete());
        // The book comes first. A client that subscribes before the publish has the quote in its snapshot.
        let quote = Publication::from(feed.book.set(symbol, price));
        quote.key(feed.book.symbol(symbol))
    };
    let quotes = (0..count).map(next).collect();
    let published = feed.quotes.publish_all(quotes);
    // The generator is the only publisher, so the topic is never busy. Text messages are always accepted.
    debug_assert!(published.is_ok(), "{published:?}");
    feed.published.fetch_add(count, Ordering::Relaxed);
    rounds
}

/// Publishes a random trade. Trades have consecutive numbers, so that a reader can see gaps.
fn publish_trade(feed: &Feed, market: &mut Market, number: u64) {
    let at = market.random(feed.book.len() as u64) as usize;
    let trade = json!({
        "type": "trade", "id": number, "t": feed.book.now(), "symbol": feed.book.symbol(at),
        "price": market.price(at), "size": 100 * (1 + market.random(20)),
    });
    let published = feed.trades.publish(Message::text(trade.to_string()));
    debug_assert!(published.is_ok(), "{published:?}");
}

struct ShutdownOnDrop(ServerHandle);

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}
