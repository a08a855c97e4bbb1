//! [`Client`]: the client's side of the protocol. The page has the same code in `ot.js`.
//!
//! A client has at most one pending edit, `sent`. All later edits are combined into one, `typed`. The displayed text is
//! `base` (the server's text at `revision`), then `sent`, then `typed`. An edit from the server is transformed over
//! both, and the result is applied to the displayed text.
//!
//! A client knows no socket. The tests check it and `ot.js` with the same cases. A client in Rust can start from this
//! file.

use super::document::Edit;
use super::text::{InvalidOp, MAX_PARTS, Op, Part, Text, units};

#[derive(Default)]
pub(crate) struct Client {
    pub(crate) life: u64,
    pub(crate) revision: u64,
    pub(crate) base: Text,
    pub(crate) text: Text,
    /// The pending edit: sent, but not yet acknowledged. The server may have applied it.
    pub(crate) sent: Option<(u64, Op)>,
    /// Local edits that have not been sent.
    pub(crate) typed: Option<Op>,
    /// Texts of this client that could not be merged with the server's text. The user decides what to do with them.
    pub(crate) aside: Vec<String>,
    /// How often an edit came back from the server different from the client's own. This happens only to edits that
    /// were made coarser because they had too many parts.
    pub(crate) corrected: usize,
    you: u64,
    n: u64,
}

/// The server's first message on a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hello {
    /// The author number of this client.
    pub(crate) you: u64,
    pub(crate) life: u64,
    pub(crate) revision: u64,
    /// The whole text. If it is `None`, the edits since the client's revision follow.
    pub(crate) text: Option<String>,
    pub(crate) applied: u64,
    /// Whether the server already knew this author. Otherwise `applied` means nothing.
    pub(crate) known: bool,
    /// The previous lives of the document, each with its last saved revision.
    pub(crate) lives: Vec<(u64, u64)>,
}

/// An edit that the server has published.
#[derive(Clone, Debug)]
pub(crate) struct PublishedEdit {
    pub(crate) revision: u64,
    pub(crate) by: u64,
    pub(crate) n: u64,
    pub(crate) op: Op,
}

/// An edit is missing or does not fit. The client must reconnect and fetch the whole text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OutOfSync;

impl From<InvalidOp> for OutOfSync {
    fn from(_: InvalidOp) -> OutOfSync {
        OutOfSync
    }
}

impl Client {
    /// Applies a local edit to the displayed text.
    pub(crate) fn edit(&mut self, op: &Op) -> Result<(), InvalidOp> {
        self.text = self.text.apply(op)?;
        self.typed = Some(match &self.typed {
            Some(typed) => typed.then(op)?,
            None => op.clone(),
        });
        Ok(())
    }

    /// Returns the next edit to send, or `None` if an edit is pending or there is nothing to send.
    pub(crate) fn next(&mut self) -> Option<Edit> {
        if self.sent.is_some() {
            return None;
        }
        let typed = self.typed.take()?;
        self.n += 1;
        self.sent = Some((self.n, typed.within_limits(&self.base)));
        self.pending()
    }

    /// Returns the pending edit, to be sent again on a new connection.
    pub(crate) fn pending(&self) -> Option<Edit> {
        let (n, op) = self.sent.clone()?;
        let op = op.within_limits(&self.base);
        let revision = self.revision;
        Some(Edit { n, revision, op })
    }

    /// Handles the hello of a new connection.
    pub(crate) fn hello(&mut self, hello: &Hello) -> Result<(), OutOfSync> {
        self.you = hello.you;
        let Some(text) = &hello.text else {
            // The missed edits follow. If the pending edit was applied, it is among them.
            return Ok(());
        };
        let text = Text::from(text.as_str());
        // If the server does not know this author, nobody knows whether the pending edit was applied. It is not sent
        // again then, because setting the text aside is better than applying the edit twice.
        let is_unsure = self.sent.is_some() && !hello.known;
        let is_applied = |n: u64| is_unsure || n <= hello.applied;
        if let Some((_, sent)) = self.sent.take_if(|(n, _)| is_applied(*n)) {
            self.base = self.base.apply(&sent)?;
        }
        let is_saved =
            |(life, revision): &(u64, u64)| self.life == *life && self.revision <= *revision;
        let continues = self.life == hello.life || hello.lives.iter().any(is_saved);
        let is_different = self.life != 0 && self.base != text;
        if is_different && (is_unsure || !continues) && self.text != text {
            self.put_aside();
        }
        // All missed edits become one. It is coarser than the single edits, but leads to the same text.
        let missed = Op::between(&self.base, &text);
        self.apply_remote(&missed)?;
        (self.life, self.revision, self.base) = (hello.life, hello.revision, text);
        Ok(())
    }

