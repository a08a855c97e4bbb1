//! [`InboundTls`]: the TLS handshake of a connection, before its first request.

use std::io;
use std::sync::Arc;

use log::Level;
use rustls::ServerConfig;

use super::registered::RegisteredClient;
use super::response::Answer;
use crate::clock::Clock;
use crate::connection::shared::Shared;
use crate::connection::socket::{Linger, linger};
use crate::connection::tls::handshake::{HandshakeError, accept};
use crate::escape::escaped;
use crate::http1::Reply;
use crate::server::refusal_log::Refusal;
use crate::server::state::ServerState;
use crate::server::tls_counts::TlsFailure;
use crate::tls::{TlsInfo, untrusted};

/// The TLS of a connection: what its listener asks for, and then the result of the handshake.
#[derive(Default)]
pub(crate) enum InboundTls {
    #[default]
    Without,
    Expected(Arc<ServerConfig>),
    Session(Arc<TlsInfo>),
}

impl InboundTls {
    /// Returns the session, after the handshake.
    pub(super) fn info(&self) -> Option<Arc<TlsInfo>> {
        match self {
            InboundTls::Session(info) => Some(Arc::clone(info)),
            InboundTls::Without | InboundTls::Expected(_) => None,
        }
    }

    /// Runs the handshake, if the listener has TLS. Returns whether requests can be read. From then on, the client's socket
    /// is that of its session.
    ///
    /// # Blocking
    /// As [`accept`]. After a failure, as [`linger`].
    pub(super) fn handshake(
        &mut self,
        client: &mut RegisteredClient<'_>,
        ahead: &mut Vec<u8>,
        server: &ServerState,
    ) -> bool {
        let InboundTls::Expected(config) = self else {
            return true;
        };
        let (config, ahead) = (Arc::clone(config), std::mem::take(ahead));
        let transport = match accept(Arc::clone(&client.socket), config, ahead) {
            Ok(transport) => transport,
            Err(error) => {
                refuse(error, client, server);
                return false;
            }
        };
        let info = Arc::new(transport.info());
        let is_resumed = transport.is_resumed();
        server.counters.tls.count(info.version(), is_resumed);
        client.socket = Arc::new(transport);
        client.shared.tls.end_handshake(info.version());
        *self = InboundTls::Session(info);
        // A shutdown that has begun before this left the connection alone, so that the client can be told.
        if server.shutdown.is_closing() {
            Answer::shutting_down().send(&client.shared, &*client.socket, server, None);
            return false;
        }
        true
    }
}

fn refuse(error: HandshakeError, client: &RegisteredClient<'_>, server: &ServerState) {
    let RegisteredClient { shared, socket, .. } = client;
    // From now on, a shutdown ends the connection like one that lingers after an answer.
    shared.tls.fail_handshake();
    if let Some(reason) = reason(&error, shared) {
        server.counters.tls.count_failure(reason);
    }
    match error {
        // Counted and logged by the thread that has reset it.
        _ if shared.lifecycle().was_reset() => {}
        HandshakeError::PlainHttp => {
            let reply = Reply::text(400, "This port speaks HTTPS. Use https:// or wss://.\n");
            let reason = "no TLS: the client speaks HTTP without TLS";
            Answer::rejection_of_kind(Refusal::NoTls, reply, reason)
                .send(shared, &**socket, server, None);
        }
        HandshakeError::Tls(error) => {
            server.counters.refused.count(Refusal::NoTls);
            server.refusals.log(
                Refusal::NoTls,
                &shared.name.get(),
                format_args!("no TLS: {}", escaped(&explained(&error))),
            );
            // The refusal has been counted. While the connection lingers, it must not be counted again as late, and it
            // gives way to newcomers.
            shared.write.deadlines.stop_handshake();
            shared.lifecycle().mark_idle();
            // The peer gets the alert although it may be sending.
            linger(&**socket, Linger::CLOSE);
        }
        // A port scan, or a health check of a load balancer.
        HandshakeError::Gone(false) => {}
        HandshakeError::Gone(true) => ended(shared, &io::ErrorKind::UnexpectedEof.into()),
        HandshakeError::Io(error) => ended(shared, &error),
    }
}

/// Returns what a failed handshake means, for people.
fn explained(error: &rustls::Error) -> String {
    use rustls::{AlertDescription as Alert, Error};
    match (TlsFailure::from(error), error) {
        (TlsFailure::Version, _) => "the client supports neither TLS 1.2 nor TLS 1.3".into(),
        (TlsFailure::Alpn, _) => "the client offers other protocols than http/1.1 (ALPN)".into(),
        (TlsFailure::NotTls, error) => {
            format!("the client speaks no TLS, or breaks its rules: {error}")
        }
        (TlsFailure::Cipher, error) => {
            format!("no cipher suite, group or signature scheme in common: {error}")
        }
        (_, Error::NoCertificatesPresented) => "the client has shown no certificate".into(),
        (_, Error::InvalidCertificate(error)) => {
            let reason = untrusted::reason(error);
            format!("the certificate of the client is not trusted: {reason}")
        }
        (_, Error::AlertReceived(alert)) => {
            let meaning = match alert {
                Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::CertificateUnknown
                | Alert::CertificateExpired
                | Alert::UnsupportedCertificate => {
                    ": it does not trust the certificate of this server"
                }
                _ => "",
            };
            format!("the client has sent the alert {alert:?}{meaning}")
        }
        (_, error) => error.to_string(),
    }
}

/// Returns the reason as it is counted, or `None` if it is not.
fn reason(error: &HandshakeError, shared: &Shared) -> Option<TlsFailure> {
    if shared.lifecycle().was_reset() {
        let is_late = shared.lifecycle().missed_clock() == Some(Clock::Handshake);
        return is_late.then_some(TlsFailure::TimedOut);
    }
    match error {
        HandshakeError::PlainHttp => Some(TlsFailure::PlainHttp),
        HandshakeError::Tls(error) => Some(error.into()),
        HandshakeError::Gone(true) | HandshakeError::Io(_) => Some(TlsFailure::Closed),
        HandshakeError::Gone(false) => None,
    }
}

fn ended(shared: &Shared, error: &io::Error) {
    shared.name.log(
        Level::Debug,
        format_args!("the connection ended during the TLS handshake: {error}"),
    );
}
