//! [`Chunked`]: reads the chunked transfer coding (RFC 9112 §7.1).
//!
//! A proxy in front of the server may read the same bytes. If the two disagreed about where the body ends, a client
//! could hide a request in a body (RFC 9112 §11.2). So this parser accepts only what the grammar allows, and an error
//! ends the connection. Chunk extensions and trailers are checked and discarded.

/// The limit for the digits of one chunk size, including leading zeros.
const MAX_DIGITS: usize = 16;
/// The limit for all chunk extensions of one body together, in bytes. Without it, a small body could cost any number of
/// bytes (CVE-2023-39326).
const MAX_EXTENSIONS: usize = 4 << 10;
/// The limit for the trailers, in bytes.
const MAX_TRAILERS: usize = 4 << 10;

/// The part of the body that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The chunk size, after this many digits.
    Size(usize),
    /// White space after the size. Only an extension may follow it.
    SizeSpace,
    Extension,
    /// The LF of a line with a chunk size.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer line, or the CR of the empty line at the end.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    End,
}

/// The state of reading one chunked body. It does not depend on how the bytes are split into reads.
#[derive(Debug)]
pub(crate) struct Chunked {
    place: Place,
    /// The bytes of the current chunk that are missing. While the size is being read: the size so far.
    left: u64,
    extensions: usize,
    trailers: usize,
}

/// The result of one step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A piece of the body.
    Data(&'a [u8]),
    /// All given bytes have been used.
    More,
    /// The body is complete.
    End,
}

impl Chunked {
    pub(crate) fn new() -> Chunked {
        Chunked {
            place: Place::Size(0),
            left: 0,
            extensions: 0,
            trailers: 0,
        }
    }

    /// Returns whether the whole body has been read.
    pub(super) fn is_complete(&self) -> bool {
        self.place == Place::End
    }

    /// Reads `bytes` up to the next piece of data, the end of the body, or the end of `bytes`. Returns how many bytes
    /// have been used. The error is a reason for the client.
    pub(crate) fn advance<'a>(
        &mut self,
        bytes: &'a [u8],
    ) -> Result<(usize, Step<'a>), &'static str> {
        for (at, &byte) in bytes.iter().enumerate() {
            match self.place {
                Place::End => return Ok((at, Step::End)),
                Place::Data => {
                    let rest = &bytes[at..];
                    let length =
                        usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                    self.left -= length as u64;
                    if self.left == 0 {
                        self.place = Place::DataCr;
                    }
                    return Ok((at + length, Step::Data(&rest[..length])));
                }
                _ => self.place = self.byte(byte)?,
            }
        }
        let step = match self.place {
            Place::End => Step::End,
            _ => Step::More,
        };
        Ok((bytes.len(), step))
    }

    /// Returns the place after `byte`, which is not data.
    fn byte(&mut self, byte: u8) -> Result<Place, &'static str> {
        let place = match (self.place, byte) {
            (Place::Size(digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digit(digits, byte)?
            }
            (Place::Size(1..), b'\r') => Place::SizeLf,
            (Place::Size(1..) | Place::SizeSpace, b' ' | b'\t') => {
                self.count_extension()?;
                Place::SizeSpace
            }
            (Place::Size(1..) | Place::SizeSpace, b';') => Place::Extension,
            (Place::Size(_) | Place::SizeSpace, _) => return Err("a chunk size is not valid"),
            (Place::Extension, b'\r') => Place::SizeLf,
            (Place::Extension, byte) if is_text(byte) => {
                self.count_extension()?;
                Place::Extension
            }
            (Place::Extension, _) => return Err("a chunk extension contains a control character"),
            (Place::SizeLf, b'\n') if self.left == 0 => Place::TrailerStart,
            (Place::SizeLf, b'\n') => Place::Data,
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size(0),
            (Place::DataCr | Place::DataLf, _) => return Err("a chunk is longer than its size"),
            (Place::TrailerStart, b'\r') => Place::LastLf,
            (Place::LastLf, b'\n') => Place::End,
            (Place::TrailerStart | Place::TrailerName, byte) if is_token(byte) => {
                Place::TrailerName
            }
            (Place::TrailerName, b':') => Place::TrailerValue,
            (Place::TrailerStart | Place::TrailerName, _) => {
                return Err("a trailer line is not valid");
            }
            (Place::TrailerValue, b'\r') => Place::TrailerLf,
            (Place::TrailerValue, byte) if is_text(byte) => Place::TrailerValue,
            (Place::TrailerValue, _) => return Err("a trailer line contains a control character"),
            (Place::TrailerLf, b'\n') => Place::TrailerStart,
            (Place::SizeLf | Place::TrailerLf | Place::LastLf, _) => {
                return Err("a CR is not followed by an LF");
            }
            (Place::Data | Place::End, _) => unreachable!("`advance` handles data and the end"),
        };
        if matches!(place, Place::TrailerName | Place::TrailerValue) {
            self.trailers += 1;
            if self.trailers > MAX_TRAILERS {
                return Err("the trailers are longer than 4 KiB");
            }
        }
        Ok(place)
    }

    fn digit(&mut self, digits: usize, byte: u8) -> Result<Place, &'static str> {
        if digits == 0 {
            self.left = 0;
        }
        if digits == MAX_DIGITS {
            return Err("a chunk size has too many digits");
        }
        let digit = char::from(byte).to_digit(16).unwrap_or(0);
        self.left = self.left << 4 | u64::from(digit);
        Ok(Place::Size(digits + 1))
    }

    fn count_extension(&mut self) -> Result<(), &'static str> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            return Err("the chunk extensions are longer than 4 KiB");
        }
        Ok(())
    }
}

/// Returns whether `byte` may stand in a field value or in a chunk extension.
fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Returns whether `byte` may stand in a field name (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the body and what follows it, or the reason for a refusal, or `None` if the body is incomplete. The
    /// bytes are given `size` at a time.
    fn read(bytes: &[u8], size: usize) -> Option<Result<(Vec<u8>, usize), &'static str>> {
        let (mut chunked, mut body, mut used) = (Chunked::new(), Vec::new(), 0);
        loop {
            let piece = &bytes[used..bytes.len().min(used + size)];
            if piece.is_empty() {
                return None;
            }
            match chunked.advance(piece) {
                Err(reason) => return Some(Err(reason)),
                Ok((count, step)) => {
                    used += count;
                    match step {
                        Step::Data(data) => body.extend_from_slice(data),
                        Step::More => {}
                        Step::End => return Some(Ok((body, bytes.len() - used))),
                    }
                }
            }
        }
    }

    #[test]
    fn chunked_corpus_gets_the_expected_verdict() {
        let mut count = 0;
        for line in include_str!("corpus/chunked.txt").lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (want, text) = line.split_once(' ').expect("a verdict and a body");
            let bytes = super::super::tests::bytes(text);
            for size in [4096, 1, 2, 3, 5] {
                let got = match read(&bytes, size) {
                    None => "more".into(),
                    Some(Err(_)) => "bad".into(),
                    Some(Ok((body, rest))) => format!("{}+{rest}", body.len()),
                };
                assert_eq!(got, want, "{size} bytes at a time: {text}");
            }
            count += 1;
        }
        assert!(count >= 60, "{count} bodies");
    }

    #[test]
    fn chunks_are_joined_in_order() {
        let bytes = b"4;a=b\r\nwiki\r\n5\r\npedia\r\n00\r\nX: y\r\n\r\nnext";
        for size in 1..bytes.len() {
            assert_eq!(
                read(bytes, size),
                Some(Ok((b"wikipedia".to_vec(), 4))),
                "{size}"
            );
        }
    }
}
