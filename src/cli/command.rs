//! One command of JSON mode, read from what a client sent: judged whole before anything is done.

use std::collections::HashMap;

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use standpipe::{Message, Publication};

use super::{names, nesting};

/// What a client wants.
#[derive(Debug)]
pub(crate) enum Command {
    Subscribe {
        topic: String,
        since: Option<u64>,
        presence: bool,
    },
    Unsubscribe(String),
    Publish {
        topic: String,
        publication: Publication,
    },
}

/// A command, and what it wants its answer called.
#[derive(Debug)]
pub(crate) struct Asked {
    /// A number or a string, as it was written: read as a number and written again it may be another.
    pub(crate) reference: Option<Box<RawValue>>,
    pub(crate) command: Result<Command, Unreadable>,
}

/// Why there is no command in it.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// Perhaps another protocol's client.
    NotJson(String),
    Wrong(String),
}

/// Reads one text.
pub(crate) fn read(text: &str) -> Asked {
    let without = |unreadable| Asked {
        reference: None,
        command: Err(unreadable),
    };
    let mut raw = match fields(text) {
        Ok(Some(raw)) => raw,
        Ok(None) => return without(Unreadable::Wrong("a command is an object".into())),
        Err(error) => return without(not_json(&error)),
    };
    let reference = raw.remove("ref").filter(|raw| raw.get() != "null");
    match reference.map(|raw| raw.get().as_bytes()) {
        None | Some([b'"' | b'-' | b'0'..=b'9', ..]) => {}
        Some(_) => return without(Unreadable::Wrong("ref is a number or a string".into())),
    }
    Asked {
        reference: reference.map(ToOwned::to_owned),
        command: flat(raw)
            .map_err(|error| not_json(&error))
            .and_then(|fields| command(&fields, text).map_err(Unreadable::Wrong)),
    }
}

fn not_json(error: &serde_json::Error) -> Unreadable {
    Unreadable::NotJson(format!("this is not JSON: {error}"))
}

fn command(fields: &Map<String, Value>, text: &str) -> Result<Command, String> {
    let commands = ["sub", "unsub", "pub"];
    let mut named = commands
        .iter()
        .filter_map(|name| Some((*name, fields.get(*name)?)));
    let (Some((command, topic)), None) = (named.next(), named.next()) else {
        return Err("a command is one of sub, unsub, pub".into());
    };
    let topic = topic
        .as_str()
        .ok_or_else(|| format!("{command} names a topic, a string"))?;
    names::check("a topic", topic)?;
    let topic = topic.to_owned();
    Ok(match command {
        "sub" => Command::Subscribe {
            topic,
            since: since(fields)?,
            presence: presence(fields)?,
        },
        "unsub" => Command::Unsubscribe(topic),
        _ => {
            let mut publication = publication(fields, text)?;
            if let Some(key) = key(fields)? {
                publication = publication.key(key);
            }
            Command::Publish { topic, publication }
        }
    })
}

fn since(fields: &Map<String, Value>) -> Result<Option<u64>, String> {
    match fields.get("since") {
        None | Some(Value::Null) => Ok(None),
        Some(since) => since
            .as_u64()
            .map(Some)
            .ok_or_else(|| "since is an id: a whole number, not below 0".into()),
    }
}

fn presence(fields: &Map<String, Value>) -> Result<bool, String> {
    match fields.get("presence") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(presence)) => Ok(*presence),
        Some(_) => Err("presence is true or false".into()),
    }
}

fn key(fields: &Map<String, Value>) -> Result<Option<&str>, String> {
    match fields.get("key") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(key)) => {
            names::check("a key", key)?;
            Ok(Some(key))
        }
        Some(_) => Err("key is a string".into()),
    }
}

/// The fields of a command as they were written; `None`: it is JSON, but no object.
fn fields(text: &str) -> serde_json::Result<Option<HashMap<String, &RawValue>>> {
    let whole: &RawValue = serde_json::from_str(text)?;
    if !whole.get().starts_with('{') {
        return Ok(None);
    }
    serde_json::from_str(whole.get()).map(Some)
}

