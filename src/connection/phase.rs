//! [`Phase`]: how far a connection has come.
//!
//! ```text
//!        ┌──── Idle ◀───┐
//!        ▼              │
//! ReadingRequest ─▶ Responding ─▶ Open ─▶ ClosingAfterQueue ─▶ ClosingNow ─▶ CloseTaken ─▶ Finished
//!        │              │          └───────────────┴───────────────┴──────────────┴───────────▲
//!        └──▶ Rejected ◀┘             (a close may also skip a phase; a failure goes straight to Finished)
//! ```
//!
//! The end of the peer's stream changes no phase: while the handler is in its own code, it is only announced, and the end
//! callbacks are due. A reset is a failure.
//!
//! A connection moves only to the right, except from one request to the next, and back to `ReadingRequest` while the
//! server waits for the client to send a body or to read an answer. `ReadingRequest` may become `Idle`, and `Idle` may
//! become `Rejected` too.

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The last request has been answered: the connection is kept for another request, or lingers.
    Idle,
    /// The opening handshake: the request is being read, the handler waits for its body, or the client does not read the
    /// answer.
    ReadingRequest,
    /// The opening handshake: the request is complete, and the response is not yet decided.
    Responding,
    /// The connection ends without an upgrade: a shutdown began, the handshake slot was given to another client, the
    /// connection was idle for too long, or it failed.
    Rejected,
    /// Upgraded: the 101 has been sent, or is about to be.
    Open,
    /// A Close waits for the queue to be written. No message is accepted any more.
    ClosingAfterQueue,
    /// A Close will be sent directly after the frame in progress.
    ClosingNow,
    /// A thread has taken the Close to write it. It is the last frame.
    CloseTaken,
    /// Nothing will be written any more.
    Finished,
}

const PHASES: [Phase; 9] = [
    Phase::Idle,
    Phase::ReadingRequest,
    Phase::Responding,
    Phase::Rejected,
    Phase::Open,
    Phase::ClosingAfterQueue,
    Phase::ClosingNow,
    Phase::CloseTaken,
    Phase::Finished,
];

impl Phase {
    /// Returns the phase with this number.
    pub(super) fn from_number(number: u8) -> Phase {
        PHASES[usize::from(number)]
    }
}
