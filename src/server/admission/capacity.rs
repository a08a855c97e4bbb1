//! The connection limit: how many clients this machine can serve, and which limit of the kernel determines that.
//!
//! A client needs two threads and a descriptor, and a Rust thread needs four memory maps. With `vm.max_map_count` =
//! 65,530, the 8,184th client made std *abort the process*: the new thread aborts, so `Builder::spawn` cannot return an
//! error (rust-lang/rust#78497). So the limit is computed before the first client is accepted.

use std::fmt;
use std::io;

use super::limit::Limit;
use super::limits::Limits;

/// The connection limit, and what determines it. [`Display`](fmt::Display) is the line for the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) clients: usize,
    /// The limit that determines it, with its value and how to change it.
    pub(crate) set_by: String,
    /// The other limits that could not be read, with the values that were assumed.
    pub(crate) assumed: Vec<String>,
}

/// Computes the connection limit. `wanted` is [`Config::max_clients`](crate::Config::max_clients), and `handler_stack` is
/// [`Config::handler_stack`](crate::Config::handler_stack). `has_tls` says that a listener has TLS, so that each client may
/// have it.
pub(crate) fn compute(wanted: Option<usize>, handler_stack: usize, has_tls: bool) -> Capacity {
    smallest(Limits::of_this_process(handler_stack, has_tls), wanted)
}

fn smallest(Limits { known, unread }: Limits, wanted: Option<usize>) -> Capacity {
    let least = known.iter().min_by_key(|limit| limit.clients);
    let (clients, set_by) = least.map_or_else(
        || (u64::MAX, "no known limit".into()),
        |limit| (limit.clients, limit.to_string()),
    );
    let clients = usize::try_from(clients).unwrap_or(usize::MAX);
    if clients == 0 {
        log::warn!("connection limit: 0 (set by {set_by}); no client can connect");
    }
    let (clients, set_by) = match wanted {
        Some(wanted) if wanted > clients => {
            log::warn!(
                "max_clients {wanted} is more than this machine can hold: {clients} (set by {set_by})"
            );
            (clients, set_by)
        }
        Some(wanted) => (wanted, "max_clients".into()),
        None => (clients, set_by),
    };
    let assumed = known.iter().filter(|limit| limit.assumed.is_some());
    let assumed = assumed
        .map(Limit::to_string)
        .filter(|limit| *limit != set_by);
    Capacity {
        assumed: assumed.chain(unread).collect(),
        clients,
        set_by,
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connection limit: {} (set by {})",
            self.clients, self.set_by
        )?;
        if self.assumed.is_empty() {
            return Ok(());
        }
        write!(f, "; could not be read: {}", self.assumed.join("; "))
    }
}

/// Raises this process's limit of open descriptors, `RLIMIT_NOFILE`, from the soft to the hard value. Returns the new
/// value.
///
/// The connection limit depends on the soft value, which is often 1,024. The library changes no limit of its process
/// without this call. Call it before [`Server::bind`](crate::Server::bind), which computes the connection limit. The
/// `standpipe` program does so. A process that uses `select` must not have descriptors above 1,023, and should not call
/// this.
///
/// # Errors
/// Fails if the kernel refuses the change.
///
/// # Examples
/// ```
/// use standpipe::{Config, Server};
///
/// standpipe::raise_descriptor_limit()?;
/// let server = Server::bind("127.0.0.1:0", Config::default())?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn raise_descriptor_limit() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

#[cfg(test)]
#[path = "tests/capacity.rs"]
mod tests;
