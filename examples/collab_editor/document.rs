//! [`Document`]: a text, the order of its edits, and who has made how many. It knows no socket and no lock.
//!
//! The order is the server's: an edit made on revision r is transformed over those after r, and is the next one. So the
//! transformation has to hold for two edits at a time only, and what is hard about more than two cannot happen.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::text::{LONGEST, Op, Text, Wrong};

/// Edits a document remembers: who was away for more gets the text anew.
pub(crate) const HISTORY: usize = 500;
/// Bytes they take at most. It also bounds what one edit of an old revision is transformed over.
pub(crate) const HISTORY_BYTES: usize = 1 << 20;
/// Authors a document knows again: many more than are there at once and in the history.
pub(crate) const AUTHORS: usize = 1000;
/// Former lives it can still tell that nothing of them was lost.
const LIVES: usize = 16;

pub(crate) struct Document {
    /// The revision this began with. A client that comes with another one's was here before a restart.
    pub(crate) life: u64,
    pub(crate) revision: u64,
    pub(crate) text: Text,
    /// The lives before this, the last one last, each with the revision that was kept of it.
    pub(crate) lives: VecDeque<(u64, u64)>,
    /// The edits that led to the last revisions, the last one to `revision`.
    history: VecDeque<Op>,
    bytes: usize,
    limit: usize,
    authors: HashMap<String, Author>,
    clock: u64,
}

/// What is known of somebody, by the secret key that the page has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Author {
    /// The number the others see.
    pub(crate) number: u64,
    /// The number of the author's last edit that is in the text.
    pub(crate) applied: u64,
    used: u64,
}

/// An edit as its author sends it. It has one on its way at a time, and sends it again until it has come back.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) n: u64,
    pub(crate) revision: u64,
    pub(crate) op: Op,
}

/// An edit that is new, as it comes next.
pub(crate) struct Next {
    pub(crate) op: Op,
    text: Text,
}

/// Why an edit was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("that revision is not remembered: take the text anew")]
    TooOld,
    #[error("there is no such revision yet")]
    NotYet,
    #[error("the text would be longer than {LONGEST} UTF-16 units")]
    TooLong,
    #[error(transparent)]
    Wrong(#[from] Wrong),
}

/// Where somebody who comes begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the edits after the last one it has.
    Resume,
    /// With the text.
    Anew,
}

impl Document {
    /// An empty one, at this revision.
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

    /// The same with another limit: for tests, in which clients shall be too old often.
    #[cfg(test)]
    pub(crate) fn remembering(mut self, limit: usize) -> Document {
        self.limit = limit;
        self
    }

    /// Knows the author of this key from now on, and says whether it did before. Who is present is not forgotten for it.
    pub(crate) fn know(&mut self, key: &str, is_here: impl Fn(u64) -> bool) -> (Author, bool) {
        self.clock += 1;
        if let Some(author) = self.authors.get_mut(key) {
            author.used = self.clock;
            return (*author, true);
        }
        if self.authors.len() >= AUTHORS {
            let gone = self
                .authors
                .iter()
                .filter(|(_, author)| !is_here(author.number));
            let oldest = gone.min_by_key(|(_, author)| author.used);
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

    /// Where somebody begins who has this revision of this life.
    pub(crate) fn start(&self, life: u64, revision: u64) -> Start {
        if life == self.life && self.since(revision).is_ok() {
            Start::Resume
        } else {
            Start::Anew
        }
    }

    /// Judges an edit. `None`: it is in the text already, for its sender did not hear of it.
    pub(crate) fn judge(&self, key: &str, edit: &Edit) -> Result<Option<Next>, Refusal> {
        let applied = self.authors.get(key).map_or(0, |author| author.applied);
        if edit.n <= applied {
            return Ok(None);
        }
        let mut op = edit.op.clone();
        for made in self.since(edit.revision)? {
            op = Op::transform(made, &op)?.1;
        }
        if op.after > LONGEST {
            return Err(Refusal::TooLong);
        }
        let text = self.text.apply(&op)?;
        Ok(Some(Next { op, text }))
    }

    /// Makes it the revision that it has been published as.
    pub(crate) fn commit(&mut self, revision: u64, key: &str, n: u64, next: Next) {
        self.clock += 1;
        if let Some(author) = self.authors.get_mut(key) {
            (author.applied, author.used) = (n, self.clock);
        }
        self.revision = revision;
        self.text = next.text;
        self.bytes += next.op.size();
        self.history.push_back(next.op);
        while self.history.len() > self.limit || self.bytes > HISTORY_BYTES {
            let Some(oldest) = self.history.pop_front() else {
                break;
            };
            self.bytes -= oldest.size();
        }
    }

    /// A place in the text of an older revision, as it is now.
    pub(crate) fn moved(&self, revision: u64, place: usize) -> Result<usize, Refusal> {
        let mut made = self.since(revision)?;
        let place = made.try_fold(place, |place, made| Some(made.moved(place)));
        Ok(place.unwrap_or(0).min(self.text.len()))
    }

    /// The edits after this revision.
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

    /// What outlives this process.
    pub(crate) fn saved(&self) -> Saved {
        let mut lives = self.lives.clone();
        lives.push_back((self.life, self.revision));
        Saved {
            lives,
            text: self.text.to_string(),
            authors: self.authors.clone(),
        }
    }

    /// A new life of what was saved.
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

/// A document between two lives.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    lives: VecDeque<(u64, u64)>,
    text: String,
    authors: HashMap<String, Author>,
}
