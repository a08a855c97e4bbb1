//! A process's threads and descriptors, as the kernel counts them.

use std::fs;
use std::path::PathBuf;

use super::until;

/// Tests run side by side in one process: to count there, filter by a connection's number, or look at a process of
/// your own.
pub(crate) struct Process(PathBuf);

impl Process {
    pub(crate) fn this() -> Process {
        Process("/proc/self".into())
    }

    pub(crate) fn of(pid: u32) -> Process {
        Process(format!("/proc/{pid}").into())
    }

    /// The names of its threads, sorted.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(self.0.join("task")).unwrap();
        let mut names: Vec<String> = tasks
            // A thread may end between its entry and its name.
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .map(|name| name.trim_end().to_owned())
            .collect();
        names.sort();
        names
    }

    /// The names of its threads that belong to clients: `sp-N-door`, `sp-N-read` and `sp-N-write`, sorted.
    pub(crate) fn client_threads(&self) -> Vec<String> {
        let mut names = self.threads();
        names.retain(|name| {
            let number = name.strip_prefix("sp-").and_then(|rest| {
                let what = ["-door", "-read", "-write"];
                what.iter().find_map(|what| rest.strip_suffix(what))
            });
            number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        });
        names
    }

    /// How many threads its clients have when nobody is at a door any more. A client has its 101 a moment before the
    /// thread at its door ends, and a thread that has not run yet bears the name of the one that began it.
    #[track_caller]
    pub(crate) fn settled_client_threads(&self) -> usize {
        until("nobody is at a door", || {
            let names = self.client_threads();
            !names.iter().any(|name| name.ends_with("-door"))
        });
        self.client_threads().len()
    }

    /// Open descriptors; of this process one more, which looks.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.0.join("fd")).unwrap().count()
    }
}