/// Their values. Lists and objects are not looked into, and shown as empty: a tree of them would be as deep as a client
/// likes, and our stack is not.
fn flat(raw: HashMap<String, &RawValue>) -> serde_json::Result<Map<String, Value>> {
    let flat = |raw: &RawValue| match raw.get().as_bytes() {
        [b'[', ..] => Ok(Value::Array(Vec::new())),
        [b'{', ..] => Ok(Value::Object(Map::new())),
        _ => serde_json::from_str(raw.get()),
    };
    let fields = raw.into_iter().map(|(name, raw)| Ok((name, flat(raw)?)));
    fields.collect()
}

/// A string is published as the text it is, and everything else as JSON, with every digit as it was written.
fn publication(fields: &Map<String, Value>, text: &str) -> Result<Publication, String> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let data = fields
        .get("data")
        .ok_or_else(|| "pub needs data".to_owned())?;
    match (fields.get("base64"), data) {
        (Some(Value::Bool(true)), Value::String(encoded)) => {
            let bytes = BASE64
                .decode(encoded.as_bytes())
                .map_err(|error| format!("base64: {error}"))?;
            Ok(Message::binary(bytes).into())
        }
        (Some(Value::Bool(true)), _) => Err("with base64 data is a string".into()),
        (None | Some(Value::Bool(false)), Value::String(text)) => {
            Ok(Message::text(text.as_str()).into())
        }
        (None | Some(Value::Bool(false)), _) => {
            let raw: Data = serde_json::from_str(text).map_err(|error| error.to_string())?;
            nesting::check(raw.data.get())?;
            Ok(Publication::from(Message::text(raw.data.get())).json())
        }
        (Some(_), _) => Err("base64 is true or false".into()),
    }
}

/// The whole of the target `json` of `fuzz/`: whatever comes, there is one command or one reason, and an answer that is
/// JSON.
#[cfg(any(test, fuzzing))]
pub(crate) fn keeps_its_laws(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Asked { reference, command } = read(text);
    if let Some(reference) = &reference {
        let value: Value = serde_json::from_str(reference.get()).unwrap_or(Value::Null);
        // A number may be too large to be read, and is told back all the same.
        assert!(value.is_string() || value.is_number() || value.is_null());
        assert!(text.contains(reference.get()), "{reference}");
    }
    match command {
        Ok(Command::Subscribe { topic, .. } | Command::Unsubscribe(topic)) => {
            names::check("a topic", &topic).expect("it was checked");
        }
        Ok(Command::Publish { topic, publication }) => {
            names::check("a topic", &topic).expect("it was checked");
            assert!(format!("{publication:?}").len() < 100 + 20 * text.len());
        }
        Err(Unreadable::NotJson(why)) => {
            assert!(!why.is_empty());
        }
        Err(Unreadable::Wrong(why)) => assert!(!why.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_kept_as_it_was_written() {
        for written in [
            "1",
            "-0",
            "1.50",
            "1e400",
            "123456789012345678901234567890",
            r#""\u00e9 b""#,
        ] {
            let asked = read(&format!(r#"{{"unsub":"t","ref":{written}}}"#));
            let reference = asked.reference.expect("there is one");
            assert_eq!(reference.get(), written);
        }
        for none in ["null", "[]", "true"] {
            assert!(
                read(&format!(r#"{{"unsub":"t","ref":{none}}}"#))
                    .reference
                    .is_none()
            );
        }
    }

    #[test]
    fn every_seed_is_a_command_or_a_reason() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/json");
        let mut ran = 0;
        for seed in std::fs::read_dir(seeds).expect("there are seeds") {
            let bytes = std::fs::read(seed.expect("it can be listed").path());
            let bytes = bytes.expect("it can be read");
            for end in 0..=bytes.len() {
                keeps_its_laws(&bytes[..end]);
            }
            ran += 1;
        }
        assert!(ran > 0);
    }
}
