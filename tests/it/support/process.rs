//! The threads and descriptors of a process, as /proc lists them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::until;

/// One process in /proc. Other tests run in this process at the same time: a test that counts there must filter by
/// connection number, or run with [`in_own_process`](super::in_own_process).
pub(crate) struct Process(PathBuf);

impl Process {
    pub(crate) fn this() -> Process {
        Process("/proc/self".into())
    }

    pub(crate) fn of(pid: u32) -> Process {
        Process(format!("/proc/{pid}").into())
    }

    /// Returns the names of its threads, sorted.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(self.0.join("task")).unwrap();
        let mut names: Vec<String> = tasks
            // A thread may end between the listing of the directory and the reading of its name.
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .map(|name| name.trim_end().to_owned())
            .collect();
        names.sort();
        names
    }

    /// Returns the names of the threads that belong to clients, sorted: `sp-N-open`, `sp-N-read` and `sp-N-write`.
    pub(crate) fn client_threads(&self) -> Vec<String> {
        let mut names = self.threads();
        names.retain(|name| {
            let number = name.strip_prefix("sp-").and_then(|rest| {
                let suffixes = ["-open", "-read", "-write"];
                suffixes.iter().find_map(|suffix| rest.strip_suffix(suffix))
            });
            number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        });
        names
    }

    /// Returns the number of client threads when no opening handshake is in progress any more.
    ///
    /// A client receives its 101 shortly before its handshake thread ends. A thread that has not run yet still has the
    /// name of the thread that spawned it, so a count in that moment could be wrong.
    #[track_caller]
    pub(crate) fn settled_client_threads(&self) -> usize {
        until("no handshake thread is left", || {
            let names = self.client_threads();
            !names.iter().any(|name| name.ends_with("-open"))
        });
        self.client_threads().len()
    }

    /// Returns the number of open descriptors. In this process, the listing itself adds one.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.0.join("fd")).unwrap().count()
    }
}

/// Returns a command whose signals have their default actions. A test that runs in the background of a script, or under
/// `nohup`, ignores some of them, and so would the server under test.
pub(crate) fn command_with_signals(program: &str) -> Command {
    // A bit for each of SIGHUP, SIGINT, SIGQUIT and SIGTERM (proc_pid_status(5)).
    const SIGNALS: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 14;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    if mask.unwrap_or(0) & SIGNALS == 0 {
        return Command::new(program);
    }
    let mut command = Command::new("/usr/bin/env");
    command.args(["--default-signal=HUP,INT,QUIT,TERM", program]);
    command
}
