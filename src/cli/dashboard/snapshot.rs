//! [`Observer`]: takes snapshots of the server. It reads atomics, and holds the locks of the client and topic lists only
//! while it copies them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use standpipe::{ClientState, Hub, Peer, ServerHandle, Topic};

use super::client_row::ClientRow;
use super::{generator, kernel, slow};
use crate::cli::links::{Links, Machines};

/// The maximum number of topics in a snapshot. The busiest topics are included.
const MAX_TOPICS: usize = 200;

/// On a hub that shares its topics, an increase of ids of at least this many per second is no rate. Such a hub learns the
/// ids of a topic from the others, and the first id is a time in microseconds. On any other hub the ids never jump.
const JUMP: u64 = 1_000_000;

/// Remembers the previous snapshot's counters, from which the rates are computed.
pub(super) struct Observer {
    handle: ServerHandle,
    hub: Hub,
    links: Option<Links>,
    /// The byte limit of a client's queue, which the page needs to show how full a queue is.
    queue_bytes: usize,
    has_page: bool,
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
    topics: Vec<TopicFigures>,
    slow: Vec<slow::Figures>,
    generators: Vec<generator::Figures>,
    /// Microseconds that taking this snapshot took.
    took_us: u64,
}

#[derive(Serialize)]
struct ServerFigures {
    clients: usize,
    /// Clients whose sockets accept no more bytes.
    blocked: usize,
    /// Messages queued for all clients.
    queued: usize,
    /// Messages delivered to all clients per second.
    rate: u64,
    requests: usize,
    topics: usize,
    watchers: usize,
    accepted: u64,
    delivered: u64,
    dropped: u64,
    discarded: u64,
    queue_bytes: usize,
    /// Whether the server has the page of `GET /`.
    has_page: bool,
    shutting_down: bool,
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
        has_page: bool,
    ) -> Observer {
        Observer {
            handle,
            hub,
            links,
            queue_bytes,
            has_page,
            at: Instant::now(),
            unacknowledged: (HashMap::new(), Instant::now()),
            delivered: HashMap::new(),
            ids: HashMap::new(),
        }
    }

    /// Takes a snapshot. Returns it as JSON, and the rows of all clients, sorted by number.
    pub(super) fn snapshot(
        &mut self,
        watchers: usize,
        slow: Vec<slow::Figures>,
        generators: Vec<generator::Figures>,
    ) -> (String, Vec<ClientRow>) {
        let began = Instant::now();
        let since = began.duration_since(self.at);
        self.at = began;
        let clients = self.clients(since, &slow);
        let topics = self.topics(since);
        let counts = self.handle.counts();
        let snapshot = Snapshot {
            server: ServerFigures {
                clients: self.handle.clients(),
                blocked: clients
                    .iter()
                    .filter(|row| row.state.queue.blocked.is_some())
                    .count(),
                queued: clients.iter().map(|row| row.state.queue.messages).sum(),
                rate: clients.iter().map(|row| row.rate).sum(),
                requests: self.handle.pending_handshakes(),
                topics: self.hub.len(),
                watchers,
                accepted: counts.accepted,
                delivered: counts.delivered,
                dropped: counts.dropped,
                discarded: counts.discarded,
                queue_bytes: self.queue_bytes,
                has_page: self.has_page,
                shutting_down: self.handle.is_shutting_down(),
            },
            machines: self.links.as_ref().map(Links::machines),
            topics,
            slow,
            generators,
            took_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        };
        (crate::cli::envelope::to_json(&snapshot), clients)
    }

    fn clients(&mut self, since: Duration, slow: &[slow::Figures]) -> Vec<ClientRow> {
        let states = self.handle.client_states();
        let before = std::mem::take(&mut self.delivered);
        let now = states
            .iter()
            .map(|state| (state.number, state.counts.delivered));
        self.delivered = now.collect();
        let mut topics: HashMap<u64, Vec<String>> = HashMap::new();
        for (client, topic) in self.hub.memberships() {
            topics.entry(client).or_default().push(topic);
        }
        self.read_unacknowledged();
        let unacknowledged = &self.unacknowledged.0;
        let experiments = slow
            .iter()
            .map(|slow| (slow.peer.clone(), slow.name.clone()));
        let experiments: HashMap<String, String> = experiments.collect();
        let row = |state: ClientState| ClientRow {
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
            experiment: match experiments.is_empty() {
                true => None,
                false => experiments.get(&state.peer.to_string()).cloned(),
            },
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
        let has_links = self.links.is_some();
        let row = |topic: &Topic| {
            let (counts, settings, id) = (topic.counts(), topic.settings(), topic.last_id());
            let rate = topic_rate(before.get(topic.name()).copied(), id, since, has_links);
            TopicFigures {
                topic: topic.name().to_owned(),
                members: topic.members(),
                id,
                policy: settings.policy.to_string(),
                queue: settings.queue,
                history: counts.history,
                dropped: counts.dropped,
                discarded: counts.discarded,
                rate,
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

/// Returns the messages per second of a topic, from its last ids. On a hub `with_links`, a jump of the ids is no rate.
fn topic_rate(before: Option<u64>, now: u64, since: Duration, with_links: bool) -> u64 {
    match rate(before, now, since) {
        JUMP.. if with_links => 0,
        rate => rate,
    }
}

/// Returns the increase per second, or 0 if there is no earlier value.
fn rate(before: Option<u64>, now: u64, since: Duration) -> u64 {
    let more = now.saturating_sub(before.unwrap_or(now)) as f64;
    (more / since.as_secs_f64().max(0.001)).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_rates_of_topics_are_shown() {
        let second = Duration::from_secs(1);
        for rate in [0, 1, 999_999, 1_000_000, 5_000_000] {
            assert_eq!(topic_rate(Some(7), 7 + rate, second, false), rate);
        }
        assert_eq!(topic_rate(None, 7, second, false), 0);
    }

    #[test]
    fn jump_of_shared_ids_is_no_rate() {
        let half = Duration::from_millis(500);
        let now = 1_700_000_000_000_000;
        assert_eq!(topic_rate(Some(0), now, half, true), 0);
        assert_eq!(topic_rate(Some(now), now + 400_000, half, true), 800_000);
    }
}
