//! [`Lines`]: the lines that `client` and `pub` send.

use std::io::{self, BufRead, BufReader, Read};

/// The maximum number of bytes of a line. Without this limit, a file without line ends would be read into memory
/// completely.
const MAX_LINE: u64 = 16 << 20;

/// Reads lines. A line ends at LF, and a CR before it belongs to the line. The last line needs no LF.
pub(crate) struct Lines<R> {
    input: BufReader<R>,
    number: usize,
    max: u64,
}

/// A line without its LF.
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: usize,
    /// The bytes, or the reason why the line cannot be sent.
    pub(crate) bytes: Result<Vec<u8>, String>,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(input: R) -> Lines<R> {
        Lines {
            input: BufReader::new(input),
            number: 0,
            max: MAX_LINE,
        }
    }

    fn read(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        // One byte more than the limit, for the LF.
        let read = (&mut self.input)
            .take(self.max + 1)
            .read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        let has_end = bytes.last() == Some(&b'\n');
        if has_end {
            bytes.pop();
        } else if read as u64 > self.max {
            self.input.skip_until(b'\n')?;
        }
        let bytes = if bytes.len() as u64 > self.max {
            Err(format!("is longer than {} bytes", self.max))
        } else {
            Ok(bytes)
        };
        Ok(Some(Line {
            number: self.number,
            bytes,
        }))
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<io::Result<Line>> {
        self.read().transpose()
    }
}

impl Line {
    /// Returns the line as text. An error says what is wrong with it, without the number.
    pub(crate) fn text(bytes: Vec<u8>) -> Result<String, String> {
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to() + 1;
            format!("is not UTF-8 at byte {at}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], max: u64) -> Vec<(usize, Result<Vec<u8>, String>)> {
        let mut lines = Lines::new(input);
        lines.max = max;
        let lines = lines.map(|line| line.expect("a slice has no read errors"));
        lines.map(|line| (line.number, line.bytes)).collect()
    }

    #[test]
    fn lines_keep_every_byte_but_lf() {
        assert_eq!(
            lines(b"a\r\n\n\0\xff\nlast", 100),
            [
                (1, Ok(b"a\r".to_vec())),
                (2, Ok(b"".to_vec())),
                (3, Ok(b"\0\xff".to_vec())),
                (4, Ok(b"last".to_vec())),
            ]
        );
        assert_eq!(lines(b"", 100), []);
        assert_eq!(lines(b"\n", 100), [(1, Ok(Vec::new()))]);
    }

    #[test]
    fn line_beyond_the_limit_is_skipped_whole() {
        let long = || Err("is longer than 3 bytes".to_owned());
        assert_eq!(
            lines(b"abc\nabcd\nabcdefgh\nabc", 3),
            [
                (1, Ok(b"abc".to_vec())),
                (2, long()),
                (3, long()),
                (4, Ok(b"abc".to_vec())),
            ]
        );
        assert_eq!(lines(b"abcd", 3), [(1, long())]);
    }

    #[test]
    fn text_names_the_first_wrong_byte() {
        assert_eq!(Line::text(b"\xc3\xa9".to_vec()), Ok("é".to_owned()));
        let error = Line::text(b"ab\xff".to_vec());
        assert_eq!(error, Err("is not UTF-8 at byte 3".to_owned()));
    }
}
