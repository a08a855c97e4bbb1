//! [`Op`]: one edit of a text, and how two edits that were made at once come after each other.
//!
//! Lengths are UTF-16 code units: JavaScript's strings count so, and a page sends what its text area says. An edit that
//! would part a surrogate pair is refused, so a [`Text`] is always valid, whoever edits it.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// UTF-16 code units of the longest text: some ten pages.
pub(crate) const LONGEST: usize = 20_000;
/// Parts of an edit that a client sends.
pub(crate) const PARTS: usize = 1000;

/// A text as its UTF-16 code units, in which every surrogate has its pair.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Vec<u16>);

/// One step of an edit, from the text's beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Keep(usize),
    Insert(String),
    Delete(usize),
}

/// An edit: what it keeps, inserts and deletes adds up to the whole text it is for.
///
/// In JSON it is `[5,"new",-3,12]`: keep 5, insert, delete 3, keep 12. Equal edits have equal parts: neighbours are
/// joined, and an insertion stands before a deletion at the same place.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) parts: Vec<Part>,
    /// The length of the text it is for.
    pub(crate) before: usize,
    /// The length of the text after it.
    pub(crate) after: usize,
}

/// Why an edit is none of this text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("an edit of {edit} units is none of a text of {text}")]
    Length { edit: usize, text: usize },
    #[error("at {0} it would part a surrogate pair")]
    Parts(usize),
}

pub(crate) fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.encode_utf16().collect())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf16_lossy(&self.0))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Text {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a cut here leaves every surrogate pair whole.
    pub(crate) fn may_be_cut(&self, at: usize) -> bool {
        let is_low = |unit: &u16| (0xDC00..0xE000).contains(unit);
        // The text is valid: a low surrogate is the second half of a pair.
        !self.0.get(at).is_some_and(is_low)
    }

    /// The text after `op`.
    pub(crate) fn apply(&self, op: &Op) -> Result<Text, Wrong> {
        if op.before != self.len() {
            let (edit, text) = (op.before, self.len());
            return Err(Wrong::Length { edit, text });
        }
        let mut after = Vec::with_capacity(op.after);
        let mut at = 0;
        for part in &op.parts {
            match part {
                Part::Insert(text) => after.extend(text.encode_utf16()),
                Part::Keep(n) | Part::Delete(n) => {
                    if !self.may_be_cut(at + n) {
                        return Err(Wrong::Parts(at + n));
                    }
                    if matches!(part, Part::Keep(_)) {
                        after.extend_from_slice(&self.0[at..at + n]);
                    }
                    at += n;
                }
            }
        }
        Ok(Text(after))
    }
}

impl Op {
    pub(crate) fn keep(mut self, n: usize) -> Op {
        self.before += n;
        self.after += n;
        match self.parts.last_mut() {
            _ if n == 0 => {}
            Some(Part::Keep(last)) => *last += n,
            _ => self.parts.push(Part::Keep(n)),
        }
        self
    }

    pub(crate) fn delete(mut self, n: usize) -> Op {
        self.before += n;
        match self.parts.last_mut() {
            _ if n == 0 => {}
            Some(Part::Delete(last)) => *last += n,
            _ => self.parts.push(Part::Delete(n)),
        }
        self
    }

    pub(crate) fn insert(mut self, text: &str) -> Op {
        self.after += units(text);
        match self.parts.as_mut_slice() {
            _ if text.is_empty() => {}
            [.., Part::Insert(last)] | [.., Part::Insert(last), Part::Delete(_)] => {
                last.push_str(text);
            }
            [.., Part::Delete(_)] => {
                let at = self.parts.len() - 1;
                self.parts.insert(at, Part::Insert(text.to_owned()));
            }
            _ => self.parts.push(Part::Insert(text.to_owned())),
        }
        self
    }

    /// Bytes it takes in memory, about.
    pub(crate) fn size(&self) -> usize {
        let inserted = |part: &Part| match part {
            Part::Insert(text) => text.len(),
            Part::Keep(_) | Part::Delete(_) => 0,
        };
        size_of_val(self.parts.as_slice()) + self.parts.iter().map(inserted).sum::<usize>()
    }

    /// Two edits of one text, of which `first` comes first in the order that all agree on: as they are after the other.
    ///
    /// `first` then the second that comes back is the same text as `second` then the first that comes back. Both insert
    /// at one place: the text of `first` is left of the other. What both delete is deleted once.
    pub(crate) fn transform(first: &Op, second: &Op) -> Result<(Op, Op), Wrong> {
        if first.before != second.before {
            let (edit, text) = (second.before, first.before);
            return Err(Wrong::Length { edit, text });
        }
        let (mut one, mut two) = (Op::default(), Op::default());
        let (mut a, mut b) = (Steps::of(first), Steps::of(second));
        loop {
            if let Some(text) = a.inserted() {
                (one, two) = (one.insert(text), two.keep(units(text)));
            } else if let Some(text) = b.inserted() {
                (one, two) = (one.keep(units(text)), two.insert(text));
            } else {
                let n = a.left.min(b.left);
                if n == 0 {
                    return Ok((one, two));
                }
                match (a.take(n), b.take(n)) {
                    (true, true) => (one, two) = (one.keep(n), two.keep(n)),
                    (false, true) => one = one.delete(n),
                    (true, false) => two = two.delete(n),
                    (false, false) => {}
                }
            }
        }
    }

