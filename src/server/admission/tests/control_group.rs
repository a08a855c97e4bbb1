use super::*;
use crate::server::admission::fake_root::Root;

fn found(root: &Root, has_tls: bool) -> Vec<(String, u64, u64)> {
    let mut found: Vec<_> = limits(&root.0, has_tls)
        .into_iter()
        .map(|limit| (limit.name, limit.value, limit.clients))
        .collect();
    found.sort();
    found
}

#[test]
fn limit_of_a_group_above_counts() {
    let root = Root::with(
        "group-above",
        &[
            ("proc/self/cgroup", "0::/system.slice/hub.service\n"),
            ("sys/fs/cgroup/system.slice/hub.service/pids.max", "max\n"),
            (
                "sys/fs/cgroup/system.slice/hub.service/memory.max",
                "268435456\n",
            ),
            (
                "sys/fs/cgroup/system.slice/hub.service/memory.stat",
                "anon 8388608\nfile 99999999\n",
            ),
            ("sys/fs/cgroup/system.slice/pids.max", "2000\n"),
            ("sys/fs/cgroup/system.slice/pids.current", "488\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "max\n"),
        ],
    );
    assert_eq!(
        found(&root, false),
        [
            (
                "memory.max of the control group /system.slice/hub.service".into(),
                256 << 20,
                (256 - 64 - 8) * 1024 / 96
            ),
            (
                "pids.max of the control group /system.slice".into(),
                2000,
                500
            ),
        ]
    );
    assert_eq!(unread(&root.0), None);
}

#[test]
fn limits_of_version_1_are_read() {
    let root = Root::with(
        "group-version-1",
        &[
            (
                "proc/self/cgroup",
                "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n8:pids:/docker/abc\n0::/\n",
            ),
            // A container sees its own group as the root.
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "16777216\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "rss 1\ntotal_rss 4194304\n",
            ),
            ("sys/fs/cgroup/pids/docker/abc/pids.max", "712\n"),
            ("sys/fs/cgroup/pids/pids.max", "max\n"),
        ],
    );
    assert_eq!(
        found(&root, false),
        [
            (
                "memory.limit_in_bytes of the control group /".into(),
                16 << 20,
                (16 - 8 - 4) * 1024 / 96
            ),
            ("pids.max of the control group /docker/abc".into(), 712, 100),
        ]
    );
    let with_tls = found(&root, true);
    assert_eq!(with_tls[0].2, (16 - 8 - 4) * 1024 / 112);
    assert_eq!(with_tls[1].2, 100, "TLS needs no thread");
}

#[test]
fn unreadable_control_groups_are_reported() {
    let root = Root::with("group-unread", &[("proc/uptime", "1")]);
    let why = unread(&root.0).expect("there is no /proc/self/cgroup");
    assert!(
        why.contains("none assumed (/proc/self/cgroup: No such file"),
        "{why}"
    );
    root.write("proc/self/cgroup", "0::/hub\n");
    let why = unread(&root.0).expect("there is no /sys/fs/cgroup");
    assert!(why.contains("/sys/fs/cgroup has no directory"), "{why}");
    // The root group of a machine has no limit files.
    root.write("sys/fs/cgroup/cgroup.procs", "1\n");
    assert_eq!(unread(&root.0), None);
    root.write("proc/self/cgroup", "");
    assert_eq!(unread(&root.0), None);
}
