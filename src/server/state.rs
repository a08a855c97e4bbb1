//! [`ServerState`]: the state of a server, which all its threads share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::admission::handshake_slots::HandshakeSlots;
use super::admission::per_address::PerAddress;
use super::refusal_log::RefusalLog;
use super::registry::Registry;
use super::stats::{Disconnects, ShutdownTally};
use super::tick::TickCallbacks;
use crate::config::Config;
use crate::http::Rules;
use crate::sync::{Latch, Permits};

#[derive(Debug)]
pub(crate) struct ServerState {
    pub(crate) config: Arc<Config>,
    pub(crate) rules: Rules,
    /// Set when shutdown begins.
    pub(crate) latch: Latch,
    pub(crate) clients: Registry,
    /// The connection limit: one permit for each upgraded client.
    pub(crate) client_permits: Permits,
    /// The slots for clients whose request is being read or answered.
    pub(crate) handshakes: HandshakeSlots,
    pub(crate) per_address: PerAddress,
    pub(crate) shutdown_tally: ShutdownTally,
    pub(crate) disconnects: Disconnects,
    pub(crate) refusals: RefusalLog,
    pub(super) tick_callbacks: TickCallbacks,
    /// Whether only this machine can reach the server.
    pub(crate) loopback_only: bool,
    last_number: AtomicU64,
}

impl ServerState {
    pub(crate) fn new(
        config: Config,
        rules: Rules,
        loopback_only: bool,
        max_clients: usize,
        handshake_slots: usize,
    ) -> ServerState {
        ServerState {
            per_address: PerAddress::new(config.max_clients_per_ip, config.connect_rate),
            loopback_only,
            config: Arc::new(config),
            rules,
            latch: Latch::new(),
            clients: Registry::default(),
            client_permits: Permits::new(max_clients),
            handshakes: HandshakeSlots::new(handshake_slots),
            shutdown_tally: ShutdownTally::default(),
            disconnects: Disconnects::default(),
            refusals: RefusalLog::new(),
            tick_callbacks: TickCallbacks::default(),
            last_number: AtomicU64::new(0),
        }
    }

    /// Returns the number of the next connection. The first is 1.
    pub(super) fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }
}
