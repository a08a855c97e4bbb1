//! [`Interest`]: what to wait for.

/// What to wait for. See [`Watch::ready`](crate::Watch::ready) and [`Connection::ready`](crate::Connection::ready).
///
/// If both fields are false, only the end of the connection is waited for.
///
/// ```
/// use standpipe::Interest;
///
/// assert_eq!(Interest::READ, Interest { read: true, write: false });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Whether to wait until something can be read.
    pub read: bool,
    /// Whether to wait until something can be written.
    pub write: bool,
}

impl Interest {
    /// Only reading.
    pub const READ: Interest = Interest {
        read: true,
        write: false,
    };

    /// Only writing.
    pub const WRITE: Interest = Interest {
        read: false,
        write: true,
    };
}
