//! Standard output: [`write`] for the commands that are clients, and [`write_now`] for the server.

use std::io::{self, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Failure;

/// A pipe that can be written to accepts this many bytes without waiting (PIPE_BUF, pipe(7)).
const PART: usize = 4096;

/// The program that reads standard output has ended, such as `head -1`. The command then ends too, without a message.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed by its reader")]
pub(crate) struct Closed;

/// Writes to standard output and flushes it. Waits while no process reads the output.
///
/// # Errors
/// [`Closed`] when no process reads the output any more, and a text for every other reason, such as a full disk.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Closed.into(),
        _ => format!("cannot write to standard output: {error}").into(),
    })
}

/// Writes to standard output without waiting, because the server must start and end although no process reads its output.
///
/// # Errors
/// When standard output is closed or full. What has been written before remains written.
pub(crate) fn write_now(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for part in text.as_bytes().chunks(PART) {
        let mut fds = [PollFd::new(&out, PollFlags::OUT)];
        poll(&mut fds, Some(&Timespec::default()))?;
        // An error of the other end is reported by the write.
        if fds[0].revents().is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "nobody reads standard output",
            ));
        }
        out.write_all(part)?;
        out.flush()?;
    }
    Ok(())
}
