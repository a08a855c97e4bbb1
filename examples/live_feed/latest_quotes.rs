//! [`LatestQuotes`]: the newest quotes that one reader has received.
//!
//! Every client of the feed needs this logic. The page implements it in JavaScript.

use std::collections::HashMap;

use serde::Deserialize;

use super::book::Quote;

/// A quote in JSON: symbol, `n`, `t`, price.
type Line<'a> = (&'a str, u64, u64, u64);

#[derive(Deserialize)]
struct Snapshot<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    quotes: Vec<Line<'a>>,
}

/// The newest quote of each symbol, and the number of quotes that were skipped.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct LatestQuotes {
    pub(crate) quotes: HashMap<String, Quote>,
    /// Received quotes, without those in snapshots.
    pub(crate) messages: u64,
    /// Skipped quotes, computed from the jumps of `n`.
    pub(crate) skipped: u64,
}

impl LatestQuotes {
    /// Forgets all quotes, at the start of a new connection.
    ///
    /// A snapshot follows. The old quotes may be from before a restart of the server.
    pub(crate) fn reset(&mut self) {
        self.quotes.clear();
    }

    /// Processes a quote or a snapshot, and returns false if the message is neither.
    pub(crate) fn update(&mut self, text: &str) -> bool {
        if let Ok(line) = serde_json::from_str(text) {
            self.messages += 1;
            self.store(line, true);
            return true;
        }
        match serde_json::from_str(text) {
            Ok(Snapshot {
                kind: "snapshot",
                quotes,
            }) => {
                let lines = quotes.into_iter();
                lines.for_each(|line| self.store(line, false));
                true
            }
            _ => false,
        }
    }

    fn store(&mut self, (symbol, n, t, price): Line<'_>, is_update: bool) {
        let quote = Quote { n, t, price };
        let Some(known) = self.quotes.get_mut(symbol) else {
            self.quotes.insert(symbol.to_owned(), quote);
            return;
        };
        // The highest `n` wins. A quote with a lower `n` was already part of a snapshot.
        if n <= known.n {
            return;
        }
        if is_update {
            self.skipped += n - known.n - 1;
        }
        *known = quote;
    }

    /// Returns the times of the newest and of the oldest price.
    pub(crate) fn times(&self) -> Option<(u64, u64)> {
        let times = || self.quotes.values().map(|quote| quote.t);
        times().max().zip(times().min())
    }
}
