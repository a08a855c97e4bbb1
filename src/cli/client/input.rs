//! Reads the lines that `client` and `pub` send.

use std::io::{self, BufRead, BufReader};

use crate::cli::Failure;

/// The maximum number of bytes of a line. A longer line is split. Without this limit, a file without line ends would be
/// read into memory completely.
const MAX_LINE: u64 = 16 << 20;

/// Calls `handle` with each line, without its line end, until `handle` fails or the input ends.
pub(crate) fn for_each_line(
    input: impl io::Read,
    mut handle: impl FnMut(String) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut input = BufReader::new(input);
    loop {
        let mut line = Vec::new();
        if io::Read::take(&mut input, MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        handle(String::from_utf8_lossy(&line).into_owned())?;
    }
}
