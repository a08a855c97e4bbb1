//! [`Limits`]: what the kernel allows this process, as numbers of clients.
//!
//! A limit that cannot be read is never taken for no limit. systemd's `ProcSubset=pid` hides `/proc/sys`, and a bare
//! chroot has no `/proc` at all. The kernel's default is assumed instead, and the log says so.
//!
//! Only three kinds of limits abort a process that exceeds them: memory maps, address space, and memory. Where threads
//! or descriptors are missing, one client is refused.

use std::fs;
use std::path::Path;

use rlimit::Resource;

use super::handshake_slots::{HANDSHAKE_SLOTS, MAX_EVICTED};
use super::limit::{Limit, SPARE_THREADS, THREADS_PER_CLIENT};
use super::{allocator, control_group};

/// Memory maps of a Rust thread: its stack, the signal stack, and a guard page for each.
const MAPS_PER_THREAD: u64 = 4;

/// The address space of a client without the stack of its handler. With a stack of 256 KiB, stacks and guard pages need
/// 398 KiB. (334 KiB were measured with 1,393 clients on x86-64, when a writer's stack was 64 KiB smaller.) The rest is for
/// its queue and its messages.
const ADDRESSES_PER_CLIENT: u64 = 256 << 10;

/// Reserved for the program itself and for pending handshakes.
const SPARE_MAPS: u64 = 2048;
const SPARE_DESCRIPTORS: u64 = 128 + (HANDSHAKE_SLOTS + MAX_EVICTED) as u64;
const SPARE_ADDRESSES: u64 = 128 << 20;

/// The kernel's defaults. `vm.max_map_count` is `DEFAULT_MAX_MAP_COUNT` (include/linux/mm.h).
const DEFAULT_MAPS: u64 = 65_530;
/// `PID_MAX_DEFAULT` (include/linux/threads.h). The kernel raises it on machines with more than 32 processors, and systemd
/// raises it to 4,194,304. The lower value is the one with which no start of a thread fails.
const DEFAULT_PIDS: u64 = 32_768;
/// `kernel.threads-max` is the memory of the machine divided by eight kernel stacks of 16 KiB (`set_max_threads` in
/// kernel/fork.c).
const MEMORY_PER_THREAD: u64 = 8 * (16 << 10);

/// The address space and data of a process whose `/proc/self/status` cannot be read. The program has less at start.
const ASSUMED_SIZE: u64 = 512 << 20;

/// All limits of this process.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) known: Vec<Limit>,
    /// Limits that could not be read and whose default is that there is none.
    pub(super) unread: Vec<String>,
}

impl Limits {
    pub(super) fn of_this_process(handler_stack: usize, has_tls: bool) -> Limits {
        let mut limits = Limits::default();
        if cfg!(target_os = "linux") {
            let root = Path::new("/");
            limits.add_kernel(root, &Machine::this());
            limits.unread.extend(control_group::unread(root));
            limits.known.extend(control_group::limits(root, has_tls));
        }
        let of_a_client = ADDRESSES_PER_CLIENT + handler_stack as u64;
        limits.add_process(&Size::of_this_process(), of_a_client);
        limits
    }

    /// Adds the limits of the whole machine, from the files below `root`.
    fn add_kernel(&mut self, root: &Path, machine: &Machine) {
        let maps = fs::read_to_string(root.join("proc/self/maps"));
        let maps = maps.map_or(0, |text| text.lines().count() as u64);
        let threads = SPARE_THREADS + threads_on_this_machine(root).unwrap_or(machine.threads);
        // A machine whose memory is unknown is assumed to have no more threads than identifiers.
        let most_threads = match machine.memory {
            0 => DEFAULT_PIDS,
            memory => memory / MEMORY_PER_THREAD,
        };
        for (file, name, default, used, each) in [
            (
                "proc/sys/vm/max_map_count",
                "vm.max_map_count (sysctl)",
                DEFAULT_MAPS,
                maps.max(SPARE_MAPS),
                THREADS_PER_CLIENT * MAPS_PER_THREAD,
            ),
            (
                "proc/sys/kernel/pid_max",
                "kernel.pid_max (sysctl)",
                DEFAULT_PIDS,
                threads,
                THREADS_PER_CLIENT,
            ),
            (
                "proc/sys/kernel/threads-max",
                "kernel.threads-max (sysctl)",
                most_threads,
                threads,
                THREADS_PER_CLIENT,
            ),
        ] {
            let (value, assumed) = match number(root, file) {
                Ok(value) => (value, None),
                Err(why) => (default, Some(why)),
            };
            let limit = Limit::new(name, value, used, each);
            self.known.push(Limit { assumed, ..limit });
        }
    }

