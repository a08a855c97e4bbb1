//! The limits of this process's control group and of each group above it, whose limits count too: threads (`pids.max`)
//! and memory (`memory.max`, in version 1 `memory.limit_in_bytes`).

use std::fs;
use std::path::{Path, PathBuf};

use super::limit::{Limit, SPARE_MEMORY, SPARE_THREADS, THREADS_PER_CLIENT, memory_per_client};

/// Where control groups are usually mounted.
const MOUNT: &str = "sys/fs/cgroup";

/// Returns the limits that are set. A group without a limit has the value *max*. `has_tls` says that clients have TLS.
pub(super) fn limits(root: &Path, has_tls: bool) -> Vec<Limit> {
    let mut limits = Vec::new();
    for group in groups(root) {
        let Group { directory, path } = &group;
        let read = |file: &str| fs::read_to_string(directory.join(file)).ok();
        let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
        // In version 1, each kind of limit has a tree of its own, so only one of these files exists.
        if let Some(value) = number("pids.max") {
            let used = SPARE_THREADS + number("pids.current").unwrap_or(0);
            let name = format!("pids.max of the control group {path}");
            limits.push(Limit::new(name, value, used, THREADS_PER_CLIENT));
        }
        for (file, anonymous) in [
            ("memory.max", "anon "),
            ("memory.limit_in_bytes", "total_rss "),
        ] {
            let Some(value) = number(file) else { continue };
            let stat = read("memory.stat").unwrap_or_default();
            let used = stat.lines().find_map(|line| line.strip_prefix(anonymous));
            let used = used.and_then(|used| used.trim().parse().ok()).unwrap_or(0);
            // If there is little memory, only half of it is reserved.
            let used = SPARE_MEMORY.min(value / 2) + used;
            let name = format!("{file} of the control group {path}");
            limits.push(Limit::new(name, value, used, memory_per_client(has_tls)));
        }
    }
    limits
}

/// Returns the limits that cannot be read, although this process may be in a control group.
pub(super) fn unread(root: &Path) -> Option<String> {
    let why = match fs::read_to_string(root.join("proc/self/cgroup")) {
        Err(error) => format!("/proc/self/cgroup: {error}"),
        Ok(own) => {
            // A kernel without control groups has an empty file.
            if own.is_empty() || groups(root).iter().any(|group| group.directory.is_dir()) {
                return None;
            }
            format!("/{MOUNT} has no directory of a control group")
        }
    };
    Some(format!(
        "pids.max and memory.max of the control group, none assumed ({why})"
    ))
}

/// A control group of this process, or one above it.
struct Group {
    directory: PathBuf,
    /// Its name below the mount point.
    path: String,
}

fn groups(root: &Path) -> Vec<Group> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mount = root.join(MOUNT);
    let mut groups = Vec::new();
    for line in own.lines() {
        // Each line is *number:kinds:path* (cgroups(7)). In version 2 there are no kinds.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(kinds), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let trees: &[&str] = match kinds {
            // Beside version 1, version 2 is mounted as `unified`.
            "" => &["", "unified"],
            "pids" => &["pids"],
            "memory" => &["memory"],
            _ => continue,
        };
        for tree in trees {
            // A container often sees its own group as the root of the tree, although the path is the one outside.
            for path in Path::new(path).ancestors() {
                let below = path.strip_prefix("/").unwrap_or(path);
                groups.push(Group {
                    directory: mount.join(tree).join(below),
                    path: path.display().to_string(),
                });
            }
        }
    }
    groups
}

#[cfg(test)]
#[path = "tests/control_group.rs"]
mod tests;
