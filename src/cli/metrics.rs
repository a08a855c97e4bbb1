//! `GET /metrics`: totals in a text format of Prometheus (`exposition.rs`). Names that clients choose are never labels,
//! because their number is not limited.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use standpipe::{Hub, Reply, Request, ServerHandle};

use super::exposition;
use super::links::Links;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct By {
    by: &'static str,
}

/// Returns the answer, with the current figures.
pub(crate) fn text(
    request: &Request,
    handle: &ServerHandle,
    hub: &Hub,
    links: Option<&Links>,
) -> Reply {
    match write(handle, hub, links) {
        Ok(text) => exposition::reply(request, text),
        Err(error) => Reply::text(500, format!("{error}\n")),
    }
}

fn write(handle: &ServerHandle, hub: &Hub, links: Option<&Links>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("standpipe");
    let mut gauge = |name: &str, help: &str, value: usize| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    gauge("clients", "Connected clients", handle.clients());
    gauge(
        "requests",
        "Requests being read or answered",
        handle.pending_handshakes(),
    );
    gauge("topics", "Existing topics", hub.len());
    gauge(
        "history_bytes",
        "Bytes in all histories",
        hub.history_bytes(),
    );
    let states = handle.client_states();
    let queued = states.iter().map(|state| state.queue.messages).sum();
    gauge("queued_messages", "Messages queued for clients", queued);
    let bytes = states.iter().map(|state| state.queue.bytes).sum();
    gauge("queued_bytes", "Bytes queued for clients", bytes);
    let blocked = states
        .iter()
        .filter(|state| state.queue.blocked.is_some())
        .count();
    gauge(
        "blocked_clients",
        "Clients whose socket accepts no more bytes",
        blocked,
    );

    let counts = handle.counts();
    let mut counter = |name: &str, help: &str, value: u64| {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    };
    counter(
        "messages_accepted",
        "Messages accepted for clients, whether they were delivered or not",
        counts.accepted,
    );
    counter(
        "messages_delivered",
        "Messages written completely to the kernel's socket",
        counts.delivered,
    );
    counter(
        "messages_dropped",
        "Messages dropped by a policy",
        counts.dropped,
    );
    counter(
        "messages_discarded",
        "Messages still queued when their client disconnected",
        counts.discarded,
    );
    let disconnects = Family::<By, Counter>::default();
    for (by, count) in handle.disconnects() {
        let by = By { by: by.name() };
        disconnects.get_or_create(&by).inc_by(count);
    }
    registry.register(
        "disconnects",
        "Clients disconnected or requests rejected, by cause",
        disconnects,
    );

    if let Some(links) = links {
        links.register(&mut registry);
    }

    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
