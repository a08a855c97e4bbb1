//! [`ClientRow`]: one client as the dashboard's table shows it.

use std::time::Duration;

use serde::{Serialize, Serializer};
use standpipe::ClientState;

use crate::cli::debug::{self, millis};

/// A row of the table. It is serialized as an array without field names, because a page asks for many rows twice a
/// second.
pub(super) struct ClientRow {
    pub(super) state: ClientState,
    pub(super) topics: Vec<String>,
    pub(super) unacknowledged: Option<u64>,
    /// Messages delivered per second.
    pub(super) rate: u64,
    /// The name of the experiment, if this is one of its slow clients.
    pub(super) experiment: Option<String>,
}

impl Serialize for ClientRow {
    /// `[number, peer, topics, [reader, since, writer, since], [messages, capacity, bytes, blocked for], unacknowledged,
    /// [delivered, dropped, discarded, rate], round trip, user, experiment, tls]`
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (state, queue) = (&self.state, &self.state.queue);
        let threads = (
            state.reader.activity.to_string(),
            millis(state.reader.since),
            state.writer.activity.to_string(),
            millis(state.writer.since),
        );
        // Nested, because serde implements `Serialize` for tuples of up to 16 elements only.
        let pending = (
            queue.messages,
            queue.capacity,
            queue.bytes,
            millis(self.blocked()),
        );
        let counts = (
            state.counts.delivered,
            state.counts.dropped,
            state.counts.discarded,
            self.rate,
        );
        (
            state.number,
            state.peer.to_string(),
            &self.topics,
            threads,
            pending,
            self.unacknowledged,
            counts,
            debug::round_trip_ms(state),
            state.user.as_deref(),
            &self.experiment,
            debug::tls(state),
        )
            .serialize(serializer)
    }
}

impl ClientRow {
    /// Returns for how long the client's socket has accepted no bytes.
    pub(super) fn blocked(&self) -> Duration {
        self.state.queue.blocked.unwrap_or_default()
    }

    /// Returns how full the client's queue is, in thousandths: by messages or by bytes, whichever is fuller.
    /// `queue_bytes` is the byte limit of a queue.
    pub(super) fn fullness(&self, queue_bytes: usize) -> usize {
        let queue = &self.state.queue;
        let part = |used: usize, limit: usize| used.saturating_mul(1000) / limit.max(1);
        part(queue.messages, queue.capacity)
            .max(part(queue.bytes, queue_bytes))
            .min(1000)
    }

    /// Returns everything that a search looks at, in lower case, one item per line.
    pub(super) fn searched_text(&self) -> String {
        let state = &self.state;
        let mut text = format!(
            "{}\n{}\n{}\n{}\n{}\n{}\n{}",
            state.number,
            state.peer,
            state.user.as_deref().unwrap_or_default(),
            self.experiment.as_deref().unwrap_or_default(),
            state.reader.activity,
            state.writer.activity,
            debug::tls(state).unwrap_or_default(),
        );
        for topic in &self.topics {
            text.push('\n');
            text.push_str(topic);
        }
        text.to_lowercase()
    }
}