    /// Handles an edit that the server has published.
    pub(crate) fn receive(&mut self, edit: &PublishedEdit) -> Result<(), OutOfSync> {
        if edit.revision != self.revision + 1 {
            return Err(OutOfSync);
        }
        let base = self.base.apply(&edit.op)?;
        let is_own = |(n, _): &mut (u64, Op)| edit.by == self.you && edit.n == *n;
        match self.sent.take_if(is_own) {
            // The displayed text already contains the edit. It differs only if it was made coarser for sending.
            Some((_, sent)) if sent == edit.op => {}
            Some((_, sent)) => {
                self.corrected += 1;
                let change = Op::between(&self.base.apply(&sent)?, &base);
                self.apply_remote(&change)?;
            }
            None => self.apply_remote(&edit.op)?,
        }
        (self.revision, self.base) = (edit.revision, base);
        Ok(())
    }

    /// Handles the refusal of the pending edit: sets the displayed text aside and returns to the server's text.
    pub(crate) fn refused(&mut self) {
        self.put_aside();
        self.text = self.base.clone();
        (self.sent, self.typed) = (None, None);
    }

    /// Sets the displayed text aside. The last ten such texts are kept.
    fn put_aside(&mut self) {
        let forgotten = self.aside.len().saturating_sub(9);
        self.aside.drain(..forgotten);
        self.aside.push(self.text.to_string());
    }

    /// Transforms a remote edit over the local ones and applies it to the displayed text.
    fn apply_remote(&mut self, op: &Op) -> Result<(), InvalidOp> {
        let mut op = op.clone();
        let sent = self.sent.as_mut().map(|(_, sent)| sent);
        for local in sent.into_iter().chain(&mut self.typed) {
            (op, *local) = Op::transform(&op, local)?;
        }
        self.text = self.text.apply(&op)?;
        Ok(())
    }
}

/// Functions that only a client needs.
impl Op {
    /// Returns the edit that turns `before` into `after`. It keeps the common beginning and the common end.
    pub(crate) fn between(before: &Text, after: &Text) -> Op {
        let (old, new) = (&before.0[..], &after.0[..]);
        let mut left = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        while !before.can_split(left) || !after.can_split(left) {
            left -= 1;
        }
        let (old, new) = (&old[left..], &new[left..]);
        let ends = old.iter().rev().zip(new.iter().rev());
        let mut right = ends.take_while(|(a, b)| a == b).count();
        while !before.can_split(before.len() - right) || !after.can_split(after.len() - right) {
            right -= 1;
        }
        let inserted = String::from_utf16_lossy(&new[..new.len() - right]);
        let op = Op::default().keep(left).insert(&inserted);
        op.delete(old.len() - right).keep(right)
    }

    /// Returns this edit, or a coarser one with the same effect if it has more parts than the server accepts.
    fn within_limits(self, before: &Text) -> Op {
        if self.parts.len() <= MAX_PARTS {
            return self;
        }
        match before.apply(&self) {
            Ok(after) => Op::between(before, &after),
            Err(_) => self,
        }
    }

    /// Combines this edit and `next`, which is applied after it, into one.
    pub(crate) fn then(&self, next: &Op) -> Result<Op, InvalidOp> {
        if self.after != next.before {
            let (edit, text) = (next.before, self.after);
            return Err(InvalidOp::Length { edit, text });
        }
        let mut both = Op::default();
        let mut first = self.parts.iter().cloned();
        let mut second = next.parts.iter().cloned();
        let (mut a, mut b) = (first.next(), second.next());
        loop {
            (a, b) = match (a, b) {
                (Some(Part::Delete(n)), b) => {
                    both = both.delete(n);
                    (first.next(), b)
                }
                (a, Some(Part::Insert(text))) => {
                    both = both.insert(&text);
                    (a, second.next())
                }
                (Some(a), Some(b)) => {
                    let n = length(&a).min(length(&b));
                    let (a, rest_of_a) = split(a, n)?;
                    let (b, rest_of_b) = split(b, n)?;
                    both = match (a, b) {
                        (Part::Keep(n), Part::Keep(_)) => both.keep(n),
                        (Part::Keep(n), _) => both.delete(n),
                        (Part::Insert(text), Part::Keep(_)) => both.insert(&text),
                        // Inserted by the first and deleted by the second.
                        _ => both,
                    };
                    (
                        rest_of_a.or_else(|| first.next()),
                        rest_of_b.or_else(|| second.next()),
                    )
                }
                // The lengths are equal, so both end here.
                _ => return Ok(both),
            };
        }
    }
}

fn length(part: &Part) -> usize {
    match part {
        Part::Keep(n) | Part::Delete(n) => *n,
        Part::Insert(text) => units(text),
    }
}

/// Splits a part after `n` units. The second half is `None` if the part has no more units.
fn split(part: Part, n: usize) -> Result<(Part, Option<Part>), InvalidOp> {
    if length(&part) == n {
        return Ok((part, None));
    }
    Ok(match part {
        Part::Keep(all) => (Part::Keep(n), Some(Part::Keep(all - n))),
        Part::Delete(all) => (Part::Delete(n), Some(Part::Delete(all - n))),
        Part::Insert(text) => {
            let text = Text::from(text.as_str());
            if !text.can_split(n) {
                return Err(InvalidOp::SplitsPair(n));
            }
            let (left, right) = text.0.split_at(n);
            let insert = |units| Part::Insert(String::from_utf16_lossy(units));
            (insert(left), Some(insert(right)))
        }
    })
}
