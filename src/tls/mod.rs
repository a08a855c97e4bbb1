//! TLS for listeners (feature `tls`): [`TlsConfig`], and what a request tells about its session ([`TlsInfo`]).
//! `connection/tls/` has the transport.

#[cfg(feature = "tls")]
mod config;
#[cfg(feature = "tls")]
mod error;
#[cfg(feature = "tls")]
mod info;
#[cfg(feature = "tls")]
pub(crate) mod untrusted;
#[cfg(feature = "tls")]
mod unusable;
mod version;

#[cfg(feature = "tls")]
pub use config::TlsConfig;
#[cfg(feature = "tls")]
pub use error::TlsConfigError;
#[cfg(feature = "tls")]
pub use info::TlsInfo;
pub use version::TlsVersion;
