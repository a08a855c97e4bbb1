//! What a blocking server must survive, a test for each threat: hostile frames, slow and dead peers, what may not be
//! shown, and the process's own resources. The numbers are those of the project's list of threats; more of the rows on the
//! handshake is in `handshake.rs`, and in the tables beside `src/http`.

mod frames;

mod floods;

mod peers;

mod clocks;

mod errors;

mod panics;

// These run the binary: what they count is a process's.
#[cfg(feature = "cli")]
pub(crate) mod spawned;

#[cfg(feature = "cli")]
mod requests;

#[cfg(feature = "cli")]
mod logs;

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
