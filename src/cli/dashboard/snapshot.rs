//! [`Observer`]: the house at one moment, as JSON. It reads atomics, and the lists' locks for as long as a copy takes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use standpipe::{ClientState, Hub, Peer, ServerHandle, Topic};

use super::{generator, kernel, slow};

/// Rows of a snapshot: those with the fullest queues. It goes to each watcher twice a second.
const CLIENTS: usize = 2000;
const TOPICS: usize = 200;

/// Remembers the moment before, for the rates.
pub(super) struct Observer {
    handle: ServerHandle,
    hub: Hub,
    /// The limit of a client's bytes, beside which its bytes are shown.
    queue_bytes: usize,
    at: Instant,
    /// What the kernel holds, and when it may be asked again.
    unacknowledged: (HashMap<SocketAddr, u64>, Instant),
    delivered: HashMap<u64, u64>,
    ids: HashMap<String, u64>,
}

#[derive(Serialize)]
struct Snapshot {
    server: House,
    clients: Vec<Client>,
    topics: Vec<Row>,
    slow: Vec<slow::Figures>,
    generators: Vec<generator::Figures>,
    /// Microseconds it took to look.
    took_us: u64,
}

#[derive(Serialize)]
struct House {
    clients: usize,
    requests: usize,
    topics: usize,
    watchers: usize,
    accepted: u64,
    delivered: u64,
    dropped: u64,
    discarded: u64,
    queue_bytes: usize,
    shutting_down: bool,
}

/// A row without names: there may be thousands.
struct Client {
    state: ClientState,
    topics: Vec<String>,
    unacknowledged: Option<u64>,
    rate: u64,
}

impl Serialize for Client {
    /// `[number, peer, topics, reader, since, writer, since, messages, capacity, bytes, oldest, unacknowledged,
    /// delivered, dropped, discarded, rate, round trip]`
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (state, queue) = (&self.state, &self.state.queue);
        let threads = (
            &state.reader.state,
            state.reader.since_ms,
            &state.writer.state,
            state.writer.since_ms,
        );
        // Tuples go to 16; a list of lists reads as well.
        let waiting = (queue.messages, queue.capacity, queue.bytes, queue.oldest_ms);
        let books = (
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
            waiting,
            self.unacknowledged,
            books,
            state.round_trip_ms,
        )
            .serialize(serializer)
    }
}

#[derive(Serialize)]
struct Row {
    topic: String,
    members: usize,
    id: u64,
    policy: String,
    queue: usize,
    history: usize,
    dropped: u64,
    discarded: u64,
    rate: u64,
}

impl Observer {
    pub(super) fn new(handle: ServerHandle, hub: Hub, queue_bytes: usize) -> Observer {
        Observer {
            handle,
            hub,
            queue_bytes,
            at: Instant::now(),
            unacknowledged: (HashMap::new(), Instant::now()),
            delivered: HashMap::new(),
            ids: HashMap::new(),
        }
    }

    /// Looks, and gives what it saw.
    pub(super) fn look(
        &mut self,
        watchers: usize,
        slow: Vec<slow::Figures>,
        generators: Vec<generator::Figures>,
    ) -> String {
        let began = Instant::now();
        let since = began.duration_since(self.at);
        self.at = began;
        let clients = self.clients(since);
        let topics = self.topics(since);
        let counts = self.handle.counts();
        let snapshot = Snapshot {
            server: House {
                clients: self.handle.clients(),
                requests: self.handle.pending_handshakes(),
                topics: self.hub.len(),
                watchers,
                accepted: counts.accepted,
                delivered: counts.delivered,
                dropped: counts.dropped,
                discarded: counts.discarded,
                queue_bytes: self.queue_bytes,
                shutting_down: self.handle.is_shutting_down(),
            },
            clients,
            topics,
            slow,
            generators,
            took_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        };
        crate::cli::envelope::to_json(&snapshot)
    }

    fn clients(&mut self, since: Duration) -> Vec<Client> {
        let mut states = self.handle.client_states();
        let before = std::mem::take(&mut self.delivered);
        let now = states
            .iter()
            .map(|state| (state.number, state.counts.delivered));
        self.delivered = now.collect();
        states.sort_by_key(|state| {
            let queue = &state.queue;
            (
                std::cmp::Reverse((queue.messages, queue.oldest_ms)),
                state.number,
            )
        });
        states.truncate(CLIENTS);
        let mut topics: HashMap<u64, Vec<String>> = HashMap::new();
        for (client, topic) in self.hub.memberships() {
            topics.entry(client).or_default().push(topic);
        }
        self.ask_the_kernel();
        let unacknowledged = &self.unacknowledged.0;
        let row = |state: ClientState| Client {
            topics: topics.remove(&state.number).unwrap_or_default(),
            unacknowledged: match state.peer {
                Peer::Tcp(peer) => {
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    unacknowledged.get(&peer).copied()
                }
                _ => None,
            },
            rate: rate(
                before.get(&state.number).copied(),
                state.counts.delivered,
                since,
            ),
            state,
        };
        states.into_iter().map(row).collect()
    }

    /// Its tables hold the sockets of the whole machine: to read them may take at most a twentieth of the time.
    fn ask_the_kernel(&mut self) {
        let began = Instant::now();
        if began < self.unacknowledged.1 {
            return;
        }
        let addresses = self.handle.local_addrs();
        let ports: Vec<u16> = addresses.iter().map(SocketAddr::port).collect();
        let bytes = kernel::unacknowledged(&ports);
        let again = Instant::now() + began.elapsed() * 19;
        self.unacknowledged = (bytes, again);
    }

    fn topics(&mut self, since: Duration) -> Vec<Row> {
        let before = std::mem::take(&mut self.ids);
        let row = |topic: &Topic| {
            let (counts, settings, id) = (topic.counts(), topic.settings(), topic.last_id());
            Row {
                topic: topic.name().to_owned(),
                members: topic.members(),
                id,
                policy: settings.policy.to_string(),
                queue: settings.queue,
                history: counts.history,
                dropped: counts.dropped.iter().map(|(_, dropped)| dropped).sum(),
                discarded: counts.discarded,
                rate: rate(before.get(topic.name()).copied(), id, since),
            }
        };
        let mut rows: Vec<Row> = self.hub.topics().iter().map(row).collect();
        self.ids = rows.iter().map(|row| (row.topic.clone(), row.id)).collect();
        // The busiest stay; the sort is stable, so the others are by name.
        rows.sort_by_key(|row| std::cmp::Reverse((row.rate, row.members)));
        rows.truncate(TOPICS);
        rows.sort_by(|a, b| a.topic.cmp(&b.topic));
        rows
    }
}

/// So many a second; 0 for what was not there before.
fn rate(before: Option<u64>, now: u64, since: Duration) -> u64 {
    let more = now.saturating_sub(before.unwrap_or(now)) as f64;
    (more / since.as_secs_f64().max(0.001)).round() as u64
}
