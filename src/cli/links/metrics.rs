//! The figures of all links in `GET /metrics`. The label of a link is its index, because a name chosen by a client must
//! not be a label, and an address may change.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use standpipe::Durations;
use standpipe::redis::{LinkCounts, LinkState, LinkStatus};

use crate::cli::metrics::encode_durations;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Shard {
    shard: usize,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Node {
    name: String,
}

/// One gauge: its name, its help, and how it is read.
type GaugeOf = (&'static str, &'static str, fn(&LinkStatus) -> f64);

/// One counter: its name, its help, and how it is read.
type CounterOf = (&'static str, &'static str, fn(&LinkCounts) -> u64);

const GAUGES: [GaugeOf; 5] = [
    (
        "up",
        "Whether the hub shares its topics through the server",
        |link| f64::from(u8::from(link.state == LinkState::Up)),
    ),
    (
        "isolated_seconds",
        "Time without the server; 0 if the hub is not isolated",
        |link| link.isolated_for.map_or(0.0, |time| time.as_secs_f64()),
    ),
    (
        "queue_messages",
        "Messages that wait to be sent to the server",
        |link| link.queue as f64,
    ),
    (
        "topics",
        "Topics whose messages the hub receives from the server",
        |link| link.topics as f64,
    ),
    (
        "nodes",
        "Hubs that use the server, including this one",
        |link| link.nodes as f64,
    ),
];

const COUNTERS: [CounterOf; 13] = [
    (
        "published",
        "Messages published through the server",
        |counts| counts.published,
    ),
    ("received", "Messages received from the server", |counts| {
        counts.received
    }),
    (
        "caught_up",
        "Messages missed on a broken connection, and read from the history in the server",
        |counts| counts.caught_up,
    ),
    ("links_lost", "Connections that broke", |counts| {
        counts.links_lost
    }),
    ("isolated", "How often the hub became isolated", |counts| {
        counts.isolated
    }),
    (
        "local_sequences",
        "How often a topic began to give its own ids to messages, without the server",
        |counts| counts.local_sequences,
    ),
    (
        "local_messages",
        "Messages that reached only the members on this hub",
        |counts| counts.local_messages,
    ),
    (
        "gaps",
        "Gaps that members were told of, because of a lost connection or server",
        |counts| counts.gaps,
    ),
    ("refused", "Messages that were refused", |counts| {
        counts.refused
    }),
    (
        "unknown",
        "Messages that may be published or not",
        |counts| counts.unknown,
    ),
    (
        "duplicates",
        "Messages received again, and not delivered",
        |counts| counts.duplicates,
    ),
    (
        "malformed",
        "Payloads received that were not valid, and not delivered",
        |counts| counts.malformed,
    ),
    (
        "overlapped",
        "Messages of other hubs that were not delivered, because this hub had used their ids",
        |counts| counts.overlapped,
    ),
];

/// Adds the figures of all links. `node` is the name of this hub.
pub(super) fn register(registry: &mut Registry, links: &[LinkStatus], node: Option<&str>) {
    let registry = registry.sub_registry_with_prefix("redis");
    let links = || {
        links
            .iter()
            .enumerate()
            .map(|(shard, link)| (Shard { shard }, link))
    };
    for (name, help, read) in GAUGES {
        let family = Family::<Shard, Gauge<f64, AtomicU64>>::default();
        for (shard, link) in links() {
            family.get_or_create(&shard).set(read(link));
        }
        registry.register(name, help, family);
    }
    for (name, help, read) in COUNTERS {
        let family = Family::<Shard, Counter>::default();
        for (shard, link) in links() {
            family.get_or_create(&shard).inc_by(read(&link.counts));
        }
        registry.register(name, help, family);
    }
    let histogram = |read: fn(&LinkStatus) -> Durations| {
        Histograms(links().map(|(shard, link)| (shard, read(link))).collect())
    };
    registry.register(
        "round_trip_seconds",
        "Time from sending a heartbeat to receiving it",
        histogram(|link| link.round_trip),
    );
    registry.register(
        "lag_seconds",
        "Time from the publishing of a message in the server to its reception",
        histogram(|link| link.lag),
    );
    if let Some(name) = node {
        let family = Family::<Node, Gauge>::default();
        family.get_or_create(&Node { name: name.into() }).set(1);
        registry.register(
            "node",
            "The name of this hub, as a label of the value 1",
            family,
        );
    }
}

/// One histogram for each link. `prometheus_client` has histograms only of values that it observes itself.
#[derive(Debug)]
struct Histograms(Vec<(Shard, Durations)>);

impl EncodeMetric for Histograms {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        for (shard, durations) in &self.0 {
            encode_durations::<Shard>(encoder.encode_family(shard)?, durations)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
