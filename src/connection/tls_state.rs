//! [`TlsState`]: whether a connection has TLS, and which version.

use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

use crate::tls::TlsVersion;

const NONE: u8 = 0;
const IN_HANDSHAKE: u8 = 1;
const TLS_1_2: u8 = 2;
const TLS_1_3: u8 = 3;

#[derive(Debug, Default)]
pub(crate) struct TlsState(AtomicU8);

impl TlsState {
    /// Begins as `other` is now.
    pub(crate) fn copy(other: &TlsState) -> TlsState {
        TlsState(AtomicU8::new(other.0.load(SeqCst)))
    }

    pub(crate) fn begin_handshake(&self) {
        self.0.store(IN_HANDSHAKE, SeqCst);
    }

    #[cfg(feature = "tls")]
    pub(crate) fn end_handshake(&self, version: TlsVersion) {
        let state = match version {
            TlsVersion::Tls12 => TLS_1_2,
            TlsVersion::Tls13 => TLS_1_3,
        };
        self.0.store(state, SeqCst);
    }

    #[cfg(feature = "tls")]
    pub(crate) fn fail_handshake(&self) {
        self.0.store(NONE, SeqCst);
    }

    pub(crate) fn is_in_handshake(&self) -> bool {
        self.0.load(SeqCst) == IN_HANDSHAKE
    }

    /// Returns the version after the handshake.
    pub(crate) fn version(&self) -> Option<TlsVersion> {
        match self.0.load(SeqCst) {
            TLS_1_2 => Some(TlsVersion::Tls12),
            TLS_1_3 => Some(TlsVersion::Tls13),
            NONE | IN_HANDSHAKE => None,
            other => unreachable!("no method stores {other}"),
        }
    }
}
