//! [`Client`]: the other end, as the page's `ot.js` does it: one edit on its way, all later ones in one that waits.
//!
//! What is shown is `base` (the server's text at `revision`), then `sent`, then `typed`. An edit that comes goes under
//! both of ours, and what is left of it changes what is shown. It knows no socket: the tests hold it and `ot.js` to the
//! same cases, and a client in Rust can begin with it.

use super::document::Edit;
use super::text::{Op, PARTS, Part, Text, Wrong, units};

#[derive(Default)]
pub(crate) struct Client {
    pub(crate) life: u64,
    pub(crate) revision: u64,
    pub(crate) base: Text,
    pub(crate) text: Text,
    /// On its way; it may have arrived.
    pub(crate) sent: Option<(u64, Op)>,
    /// Made since, and nobody else's yet.
    pub(crate) typed: Option<Op>,
    /// Texts of ours that could not be brought together with the server's: for a person to look at.
    pub(crate) aside: Vec<String>,
    /// How often an edit came back as another one than it should have: never, but for those made coarser on their way.
    pub(crate) mended: usize,
    you: u64,
    n: u64,
}

/// What a server says to who comes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hello {
    pub(crate) you: u64,
    pub(crate) life: u64,
    pub(crate) revision: u64,
    /// `None`: the edits since your revision follow.
    pub(crate) text: Option<String>,
    pub(crate) applied: u64,
    /// It knew you before: `applied` is true.
    pub(crate) known: bool,
    /// Former lives, each with the revision that was kept of it.
    pub(crate) lives: Vec<(u64, u64)>,
}

/// An edit in the order of all.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) revision: u64,
    pub(crate) by: u64,
    pub(crate) n: u64,
    pub(crate) op: Op,
}

/// Something is missing, or none of ours: come again without a revision.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost;

impl From<Wrong> for Lost {
    fn from(_: Wrong) -> Lost {
        Lost
    }
}

impl Client {
    /// Edits what is shown.
    pub(crate) fn edit(&mut self, op: &Op) -> Result<(), Wrong> {
        self.text = self.text.apply(op)?;
        self.typed = Some(match &self.typed {
            Some(typed) => typed.then(op)?,
            None => op.clone(),
        });
        Ok(())
    }

    /// What is to be sent now, if nothing is on its way.
    pub(crate) fn next(&mut self) -> Option<Edit> {
        if self.sent.is_some() {
            return None;
        }
        let typed = self.typed.take()?;
        self.n += 1;
        self.sent = Some((self.n, typed.within_limits(&self.base)));
        self.again()
    }

    /// What is on its way, to be sent again on a new connection.
    pub(crate) fn again(&self) -> Option<Edit> {
        let (n, op) = self.sent.clone()?;
        let op = op.within_limits(&self.base);
        let revision = self.revision;
        Some(Edit { n, revision, op })
    }

    /// A new connection.
    pub(crate) fn hello(&mut self, hello: &Hello) -> Result<(), Lost> {
        self.you = hello.you;
        let Some(text) = &hello.text else {
            // What is applied comes back as any edit does.
            return Ok(());
        };
        let text = Text::from(text.as_str());
        // Whether the server has what we sent. Where nobody knows, it is not sent again: better once aside than twice in.
        let is_unsure = self.sent.is_some() && !hello.known;
        let is_in = |n: u64| is_unsure || n <= hello.applied;
        if let Some((_, sent)) = self.sent.take_if(|(n, _)| is_in(*n)) {
            self.base = self.base.apply(&sent)?;
        }
        let is_kept =
            |(life, revision): &(u64, u64)| self.life == *life && self.revision <= *revision;
        let goes_on = self.life == hello.life || hello.lives.iter().any(is_kept);
        let is_other = self.life != 0 && self.base != text;
        if is_other && (is_unsure || !goes_on) && self.text != text {
            self.put_aside();
        }
        // What happened meanwhile as one edit. It is coarser than the many that it was, and the same in the end.
        let missed = Op::between(&self.base, &text);
        self.goes_under(&missed)?;
        (self.life, self.revision, self.base) = (hello.life, hello.revision, text);
        Ok(())
    }

    /// An edit has come.
    pub(crate) fn told(&mut self, told: &Told) -> Result<(), Lost> {
        if told.revision != self.revision + 1 {
            return Err(Lost);
        }
        let base = self.base.apply(&told.op)?;
        let is_ours = |(n, _): &mut (u64, Op)| told.by == self.you && told.n == *n;
        match self.sent.take_if(is_ours) {
            // As we have it already, but for an edit that was made coarser on its way.
            Some((_, sent)) if sent == told.op => {}
            Some((_, sent)) => {
                self.mended += 1;
                let change = Op::between(&self.base.apply(&sent)?, &base);
                self.goes_under(&change)?;
            }
            None => self.goes_under(&told.op)?,
        }
        (self.revision, self.base) = (told.revision, base);
        Ok(())
    }

