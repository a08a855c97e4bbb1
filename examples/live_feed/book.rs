//! [`Book`]: the last quote of every symbol, and how a client comes to know all of them.
//!
//! A quote on the wire is `["BC7",17,65123,10235]`: symbol, `n`, `t`, price in cents. `n` counts the quotes of this
//! symbol from 1 on; `t` says when it was made, in milliseconds since the server began, so its reader knows its age.
//! A snapshot is `{"type":"snapshot","now":65130,"quotes":[…]}` with one for each symbol.
//!
//! *The rule*: for each symbol the highest `n` wins, in whichever message it comes. A quote is whole and not a difference,
//! so nothing has to be applied in order, a double does no harm, and a jump of `n` from 17 to 20 says that two were
//! skipped and asks for nothing. After a new connection a client forgets all it knew: `n` may have begun anew.
//!
//! *Without a hole*: under the lock on the quotes a client is sent the snapshot and becomes a member. Each quote goes into
//! the book first and is published then, beyond the lock. So one that was set before the lock is in the snapshot, and one
//! that was set after it finds a member; one that was set before and published after comes twice, with the same `n`.
//!
//! Under `drop-newest` and `drop-oldest` the *last* quote of a symbol may be among those dropped, and no jump tells.
//! A client that must not be behind when the market is calm sends `"snapshot"`. Under `conflate` it need not: the
//! newest quote of every symbol is never dropped.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use standpipe::{Message, Outbox, PublishError, SubscribeOptions, Subscription, Topic};

/// Symbols at most: two letters and a digit, by [`name`].
pub(crate) const SYMBOLS: u32 = 1000;

/// One price of one symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quote {
    pub(crate) n: u64,
    pub(crate) t: u64,
    /// In cents: a float would be another number after its way through JSON.
    pub(crate) price: u64,
}

/// The last quotes.
pub(crate) struct Book {
    symbols: Vec<String>,
    quotes: Mutex<Vec<Quote>>,
    begun: Instant,
}

impl Book {
    pub(crate) fn new(symbols: usize) -> Book {
        Book {
            symbols: (0..symbols).map(name).collect(),
            quotes: Mutex::new(vec![Quote::default(); symbols]),
            begun: Instant::now(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.symbols.len()
    }

    pub(crate) fn symbol(&self, at: usize) -> &str {
        &self.symbols[at]
    }

    /// Milliseconds since the server began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes a new price, and gives the message that tells it.
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

    /// Sends a client the snapshot, and makes it a member of the topic that tells the quotes after it.
    pub(crate) fn join(
        &self,
        quotes: &Topic,
        outbox: Outbox,
    ) -> Result<Subscription, PublishError> {
        let held = self.lock();
        // The second message in a queue that has places for hundreds. If there is none the client has left already, and
        // `recv` will say so.
        let _ = outbox.try_send(self.snapshot_of(&held));
        quotes.subscribe(outbox, SubscribeOptions::new())
    }

    /// Of all symbols, as they are now.
    pub(crate) fn snapshot(&self) -> Message {
        // A copy, so that the generator waits for no text to be written: who asks again must not hold it up.
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
        // What had no price yet is not told.
        for (symbol, quote) in known.filter(|(_, quote)| quote.n > 0) {
            if !text.ends_with('[') {
                text.push(',');
            }
            write(&mut text, symbol, *quote);
        }
        text.push_str("]}");
        Message::text(text)
    }

    /// What a panic has left is still in order: a quote is set in one step.
    fn lock(&self) -> MutexGuard<'_, Vec<Quote>> {
        self.quotes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By hand, as it is done ten thousand times a second. A symbol has nothing that JSON would escape.
fn write(text: &mut String, symbol: &str, Quote { n, t, price }: Quote) {
    let written = write!(text, r#"["{symbol}",{n},{t},{price}]"#);
    debug_assert!(written.is_ok(), "a string takes everything");
}

/// Two letters and a digit, no two alike: 1001 and 1440 have no divisor in common.
fn name(number: usize) -> String {
    const LETTERS: &[u8; 12] = b"BCDFGLMPRTVX";
    let mixed = number * 1001 % 1440;
    let [first, second] = [mixed / 120, mixed / 10 % 12].map(|at| char::from(LETTERS[at]));
    format!("{first}{second}{}", mixed % 10)
}
