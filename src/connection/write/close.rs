//! [`CloseReason`]: the code and reason of a Close frame. [`CloseMode`]: when the frame is sent.

use super::frame::EncodedFrame;

/// The close code of a slow consumer.
pub(crate) const SLOW_CONSUMER: u16 = 4008;

/// The body of a Close frame: a code and a reason, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CloseReason(pub(crate) Option<(u16, String)>);

impl CloseReason {
    pub(crate) fn new(code: u16, reason: &str) -> CloseReason {
        CloseReason(Some((code, reason.to_owned())))
    }

    pub(crate) fn frame(&self) -> EncodedFrame {
        EncodedFrame::close(self.0.as_ref().map(|(code, reason)| (*code, &**reason)))
    }

    /// Returns the code, or 1005 for a Close without a code (RFC 6455 §7.1.5).
    pub(crate) fn code(&self) -> u16 {
        self.0.as_ref().map_or(1005, |(code, _)| *code)
    }

    pub(crate) fn reason(&self) -> &str {
        self.0.as_ref().map_or("", |(_, reason)| reason)
    }
}

/// When a Close frame is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseMode {
    /// After everything that is queued. Used after the handler has returned, by `close()`, and at shutdown.
    AfterQueue,
    /// After the frame in progress. The queue is discarded. Used for a violation, a failed handler, a slow consumer,
    /// and as the answer to the peer's Close.
    Immediate,
}

/// Returns whether a Close frame may carry `code` (RFC 6455 §7.4.1 and §7.4.2, and IANA's 1012 to 1014).
pub(crate) fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
