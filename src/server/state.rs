//! [`ServerState`]: the state of a server, which all its threads share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::admission::handshake_slots::HandshakeSlots;
use super::admission::per_address::PerAddress;
use super::counters::ServerCounters;
use super::refusal_log::RefusalLog;
use super::registry::Registry;
use super::shutdown_signal::ShutdownSignal;
use super::stats::{Disconnects, ShutdownTally};
use super::tick::TickCallbacks;
use crate::config::Config;
use crate::http1::Rules;
use crate::sync::Permits;

/// The number of the latest connection of any server in this process. The servers count together, because a hub may
/// have members of several servers, and tells them apart by their numbers.
static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);

/// Returns the number of the next connection. The first is 1.
pub(super) fn next_number() -> u64 {
    LAST_NUMBER.fetch_add(1, Ordering::Relaxed) + 1
}

#[derive(Debug)]
pub(crate) struct ServerState {
    pub(crate) config: Arc<Config>,
    pub(crate) rules: Rules,
    /// How far the shutdown has come.
    pub(crate) shutdown: ShutdownSignal,
    pub(crate) clients: Registry,
    /// The connection limit: one permit for each upgraded client.
    pub(crate) client_permits: Permits,
    /// The slots for clients whose request is being read or answered.
    pub(crate) handshakes: HandshakeSlots,
    pub(crate) per_address: PerAddress,
    pub(crate) shutdown_tally: ShutdownTally,
    pub(crate) disconnects: Disconnects,
    pub(crate) counters: ServerCounters,
    pub(crate) refusals: RefusalLog,
    pub(super) tick_callbacks: Arc<TickCallbacks>,
    /// Whether only this machine can reach the server.
    pub(crate) loopback_only: bool,
}

impl ServerState {
    pub(crate) fn new(
        config: Config,
        rules: Rules,
        shutdown: ShutdownSignal,
        loopback_only: bool,
        max_clients: usize,
        handshake_slots: usize,
    ) -> ServerState {
        ServerState {
            per_address: PerAddress::new(config.max_clients_per_ip, config.connect_rate),
            loopback_only,
            config: Arc::new(config),
            rules,
            shutdown,
            clients: Registry::default(),
            client_permits: Permits::new(max_clients),
            handshakes: HandshakeSlots::new(handshake_slots),
            shutdown_tally: ShutdownTally::default(),
            disconnects: Disconnects::default(),
            counters: ServerCounters::default(),
            refusals: RefusalLog::new(),
            tick_callbacks: Arc::default(),
        }
    }
}
