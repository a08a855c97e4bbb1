//! Parses the commands of JSON mode. A command is checked completely before any of it is carried out.

use std::collections::HashMap;

use data_encoding::BASE64;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use standpipe::Message;

use super::command::{Command, CommandError, CommandMessage, Data, Publish};
use super::{names, nesting};

/// Parses one message from a client.
pub(crate) fn parse(message: &Message) -> CommandMessage {
    match message {
        Message::Text(text) => parse_text(text),
        _ => CommandMessage::without_reference(CommandError::Invalid(
            "a command must be text".into(),
        )),
    }
}

fn parse_text(text: &str) -> CommandMessage {
    let raw = match raw_fields(text) {
        Ok(raw) => raw,
        Err(error) => return CommandMessage::without_reference(error),
    };
    let reference = match raw.get("ref").map(|raw| raw.get()) {
        None | Some("null") => None,
        Some(written) if matches!(written.as_bytes()[0], b'"' | b'-' | b'0'..=b'9') => {
            raw.get("ref").copied().map(ToOwned::to_owned)
        }
        Some(_) => {
            let error = CommandError::Invalid("ref must be a number or a string".into());
            return CommandMessage::without_reference(error);
        }
    };
    CommandMessage {
        reference,
        command: Fields::new(raw)
            .and_then(|fields| fields.command().map_err(CommandError::Invalid)),
    }
}

/// Returns the fields of a JSON object as they were written.
fn raw_fields(text: &str) -> Result<HashMap<String, &RawValue>, CommandError> {
    serde_json::from_str(text).map_err(|error| {
        let is_object = text.trim_start().starts_with('{');
        if !is_object && serde_json::from_str::<IgnoredAny>(text).is_ok() {
            CommandError::Invalid("a command must be a JSON object".into())
        } else {
            not_json(&error)
        }
    })
}

fn not_json(error: &serde_json::Error) -> CommandError {
    CommandError::NotJson(format!("not JSON: {error}"))
}

/// The fields of one command.
struct Fields<'a> {
    raw: HashMap<String, &'a RawValue>,
    /// The same fields, parsed. Lists and objects are not parsed and appear empty here, because a client may nest them
    /// so deeply that a recursive parser runs out of stack.
    values: HashMap<String, Value>,
}

impl<'a> Fields<'a> {
    fn new(mut raw: HashMap<String, &'a RawValue>) -> Result<Fields<'a>, CommandError> {
        raw.remove("ref");
        let parse = |raw: &RawValue| match raw.get().as_bytes() {
            [b'[', ..] => Ok(Value::Array(Vec::new())),
            [b'{', ..] => Ok(Value::Object(serde_json::Map::new())),
            _ => serde_json::from_str(raw.get()),
        };
        let values = raw
            .iter()
            .map(|(name, raw)| Ok((name.clone(), parse(raw)?)))
            .collect::<serde_json::Result<_>>()
            .map_err(|error| not_json(&error))?;
        Ok(Fields { raw, values })
    }

    fn command(&self) -> Result<Command, String> {
        let commands = ["sub", "unsub", "pub"];
        let mut named = commands
            .iter()
            .filter_map(|name| Some((*name, self.values.get(*name)?)));
        let (Some((command, topic)), None) = (named.next(), named.next()) else {
            return Err("a command is one of sub, unsub, pub".into());
        };
        let topic = topic
            .as_str()
            .ok_or_else(|| format!("{command} must name a topic, as a string"))?;
        names::check("a topic", topic)?;
        let topic = topic.to_owned();
        Ok(match command {
            "sub" => Command::Subscribe {
                topic,
                since: self.since()?,
                presence: self.presence()?,
            },
            "unsub" => Command::Unsubscribe(topic),
            _ => Command::Publish {
                topic,
                publish: Publish {
                    data: self.data()?,
                    key: self.key()?,
                },
            },
        })
    }

    fn since(&self) -> Result<Option<u64>, String> {
        match self.values.get("since") {
            None | Some(Value::Null) => Ok(None),
            Some(since) => since
                .as_u64()
                .map(Some)
                .ok_or_else(|| "since must be an id, which is a whole number from 0".into()),
        }
    }

    fn presence(&self) -> Result<bool, String> {
        match self.values.get("presence") {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(presence)) => Ok(*presence),
            Some(_) => Err("presence must be true or false".into()),
        }
    }

