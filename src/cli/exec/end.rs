//! [`End`]: tells a thread of one process to end, while it waits for a channel or for a descriptor.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::wake_up::is_readable;

/// Ends its [`End`] when it is dropped.
pub(super) struct EndOnDrop {
    _channel: Sender<Infallible>,
    _stream: UnixStream,
}

/// The event, for the thread that waits for it.
#[derive(Clone)]
pub(super) struct End {
    /// Disconnects.
    pub(super) channel: Receiver<Infallible>,
    /// Can be read, because its stream has ended.
    pub(super) stream: Arc<UnixStream>,
}

impl End {
    pub(super) fn new() -> io::Result<(EndOnDrop, End)> {
        let (sender, channel) = bounded(0);
        let (ours, stream) = UnixStream::pair()?;
        let on_drop = EndOnDrop {
            _channel: sender,
            _stream: ours,
        };
        let stream = Arc::new(stream);
        Ok((on_drop, End { channel, stream }))
    }

    pub(super) fn has_come(&self) -> bool {
        is_readable(&self.stream)
    }
}