    /// Where a place in the text is after this edit. What is inserted right there comes after it.
    pub(crate) fn moved(&self, place: usize) -> usize {
        let (mut at, mut moved) = (0, place);
        for part in &self.parts {
            match part {
                Part::Keep(n) => at += n,
                Part::Insert(text) if at < place => moved += units(text),
                Part::Delete(n) => {
                    moved -= (*n).min(place.saturating_sub(at));
                    at += n;
                }
                Part::Insert(_) => {}
            }
        }
        moved
    }

    /// Where the caret of its author is after it: behind its last change.
    pub(crate) fn caret(&self) -> usize {
        match self.parts.last() {
            Some(Part::Keep(n)) => self.after - n,
            _ => self.after,
        }
    }
}

/// The parts of an edit in pieces of the length that is asked for.
struct Steps<'a> {
    parts: std::slice::Iter<'a, Part>,
    keeps: bool,
    /// Units of the part in hand that are left. With none, the next part is no Keep and no Delete.
    left: usize,
    insert: Option<&'a str>,
}

impl<'a> Steps<'a> {
    fn of(op: &'a Op) -> Steps<'a> {
        let mut steps = Steps {
            parts: op.parts.iter(),
            keeps: true,
            left: 0,
            insert: None,
        };
        steps.next();
        steps
    }

    fn next(&mut self) {
        match self.parts.next() {
            Some(Part::Insert(text)) => self.insert = Some(text),
            Some(Part::Keep(n)) => (self.keeps, self.left) = (true, *n),
            Some(Part::Delete(n)) => (self.keeps, self.left) = (false, *n),
            None => {}
        }
    }

    /// What is inserted here.
    fn inserted(&mut self) -> Option<&'a str> {
        let text = self.insert.take()?;
        self.next();
        Some(text)
    }

    /// Goes on by `n` units, and says whether they are kept.
    fn take(&mut self, n: usize) -> bool {
        let keeps = self.keeps;
        self.left -= n;
        if self.left == 0 {
            self.next();
        }
        keeps
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.parts).finish()
    }
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.parts.len()))?;
        for part in &self.parts {
            match part {
                Part::Keep(n) => list.serialize_element(n)?,
                Part::Insert(text) => list.serialize_element(text)?,
                Part::Delete(n) => {
                    list.serialize_element(&-i64::try_from(*n).unwrap_or(i64::MAX))?
                }
            }
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Op, D::Error> {
        from.deserialize_seq(OpVisitor)
    }
}

struct OpVisitor;

impl<'de> Visitor<'de> for OpVisitor {
    type Value = Op;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an edit: [keep, \"insert\", -delete, …]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Op, A::Error> {
        let mut op = Op::default();
        let mut parts = 0;
        while let Some(Step(part)) = list.next_element()? {
            parts += 1;
            if parts > PARTS {
                return Err(de::Error::custom(format!(
                    "an edit has at most {PARTS} parts"
                )));
            }
            op = match part {
                Part::Keep(n) => op.keep(n),
                Part::Delete(n) => op.delete(n),
                Part::Insert(text) => op.insert(&text),
            };
        }
        Ok(op)
    }
}

/// A part as it comes from a client. Not an untagged enum: that would first read whatever stands there, as deep as it is.
struct Step(Part);

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Step, D::Error> {
        from.deserialize_any(StepVisitor)
    }
}

struct StepVisitor;

impl Visitor<'_> for StepVisitor {
    type Value = Step;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a number of 1 to {LONGEST} to keep, the same below zero to delete, or a text to insert"
        )
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Step, E> {
        length(n)
            .map(|n| Step(Part::Keep(n)))
            .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(n), &self))
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Step, E> {
        let deleted = length(n.unsigned_abs()).map(|n| Step(Part::Delete(n)));
        deleted.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(n), &self))
    }

    /// A text area makes one line end of each it knows, so a text with others would not be the one it shows.
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Step, E> {
        let is_wrong = |c: char| c.is_control() && c != '\n' && c != '\t';
        if text.is_empty() || text.contains(is_wrong) || units(text) > LONGEST {
            let most = format!(
                "a text to insert has 1 to {LONGEST} units, and no control characters but \\n and \\t"
            );
            return Err(E::custom(most));
        }
        Ok(Step(Part::Insert(text.to_owned())))
    }
}

fn length(n: u64) -> Option<usize> {
    usize::try_from(n)
        .ok()
        .filter(|n| (1..=LONGEST).contains(n))
}