    fn key(&self) -> Result<Option<String>, String> {
        match self.values.get("key") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(key)) => {
                names::check("a key", key)?;
                Ok(Some(key.clone()))
            }
            Some(_) => Err("key must be a string".into()),
        }
    }

    fn data(&self) -> Result<Data, String> {
        let (Some(raw), Some(data)) = (self.raw.get("data"), self.values.get("data")) else {
            return Err("pub needs data".into());
        };
        match (self.values.get("base64"), data) {
            (Some(Value::Bool(true)), Value::String(encoded)) => BASE64
                .decode(encoded.as_bytes())
                .map(Data::Bytes)
                .map_err(|error| format!("base64: {error}")),
            (Some(Value::Bool(true)), _) => Err("data must be a string if base64 is true".into()),
            (None | Some(Value::Bool(false)), Value::String(text)) => Ok(Data::Text(text.clone())),
            (None | Some(Value::Bool(false)), _) => {
                nesting::check(raw.get())?;
                Ok(Data::Json(raw.get().to_owned()))
            }
            (Some(_), _) => Err("base64 must be true or false".into()),
        }
    }
}

/// Checks what must hold for every input. The fuzz target `json` only calls this function.
///
/// # Panics
/// If a command changes when it is written as JSON and parsed again, or if valid JSON is reported as not JSON.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_invariants(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let CommandMessage { reference, command } = parse_text(text);
    let reference = reference.as_ref().map(|raw| raw.get());
    if let Some(reference) = reference {
        assert!(text.contains(reference), "{reference} is not in {text}");
        let answer = format!(r#"{{"ack":{reference}}}"#);
        let answer = raw_fields(&answer).expect("an answer with this reference is JSON");
        assert_eq!(answer["ack"].get(), reference);
    }
    match command {
        Ok(command) => {
            let again = parse_text(&command.to_json(reference));
            assert_eq!(again.command.expect("it was valid before"), command);
            assert_eq!(again.reference.as_ref().map(|raw| raw.get()), reference);
        }
        Err(CommandError::NotJson(_)) => {
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
        }
        Err(CommandError::Invalid(_)) => {
            serde_json::from_str::<IgnoredAny>(text).expect("an invalid command is still JSON");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_is_kept_as_written() {
        for written in [
            "1",
            "-0",
            "1.50",
            "1e400",
            "123456789012345678901234567890",
            r#""\u00e9 b""#,
        ] {
            let message = parse_text(&format!(r#"{{"unsub":"t","ref":{written}}}"#));
            let reference = message.reference.expect("the command has a reference");
            assert_eq!(reference.get(), written);
            assert!(message.command.is_ok(), "{written}");
        }
        for other in ["null", "[]", "true"] {
            let message = parse_text(&format!(r#"{{"unsub":"t","ref":{other}}}"#));
            assert!(message.reference.is_none(), "{other}");
        }
    }

    #[test]
    fn error_tells_whether_the_text_is_json() {
        for (text, is_json) in [
            (r#"{"sub":1}"#, true),
            (r#"{"sub":"t","since":-1}"#, true),
            (r#"{"pub":"t","data":"A","base64":true}"#, true),
            (r#"[{"sub":"t"}]"#, true),
            (r#"{"sub":"t""#, false),
            (r#"{"sub":"t"} {}"#, false),
            ("CONNECT", false),
        ] {
            check_invariants(text.as_bytes());
            let error = parse_text(text).command.expect_err(text);
            assert_eq!(matches!(error, CommandError::Invalid(_)), is_json, "{text}");
        }
    }

    #[test]
    fn invariants_hold_for_every_prefix_of_every_seed() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/json");
        let mut commands = 0;
        for seed in std::fs::read_dir(seeds).expect("fuzz/seeds/json is in the repository") {
            let bytes = std::fs::read(seed.expect("the directory can be listed").path());
            let bytes = bytes.expect("the seed can be read");
            for end in 0..=bytes.len() {
                check_invariants(&bytes[..end]);
            }
            let text = std::str::from_utf8(&bytes).expect("the seeds are text");
            commands += usize::from(parse_text(text).command.is_ok());
        }
        assert!(commands > 0, "no seed is a valid command");
    }
}
