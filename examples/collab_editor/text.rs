//! [`Op`]: one edit of a text, and the transformation of concurrent edits.
//!
//! All lengths are in UTF-16 code units, as in JavaScript strings, because a page sends the positions of its text area.
//! An edit that would split a surrogate pair is refused, so a [`Text`] is always valid UTF-16.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Maximum length of a text in UTF-16 code units, which is about ten pages.
pub(crate) const MAX_LENGTH: usize = 20_000;
/// Maximum number of parts in an edit from a client.
pub(crate) const MAX_PARTS: usize = 1000;

/// A text as valid UTF-16: it has no unpaired surrogates.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Vec<u16>);

/// One step of an edit, from the text's beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Keep(usize),
    Insert(String),
    Delete(usize),
}

/// An edit of a whole text: kept and deleted parts add up to the length of the text.
///
/// In JSON, an edit is an array such as `[5,"new",-3,12]`: keep 5, insert, delete 3, keep 12. Edits are normalized, so
/// that equal edits have equal parts: neighbouring parts of the same kind are joined, and an insertion comes before a
/// deletion at the same position.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) parts: Vec<Part>,
    /// The length of the text before the edit.
    pub(crate) before: usize,
    /// The length of the text after the edit.
    pub(crate) after: usize,
}

/// Why an edit cannot be applied to a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidOp {
    #[error("the edit is for a text of {edit} units, but the text has {text}")]
    Length { edit: usize, text: usize },
    #[error("the edit would split a surrogate pair at {0}")]
    SplitsPair(usize),
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

    /// Returns whether the text can be split here without splitting a surrogate pair.
    pub(crate) fn can_split(&self, at: usize) -> bool {
        let is_low = |unit: &u16| (0xDC00..0xE000).contains(unit);
        // The text is valid, so a low surrogate is always the second half of a pair.
        !self.0.get(at).is_some_and(is_low)
    }

    /// Returns the text after `op`.
    pub(crate) fn apply(&self, op: &Op) -> Result<Text, InvalidOp> {
        if op.before != self.len() {
            let (edit, text) = (op.before, self.len());
            return Err(InvalidOp::Length { edit, text });
        }
        let mut after = Vec::with_capacity(op.after);
        let mut at = 0;
        for part in &op.parts {
            match part {
                Part::Insert(text) => after.extend(text.encode_utf16()),
                Part::Keep(n) | Part::Delete(n) => {
                    if !self.can_split(at + n) {
                        return Err(InvalidOp::SplitsPair(at + n));
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

    /// Returns the approximate size in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        let inserted = |part: &Part| match part {
            Part::Insert(text) => text.len(),
            Part::Keep(_) | Part::Delete(_) => 0,
        };
        size_of_val(self.parts.as_slice()) + self.parts.iter().map(inserted).sum::<usize>()
    }

    /// Transforms two concurrent edits of the same text, and returns each as it applies after the other.
    ///
    /// With `(first2, second2)` as the result, `first` then `second2` gives the same text as `second` then `first2`. If
    /// both insert at the same position, the text of `first` is on the left. Text that both delete is deleted once. All
    /// clients must agree on which edit is `first`: it is the one that comes first in the server's order.
    pub(crate) fn transform(first: &Op, second: &Op) -> Result<(Op, Op), InvalidOp> {
        if first.before != second.before {
            let (edit, text) = (second.before, first.before);
            return Err(InvalidOp::Length { edit, text });
        }
        let (mut one, mut two) = (Op::default(), Op::default());
        let (mut a, mut b) = (Steps::new(first), Steps::new(second));
        loop {
            if let Some(text) = a.take_insert() {
                (one, two) = (one.insert(text), two.keep(units(text)));
            } else if let Some(text) = b.take_insert() {
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

    /// Returns where a position in the text is after this edit. Text inserted exactly there comes after the position.
    pub(crate) fn moved(&self, position: usize) -> usize {
        let (mut at, mut moved) = (0, position);
        for part in &self.parts {
            match part {
                Part::Keep(n) => at += n,
                Part::Insert(text) if at < position => moved += units(text),
                Part::Delete(n) => {
                    moved -= (*n).min(position.saturating_sub(at));
                    at += n;
                }
                Part::Insert(_) => {}
            }
        }
        moved
    }

    /// Returns the position of the author's caret after this edit: behind the last change.
    pub(crate) fn caret(&self) -> usize {
        match self.parts.last() {
            Some(Part::Keep(n)) => self.after - n,
            _ => self.after,
        }
    }
}

/// Iterates over the parts of an edit in steps of any length.
struct Steps<'a> {
    parts: std::slice::Iter<'a, Part>,
    /// Whether the current part is `Keep`, not `Delete`.
    keeps: bool,
    /// Remaining units of the current `Keep` or `Delete`. 0 at an insertion and at the end.
    left: usize,
    /// The text of the current part, if it is an insertion.
    insert: Option<&'a str>,
}

impl<'a> Steps<'a> {
    fn new(op: &'a Op) -> Steps<'a> {
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

    /// Moves past an insertion and returns its text, or returns `None` if the current part is no insertion.
    fn take_insert(&mut self) -> Option<&'a str> {
        let text = self.insert.take()?;
        self.next();
        Some(text)
    }

    /// Moves on by `n` units, and returns whether they are kept.
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
            if parts > MAX_PARTS {
                return Err(de::Error::custom(format!(
                    "an edit has at most {MAX_PARTS} parts"
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

/// A part in JSON.
///
/// This is not an untagged enum, because serde would first read any value for it, as deep as it is nested.
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
            "a number from 1 to {MAX_LENGTH} to keep, its negative to delete, or a text to insert"
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

    /// A text area normalizes line ends, so it would show a different text if other line ends were allowed.
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Step, E> {
        let is_forbidden = |c: char| c.is_control() && c != '\n' && c != '\t';
        if text.is_empty() || text.contains(is_forbidden) || units(text) > MAX_LENGTH {
            let error = format!(
                "a text to insert has 1 to {MAX_LENGTH} units, and no control characters except \\n and \\t"
            );
            return Err(E::custom(error));
        }
        Ok(Step(Part::Insert(text.to_owned())))
    }
}

fn length(n: u64) -> Option<usize> {
    usize::try_from(n)
        .ok()
        .filter(|n| (1..=MAX_LENGTH).contains(n))
}
