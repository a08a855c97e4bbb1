//! Writing to standard output without waiting. The server must start and end although nobody reads its output.

use std::io::{self, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A pipe that can be written to accepts this many bytes without waiting (PIPE_BUF, pipe(7)).
const PART: usize = 4096;

/// Prints the text.
///
/// # Errors
/// When standard output is closed or full. What has been written before remains written.
pub(crate) fn print(text: &str) -> io::Result<()> {
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
