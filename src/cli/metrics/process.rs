//! The metrics of the process, with the names that every client library of Prometheus uses.

use std::fs;
use std::sync::OnceLock;
use std::time::SystemTime;

use prometheus_client::registry::Registry;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::family::{gauge, seconds};

static STARTED: OnceLock<f64> = OnceLock::new();

/// Remembers the time at which the process has started.
pub(crate) fn started() {
    STARTED.get_or_init(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0.0, |since| since.as_secs_f64())
    });
}

/// Adds the metrics. A figure that this system does not tell is left out.
pub(super) fn register(registry: &mut Registry) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    seconds(
        registry,
        "process_cpu_seconds",
        "Processor time used, of all threads",
        cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
    );
    let mut gauge = |name, help, value: Option<f64>| {
        if let Some(value) = value {
            gauge(registry, name, help, value);
        }
    };
    gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970",
        STARTED.get().copied(),
    );
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of_status = |name| value_of(&status, name);
    let bytes = |name| of_status(name).map(|kibibytes| kibibytes * 1024.0);
    gauge(
        "process_resident_memory_bytes",
        "Resident memory",
        bytes("VmRSS"),
    );
    gauge(
        "process_virtual_memory_bytes",
        "Virtual memory",
        bytes("VmSize"),
    );
    gauge("process_threads", "Threads", of_status("Threads"));
    // One descriptor is that of the directory itself.
    let descriptors = fs::read_dir("/proc/self/fd").map(|entries| entries.count() - 1);
    gauge(
        "process_open_fds",
        "Open file descriptors",
        descriptors.ok().map(|count| count as f64),
    );
    let most = getrlimit(Resource::Nofile).current;
    gauge(
        "process_max_fds",
        "How many file descriptors may be open",
        most.map(|most| most as f64),
    );
}

/// Returns the number in a line `NAME:  NUMBER kB` of `/proc/self/status`.
fn value_of(status: &str, name: &str) -> Option<f64> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_by_whole_names() {
        let status = "VmRSSx:\t1 kB\nVmRSS:\t  27304 kB\nThreads:\t12\n";
        assert_eq!(value_of(status, "VmRSS"), Some(27_304.0));
        assert_eq!(value_of(status, "Threads"), Some(12.0));
        assert_eq!(value_of(status, "VmSize"), None);
    }
}
