//! [`SealedRecords`]: the records that have been sealed and are not yet written to the socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::sync::Mutex;

use rustls::Connection as Session;

use crate::connection::write::frame::BATCH_BYTES;
use crate::sync::lock;

/// The most plaintext in a record, in bytes (RFC 8446 §5.1).
pub(super) const LARGEST_RECORD: usize = 16 << 10;

/// Room for the header and the authentication of a record.
const OVERHEAD: usize = 32;

/// The first byte of a record with plaintext of the caller. In TLS 1.3, it is the first byte of every sealed record.
const APPLICATION_DATA: u8 = 0x17;

#[derive(Debug, Default)]
pub(super) struct SealedRecords {
    bytes: Vec<u8>,
    /// How many of the bytes the socket has accepted.
    sent: usize,
    /// For each record with plaintext: where it ends in `bytes`, and how many bytes of plaintext it has.
    ends: VecDeque<(usize, usize)>,
}

impl SealedRecords {
    pub(super) fn is_empty(&self) -> bool {
        self.unsent().is_empty()
    }

    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Returns the plaintext bytes of the records that the socket has not accepted completely.
    pub(super) fn plaintext(&self) -> usize {
        self.ends.iter().map(|(_, plaintext)| plaintext).sum()
    }

    /// Seals up to 64 KiB of what `pieces` has after its first `skip` bytes, in records of up to `largest` bytes. Returns
    /// how many bytes that are.
    ///
    /// # Errors
    /// `WriteZero` if the session takes nothing any more: its keys are used up, or the session has been closed.
    /// `InvalidData` if the session has failed. The alert that tells the peer is among the unsent bytes then.
    pub(super) fn seal(
        &mut self,
        session: &Mutex<Session>,
        pieces: &[IoSlice<'_>],
        skip: usize,
        largest: usize,
    ) -> io::Result<usize> {
        debug_assert!(self.is_empty(), "sealed records are written first");
        let offered = pieces.iter().map(|piece| piece.len()).sum::<usize>() - skip;
        let most = offered.min(BATCH_BYTES);
        let mut skipped = skip;
        let mut pieces = pieces.iter().filter_map(|piece| {
            let from = skipped.min(piece.len());
            skipped -= from;
            (from < piece.len()).then(|| &piece[from..])
        });
        let mut left: &[u8] = pieces.next().unwrap_or_default();
        let mut sealed = 0;
        let mut session = lock(session);
        self.take_from(&mut session);
        self.bytes.reserve(most + OVERHEAD * most.div_ceil(largest));
        // A vector, because an array for all pieces would cost each idle client one more page of its stack.
        let mut record = Vec::new();
        while sealed < most {
            record.clear();
            let room = largest.min(most - sealed);
            let mut size = 0;
            while size < room && !left.is_empty() {
                let (now, later) = left.split_at(left.len().min(room - size));
                record.push(IoSlice::new(now));
                size += now.len();
                left = match later {
                    [] => pieces.next().unwrap_or_default(),
                    later => later,
                };
            }
            match self.seal_record(&mut session, &record, size) {
                Ok(()) => sealed += size,
                Err(error) if sealed == 0 => return Err(error),
                // The next call returns the error again.
                Err(_) => break,
            }
        }
        Ok(sealed)
    }

    /// Seals the `size` bytes of `plaintext` as one record.
    fn seal_record(
        &mut self,
        session: &mut Session,
        plaintext: &[IoSlice<'_>],
        size: usize,
    ) -> io::Result<()> {
        let begin = self.bytes.len();
        let taken = match plaintext {
            [one] => session.writer().write(one),
            several => session.writer().write_vectored(several),
        };
        self.take_from(session);
        // The session has room for a record, because all its records have been taken out. When the keys of TLS 1.2 are
        // used up, it says that it has taken the bytes, but makes an alert instead, or nothing.
        if taken? < size || self.bytes.get(begin) != Some(&APPLICATION_DATA) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.ends.push_back((self.bytes.len(), size));
        Ok(())
    }

    /// Adds the records that the session has made by itself.
    pub(super) fn take_from(&mut self, session: &mut Session) {
        while session.wants_write() {
            let taken = session.write_tls(&mut self.bytes);
            taken.expect("writing to a vector never fails");
        }
    }

    /// Records that the socket has accepted `written` bytes. Returns the plaintext bytes of the records that are complete
    /// now.
    pub(super) fn advance(&mut self, written: usize) -> usize {
        self.sent += written;
        let mut complete = 0;
        while let Some(&(end, plaintext)) = self.ends.front()
            && end <= self.sent
        {
            self.ends.pop_front();
            complete += plaintext;
        }
        if self.is_empty() {
            self.bytes.clear();
            self.sent = 0;
        }
        complete
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<(usize, usize)>()
    }

    /// Frees the memory while nothing waits, so that an idle client uses little.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            *self = SealedRecords::default();
        }
    }
}
