//! The address space that glibc's allocator reserves for itself. It matters only under a limit of address space.
//!
//! glibc gives its threads up to eight arenas for each processor, and reserves 64 MiB of addresses for each. A thread
//! that gets no arena maps each allocation by itself, and the process aborts when no address is left. With `ulimit -v
//! 400000` on two processors, that happened at the 123rd client.

use std::env;
use std::fs;
use std::thread;

/// What one arena reserves (`HEAP_MAX_SIZE` in malloc/arena.c).
const ARENA: u64 = if cfg!(target_pointer_width = "64") {
    64 << 20
} else {
    1 << 20
};

/// Arenas for each processor (`NARENAS_FROM_NCORES` in malloc/arena.c).
const ARENAS_PER_PROCESSOR: u64 = if cfg!(target_pointer_width = "64") {
    8
} else {
    2
};

/// Returns how many bytes of addresses the arenas may take. Another C library has none.
pub(super) fn arena_space() -> u64 {
    if !cfg!(target_env = "gnu") {
        return 0;
    }
    let set = env::var("MALLOC_ARENA_MAX").ok();
    let arenas = set
        .and_then(|text| text.parse().ok())
        .filter(|most| *most > 0)
        .unwrap_or_else(|| processors() * ARENAS_PER_PROCESSOR);
    arenas.saturating_mul(ARENA)
}

/// Returns on how many processors this process may run. std also considers the quota of a control group, which glibc
/// does not.
fn processors() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed:"));
    let allowed = mask.map_or(0, |mask| {
        let digits = mask.chars().filter_map(|digit| digit.to_digit(16));
        digits.map(|digit| u64::from(digit.count_ones())).sum()
    });
    match allowed {
        0 => thread::available_parallelism().map_or(1, |count| count.get() as u64),
        allowed => allowed,
    }
}
