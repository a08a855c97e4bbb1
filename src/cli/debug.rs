//! `GET /debug/clients`: every client, what its two threads are doing and since when, and how much is queued for it.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use standpipe::{ClientState, Hub, Reply, ServerHandle, ThreadState};

#[derive(Serialize)]
struct Client {
    client: u64,
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<String>,
    topics: Vec<String>,
    accepted: u64,
    delivered: u64,
    dropped: u64,
    discarded: u64,
    queue: Queue,
    reader: Thread,
    writer: Thread,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_ms: Option<f64>,
}

#[derive(Serialize)]
struct Queue {
    messages: usize,
    capacity: usize,
    bytes: usize,
    oldest_ms: u64,
}

#[derive(Serialize)]
struct Thread {
    state: String,
    since_ms: u64,
}

/// Returns the round trip in milliseconds, to the microsecond.
pub(super) fn round_trip_ms(state: &ClientState) -> Option<f64> {
    let round_trip = state.round_trip?;
    Some(round_trip.as_micros() as f64 / 1000.0)
}

/// Returns the version of TLS, as it is shown.
pub(super) fn tls(state: &ClientState) -> Option<String> {
    state.tls.map(|version| version.to_string())
}

/// Returns the answer. `src/PROTOCOL.md` describes its fields.
pub(crate) fn clients(handle: &ServerHandle, hub: &Hub) -> Reply {
    let mut topics: HashMap<u64, Vec<String>> = HashMap::new();
    for (client, topic) in hub.memberships() {
        topics.entry(client).or_default().push(topic);
    }
    let states = handle.client_states();
    let clients: Vec<Client> = states
        .into_iter()
        .map(|state| Client::new(&state, topics.remove(&state.number).unwrap_or_default()))
        .collect();
    match serde_json::to_string(&clients) {
        Ok(json) => Reply::json(200, json),
        Err(error) => Reply::text(500, format!("{error}\n")),
    }
}

/// Returns a time in milliseconds, as it is shown.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Client {
    fn new(state: &ClientState, topics: Vec<String>) -> Client {
        let thread = |thread: &ThreadState| Thread {
            state: thread.activity.to_string(),
            since_ms: millis(thread.since),
        };
        Client {
            client: state.number,
            peer: state.peer.to_string(),
            tls: tls(state),
            topics,
            accepted: state.counts.accepted,
            delivered: state.counts.delivered,
            dropped: state.counts.dropped,
            discarded: state.counts.discarded,
            queue: Queue {
                messages: state.queue.messages,
                capacity: state.queue.capacity,
                bytes: state.queue.bytes,
                oldest_ms: state.queue.blocked.map_or(0, millis),
            },
            reader: thread(&state.reader),
            writer: thread(&state.writer),
            round_trip_ms: round_trip_ms(state),
        }
    }
}
