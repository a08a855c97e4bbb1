//! [`WakeUp`]: how the writer thread is woken.

use crossbeam_channel::{Receiver, Sender};

/// A channel of capacity one. Notifications that come before the writer has woken are joined into one.
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

    /// Wakes the writer, now or when it next waits.
    pub(crate) fn notify(&self) {
        // A full channel means that it is notified already.
        let _ = self.sender.try_send(());
    }

    /// Waits for a notification. Only the writer calls it.
    pub(crate) fn wait(&self) {
        let received = self.receiver.recv();
        received.expect("the sender lives beside the receiver");
    }
}
