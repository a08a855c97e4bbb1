//! [`Record`]: a message as bytes in a stream entry and in a channel. [`Payload`]: all that a channel can carry.
//!
//! Everybody who can reach the server can write such bytes. They are checked before anything is made of them, and memory
//! is allocated for bytes that are there, not for lengths that they claim.

use std::io::Write;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::malformed::{MAX_RECORDS, Malformed};
use super::unread::{Unread, number, put_varint, utf8};
use crate::hub::Publication;
use crate::message::Message;
use crate::{names, nesting};

/// The version of records, of presence changes and of users to disconnect. A hub does not read other versions.
pub(super) const VERSION: u8 = 1;

/// The kind of record that is a message. There is no other kind yet.
const MESSAGE: u8 = b'm';

const TEXT: u8 = 1;
const JSON: u8 = 2;
const KEY: u8 = 4;

/// One message as it stands in a stream entry or a channel payload.
#[derive(Debug, PartialEq)]
pub(super) struct Record {
    /// The hub that published it.
    pub(super) node: u64,
    /// The number of the message on that hub.
    pub(super) seq: u64,
    /// `except` is set only if it is a message of this hub, because other hubs have other clients of that number.
    pub(super) publication: Publication,
}

/// What a hub takes from the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) own_node: u64,
    /// The largest message in bytes.
    pub(super) max_message: usize,
}

/// What arrives on the channel of a topic.
#[derive(Debug, PartialEq)]
pub(super) enum Payload {
    /// Messages with the ids from `first_id` on. `step` is the distance to the id before them, or 0 in a new sequence.
    Messages {
        first_id: u64,
        step: u64,
        /// When they were published, in milliseconds of the server's clock.
        at_ms: u64,
        records: Vec<Record>,
    },
    /// There will be no further message with an id up to `to`.
    Jump { to: u64 },
    /// The history has been removed up to the id `to`.
    Cleared { to: u64 },
    /// A name became present on a hub.
    Joined { node: u64, name: String },
    /// A name is no longer present on a hub.
    Left { node: u64, name: String },
}

/// Appends the record of a message that this hub publishes, behind its length.
pub(super) fn append(records: &mut Vec<u8>, node: u64, seq: u64, publication: &Publication) {
    let record = encode(node, seq, publication);
    // Writing to a vector never fails.
    let _ = write!(records, "{} ", record.len());
    records.extend(record);
}

/// Returns the record of a message that this hub publishes.
pub(super) fn encode(node: u64, seq: u64, publication: &Publication) -> Vec<u8> {
    let Publication {
        message,
        json,
        key,
        except,
    } = publication;
    let is_text = message.is_text();
    let mut flags = if is_text { TEXT } else { 0 };
    if *json && is_text {
        flags |= JSON;
    }
    if key.is_some() {
        flags |= KEY;
    }
    let size = 40 + key.as_ref().map_or(0, |key| key.len()) + message.len();
    let mut body = Vec::with_capacity(size);
    body.extend([VERSION, MESSAGE, flags]);
    body.extend(node.to_be_bytes());
    put_varint(&mut body, seq);
    // No client has the number 0.
    put_varint(&mut body, except.unwrap_or(0));
    if let Some(key) = key {
        put_varint(&mut body, key.len() as u64);
        body.extend(key.as_bytes());
    }
    body.extend(message.as_bytes());
    body
}

/// Returns why other hubs would not take this message, which a program may have made without the checks of clients.
pub(super) fn check(publication: &Publication, limits: &Limits) -> Result<(), Malformed> {
    if let Some(key) = &publication.key {
        names::check("a key", key).map_err(Malformed::Name)?;
    }
    check_size(publication.message.len(), limits)?;
    match &publication.message {
        Message::Text(text) if publication.json => check_json(text),
        _ => Ok(()),
    }
}

/// Returns the message of a record.
pub(super) fn decode(body: &[u8], limits: &Limits) -> Result<Record, Malformed> {
    let mut rest = Unread(body);
    let version = rest.byte()?;
    if version != VERSION {
        return Err(Malformed::UnknownVersion(version));
    }
    let kind = rest.byte()?;
    if kind != MESSAGE {
        return Err(Malformed::UnknownKind(kind));
    }
    let flags = rest.byte()?;
    if flags & !(TEXT | JSON | KEY) != 0 {
        return Err(Malformed::UnknownFlag(flags));
    }
    let node = rest.node()?;
    let seq = rest.varint()?;
    let client = rest.varint()?;
    let key = if flags & KEY == 0 {
        None
    } else {
        let size = rest.varint()?;
        Some(name("a key", rest.take(size)?)?)
    };
    let data = rest.0;
    check_size(data.len(), limits)?;
    let is_json = flags & JSON != 0;
    let message = if flags & TEXT != 0 {
        let text = utf8(data)?;
        if is_json {
            check_json(text)?;
        }
        Message::text(text)
    } else if is_json {
        return Err(Malformed::BinaryJson);
    } else {
        Message::binary(Bytes::copy_from_slice(data))
    };
    let mut publication = Publication::from(message);
    publication.json = is_json;
    publication.key = key.map(Into::into);
    publication.except = (client != 0 && node == limits.own_node).then_some(client);
    Ok(Record {
        node,
        seq,
        publication,
    })
}

