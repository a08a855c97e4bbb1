//! [`Process`]: one run of the command.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::sync::Arc;

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::command_line::CommandLine;
use super::process_group::ProcessGroup;

pub(super) struct Process {
    child: Child,
    group: Arc<ProcessGroup>,
}

/// The other ends of the pipes to a process.
pub(super) struct Pipes {
    /// A write to it does not wait.
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
}

impl Process {
    /// Starts the command as the leader of a process group of its own. So Ctrl-C in the terminal reaches this process only,
    /// and a signal reaches also the processes that the command starts.
    pub(super) fn start(command: &CommandLine, group: &Arc<ProcessGroup>) -> io::Result<Process> {
        let child = group.start(|| {
            command
                .command()
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .process_group(0)
                .spawn()
        })?;
        let group = Arc::clone(group);
        Ok(Process { child, group })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the pipes, once.
    pub(super) fn take_pipes(&mut self) -> io::Result<Pipes> {
        let (stdin, stdout) = (self.child.stdin.take(), self.child.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // This end has flags of its own: the command's end still waits.
        ioctl_fionbio(&stdin, true)?;
        Ok(Pipes { stdin, stdout })
    }

    /// Returns whether the process has ended. Its number stays in use until it is reaped.
    pub(super) fn has_ended(&self) -> bool {
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let waited = waitid(WaitId::Pid(Pid::from_child(&self.child)), ended);
        !matches!(waited, Ok(None) | Err(rustix::io::Errno::INTR))
    }

    /// Returns how the process has ended.
    pub(super) fn reap(mut self) -> io::Result<ExitStatus> {
        self.group.reap(&mut self.child)
    }
}
