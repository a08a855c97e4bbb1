//! [`SealedRecords`]: the records that have been sealed and are not yet written to the socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::sync::Mutex;

use rustls::Connection as Session;

use crate::sync::lock;

/// The most plaintext in a record, in bytes (RFC 8446 §5.1).
const RECORD: usize = 16 << 10;

/// The most records that are sealed before the socket is tried.
const RECORDS: usize = 4;

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

    /// Seals up to four records with what `pieces` has after its first `skip` bytes. Returns how many bytes that are.
    ///
    /// # Errors
    /// `WriteZero` if the session takes nothing any more: its keys are used up, or the session has been closed.
    pub(super) fn seal(
        &mut self,
        session: &Mutex<Session>,
        pieces: &[IoSlice<'_>],
        skip: usize,
    ) -> io::Result<usize> {
        debug_assert!(self.is_empty(), "sealed records are written first");
        let mut skipped = skip;
        let mut pieces = pieces.iter().filter_map(|piece| {
            let from = skipped.min(piece.len());
            skipped -= from;
            (from < piece.len()).then(|| &piece[from..])
        });
        let mut left: &[u8] = pieces.next().unwrap_or_default();
        let mut sealed = 0;
        let mut session = lock(session);
        let mut record = Vec::new();
        for _ in 0..RECORDS {
            record.clear();
            let mut room = RECORD;
            while room > 0 && !left.is_empty() {
                let (now, later) = left.split_at(left.len().min(room));
                record.push(IoSlice::new(now));
                room -= now.len();
                left = match later {
                    [] => pieces.next().unwrap_or_default(),
                    later => later,
                };
            }
            if record.is_empty() {
                break;
            }
            let offered = RECORD - room;
            let taken = session.writer().write_vectored(&record)?;
            // The session has room for a record, because all its records have been taken out.
            if taken < offered {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.take_from(&mut session);
            self.ends.push_back((self.bytes.len(), offered));
            sealed += offered;
        }
        Ok(sealed)
    }

    /// Adds the records that the session has made by itself.
    pub(super) fn take_session_records(&mut self, session: &Mutex<Session>) {
        self.take_from(&mut lock(session));
    }

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

    /// Frees the memory while nothing waits, so that an idle client uses little.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            *self = SealedRecords::default();
        }
    }
}
