//! [`ProcessGroup`]: the processes of the command, for signals.
//!
//! A signal by number could reach a foreign process, if the number were used again. The number of a process is not used
//! again before its parent has asked for its exit code. So the group has a number only until then, and both change
//! together under the lock.

use std::io;
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

#[derive(Default)]
pub(crate) struct ProcessGroup(Mutex<Option<Pid>>);

impl ProcessGroup {
    /// Starts a process that leads the group.
    pub(super) fn start(&self, start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
        let mut leader = self.lock();
        let child = start()?;
        *leader = Some(Pid::from_child(&child));
        Ok(child)
    }

    /// Asks every process of the group to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends every process of the group, immediately.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Returns how the leader has ended. From now on, the group gets no signals.
    ///
    /// # Blocking
    /// Until the leader has ended.
    pub(super) fn reap(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let mut leader = self.lock();
        *leader = None;
        child.wait()
    }

    /// Forgets a leader that has not ended although it was killed. The kernel does not let go of it.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = *self.lock() {
            // The only error is that all processes of the group have ended.
            let _ = kill_process_group(leader, signal);
        }
    }

    #[cfg(test)]
    pub(super) fn has_leader(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
