//! The line of figures that SIGUSR1 writes into the log.

use standpipe::{Hub, ServerHandle};

use super::links::Links;

/// Returns the figures of this moment, as one line.
pub(crate) fn line(handle: &ServerHandle, hub: &Hub, links: Option<&Links>) -> String {
    let counts = handle.counts();
    let states = handle.client_states();
    let queued: usize = states.iter().map(|state| state.queue.messages).sum();
    let blocked = states
        .iter()
        .filter(|state| state.queue.blocked.is_some())
        .count();
    let disconnects: Vec<String> = handle
        .disconnects()
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(by, count)| format!("{by} {count}"))
        .collect();
    let disconnects = match disconnects.len() {
        0 => "none".to_owned(),
        _ => disconnects.join(", "),
    };
    let links = links.map_or_else(String::new, Links::figures);
    format!(
        "figures: clients {}, blocked {blocked}, pending handshakes {}, topics {}, history bytes {}; messages queued \
         {queued}, accepted {}, delivered {}, dropped {}, discarded {}; disconnects: {disconnects}{links}",
        handle.clients(),
        handle.pending_handshakes(),
        hub.len(),
        hub.history_bytes(),
        counts.accepted,
        counts.delivered,
        counts.dropped,
        counts.discarded
    )
}