/// Returns what arrived on the channel of a topic. `max_id` is the highest id that can be true: one forged higher id would
/// silence the topic, because members are not given lower ones after it.
pub(super) fn parse(payload: &[u8], limits: &Limits, max_id: u64) -> Result<Payload, Malformed> {
    let mut rest = Unread(payload);
    match payload.first() {
        Some(b'0'..=b'9') => messages(rest, limits, max_id),
        Some(kind @ (b'H' | b'C')) => {
            rest.take(2)?;
            let to = number(rest.0)?;
            check_id(to, max_id)?;
            Ok(match kind {
                b'H' => Payload::Jump { to },
                _ => Payload::Cleared { to },
            })
        }
        Some(kind @ (b'J' | b'L')) => {
            rest.take(1)?;
            let version = rest.byte()?;
            if version != VERSION {
                return Err(Malformed::UnknownVersion(version));
            }
            let node = rest.node()?;
            let name = name("a name", rest.0)?.to_owned();
            Ok(if *kind == b'J' {
                Payload::Joined { node, name }
            } else {
                Payload::Left { node, name }
            })
        }
        Some(_) => Err(Malformed::UnknownPayload),
        None => Err(Malformed::Truncated),
    }
}

/// Returns the payload that says that a name became present on a hub, or is no longer present there.
pub(super) fn presence_payload(node: u64, name: &str, joined: bool) -> Vec<u8> {
    let mut payload = Vec::with_capacity(10 + name.len());
    payload.extend([if joined { b'J' } else { b'L' }, VERSION]);
    payload.extend(node.to_be_bytes());
    payload.extend(name.as_bytes());
    payload
}

/// `ID STEP AT N `, and then `N` records, each as `LEN ` and the record. `publish.lua` writes this.
fn messages(mut rest: Unread<'_>, limits: &Limits, max_id: u64) -> Result<Payload, Malformed> {
    let first_id = rest.number()?;
    let step = rest.number()?;
    let at_ms = rest.number()?;
    let count = rest.number()?;
    if !(1..=MAX_RECORDS).contains(&count) {
        return Err(Malformed::RecordCount(count));
    }
    check_id(first_id, max_id)?;
    let last_id = first_id.saturating_add(count - 1);
    check_id(last_id, max_id)?;
    if step > first_id {
        return Err(Malformed::StepAboveId { step, id: first_id });
    }
    let records = records(rest.0, limits)?;
    if records.len() as u64 != count {
        return Err(Malformed::RecordCount(records.len() as u64));
    }
    Ok(Payload::Messages {
        first_id,
        step,
        at_ms,
        records,
    })
}

/// Reads records, each behind its length: 1 to 64 of them.
pub(super) fn records(bytes: &[u8], limits: &Limits) -> Result<Vec<Record>, Malformed> {
    let mut rest = Unread(bytes);
    let mut records = Vec::new();
    while !rest.0.is_empty() {
        if records.len() as u64 >= MAX_RECORDS {
            return Err(Malformed::RecordCount(MAX_RECORDS + 1));
        }
        let size = rest.number()?;
        records.push(decode(rest.take(size)?, limits)?);
    }
    if records.is_empty() {
        return Err(Malformed::RecordCount(0));
    }
    Ok(records)
}

fn check_id(id: u64, max_id: u64) -> Result<(), Malformed> {
    match id {
        0 => Err(Malformed::IdZero),
        id if id > max_id => Err(Malformed::IdTooHigh(id)),
        _ => Ok(()),
    }
}

fn check_size(size: usize, limits: &Limits) -> Result<(), Malformed> {
    let max = limits.max_message;
    if size > max {
        return Err(Malformed::TooLarge { size, max });
    }
    Ok(())
}

/// An envelope embeds JSON as it is, so that invalid JSON would break the envelope.
fn check_json(text: &str) -> Result<(), Malformed> {
    nesting::check(text).map_err(Malformed::Nesting)?;
    // Skips the value without building it, and without recursion.
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(Malformed::NotJson),
    }
}

fn name<'a>(what: &str, bytes: &'a [u8]) -> Result<&'a str, Malformed> {
    let name = utf8(bytes)?;
    names::check(what, name).map_err(Malformed::Name)?;
    Ok(name)
}

/// Checks what must hold for every input of the fuzz target `wire_record`.
///
/// # Panics
/// If a message changes when it is written and read again, or if what was taken exceeds a limit.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_invariants(data: &[u8]) {
    const MAX_ID: u64 = 1 << 51;
    let limits = Limits {
        own_node: u64::from_be_bytes(*b"own node"),
        max_message: 100,
    };
    let mut records = Vec::from_iter(decode(data, &limits));
    match parse(data, &limits, MAX_ID) {
        Ok(Payload::Messages {
            first_id,
            step,
            records: more,
            ..
        }) => {
            let last_id = first_id + more.len() as u64 - 1;
            assert!(0 < first_id && last_id <= MAX_ID && step <= first_id);
            assert!((1..=MAX_RECORDS).contains(&(more.len() as u64)));
            records.extend(more);
        }
        Ok(Payload::Jump { to } | Payload::Cleared { to }) => assert!(0 < to && to <= MAX_ID),
        Ok(Payload::Joined { node, name }) => {
            assert_eq!(presence_payload(node, &name, true), data);
        }
        Ok(Payload::Left { node, name }) => {
            assert_eq!(presence_payload(node, &name, false), data);
        }
        Err(reason) => drop(reason.to_string()),
    }
    for record in records {
        let Record {
            node,
            seq,
            publication,
        } = &record;
        assert!(publication.message.len() <= limits.max_message);
        assert!(publication.except.is_none() || *node == limits.own_node);
        assert_eq!(check(publication, &limits), Ok(()));
        let again = decode(&encode(*node, *seq, publication), &limits);
        assert_eq!(again.as_ref(), Ok(&record));
    }
}

#[cfg(test)]
#[path = "tests/record.rs"]
mod tests;