    /// The server does not take what is on its way. It stays in sight, and the text is taken anew.
    pub(crate) fn refused(&mut self) {
        self.put_aside();
        self.text = self.base.clone();
        (self.sent, self.typed) = (None, None);
    }

    /// Of what nobody looks at, the last ten are kept.
    fn put_aside(&mut self) {
        let forgotten = self.aside.len().saturating_sub(9);
        self.aside.drain(..forgotten);
        self.aside.push(self.text.to_string());
    }

    fn goes_under(&mut self, op: &Op) -> Result<(), Wrong> {
        let mut op = op.clone();
        let sent = self.sent.as_mut().map(|(_, sent)| sent);
        for ours in sent.into_iter().chain(&mut self.typed) {
            (op, *ours) = Op::transform(&op, ours)?;
        }
        self.text = self.text.apply(&op)?;
        Ok(())
    }
}

/// What only a client needs.
impl Op {
    /// The edit that makes `after` of `before`, by what is the same at both ends.
    pub(crate) fn between(before: &Text, after: &Text) -> Op {
        let (old, new) = (&before.0[..], &after.0[..]);
        let mut left = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        while !before.may_be_cut(left) || !after.may_be_cut(left) {
            left -= 1;
        }
        let (old, new) = (&old[left..], &new[left..]);
        let ends = old.iter().rev().zip(new.iter().rev());
        let mut right = ends.take_while(|(a, b)| a == b).count();
        while !before.may_be_cut(before.len() - right) || !after.may_be_cut(after.len() - right) {
            right -= 1;
        }
        let inserted = String::from_utf16_lossy(&new[..new.len() - right]);
        let op = Op::default().keep(left).insert(&inserted);
        op.delete(old.len() - right).keep(right)
    }

    /// This one, or a coarser one of the same effect if it has more parts than a server takes.
    fn within_limits(self, before: &Text) -> Op {
        if self.parts.len() <= PARTS {
            return self;
        }
        match before.apply(&self) {
            Ok(after) => Op::between(before, &after),
            Err(_) => self,
        }
    }

    /// This one and then `next`, as one.
    pub(crate) fn then(&self, next: &Op) -> Result<Op, Wrong> {
        if self.after != next.before {
            let (edit, text) = (next.before, self.after);
            return Err(Wrong::Length { edit, text });
        }
        let mut both = Op::default();
        let mut ours = self.parts.iter().cloned();
        let mut theirs = next.parts.iter().cloned();
        let (mut a, mut b) = (ours.next(), theirs.next());
        loop {
            (a, b) = match (a, b) {
                (Some(Part::Delete(n)), b) => {
                    both = both.delete(n);
                    (ours.next(), b)
                }
                (a, Some(Part::Insert(text))) => {
                    both = both.insert(&text);
                    (a, theirs.next())
                }
                (Some(a), Some(b)) => {
                    let n = length(&a).min(length(&b));
                    let (a, rest_of_a) = cut(a, n)?;
                    let (b, rest_of_b) = cut(b, n)?;
                    both = match (a, b) {
                        (Part::Keep(n), Part::Keep(_)) => both.keep(n),
                        (Part::Keep(n), _) => both.delete(n),
                        (Part::Insert(text), Part::Keep(_)) => both.insert(&text),
                        // Made and unmade.
                        _ => both,
                    };
                    (
                        rest_of_a.or_else(|| ours.next()),
                        rest_of_b.or_else(|| theirs.next()),
                    )
                }
                // The lengths are equal: both end together.
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

/// The first `n` units of a part, and the rest if there is one.
fn cut(part: Part, n: usize) -> Result<(Part, Option<Part>), Wrong> {
    if length(&part) == n {
        return Ok((part, None));
    }
    Ok(match part {
        Part::Keep(all) => (Part::Keep(n), Some(Part::Keep(all - n))),
        Part::Delete(all) => (Part::Delete(n), Some(Part::Delete(all - n))),
        Part::Insert(text) => {
            let text = Text::from(text.as_str());
            if !text.may_be_cut(n) {
                return Err(Wrong::Parts(n));
            }
            let (left, right) = text.0.split_at(n);
            let insert = |units| Part::Insert(String::from_utf16_lossy(units));
            (insert(left), Some(insert(right)))
        }
    })
}
