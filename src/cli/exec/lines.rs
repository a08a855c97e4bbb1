//! [`Lines`]: bytes that arrive in any portions, as lines.

use std::mem;

/// Collects lines. A line ends at LF, and a CR before it belongs to the line. A line beyond the limit is skipped whole.
pub(super) struct Lines {
    /// The beginning of the line that has not ended.
    begun: Vec<u8>,
    /// The maximum number of bytes of a line.
    max: usize,
    /// Whether the line that has not ended is beyond the limit.
    skips: bool,
    /// How many lines were beyond the limit, since somebody asked.
    skipped: usize,
}

impl Lines {
    pub(super) fn new(max: usize) -> Lines {
        Lines {
            begun: Vec::new(),
            max,
            skips: false,
            skipped: 0,
        }
    }

    /// Adds bytes, and returns the lines that they complete.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.split_last() {
                Some((b'\n', rest)) => {
                    self.begin(rest);
                    complete.extend(self.finish());
                }
                _ => self.begin(piece),
            }
        }
        complete
    }

    /// Returns the last line, if it has no LF.
    pub(super) fn last(&mut self) -> Option<Vec<u8>> {
        let has_begun = self.skips || !self.begun.is_empty();
        has_begun.then(|| self.finish()).flatten()
    }

    /// Returns how many lines were skipped since the last call.
    pub(super) fn take_skipped(&mut self) -> usize {
        mem::take(&mut self.skipped)
    }

    fn begin(&mut self, bytes: &[u8]) {
        if self.skips || bytes.len() > self.max - self.begun.len() {
            self.skips = true;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }

    fn finish(&mut self) -> Option<Vec<u8>> {
        if mem::take(&mut self.skips) {
            self.skipped += 1;
            return None;
        }
        Some(mem::take(&mut self.begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the bytes in portions of this size.
    fn lines(input: &[u8], portion: usize) -> (Vec<String>, usize) {
        let mut lines = Lines::new(5);
        let mut found = Vec::new();
        for portion in input.chunks(portion) {
            found.extend(lines.add(portion));
        }
        found.extend(lines.last());
        let found = found.into_iter();
        let text = |line| String::from_utf8(line).expect("the test has text only");
        (found.map(text).collect(), lines.take_skipped())
    }

    #[test]
    fn lines_are_the_same_in_all_portions() {
        let input = b"a\r\n\n12345\n123456\n1234567890123\nlast";
        for portion in 1..=input.len() {
            let expected = ["a\r", "", "12345", "last"].map(str::to_owned);
            assert_eq!(lines(input, portion), (expected.to_vec(), 2), "{portion}");
        }
    }

    #[test]
    fn last_line_needs_no_end() {
        assert_eq!(lines(b"a\n", 9), (vec!["a".to_owned()], 0));
        assert_eq!(lines(b"", 9), (Vec::new(), 0));
        assert_eq!(lines(b"a\n1234567", 2), (vec!["a".to_owned()], 1));
    }
}
