//! [`Search`]: which clients a watcher wants to see, and in which order.
//!
//! The server searches and sorts, and sends only the rows that the page shows. So the page stays fast with any number of
//! clients.

use std::cmp::Ordering;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use standpipe::Peer;

use super::client_row::ClientRow;

/// The maximum number of rows in one answer.
pub(super) const MAX_ROWS: usize = 2000;
/// The maximum length of a search text, in bytes.
const MAX_TEXT: usize = 300;

/// A command that asks for rows of the table of clients.
#[derive(Debug, Deserialize)]
pub(super) struct Search {
    /// Words that must all be found in a client's row. The case of letters does not matter.
    #[serde(default)]
    text: String,
    #[serde(default)]
    sort: Column,
    /// Reverses the order of the column.
    #[serde(default)]
    reverse: bool,
    /// The number of rows to skip.
    #[serde(default)]
    skip: usize,
    /// The maximum number of rows in the answer.
    rows: usize,
}

/// The column by which the rows are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Column {
    Client,
    Address,
    /// By name. Clients without a user come last.
    User,
    /// The fullest queue first.
    #[default]
    Queue,
    /// The longest time first.
    Blocked,
    Rate,
    Dropped,
    /// The longest round trip first.
    RoundTrip,
    Unacknowledged,
}

/// The answer to a [`Search`].
#[derive(Serialize)]
pub(super) struct Found<'a> {
    clients: Vec<&'a ClientRow>,
    /// How many clients match, including those that are not in `clients`.
    found: usize,
}

impl Search {
    /// Returns the rows of `all` that match. `queue_bytes` is the byte limit of a queue.
    ///
    /// # Errors
    /// When the text is too long.
    pub(super) fn run<'a>(
        &self,
        all: &'a [ClientRow],
        queue_bytes: usize,
    ) -> Result<Found<'a>, String> {
        if self.text.len() > MAX_TEXT {
            return Err(format!("a search may have at most {MAX_TEXT} bytes"));
        }
        let text = self.text.to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut rows: Vec<&ClientRow> = all.iter().filter(|row| matches(row, &words)).collect();
        rows.sort_by(|a, b| {
            let order = self.sort.compare(a, b, queue_bytes);
            let order = if self.reverse { order.reverse() } else { order };
            order.then(a.state.number.cmp(&b.state.number))
        });
        let found = rows.len();
        let shown = rows.into_iter().skip(self.skip);
        Ok(Found {
            clients: shown.take(self.rows.min(MAX_ROWS)).collect(),
            found,
        })
    }
}

impl Found<'_> {
    pub(super) fn to_json(&self) -> String {
        crate::cli::envelope::to_json(self)
    }
}

/// Returns the rows of these clients, in this order. Clients that have gone are left out.
pub(super) fn rows_of<'a>(all: &'a [ClientRow], numbers: &[u64]) -> Found<'a> {
    let row = |number: &u64| {
        let at = all.binary_search_by_key(number, |row| row.state.number);
        at.ok().map(|at| &all[at])
    };
    let clients: Vec<&ClientRow> = numbers.iter().take(MAX_ROWS).filter_map(row).collect();
    Found {
        found: clients.len(),
        clients,
    }
}

fn matches(row: &ClientRow, words: &[&str]) -> bool {
    if words.is_empty() {
        return true;
    }
    let text = row.searched_text();
    words.iter().all(|word| text.contains(word))
}

impl Column {
    fn compare(self, a: &ClientRow, b: &ClientRow, queue_bytes: usize) -> Ordering {
        match self {
            Column::Client => a.state.number.cmp(&b.state.number),
            Column::Address => address(a).cmp(&address(b)),
            Column::User => {
                let (a, b) = (a.state.user.as_deref(), b.state.user.as_deref());
                (a.is_none(), a).cmp(&(b.is_none(), b))
            }
            Column::Queue => b
                .fullness(queue_bytes)
                .cmp(&a.fullness(queue_bytes))
                .then(b.blocked().cmp(&a.blocked())),
            Column::Blocked => b.blocked().cmp(&a.blocked()),
            Column::Rate => b.rate.cmp(&a.rate),
            Column::Dropped => b.state.counts.dropped.cmp(&a.state.counts.dropped),
            Column::RoundTrip => b.state.round_trip.cmp(&a.state.round_trip),
            Column::Unacknowledged => b.unacknowledged.cmp(&a.unacknowledged),
        }
    }
}

fn address(row: &ClientRow) -> Option<SocketAddr> {
    match row.state.peer {
        Peer::Tcp(address) => Some(address),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use standpipe::tungstenite::client;
    use standpipe::{Config, Connection, Handler, Reply, Request, Server};

    use super::*;

    /// Names each client's user by the query of its request.
    struct Named;

    impl Handler for Named {
        fn request(&self, request: &mut Request) -> Reply {
            match request.query("user") {
                Some(user) => Reply::upgrade().user(user),
                None => Reply::upgrade(),
            }
        }

        fn run(
            &self,
            conn: &mut Connection,
        ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            while conn.recv()?.is_some() {}
            Ok(())
        }
    }

    /// Returns the numbers of the rows, in their order.
    fn numbers(found: &Found<'_>) -> Vec<u64> {
        found.clients.iter().map(|row| row.state.number).collect()
    }

    #[test]
    fn users_are_shown_found_and_sorted() {
        let server = Server::bind("127.0.0.1:0", Config::default()).expect("a free port");
        let handle = server.handle();
        let address = handle.local_addrs()[0];
        let server = server.spawn(Named).expect("a thread");
        let sockets: Vec<_> = ["?user=Zoe", "", "?user=ann"]
            .into_iter()
            .map(|query| {
                let tcp = TcpStream::connect(address).expect("the server listens");
                let request = format!("ws://{address}/{query}");
                client(request, tcp).expect("an upgrade").0
            })
            .collect();
        let states = handle.client_states();
        assert_eq!(states.len(), sockets.len());
        let row = |state| ClientRow {
            state,
            topics: Vec::new(),
            unacknowledged: None,
            rate: 0,
            experiment: None,
        };
        let rows: Vec<ClientRow> = states.into_iter().map(row).collect();
        let [zoe, none, ann] = [0, 1, 2].map(|n| rows[n].state.number);
        let find = |text: &str, reverse| {
            let search = Search {
                text: text.into(),
                sort: Column::User,
                reverse,
                skip: 0,
                rows: 10,
            };
            numbers(&search.run(&rows, 1).expect("a short text"))
        };
        assert_eq!(find("", false), [zoe, ann, none]);
        assert_eq!(find("", true), [none, ann, zoe]);
        assert_eq!(find("ZOE", false), [zoe]);
        let json = serde_json::to_value(&rows[0]).expect("a row is JSON");
        assert_eq!(json[8], "Zoe");
        drop(sockets);
        let _ = server.shutdown();
    }
}
