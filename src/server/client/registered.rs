//! [`RegisteredClient`]: a client from `accept` to the end of its threads. The handshake thread owns it first, and then the
//! reader.

use std::net::Shutdown;
use std::sync::Arc;

use crate::connection::close_cause::CloseCause;
use crate::connection::shared::Shared;
use crate::connection::socket::Transport;
use crate::server::admission::handshake_slots::HandshakeSlot;
use crate::server::refused::Refused;
use crate::server::registry::RegistryEntry;
use crate::server::state::ServerState;
use crate::server::stats::Disconnect;

/// A client with its socket and its entry in the registry.
pub(crate) struct RegisteredClient<'server> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) socket: Arc<dyn Transport>,
    pub(crate) entry: RegistryEntry<'server>,
}

impl RegisteredClient<'_> {
    /// Puts `shared`, which has limits of its own, in the place of the client's first state. The request has been
    /// received, so neither state can be evicted.
    ///
    /// A shutdown or a missed deadline may have ended the first state. This is looked at last, because nobody finds the
    /// first state any more by then.
    pub(super) fn replace(&self, slot: &HandshakeSlot<'_>, shared: &Arc<Shared>) {
        let (first, own) = (&self.shared, shared.lifecycle());
        own.mark_request_received();
        slot.set_client(shared);
        self.entry.replace(shared);
        self.socket.limit_silence(shared.config());
        let ended = first.lifecycle();
        if ended.was_reset() {
            shared.terminate(ended.cause().unwrap_or(CloseCause::Gone));
        } else if ended.is_finished() {
            own.reject_handshake();
        }
    }

    /// As [`leave`](Self::leave), for a client that was not sent the 101. A missed deadline counts as a refusal.
    pub(crate) fn leave_unopened(self, server: &ServerState) {
        // With TLS, a close_notify announces the end of each stream that is not reset (RFC 8446 §6.1), also of a connection
        // that waited for a request in vain.
        if self.shared.tls.version().is_some() && !self.shared.lifecycle().was_reset() {
            self.socket.shutdown(Shutdown::Write);
        }
        if self.shared.lifecycle().missed_clock().is_some() {
            server.counters.refused.count(Refused::TimedOut);
        }
        self.leave(server);
    }

    /// Ends the client and removes it from the registry. Every client ends here, however its connection ended.
    pub(crate) fn leave(self, server: &ServerState) {
        let lifecycle = self.shared.lifecycle();
        if let Some(disconnect) = Disconnect::of(lifecycle.missed_clock(), lifecycle.cause()) {
            server.disconnects.count(disconnect);
        }
        self.shared.tear_down();
        // The socket is dropped first, so that the socket of a client that is not in the registry any more is closed.
        drop(self.socket);
        drop(self.entry);
    }
}
