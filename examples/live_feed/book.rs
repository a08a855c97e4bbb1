//! [`Book`]: the last quote of every symbol, and the snapshot for a new client.
//!
//! *Messages*: a quote is `["BC7",17,65123,10235]`: symbol, `n`, `t`, price in cents. `n` counts the quotes of this
//! symbol, starting at 1. `t` is the time of the quote in milliseconds since the server started, so that a reader can
//! compute its age. A snapshot is `{"type":"snapshot","now":65130,"quotes":[…]}`, with one quote for each symbol.
//!
//! *The rule for clients*: for each symbol, the quote with the highest `n` wins, no matter in which message it arrives.
//! A quote is a complete price, not a difference. Therefore the order of quotes does not matter, and a duplicate does
//! no harm. A jump of `n` from 17 to 20 means that two quotes were skipped; the client need not request them. On a new
//! connection, a client forgets all quotes, because `n` starts again when the server restarts.
//!
//! *Why no quote is missing after the snapshot*: the server sends the snapshot and subscribes the client while it holds
//! the lock on the quotes. Each quote is first set in the book, under the lock, and published afterwards without it. A
//! quote that was set before the lock was taken is in the snapshot. A quote that was set later is published to the new
//! member. A quote that was set before and published after arrives twice, with the same `n`.
//!
//! *Dropped quotes*: `drop-newest` and `drop-oldest` may drop the *last* quote of a symbol, and then no later quote
//! reveals the gap. A client that needs current prices in a calm market sends `"snapshot"`. With `conflate` this is not
//! necessary, because the newest quote of a symbol is never dropped.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use standpipe::{Message, Outbox, SubscribeError, SubscribeOptions, Subscription, Topic};

/// Maximum number of symbols. Each is two letters and a digit, made by [`name`].
pub(crate) const SYMBOLS: u32 = 1000;

/// One price of one symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quote {
    pub(crate) n: u64,
    pub(crate) t: u64,
    /// In cents, because a float could change on its way through JSON.
    pub(crate) price: u64,
}

/// The last quote of every symbol.
pub(crate) struct Book {
    symbols: Vec<String>,
    quotes: Mutex<Vec<Quote>>,
    start: Instant,
}

impl Book {
    pub(crate) fn new(symbols: usize) -> Book {
        Book {
            symbols: (0..symbols).map(name).collect(),
            quotes: Mutex::new(vec![Quote::default(); symbols]),
            start: Instant::now(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.symbols.len()
    }

    pub(crate) fn symbol(&self, at: usize) -> &str {
        &self.symbols[at]
    }

    /// Returns the milliseconds since the server started.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Sets a new price, and returns the message that announces it.
    pub(crate) fn set(&self, at: usize, price: u64) -> Message {
        let t = self.now();
        let mut quotes = self.lock();
        let n = quotes[at].n + 1;
        quotes[at] = Quote { n, t, price };
        drop(quotes);
        let mut text = String::with_capacity(48);
        write(&mut text, self.symbol(at), Quote { n, t, price });
        Message::text(text)
    }

    /// Sends a client the snapshot, and subscribes it to the quotes that follow.
    pub(crate) fn subscribe(
        &self,
        quotes: &Topic,
        outbox: Outbox,
    ) -> Result<Subscription, SubscribeError> {
        let locked = self.lock();
        // The queue has room, because this is its second message. Sending only fails if the client has already left,
        // which `recv` will report.
        let _ = outbox.try_send(self.snapshot_of(&locked));
        quotes.subscribe(outbox, SubscribeOptions::new())
    }

    /// Returns a snapshot of the current quotes.
    pub(crate) fn snapshot(&self) -> Message {
        // The quotes are copied, so that the generator does not wait for the lock while the text is written.
        let quotes = self.lock().clone();
        self.snapshot_of(&quotes)
    }

    fn snapshot_of(&self, quotes: &[Quote]) -> Message {
        let mut text = String::with_capacity(48 * (quotes.len() + 1));
        let now = self.now();
        text.push_str(r#"{"type":"snapshot","now":"#);
        text.push_str(&now.to_string());
        text.push_str(r#","quotes":["#);
        let known = self.symbols.iter().zip(quotes);
        // Symbols without a price are left out.
        for (symbol, quote) in known.filter(|(_, quote)| quote.n > 0) {
            if !text.ends_with('[') {
                text.push(',');
            }
            write(&mut text, symbol, *quote);
        }
        text.push_str("]}");
        Message::text(text)
    }

    /// Locks the quotes. A poisoned lock is still consistent, because a quote is set in one step.
    fn lock(&self) -> MutexGuard<'_, Vec<Quote>> {
        self.quotes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the JSON of a quote by hand, because this runs ten thousand times per second. Symbols need no escaping.
fn write(text: &mut String, symbol: &str, Quote { n, t, price }: Quote) {
    let written = write!(text, r#"["{symbol}",{n},{t},{price}]"#);
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
}

/// Returns two letters and a digit. All names are different, because 1001 and 1440 have no common divisor.
fn name(number: usize) -> String {
    const LETTERS: &[u8; 12] = b"BCDFGLMPRTVX";
    let mixed = number * 1001 % 1440;
    let [first, second] = [mixed / 120, mixed / 10 % 12].map(|at| char::from(LETTERS[at]));
    format!("{first}{second}{}", mixed % 10)
}
