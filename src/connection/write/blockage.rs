//! [`Blockage`]: whether the socket refuses bytes, and the write clock that runs meanwhile.

use crate::connection::deadlines::Deadlines;

/// A blocked socket must accept this many bytes, or all offered bytes, within `write_timeout`.
pub(crate) const PROGRESS: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Blockage {
    /// Whether the socket has refused bytes, and has not accepted everything since.
    is_blocked: bool,
    /// Bytes accepted since the write clock was last started.
    accepted: usize,
}

impl Blockage {
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Records that the socket has accepted `written` bytes, and refused others.
    pub(super) fn refused(&mut self, written: usize, deadlines: &Deadlines) {
        self.accepted += written;
        let restart = !self.is_blocked || self.accepted >= PROGRESS;
        self.accepted *= usize::from(!restart);
        self.is_blocked = true;
        deadlines.socket_refused(restart);
    }

    /// Records that the socket has accepted everything.
    pub(super) fn accepted_all(&mut self, deadlines: &Deadlines) {
        if std::mem::take(&mut self.is_blocked) {
            deadlines.socket_accepted_all();
        }
    }
}
