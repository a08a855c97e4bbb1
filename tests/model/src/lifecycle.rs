//! `lifecycle.rs`, from the end of the opening handshake on.

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU8, Ordering};

use crate::lock;
use crate::log::Log;
use crate::switch_point::SwitchPoint;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Messages are accepted.
    Open,
    /// A Close waits for the queue to be written.
    ClosingAfterQueue,
    /// A Close waits for the frame in progress only.
    ClosingNow,
    /// A thread has taken the Close to write it.
    CloseTaken,
    /// Nothing will be written any more.
    Finished,
}

const PHASES: [Phase; 5] = [
    Phase::Open,
    Phase::ClosingAfterQueue,
    Phase::ClosingNow,
    Phase::CloseTaken,
    Phase::Finished,
];

/// When a Close frame is sent (`write/close.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// After everything that is queued.
    AfterQueue,
    /// After the frame in progress.
    Immediate,
}

impl CloseMode {
    /// Returns the byte that stands for the Close frame.
    pub fn frame(self) -> u8 {
        match self {
            CloseMode::AfterQueue => b'.',
            CloseMode::Immediate => b'!',
        }
    }
}

#[derive(Debug)]
pub(crate) struct Lifecycle {
    /// Written under the lock of `close` only.
    phase: AtomicU8,
    switch: SwitchPoint,
    /// The Close that waits to be written.
    close: Mutex<Option<u8>>,
}

impl Lifecycle {
    pub(crate) fn new() -> Lifecycle {
        Lifecycle {
            phase: AtomicU8::new(Phase::Open as u8),
            switch: SwitchPoint::default(),
            close: Mutex::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.switch.reach();
        PHASES[usize::from(self.phase.load(Ordering::SeqCst))]
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.phase() == Phase::Finished
    }

    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    pub(crate) fn request_close(&self, mode: CloseMode, log: &Log) -> bool {
        let mut close = lock(&self.close);
        let next = match mode {
            CloseMode::AfterQueue => Phase::ClosingAfterQueue,
            CloseMode::Immediate => Phase::ClosingNow,
        };
        let wins = match self.phase() {
            Phase::Open => true,
            Phase::ClosingAfterQueue => mode == CloseMode::Immediate,
            _ => false,
        };
        if wins {
            *close = Some(mode.frame());
            log.close_requested(mode.frame());
            self.set(next);
        }
        wins
    }

    pub(crate) fn take_immediate_close(&self) -> Option<u8> {
        self.take_close(|phase| phase == Phase::ClosingNow)
    }

    pub(crate) fn take_deferred_close(&self) -> Option<u8> {
        self.take_close(|phase| matches!(phase, Phase::ClosingAfterQueue | Phase::ClosingNow))
    }

    fn take_close(&self, may: impl Fn(Phase) -> bool) -> Option<u8> {
        if !may(self.phase()) {
            return None;
        }
        let mut close = lock(&self.close);
        if !may(self.phase()) {
            return None;
        }
        self.set(Phase::CloseTaken);
        close.take()
    }

    pub(crate) fn finish(&self) {
        let mut close = lock(&self.close);
        *close = None;
        if self.phase() != Phase::Finished {
            self.set(Phase::Finished);
        }
    }
}
