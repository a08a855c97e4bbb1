//! [`Observer`]: takes snapshots of the server, as JSON. It reads atomics, and holds the locks of the client and topic
//! lists only while it copies them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use standpipe::{ClientState, Hub, Peer, ServerHandle, Topic};

use super::{generator, kernel, slow};
use crate::cli::debug::{self, millis};
use crate::cli::links::{Links, Machines};

/// The maximum number of clients in a snapshot. It is limited because each watcher gets a snapshot twice a second. The
/// clients with the fullest queues are included.
const MAX_CLIENTS: usize = 2000;
/// The maximum number of topics in a snapshot. The busiest topics are included.
const MAX_TOPICS: usize = 200;

/// Remembers the previous snapshot's counters, from which the rates are computed.
pub(super) struct Observer {
    handle: ServerHandle,
    hub: Hub,
    links: Option<Links>,
    /// The byte limit of a client's queue, which the page needs to show how full a queue is.
    queue_bytes: usize,
    /// The time of the previous snapshot.
    at: Instant,
    /// Unacknowledged bytes by client address, and the time before which they are not read again.
    unacknowledged: (HashMap<SocketAddr, u64>, Instant),
    delivered: HashMap<u64, u64>,
    ids: HashMap<String, u64>,
}

#[derive(Serialize)]
struct Snapshot {
    server: ServerFigures,
    /// Absent if the hub shares its topics with no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    machines: Option<Machines>,
    clients: Vec<Client>,
    topics: Vec<TopicFigures>,
    slow: Vec<slow::Figures>,
    generators: Vec<generator::Figures>,
    /// Microseconds that taking this snapshot took.
    took_us: u64,
}

#[derive(Serialize)]
struct ServerFigures {
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

/// A client's row. It is serialized as an array without field names, because there may be thousands of rows.
struct Client {
    state: ClientState,
    topics: Vec<String>,
    unacknowledged: Option<u64>,
    rate: u64,
}

impl Serialize for Client {
    /// `[number, peer, topics, [reader, since, writer, since], [messages, capacity, bytes, blocked for], unacknowledged,
    /// [delivered, dropped, discarded, rate], round trip]`
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (state, queue) = (&self.state, &self.state.queue);
        let threads = (
            state.reader.activity.to_string(),
            millis(state.reader.since),
            state.writer.activity.to_string(),
            millis(state.writer.since),
        );
        // Nested, because serde implements `Serialize` for tuples of up to 16 elements only.
        let blocked = queue.blocked.map_or(0, millis);
        let pending = (queue.messages, queue.capacity, queue.bytes, blocked);
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
        )
            .serialize(serializer)
    }
}

#[derive(Serialize)]
struct TopicFigures {
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
    pub(super) fn new(
        handle: ServerHandle,
        hub: Hub,
        links: Option<Links>,
        queue_bytes: usize,
    ) -> Observer {
        Observer {
            handle,
            hub,
            links,
            queue_bytes,
            at: Instant::now(),
            unacknowledged: (HashMap::new(), Instant::now()),
            delivered: HashMap::new(),
            ids: HashMap::new(),
        }
    }

    /// Takes a snapshot and returns it as JSON.
    pub(super) fn snapshot(
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
            server: ServerFigures {
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
            machines: self.links.as_ref().map(Links::machines),
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
                std::cmp::Reverse((queue.messages, queue.blocked)),
                state.number,
            )
        });
        states.truncate(MAX_CLIENTS);
        let mut topics: HashMap<u64, Vec<String>> = HashMap::new();
        for (client, topic) in self.hub.memberships() {
            topics.entry(client).or_default().push(topic);
        }
        self.read_unacknowledged();
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

    /// Reads the kernel's tables, unless that was done recently. The tables list the sockets of the whole machine, so
    /// reading them can be slow. The pause between two reads is 19 times as long as the read took, so reading takes at
    /// most a twentieth of the time.
    fn read_unacknowledged(&mut self) {
        let began = Instant::now();
        if began < self.unacknowledged.1 {
            return;
        }
        let addresses = self.handle.local_addrs();
        let ports: Vec<u16> = addresses.iter().map(SocketAddr::port).collect();
        let bytes = kernel::unacknowledged(&ports);
        let next = Instant::now() + began.elapsed() * 19;
        self.unacknowledged = (bytes, next);
    }

    fn topics(&mut self, since: Duration) -> Vec<TopicFigures> {
        let before = std::mem::take(&mut self.ids);
        let row = |topic: &Topic| {
            let (counts, settings, id) = (topic.counts(), topic.settings(), topic.last_id());
            let rate = rate(before.get(topic.name()).copied(), id, since);
            TopicFigures {
                topic: topic.name().to_owned(),
                members: topic.members(),
                id,
                policy: settings.policy.to_string(),
                queue: settings.queue,
                history: counts.history,
                dropped: counts.dropped,
                discarded: counts.discarded,
                // Ids that are shared with other hubs jump to the time in microseconds. No topic has so many messages.
                rate: if rate < 1_000_000 { rate } else { 0 },
            }
        };
        let mut rows: Vec<TopicFigures> = self.hub.topics().iter().map(row).collect();
        self.ids = rows.iter().map(|row| (row.topic.clone(), row.id)).collect();
        // The busiest topics are kept, and are then sorted by name.
        rows.sort_by_key(|row| std::cmp::Reverse((row.rate, row.members)));
        rows.truncate(MAX_TOPICS);
        rows.sort_by(|a, b| a.topic.cmp(&b.topic));
        rows
    }
}

/// Returns the increase per second, or 0 if there is no earlier value.
fn rate(before: Option<u64>, now: u64, since: Duration) -> u64 {
    let more = now.saturating_sub(before.unwrap_or(now)) as f64;
    (more / since.as_secs_f64().max(0.001)).round() as u64
}
