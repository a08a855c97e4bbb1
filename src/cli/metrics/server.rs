//! The metrics of the server and of its clients.

use prometheus_client::registry::Registry;
use standpipe::{ServerHandle, ServerStatistics, TlsCounts, TlsVersion};

use super::family::{counter, counters, gauge, histogram, seconds};

pub(super) fn register(registry: &mut Registry, handle: &ServerHandle) {
    let statistics = handle.statistics();
    state(registry, &statistics, handle.is_shutting_down());
    queues(registry, &statistics);
    connections(registry, &statistics);
    tls(registry, &statistics.tls);
    messages(registry, &statistics);
}

fn state(registry: &mut Registry, statistics: &ServerStatistics, is_draining: bool) {
    let mut gauge = |name, help, value| gauge(registry, name, help, value);
    gauge("clients", "Connected clients", statistics.clients as f64);
    gauge(
        "max_clients",
        "How many clients can be connected, by --max-clients or the limits of the kernel",
        statistics.max_clients as f64,
    );
    gauge(
        "pending_requests",
        "HTTP requests that are being read or answered, and idle HTTP connections",
        statistics.pending_handshakes as f64,
    );
    gauge(
        "draining",
        "1 after a shutdown has begun, otherwise 0",
        f64::from(u8::from(is_draining)),
    );
}

fn queues(registry: &mut Registry, statistics: &ServerStatistics) {
    let mut gauge = |name, help, value| gauge(registry, name, help, value);
    gauge(
        "queued_messages",
        "Messages queued for clients",
        statistics.queued_messages as f64,
    );
    gauge(
        "queued_bytes",
        "Bytes queued for clients or in flight",
        statistics.queued_bytes as f64,
    );
    gauge(
        "fullest_queue_ratio",
        "Messages in the fullest queue of a client, as a share of its capacity",
        statistics.fullest_queue,
    );
    gauge(
        "blocked_clients",
        "Clients whose socket accepts no more bytes at the moment",
        statistics.blocked_clients as f64,
    );
    gauge(
        "queue_age_seconds",
        "How long the message that has waited longest has waited at least, because its client does not read",
        statistics.longest_blocked.as_secs_f64(),
    );
    seconds(
        registry,
        "write_blocked_seconds",
        "How long the sockets of all clients have accepted no more bytes, in all",
        statistics.blocked_time.as_secs_f64(),
    );
}

fn connections(registry: &mut Registry, statistics: &ServerStatistics) {
    counter(
        registry,
        "connections_accepted",
        "Connections accepted, for WebSockets and for other HTTP requests",
        statistics.accepted,
    );
    counter(
        registry,
        "connections_opened",
        "WebSocket connections opened, by an answer with 101",
        statistics.opened,
    );
    counters(
        registry,
        "connections_closed",
        "WebSocket connections that have ended, by cause and close code; codes from 3000 on that a client has chosen are \
         counted as 3000 or 4000",
        statistics.closed.iter().map(|(cause, count)| {
            let code = cause
                .code()
                .map_or_else(|| "none".to_owned(), |code| code.to_string());
            (
                vec![("cause", cause.name().to_owned()), ("code", code)],
                *count,
            )
        }),
    );
    counters(
        registry,
        "refused",
        "Connections and requests that the server refused itself, by reason",
        statistics
            .refused
            .iter()
            .map(|(reason, count)| (vec![("reason", reason.name().to_owned())], *count)),
    );
    counters(
        registry,
        "http_requests",
        "HTTP requests answered, by route and status; the route none has no path of this server",
        statistics.requests.iter().map(|requests| {
            let route = requests.route.unwrap_or("none").to_owned();
            let code = requests.status.to_string();
            (vec![("route", route), ("code", code)], requests.count)
        }),
    );
    histogram(
        registry,
        "round_trip_seconds",
        "Time from a ping to its pong",
        statistics.round_trips,
    );
}

fn tls(registry: &mut Registry, counts: &TlsCounts) {
    let row = |(version, count): &(TlsVersion, u64), kind: &str| {
        let version = version.to_string();
        let version = version.trim_start_matches("TLS ").to_owned();
        (
            vec![("version", version), ("kind", kind.to_owned())],
            *count,
        )
    };
    let full = counts.full.iter().map(|count| row(count, "full"));
    let resumed = counts.resumed.iter().map(|count| row(count, "resumed"));
    counters(
        registry,
        "tls_handshakes",
        "TLS handshakes completed, by version of TLS; a resumed one continued an earlier session of its client",
        full.chain(resumed),
    );
    counters(
        registry,
        "tls_handshake_failures",
        "TLS handshakes that failed, by reason",
        (counts.failed.iter())
            .map(|(reason, count)| (vec![("reason", reason.name().to_owned())], *count)),
    );
}

fn messages(registry: &mut Registry, statistics: &ServerStatistics) {
    let counts = statistics.messages;
    let mut counter = |name, help, value| counter(registry, name, help, value);
    counter(
        "messages_received",
        "Messages received from clients",
        counts.received,
    );
    counter(
        "received_bytes",
        "Bytes received from clients after the 101, with the headers of frames",
        counts.received_bytes,
    );
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
        "delivered_bytes",
        "Bytes written to the kernel's sockets after the 101, with the headers of frames",
        counts.delivered_bytes,
    );
    counter(
        "messages_discarded",
        "Messages still queued when their client disconnected",
        counts.discarded,
    );
}
