//! [`Machines`]: what the dashboard, `standpipe top` and the log say about the links to other machines.

use serde::Serialize;
use standpipe::redis::{LinkState, LinkStatus, Lost};

use crate::cli::debug::millis;

/// The part of a snapshot that is about other machines.
#[derive(Serialize)]
pub(crate) struct Machines {
    /// The name of this hub.
    pub(super) node: Option<String>,
    pub(super) lost: String,
    pub(super) shards: Vec<Row>,
}

/// The state and the figures of one link.
#[derive(Serialize)]
pub(crate) struct Row {
    address: String,
    state: String,
    /// A sentence for people that explains the state.
    meaning: &'static str,
    silent_ms: u64,
    isolated_ms: Option<u64>,
    nodes: usize,
    topics: usize,
    queue: usize,
    published: u64,
    received: u64,
    local_messages: u64,
    gaps: u64,
    refused: u64,
    unknown: u64,
    links_lost: u64,
}

impl Row {
    pub(super) fn new(link: &LinkStatus, lost: Lost) -> Row {
        Row {
            address: link.address.clone(),
            state: link.state.to_string(),
            meaning: meaning(link.state, lost),
            silent_ms: millis(link.silent_for),
            isolated_ms: link.isolated_for.map(millis),
            nodes: link.nodes,
            topics: link.topics,
            queue: link.queue,
            published: link.counts.published,
            received: link.counts.received,
            local_messages: link.counts.local_messages,
            gaps: link.counts.gaps,
            refused: link.counts.refused,
            unknown: link.counts.unknown,
            links_lost: link.counts.links_lost,
        }
    }

    /// Returns the figures for the log, as a part of a line.
    pub(super) fn figures(&self) -> String {
        format!(
            "; {} {}: silent for {} ms, nodes {}, topics {}, queued {}, published {}, received {}, local {}, gaps {}, refused \
             {}, unknown {}, links lost {}",
            self.address,
            self.state,
            self.silent_ms,
            self.nodes,
            self.topics,
            self.queue,
            self.published,
            self.received,
            self.local_messages,
            self.gaps,
            self.refused,
            self.unknown,
            self.links_lost
        )
    }
}

fn meaning(state: LinkState, lost: Lost) -> &'static str {
    match (state, lost) {
        (LinkState::Up, _) => "topics are shared with the other hubs",
        (LinkState::Joining, _) => "connecting; publishers wait",
        (LinkState::Suspect, _) => "the connection has just broken; publishers wait",
        (LinkState::Rejoining, _) => "connected again, and catching up; publishers wait",
        (_, Lost::Local) => "the server is away; messages reach only the clients of this hub",
        _ => "the server is away; messages are refused",
    }
}
