//! [`ClientAddress`]: whom the requests of a connection come from, if the connection may come from a trusted proxy.
//!
//! A connection from any other peer needs nothing of this: its client is its peer, and the acceptor has applied the limits
//! per address. From a trusted proxy, the client becomes known here: by a PROXY header before the first request, or by the
//! forwarding headers of each request. Then the limits are applied to it, and it gets its own share of the handshake
//! slots.

use super::registered::RegisteredClient;
use super::response::Answer;
use super::wire::RequestReader;
use crate::connection::shared::Shared;
use crate::http1::{self, HeadError, Peer, ProxyHeader, Request};
use crate::server::admission::handshake_slots::HandshakeSlot;
use crate::server::refusal_log::Refusal;
use crate::server::state::ServerState;

pub(super) struct ClientAddress<'slot> {
    slot: &'slot HandshakeSlot<'slot>,
    /// The other end of the connection, or the client that the PROXY header names.
    peer: Peer,
    /// The other end of the connection, if that is a trusted proxy.
    proxy: Option<Peer>,
    /// Whether `peer` is a trusted proxy, so that its forwarding headers name the client.
    has_headers: bool,
    /// Whether the connection has been counted for the rate of its client.
    is_counted: bool,
}

impl<'slot> ClientAddress<'slot> {
    /// Returns the address of a connection without a PROXY header.
    pub(super) fn new(
        shared: &Shared,
        slot: &'slot HandshakeSlot<'slot>,
        server: &ServerState,
    ) -> ClientAddress<'slot> {
        let peer = shared.name.get().peer;
        let is_proxy = http1::is_trusted(&peer, &server.config.trusted_proxies);
        ClientAddress {
            slot,
            proxy: is_proxy.then(|| peer.clone()),
            peer,
            has_headers: is_proxy,
            is_counted: !is_proxy,
        }
    }

    /// Reads the PROXY header, which begins with the bytes `ahead`, and leaves there what follows it. On a listener with TLS,
    /// the TLS handshake comes after this.
    ///
    /// # Blocking
    /// Waits for the proxy, limited by `handshake_timeout`.
    ///
    /// # Errors
    /// The header is invalid, or the client that it names exceeds its rate.
    pub(super) fn read_proxy_header(
        &mut self,
        client: &RegisteredClient<'_>,
        ahead: &mut Vec<u8>,
        server: &ServerState,
    ) -> Result<(), ProxyHeaderError> {
        let mut reader = RequestReader(&*client.socket);
        let (header, rest) = http1::read_proxy_header(&mut reader, std::mem::take(ahead))?;
        *ahead = rest;
        // The bytes that follow were sent by a client, which could write any forwarding header.
        self.has_headers = false;
        let ProxyHeader::Client(address) = header else {
            return Ok(());
        };
        if !http1::is_plausible(address.ip(), self.peer.is_loopback()) {
            return Ok(());
        }
        self.peer = Peer::Tcp(address);
        self.has_headers = http1::is_trusted(&self.peer, &server.config.trusted_proxies);
        self.begin_request(&client.shared);
        if !self.has_headers {
            self.is_counted = true;
            count(&self.peer, server)?;
        }
        Ok(())
    }

    /// Forgets the client of the request before, because the next one may come from another client.
    pub(super) fn begin_request(&self, shared: &Shared) {
        if self.proxy.is_some() {
            shared.name.set(self.peer.clone(), None);
            let is_known = !self.has_headers && self.proxy.as_ref() != Some(&self.peer);
            self.slot.set_peer(is_known.then_some(&self.peer));
        }
    }

    pub(super) fn peer(&self) -> Peer {
        self.peer.clone()
    }

    /// Finds out whom the request comes from, and counts it for the rate of that client.
    ///
    /// One connection of a proxy carries requests of several clients, so each request with a forwarding header counts as
    /// a connection. A request without one comes from the proxy itself, which may check the server as often as it likes.
    /// It counts if it is an upgrade, so that a proxy that adds no header is noticed.
    pub(super) fn identify(
        &self,
        request: &mut Request,
        shared: &Shared,
        server: &ServerState,
    ) -> Result<(), Answer> {
        let Some(proxy) = &self.proxy else {
            return Ok(());
        };
        let mut client = None;
        if self.has_headers {
            let trusted = &server.config.trusted_proxies;
            let named = http1::client_of(request.headers(), &self.peer, trusted);
            client = named.map_err(|(reply, reason)| Answer::rejection(reply, reason))?;
        }
        let is_named = client.is_some();
        let client = client.unwrap_or_else(|| self.peer.clone());
        request.set_proxied(client.clone(), proxy.clone());
        if is_named {
            shared.name.set(client.clone(), None);
            self.slot.set_peer(Some(&client));
        }
        if !self.is_counted && (is_named || request.wants_upgrade()) {
            count(&client, server)?;
        }
        Ok(())
    }
}

/// Counts a connection of the client, or a request that counts as one.
fn count(client: &Peer, server: &ServerState) -> Result<(), Answer> {
    if server.per_address.may_connect(client) {
        return Ok(());
    }
    let reply = http1::unavailable(5, "too many connections from your address");
    let reason = "connect rate exceeded";
    Err(Answer::rejection_of_kind(
        Refusal::ConnectRate,
        reply,
        reason,
    ))
}

/// Why a connection ends at its PROXY header.
pub(super) enum ProxyHeaderError {
    Head(HeadError),
    Answer(Answer),
}

impl From<HeadError> for ProxyHeaderError {
    fn from(error: HeadError) -> Self {
        ProxyHeaderError::Head(error)
    }
}

impl From<Answer> for ProxyHeaderError {
    fn from(answer: Answer) -> Self {
        ProxyHeaderError::Answer(answer)
    }
}
