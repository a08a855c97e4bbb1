//! [`Document`]: a text, its recent edits, and its authors. It knows no socket and no lock.
//!
//! The server decides the order of the edits. An edit that was made on revision r is transformed over all edits after
//! r, and becomes the next revision. Therefore the transformation only has to be correct for two edits. The difficult
//! cases of operational transformation, with three or more concurrent edits, cannot occur.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::text::{InvalidOp, MAX_LENGTH, Op, Text};

/// Number of edits in the history. A client that has missed more receives the whole text.
pub(crate) const HISTORY: usize = 500;
/// Maximum memory of the history, in bytes. It also limits the work of transforming an edit of an old revision.
pub(crate) const HISTORY_BYTES: usize = 1 << 20;
/// Number of authors that a document remembers. It is far larger than the number of people in a room and in its
/// history.
pub(crate) const AUTHORS: usize = 1000;
/// Number of previous lives that a document remembers.
const LIVES: usize = 16;

pub(crate) struct Document {
    /// The first revision after the document was opened. It identifies this life of the document: a client with another
    /// number was connected before the document was reopened.
    pub(crate) life: u64,
    pub(crate) revision: u64,
    pub(crate) text: Text,
    /// The previous lives, oldest first, each with its last saved revision.
    pub(crate) lives: VecDeque<(u64, u64)>,
    /// The most recent edits. The last one led to `revision`.
    history: VecDeque<Op>,
    /// Memory of the history.
    bytes: usize,
    /// Maximum number of edits in the history.
    limit: usize,
    /// The authors, by key.
    authors: HashMap<String, Author>,
    /// Counts uses of authors, to find the one that was not used for the longest time.
    clock: u64,
}

/// An author. The page chooses a secret key that identifies the author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Author {
    /// The number that other people see.
    pub(crate) number: u64,
    /// The `n` of the author's last edit that was applied.
    pub(crate) applied: u64,
    used: u64,
}

/// An edit as its author sends it.
///
/// An author has at most one pending edit. It sends the edit again on each new connection, until the server publishes
/// it.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) n: u64,
    pub(crate) revision: u64,
    pub(crate) op: Op,
}

/// A checked and transformed edit, ready to be committed.
pub(crate) struct PreparedEdit {
    pub(crate) op: Op,
    text: Text,
}

/// Why an edit was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the revision is too old: fetch the whole text")]
    TooOld,
    #[error("the revision does not exist yet")]
    NotYet,
    #[error("the text would be longer than {MAX_LENGTH} UTF-16 units")]
    TooLong,
    #[error(transparent)]
    Invalid(#[from] InvalidOp),
}

/// How a client that joins is brought up to date.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The client receives the edits after its revision.
    Resume,
    /// The client receives the whole text.
    WholeText,
}

impl Document {
    /// Creates an empty document at this revision.
    pub(crate) fn new(revision: u64) -> Document {
        Document {
            life: revision,
            revision,
            text: Text::default(),
            lives: VecDeque::new(),
            history: VecDeque::new(),
            bytes: 0,
            limit: HISTORY,
            authors: HashMap::new(),
            clock: 0,
        }
    }

    /// Sets a smaller limit of the history, so that clients in tests are often too old.
    #[cfg(test)]
    pub(crate) fn with_history_limit(mut self, limit: usize) -> Document {
        self.limit = limit;
        self
    }

    /// Returns the author with this key, and whether the author was already known. An unknown author is added.
    ///
    /// If there are too many authors, the one that was not used for the longest time is forgotten. Authors for which
    /// `is_present` returns true are kept.
    pub(crate) fn find_or_add_author(
        &mut self,
        key: &str,
        is_present: impl Fn(u64) -> bool,
    ) -> (Author, bool) {
        self.clock += 1;
        if let Some(author) = self.authors.get_mut(key) {
            author.used = self.clock;
            return (*author, true);
        }
        if self.authors.len() >= AUTHORS {
            let absent = self
                .authors
                .iter()
                .filter(|(_, author)| !is_present(author.number));
            let oldest = absent.min_by_key(|(_, author)| author.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.authors.remove(&oldest);
            }
        }
        let author = Author {
            number: self.clock,
            applied: 0,
            used: self.clock,
        };
        self.authors.insert(key.to_owned(), author);
        (author, false)
    }

    /// Returns how a client with this revision of this life is brought up to date.
    pub(crate) fn start(&self, life: u64, revision: u64) -> Start {
        if life == self.life && self.since(revision).is_ok() {
            Start::Resume
        } else {
            Start::WholeText
        }
    }

    /// Checks an edit and transforms it to the current revision.
    ///
    /// Returns `None` if the edit was already applied. Its author sends it again if it does not know that.
    pub(crate) fn prepare(&self, key: &str, edit: &Edit) -> Result<Option<PreparedEdit>, Refusal> {
        let applied = self.authors.get(key).map_or(0, |author| author.applied);
        if edit.n <= applied {
            return Ok(None);
        }
        let mut op = edit.op.clone();
        for earlier in self.since(edit.revision)? {
            op = Op::transform(earlier, &op)?.1;
        }
        if op.after > MAX_LENGTH {
            return Err(Refusal::TooLong);
        }
        let text = self.text.apply(&op)?;
        Ok(Some(PreparedEdit { op, text }))
    }

    /// Applies a prepared edit, with the revision under which it was published.
    pub(crate) fn commit(&mut self, revision: u64, key: &str, n: u64, edit: PreparedEdit) {
        self.clock += 1;
        if let Some(author) = self.authors.get_mut(key) {
            (author.applied, author.used) = (n, self.clock);
        }
        self.revision = revision;
        self.text = edit.text;
        self.bytes += edit.op.size();
        self.history.push_back(edit.op);
        while self.history.len() > self.limit || self.bytes > HISTORY_BYTES {
            let Some(oldest) = self.history.pop_front() else {
                break;
            };
            self.bytes -= oldest.size();
        }
    }

    /// Returns the current position of a position in the text of an older revision.
    pub(crate) fn moved(&self, revision: u64, position: usize) -> Result<usize, Refusal> {
        let edits = self.since(revision)?;
        let position = edits.fold(position, |position, edit| edit.moved(position));
        Ok(position.min(self.text.len()))
    }

    /// Returns the edits after this revision.
    fn since(&self, revision: u64) -> Result<impl Iterator<Item = &Op>, Refusal> {
        let behind = self.revision.checked_sub(revision).ok_or(Refusal::NotYet)?;
        let behind = usize::try_from(behind).map_err(|_| Refusal::TooOld)?;
        let from = self
            .history
            .len()
            .checked_sub(behind)
            .ok_or(Refusal::TooOld)?;
        Ok(self.history.iter().skip(from))
    }

    /// Returns the part of the document that is saved to storage.
    pub(crate) fn saved(&self) -> Saved {
        let mut lives = self.lives.clone();
        lives.push_back((self.life, self.revision));
        Saved {
            lives,
            text: self.text.to_string(),
            authors: self.authors.clone(),
        }
    }

    /// Starts a new life of a saved document.
    pub(crate) fn from_saved(saved: Saved, revision: u64) -> Document {
        let clock = saved.authors.values().map(|author| author.used).max();
        let forgotten = saved.lives.len().saturating_sub(LIVES);
        Document {
            text: Text::from(saved.text.as_str()),
            lives: saved.lives.into_iter().skip(forgotten).collect(),
            authors: saved.authors,
            clock: clock.unwrap_or(0),
            ..Document::new(revision)
        }
    }
}

/// A saved document.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    lives: VecDeque<(u64, u64)>,
    text: String,
    authors: HashMap<String, Author>,
}
