//! `write/control_slot.rs`, with a pong only.

use loom::sync::Mutex;

use crate::lock;
use crate::log::Log;

#[derive(Debug, Default)]
pub(crate) struct ControlSlot(Mutex<Option<u8>>);

impl ControlSlot {
    /// Sets the pong to be sent. It replaces one that still waits.
    pub(crate) fn set_pong(&self, pong: u8, log: &Log) {
        let mut waiting = lock(&self.0);
        *waiting = Some(pong);
        log.pong_set(pong);
    }

    pub(crate) fn take(&self) -> Option<u8> {
        lock(&self.0).take()
    }

    pub(crate) fn clear(&self) {
        *lock(&self.0) = None;
    }
}
