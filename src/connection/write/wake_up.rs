//! [`WakeUp`]: how the writer thread is woken.

use crossbeam_channel::{Receiver, Sender};

/// A channel of capacity one. Several notifications before the writer wakes have the effect of one.
#[derive(Debug)]
pub(crate) struct WakeUp {
    sender: Sender<()>,
    receiver: Receiver<()>,
}

impl WakeUp {
    pub(crate) fn new() -> WakeUp {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        WakeUp { sender, receiver }
    }

    /// Wakes the writer. If the writer is not waiting, its next wait returns immediately.
    pub(crate) fn notify(&self) {
        // If the channel is full, the writer has already been notified.
        let _ = self.sender.try_send(());
    }

    /// Waits for a notification. Only the writer calls this.
    pub(crate) fn wait(&self) {
        let received = self.receiver.recv();
        received.expect("`WakeUp` holds the sender");
    }
}
