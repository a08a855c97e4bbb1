//! [`Limit`]: one limit of the kernel, and how many clients it allows.

use std::fmt;

pub(super) const THREADS_PER_CLIENT: u64 = 2;

/// The memory of an idle client for a control group, which counts the kernel's memory too: 28 KiB of the process, and 57
/// KiB of kernel stacks, socket and page tables were measured with 3,000 clients on x86-64. Queued messages are not
/// included.
const MEMORY_PER_CLIENT: u64 = 96 << 10;
/// The memory that TLS adds to an idle client. 13 KiB were measured.
const MEMORY_OF_TLS: u64 = 16 << 10;

/// Returns the memory of an idle client for a control group, in bytes.
pub(super) fn memory_per_client(has_tls: bool) -> u64 {
    MEMORY_PER_CLIENT + if has_tls { MEMORY_OF_TLS } else { 0 }
}

/// Reserved for the program itself and for pending handshakes.
pub(super) const SPARE_THREADS: u64 = 512;
pub(super) const SPARE_MEMORY: u64 = 64 << 20;

/// One limit, and how many clients it allows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// The name of the limit and how it is set, for the log.
    pub(super) name: String,
    pub(super) value: u64,
    pub(super) clients: u64,
    /// Why the value could not be read, if it is assumed.
    pub(super) assumed: Option<String>,
}

impl Limit {
    /// Returns a limit that allows one client for each `each`, after `used` and reserved parts have been subtracted.
    pub(super) fn new(name: impl Into<String>, value: u64, used: u64, each: u64) -> Limit {
        Limit {
            name: name.into(),
            value,
            clients: value.saturating_sub(used) / each,
            assumed: None,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, self.value)?;
        match &self.assumed {
            None => Ok(()),
            Some(why) => write!(f, " assumed, because {why}"),
        }
    }
}
