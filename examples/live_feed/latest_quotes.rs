//! [`Seen`]: what one reader has been told. Every client of the feed does what this does; the page does it in JavaScript.

use std::collections::HashMap;

use serde::Deserialize;

use super::book::Quote;

/// As it stands on the wire: symbol, `n`, `t`, price.
type Line<'a> = (&'a str, u64, u64, u64);

#[derive(Deserialize)]
struct Snapshot<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    quotes: Vec<Line<'a>>,
}

/// The newest quote of each symbol that has reached a reader, and what it did not get.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) quotes: HashMap<String, Quote>,
    /// Quotes that came, without those in snapshots.
    pub(crate) messages: u64,
    /// Quotes that did not come, by the jumps of `n`.
    pub(crate) skipped: u64,
}

impl Seen {
    /// A new connection: a snapshot will come, and what was known may be of another life of the server.
    pub(crate) fn begin_anew(&mut self) {
        self.quotes.clear();
    }

    /// Takes a quote or a snapshot. False: it is neither.
    pub(crate) fn hear(&mut self, text: &str) -> bool {
        if let Ok(line) = serde_json::from_str(text) {
            self.messages += 1;
            self.learn(line, true);
            return true;
        }
        match serde_json::from_str(text) {
            Ok(Snapshot {
                kind: "snapshot",
                quotes,
            }) => {
                let lines = quotes.into_iter();
                lines.for_each(|line| self.learn(line, false));
                true
            }
            _ => false,
        }
    }

    fn learn(&mut self, (symbol, n, t, price): Line<'_>, is_update: bool) {
        let quote = Quote { n, t, price };
        let Some(known) = self.quotes.get_mut(symbol) else {
            self.quotes.insert(symbol.to_owned(), quote);
            return;
        };
        // The highest `n` wins; what is not above it was in a snapshot already.
        if n <= known.n {
            return;
        }
        if is_update {
            self.skipped += n - known.n - 1;
        }
        *known = quote;
    }

    /// When the newest and the oldest of the prices it shows were made.
    pub(crate) fn times(&self) -> Option<(u64, u64)> {
        let times = || self.quotes.values().map(|quote| quote.t);
        times().max().zip(times().min())
    }
}
