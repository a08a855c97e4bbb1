//! [`Socket`]: a socket with a script.

use std::collections::VecDeque;

use crate::log::Log;

/// An entry of a socket's script: the write fails.
pub const FAILS: usize = usize::MAX;

/// The n-th write that does not wait accepts as many bytes as the n-th entry of the script says, or fails. After the
/// script, every write is accepted whole. A write that waits is always accepted whole.
#[derive(Debug)]
pub(crate) struct Socket {
    script: VecDeque<usize>,
}

/// The write failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed;

impl Socket {
    pub(crate) fn new(script: &[usize]) -> Socket {
        Socket {
            script: script.iter().copied().collect(),
        }
    }

    pub(crate) fn try_write(&mut self, bytes: &[u8], log: &Log) -> Result<usize, Failed> {
        match self.script.pop_front() {
            Some(FAILS) => Err(Failed),
            accepted => {
                let accepted = accepted.unwrap_or(bytes.len()).min(bytes.len());
                self.write(&bytes[..accepted], log)
            }
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8], log: &Log) -> Result<usize, Failed> {
        log.written(bytes);
        Ok(bytes.len())
    }
}
