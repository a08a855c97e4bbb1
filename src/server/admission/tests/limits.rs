use super::*;
use crate::server::admission::fake_root::Root;

/// A machine with a gigabyte of memory.
const MACHINE: Machine = Machine {
    memory: 1 << 30,
    threads: 88,
};

fn kernel(root: &Root, machine: &Machine) -> Vec<(String, u64, u64, bool)> {
    let mut limits = Limits::default();
    limits.add_kernel(&root.0, machine);
    let known = limits.known.into_iter();
    known
        .map(|limit| {
            (
                limit.name,
                limit.value,
                limit.clients,
                limit.assumed.is_some(),
            )
        })
        .collect()
}

#[test]
fn kernel_limits_are_read_from_their_files() {
    let root = Root::with(
        "kernel-limits",
        &[
            ("proc/sys/vm/max_map_count", "262144\n"),
            ("proc/sys/kernel/pid_max", "4194304\n"),
            ("proc/sys/kernel/threads-max", "10000\n"),
            ("proc/loadavg", "0.1 0.2 0.3 2/488 999\n"),
            ("proc/self/maps", &"map\n".repeat(3000)),
        ],
    );
    assert_eq!(
        kernel(&root, &MACHINE),
        [
            ("vm.max_map_count (sysctl)".into(), 262_144, 32_393, false),
            (
                "kernel.pid_max (sysctl)".into(),
                4_194_304,
                2_096_652,
                false
            ),
            ("kernel.threads-max (sysctl)".into(), 10_000, 4_500, false),
        ]
    );
}

#[test]
fn unreadable_kernel_limit_is_the_kernels_default() {
    let root = Root::with("kernel-defaults", &[("proc/sys/kernel/pid_max", "many\n")]);
    let (maps, pids) = ("vm.max_map_count (sysctl)", "kernel.pid_max (sysctl)");
    let threads = "kernel.threads-max (sysctl)";
    assert_eq!(
        kernel(&root, &MACHINE),
        [
            (maps.into(), 65_530, 7_935, true),
            (pids.into(), 32_768, 16_084, true),
            (threads.into(), 8_192, 3_796, true),
        ]
    );
    // Without the amount of memory, there are no more threads than identifiers.
    let unknown = kernel(&root, &Machine::default());
    assert_eq!(unknown[2], (threads.into(), 32_768, 16_128, true));
}

#[test]
fn unreadable_limit_says_why() {
    let root = Root::with("kernel-why", &[("proc/sys/vm/max_map_count", "x")]);
    let mut limits = Limits::default();
    limits.add_kernel(&root.0, &MACHINE);
    assert_eq!(
        limits.known[0].to_string(),
        "vm.max_map_count (sysctl) = 65530 assumed, because /proc/sys/vm/max_map_count is not a number"
    );
    let pids = limits.known[1].to_string();
    assert!(
        pids.contains(
            "32768 assumed, because /proc/sys/kernel/pid_max cannot be read: No such file"
        ),
        "{pids}"
    );
}
