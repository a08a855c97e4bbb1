//! [`Progress`]: how much of a client's input was sent. The threads that read, write and report share it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts lines. A line has the number that `Lines` gave it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last line that was to be sent.
    last: usize,
    /// The last line that was written to the socket.
    written: usize,
    /// Lines that could not be sent because of their content. Each one was reported.
    refused: usize,
    /// The longest line that was to be sent, and its number of bytes.
    longest: (usize, usize),
    /// The input could not be read. This was reported.
    is_broken: bool,
    /// The input is a file whose end has not been reached. This is false for a pipe, because its length is not known.
    is_unfinished: bool,
    /// The writing thread waited in vain for the answer to our Close.
    is_unanswered: bool,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin_file(&self) {
        self.lock().is_unfinished = true;
    }

    pub(super) fn sending(&self, line: usize, bytes: usize) {
        let mut state = self.lock();
        state.last = line;
        if bytes > state.longest.1 {
            state.longest = (line, bytes);
        }
    }

    pub(super) fn written(&self, line: usize) {
        self.lock().written = line;
    }

    pub(super) fn refused(&self) {
        self.lock().refused += 1;
    }

    /// Records the end of the input, which may be an error.
    pub(super) fn end(&self, is_broken: bool) {
        let mut state = self.lock();
        state.is_broken = is_broken;
        state.is_unfinished = false;
    }

    pub(super) fn unanswered(&self) {
        self.lock().is_unanswered = true;
    }

    pub(super) fn is_unanswered(&self) -> bool {
        self.lock().is_unanswered
    }

    /// Returns what was not sent although it could be read. It is empty if nothing was lost.
    ///
    /// `is_cut` says that the connection ended before the client wanted it to.
    pub(super) fn losses(&self, is_cut: bool) -> Vec<String> {
        let state = self.lock();
        let mut losses = Vec::new();
        match state.refused {
            0 => {}
            1 => losses.push("1 line was not sent".to_owned()),
            refused => losses.push(format!("{refused} lines were not sent")),
        }
        if is_cut && (state.last > state.written || state.is_unfinished) {
            let first = state.written + 1;
            losses.push(format!(
                "the lines from line {first} on were not sent, and the server may not have read all before"
            ));
        }
        if state.is_broken {
            losses.push("the input could not be read to its end".to_owned());
        }
        losses
    }

    /// Returns a sentence about the longest line, for a server that closed because a message was too large.
    pub(super) fn longest(&self) -> Option<String> {
        match self.lock().longest {
            (0, _) => None,
            (line, bytes) => Some(format!(
                "the longest line is line {line} with {bytes} bytes"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_name_the_first_line_that_was_not_written() {
        let progress = Progress::default();
        assert_eq!(progress.losses(true), [""; 0]);
        progress.sending(1, 5);
        progress.sending(2, 3);
        progress.written(1);
        assert_eq!(
            progress.losses(true),
            ["the lines from line 2 on were not sent, and the server may not have read all before"]
        );
        assert_eq!(progress.losses(false), [""; 0]);
        progress.written(2);
        progress.begin_file();
        assert_eq!(
            progress.losses(true),
            ["the lines from line 3 on were not sent, and the server may not have read all before"]
        );
        progress.end(false);
        assert_eq!(progress.losses(true), [""; 0]);
        progress.refused();
        assert_eq!(progress.losses(false), ["1 line was not sent"]);
        assert_eq!(
            progress.longest().as_deref(),
            Some("the longest line is line 1 with 5 bytes")
        );
    }
}
