//! Tests of the threats that `src/SECURITY.md` lists: hostile requests and frames, slow and dead peers, secrets that
//! must not be shown, and the resources of the process. `handshake.rs` and the tables in `src/http` test more of the
//! handshake.

mod frames;

mod floods;

mod peers;

mod clocks;

mod errors;

mod panics;

#[cfg(feature = "tls")]
mod tls;

// These tests start the binary, because they measure the resources of one process.
#[cfg(feature = "cli")]
pub(crate) mod spawned;

#[cfg(feature = "cli")]
mod requests;

#[cfg(feature = "cli")]
mod logs;

#[cfg(feature = "cli")]
mod log_floods;

#[cfg(feature = "cli")]
mod debug_clients;

#[cfg(feature = "cli")]
mod process;

#[cfg(feature = "cli")]
mod memory;

#[cfg(feature = "cli")]
mod limits;

#[cfg(feature = "cli")]
mod signals;
