//! The connection limit: how many clients this machine can serve, and which kernel limit determines that.
//!
//! A client needs two threads and a descriptor, and a Rust thread needs four memory maps. With `vm.max_map_count` =
//! 65,530, the 8,184th client made std *abort the process*: the new thread aborts, so `Builder::spawn` cannot return an
//! error (rust-lang/rust#78497). So the limit is computed before the first client is accepted.

use std::fs;

/// How many requests may be read or answered at the same time, each on its own thread.
pub(crate) const HANDSHAKE_SLOTS: usize = 256;

/// The maximum number of evicted handshakes whose thread has not ended yet.
pub(crate) const MAX_EVICTED: usize = 32;

/// Memory maps of a Rust thread: its stack, the signal stack, and a guard page for each.
const MAPS_PER_THREAD: u64 = 4;
const THREADS_PER_CLIENT: u64 = 2;

/// Reserved for the program itself and for pending handshakes.
const SPARE_MAPS: u64 = 2048;
const SPARE_THREADS: u64 = 512;
const SPARE_DESCRIPTORS: u64 = 128 + (HANDSHAKE_SLOTS + MAX_EVICTED) as u64;

/// The connection limit, and what determines it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) clients: usize,
    /// The limit that determines it, with its value and how to change it, for the log.
    pub(crate) set_by: String,
}

/// Raises the soft descriptor limit to the hard one, and computes the connection limit. `wanted` is
/// [`Config::max_clients`](crate::Config::max_clients).
pub(crate) fn compute(wanted: Option<usize>) -> Capacity {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        log::warn!("could not raise the descriptor limit: {error}");
    }
    smallest(limits(), wanted)
}

fn smallest(limits: Vec<(u64, String)>, wanted: Option<usize>) -> Capacity {
    let computed = limits.into_iter().min_by_key(|(clients, _)| *clients);
    let (clients, set_by) = computed.unwrap_or((u64::MAX, "no known limit".into()));
    let clients = usize::try_from(clients).unwrap_or(usize::MAX);
    if clients == 0 {
        log::warn!("connection limit: 0 (set by {set_by}); no client can connect");
    }
    match wanted {
        Some(wanted) if wanted > clients => {
            log::warn!(
                "max_clients {wanted} is more than this machine can hold: {clients} (set by {set_by})"
            );
            Capacity { clients, set_by }
        }
        Some(wanted) => Capacity {
            clients: wanted,
            set_by: "max_clients".into(),
        },
        None => Capacity { clients, set_by },
    }
}

/// Returns how many clients each kernel limit allows, with its name. A limit that cannot be read, or is not set, is
/// left out.
fn limits() -> Vec<(u64, String)> {
    let mut limits = Vec::new();
    let mut add = |limit: Option<u64>, used: u64, each: u64, how: &str| {
        if let Some(limit) = limit {
            let clients = limit.saturating_sub(used) / each;
            limits.push((clients, format!("{how} = {limit}")));
        }
    };
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
    let lines = |path: &str| fs::read_to_string(path).map_or(0, |text| text.lines().count() as u64);
    add(
        number("/proc/sys/vm/max_map_count"),
        lines("/proc/self/maps").max(SPARE_MAPS),
        THREADS_PER_CLIENT * MAPS_PER_THREAD,
        "vm.max_map_count (sysctl)",
    );
    let used = SPARE_THREADS + threads_on_this_machine();
    for (path, how) in [
        ("/proc/sys/kernel/pid_max", "kernel.pid_max (sysctl)"),
        (
            "/proc/sys/kernel/threads-max",
            "kernel.threads-max (sysctl)",
        ),
    ] {
        add(number(path), used, THREADS_PER_CLIENT, how);
    }
    add(
        cgroup_limit(),
        SPARE_THREADS,
        THREADS_PER_CLIENT,
        "the control group's pids.max",
    );
    let limit = |resource: rlimit::Resource| {
        let (soft, _) = resource.get().ok()?;
        (soft != rlimit::INFINITY).then_some(soft)
    };
    add(
        limit(rlimit::Resource::NPROC),
        SPARE_THREADS,
        THREADS_PER_CLIENT,
        "ulimit -u",
    );
    let descriptors = limit(rlimit::Resource::NOFILE);
    add(
        descriptors,
        // If there are few descriptors, only half of them are reserved.
        descriptors.map_or(0, |all| SPARE_DESCRIPTORS.min(all / 2)),
        1,
        "ulimit -n (hard)",
    );
    limits
}

/// Returns the number of threads on this machine: the fourth field of `loadavg` is *running/all*.
fn threads_on_this_machine() -> u64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .nth(3)
        .and_then(|threads| threads.split('/').nth(1)?.parse().ok())
        .unwrap_or(0)
}

/// Returns `pids.max` of this process's control group (version 2). *max* means no limit.
fn cgroup_limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let path = format!("/sys/fs/cgroup{path}/pids.max");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_is_used_and_named() {
        let limits = || vec![(7_935, "maps".to_owned()), (16_000, "pids".to_owned())];
        assert_eq!(smallest(limits(), None).clients, 7_935);
        assert_eq!(smallest(limits(), None).set_by, "maps");
        assert_eq!(smallest(limits(), Some(100)).clients, 100);
        assert_eq!(smallest(limits(), Some(100)).set_by, "max_clients");
        assert_eq!(
            smallest(limits(), Some(9_000)).clients,
            7_935,
            "max_clients cannot exceed the kernel's limit"
        );
    }

    #[test]
    fn limit_of_this_machine_has_a_name() {
        let capacity = compute(None);
        assert!(capacity.clients > 0, "{capacity:?}");
        assert!(!capacity.set_by.is_empty());
    }
}
