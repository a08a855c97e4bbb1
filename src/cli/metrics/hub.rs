//! The metrics of the hub and of publishing.

use prometheus_client::registry::Registry;
use standpipe::{DropReason, Hub};

use super::family::{counters, gauge, histogram};
use crate::cli::publish_counts;

pub(super) fn register(registry: &mut Registry, hub: &Hub) {
    let statistics = hub.statistics();
    gauge(
        registry,
        "topics",
        "Existing topics",
        statistics.topics as f64,
    );
    gauge(
        registry,
        "subscriptions",
        "Subscriptions of all clients to topics",
        statistics.members as f64,
    );
    gauge(
        registry,
        "history_bytes",
        "Bytes in all histories",
        statistics.history_bytes as f64,
    );
    counters(
        registry,
        "publishes",
        "Messages that clients and programs have published, by way and result",
        publish_counts::counts()
            .into_iter()
            .map(|(way, result, count)| {
                let labels = vec![("way", way.to_owned()), ("result", result.to_owned())];
                (labels, count)
            }),
    );
    histogram(
        registry,
        "publish_duration_seconds",
        "Time that publishing took, with the waits for other publishers and slow members; a batch counts once",
        statistics.publish_times,
    );
    counters(
        registry,
        "messages_dropped",
        "Messages for a member that its topic has dropped, by the policy",
        DropReason::ALL.iter().map(|reason| {
            let labels = vec![("policy", reason.to_string())];
            (labels, statistics.counts.dropped_by(*reason))
        }),
    );
    let resumes = [
        ("whole", statistics.resumed),
        ("gap", statistics.resumed_with_gap),
    ];
    counters(
        registry,
        "resumes",
        "Subscriptions that continued after an id, with all missed messages or with a gap",
        resumes.map(|(result, count)| (vec![("result", result.to_owned())], count)),
    );
}