    /// Adds the limits of this process (getrlimit(2)). A client needs `addresses` bytes of address space.
    fn add_process(&mut self, size: &Size, addresses: u64) {
        let mut add = |resource: Resource, name: &str, used: u64, each: u64| {
            // The call fails only for a resource that the system does not have.
            if let Ok((soft, _)) = resource.get()
                && soft != rlimit::INFINITY
            {
                self.known.push(Limit::new(name, soft, used, each));
            }
        };
        add(
            Resource::NPROC,
            "ulimit -u",
            SPARE_THREADS,
            THREADS_PER_CLIENT,
        );
        let arenas = allocator::arena_space();
        let name = match arenas {
            0 => "ulimit -v in bytes".to_owned(),
            arenas => format!(
                "ulimit -v in bytes, of which the allocator may reserve {arenas}, less with MALLOC_ARENA_MAX=1 in the \
                 environment,"
            ),
        };
        let used = size.addresses + SPARE_ADDRESSES;
        add(Resource::AS, &name, used + arenas, addresses);
        let used = size.data + SPARE_ADDRESSES;
        add(Resource::DATA, "ulimit -d in bytes", used, addresses);
        if let Ok((soft, hard)) = Resource::NOFILE.get() {
            let kind = if soft < hard { "soft" } else { "hard" };
            // If there are few descriptors, only half of them are reserved.
            let spare = SPARE_DESCRIPTORS.min(soft / 2);
            add(Resource::NOFILE, &format!("ulimit -n ({kind})"), spare, 1);
        }
    }
}

/// What the kernel says about the machine without a file.
#[derive(Clone, Copy, Debug, Default)]
struct Machine {
    /// Bytes of memory, or 0 if that is not known.
    memory: u64,
    threads: u64,
}

impl Machine {
    #[cfg(target_os = "linux")]
    fn this() -> Machine {
        let info = rustix::system::sysinfo();
        #[allow(
            clippy::useless_conversion,
            reason = "the fields have 32 bits on some machines"
        )]
        Machine {
            memory: u64::from(info.totalram).saturating_mul(info.mem_unit.into()),
            threads: info.procs.into(),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn this() -> Machine {
        Machine::default()
    }
}

/// The size of this process when the limits are computed, in bytes.
struct Size {
    addresses: u64,
    data: u64,
}

impl Size {
    fn of_this_process() -> Size {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |field: &str| {
            let kib = status.lines().find_map(|line| line.strip_prefix(field))?;
            let kib: u64 = kib.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib << 10)
        };
        Size {
            addresses: bytes("VmSize:").unwrap_or(ASSUMED_SIZE),
            data: bytes("VmData:").unwrap_or(ASSUMED_SIZE),
        }
    }
}

/// Reads a file with one number. The error says why it cannot be read.
fn number(root: &Path, file: &str) -> Result<u64, String> {
    let text = fs::read_to_string(root.join(file));
    let text = text.map_err(|error| format!("/{file} cannot be read: {error}"))?;
    let number = text.trim().parse();
    number.map_err(|_| format!("/{file} is not a number"))
}

/// Returns the number of threads on this machine: the fourth field of `loadavg` is *running/all*.
fn threads_on_this_machine(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/loadavg")).ok()?;
    let threads = text.split_whitespace().nth(3)?;
    threads.split('/').nth(1)?.parse().ok()
}

#[cfg(test)]
#[path = "tests/limits.rs"]
mod tests;
