//! Parses the commands of JSON mode. A command is checked completely before any of it is carried out.
//!
//! Only the fields that a command needs are decoded. All other fields are skipped, whatever they contain. JSON allows
//! values that no parser can represent, such as `1e400` or `"\ud800"`. They are valid in a field that is skipped, and in
//! `data`, which is published as it was written.

use std::borrow::Cow;
use std::fmt;

use data_encoding::BASE64;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use standpipe::Message;

use super::command::{Command, CommandError, CommandMessage, Data, Publish, Resume, TokenText};
use super::{ids, names, nesting};

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
    let fields: Fields = match serde_json::from_str(text) {
        Ok(fields) => fields,
        Err(error) => return CommandMessage::without_reference(no_object(text, &error)),
    };
    let reference = match fields.reference.map(RawValue::get) {
        None => None,
        Some(written) if matches!(written.as_bytes()[0], b'"' | b'-' | b'0'..=b'9') => {
            fields.reference.map(ToOwned::to_owned)
        }
        Some(_) => {
            let error = CommandError::Invalid("ref must be a number or a string".into());
            return CommandMessage::without_reference(error);
        }
    };
    CommandMessage {
        reference,
        command: fields.command().map_err(CommandError::Invalid),
    }
}

/// Returns why `text` is not a JSON object.
fn no_object(text: &str, error: &serde_json::Error) -> CommandError {
    if serde_json::from_str::<&RawValue>(text).is_ok() {
        CommandError::Invalid("a command must be a JSON object".into())
    } else {
        CommandError::NotJson(format!("not JSON: {error}"))
    }
}

/// The fields of one command, as they were written. Lists and objects are never parsed, because a client may nest them so
/// deeply that a recursive parser runs out of stack.
#[derive(Default)]
struct Fields<'a> {
    subscribe: Option<&'a RawValue>,
    unsubscribe: Option<&'a RawValue>,
    publish: Option<&'a RawValue>,
    token: Option<&'a RawValue>,
    reference: Option<&'a RawValue>,
    since: Option<&'a RawValue>,
    epoch: Option<&'a RawValue>,
    presence: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    key: Option<&'a RawValue>,
    base64: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        // The names are not decoded by the parser, because a name that cannot be decoded is only unknown.
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            fields.set(name, value);
        }
        Ok(fields)
    }
}

impl<'a> Fields<'a> {
    /// Sets a field, if it is known. The last value of a repeated field counts. `null` counts as absent for every field
    /// that is optional.
    fn set(&mut self, name: &RawValue, value: &'a RawValue) {
        let optional = (value.get() != "null").then_some(value);
        match &*string(name).unwrap_or_default() {
            "sub" => self.subscribe = Some(value),
            "unsub" => self.unsubscribe = Some(value),
            "pub" => self.publish = Some(value),
            "token" => self.token = Some(value),
            "data" => self.data = Some(value),
            "ref" => self.reference = optional,
            "since" => self.since = optional,
            "epoch" => self.epoch = optional,
            "presence" => self.presence = optional,
            "key" => self.key = optional,
            "base64" => self.base64 = optional,
            _ => {}
        }
    }

    fn command(&self) -> Result<Command, String> {
        match (self.subscribe, self.unsubscribe, self.publish, self.token) {
            (None, None, None, Some(token)) if is_string(token) => {
                // A token has no character that JSON must escape, so a string that cannot be decoded is no token.
                let token = string(token).unwrap_or_default();
                Ok(Command::Token(TokenText(token.into_owned())))
            }
            (None, None, None, Some(_)) => Err("token must be a string".into()),
            (Some(topic), None, None, None) => Ok(Command::Subscribe {
                topic: topic_of("sub", topic)?,
                resume: self.resume()?,
                presence: boolean("presence", self.presence)?,
            }),
            (None, Some(topic), None, None) => Ok(Command::Unsubscribe(topic_of("unsub", topic)?)),
            (None, None, Some(topic), None) => Ok(Command::Publish {
                topic: topic_of("pub", topic)?,
                publish: Publish {
                    data: self.data()?,
                    key: self.key()?,
                },
            }),
            _ => Err("a command is one of sub, unsub, pub, token".into()),
        }
    }

    fn resume(&self) -> Result<Option<Resume>, String> {
        let Some(since) = self.since else {
            return Ok(None);
        };
        let id = if is_string(since) {
            string(since).and_then(|digits| ids::from_digits(&digits))
        } else {
            ids::from_number(since.get())
        };
        let since = id.ok_or(ids::NOT_AN_ID)?;
        let epoch = match self.epoch {
            None => None,
            Some(epoch) => {
                let text = string(epoch).filter(|_| is_string(epoch));
                Some(text.ok_or("epoch must be a string")?.into_owned())
            }
        };
        Ok(Some(Resume { since, epoch }))
    }

    fn key(&self) -> Result<Option<String>, String> {
        let Some(key) = self.key else {
            return Ok(None);
        };
        if !is_string(key) {
            return Err("key must be a string".into());
        }
        text_of("a key", key).map(Some)
    }

    fn data(&self) -> Result<Data, String> {
        let data = self.data.ok_or("pub needs data")?;
        data_of(data, boolean("base64", self.base64)?)
    }
}

/// Returns what the field `data` stands for.
pub(super) fn data_of(data: &RawValue, is_base64: bool) -> Result<Data, String> {
    match (is_base64, is_string(data)) {
        (true, true) => BASE64
            .decode(string(data).unwrap_or_default().as_bytes())
            .map(Data::Bytes)
            .map_err(|error| format!("base64: {error}")),
        (true, false) => Err("data must be a string if base64 is true".into()),
        // No text has half of a surrogate pair, but JSON allows the escape. Such a string stays JSON.
        (false, true) => Ok(string(data).map_or_else(
            || Data::Json(data.get().to_owned()),
            |text| Data::Text(text.into_owned()),
        )),
        (false, false) => {
            nesting::check(data.get())?;
            Ok(Data::Json(data.get().to_owned()))
        }
    }
}

fn is_string(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

/// Returns the text of a JSON string. `None` if it is no string, or has half of a surrogate pair, such as `\ud800`.
fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let quoted = raw.get();
    if quoted.contains('\\') {
        return serde_json::from_str(quoted).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(quoted.strip_prefix('"')?.strip_suffix('"')?))
}

/// Returns the topic that `command` names.
fn topic_of(command: &str, topic: &RawValue) -> Result<String, String> {
    if !is_string(topic) {
        return Err(format!("{command} must name a topic, as a string"));
    }
    text_of("a topic", topic)
}

/// Returns the text of a topic or key.
fn text_of(what: &str, raw: &RawValue) -> Result<String, String> {
    let text = string(raw).ok_or_else(|| format!("{what} has no half of a surrogate pair"))?;
    names::check(what, &text)?;
    Ok(text.into_owned())
}

/// Returns the value of an optional field that is true or false.
fn boolean(name: &str, raw: Option<&RawValue>) -> Result<bool, String> {
    match raw.map(RawValue::get) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(format!("{name} must be true or false")),
    }
}

/// Checks what must hold for every input. The fuzz target `json` only calls this function.
///
/// # Panics
/// If a command changes when it is written as JSON and parsed again, or if valid JSON is reported as not JSON.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_invariants(data: &[u8]) {
    use std::collections::HashMap;

    use serde::de::IgnoredAny;

    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let CommandMessage { reference, command } = parse_text(text);
    let reference = reference.as_ref().map(|raw| raw.get());
    if let Some(reference) = reference {
        assert!(text.contains(reference), "{reference} is not in {text}");
        let answer = format!(r#"{{"ack":{reference}}}"#);
        let answer: HashMap<&str, &RawValue> =
            serde_json::from_str(&answer).expect("an answer with this reference is JSON");
        assert_eq!(answer["ack"].get(), reference);
    }
    match command {
        Ok(command) => {
            let again = parse_text(&command.to_json(reference));
            assert_eq!(again.command.expect("it was valid before"), command);
            assert_eq!(again.reference.as_ref().map(|raw| raw.get()), reference);
        }
        Err(CommandError::NotJson(_)) => {
            assert!(serde_json::from_str::<IgnoredAny>(text).is_err(), "{text}");
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
    fn values_that_no_parser_represents_are_json() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        for value in [
            "1e400",
            "-1e99999999999999999999",
            "1e-400",
            "123456789012345678901234567890",
            r#""\ud800""#,
            r#""\udc00\ud800""#,
            r#"{"same":1,"same":2}"#,
            &deep,
        ] {
            // A field that the command does not need is skipped.
            for field in ["what", r"\ud800", "data", "key", "base64"] {
                let text = format!(r#"{{"sub":"t","{field}":{value}}}"#);
                check_invariants(text.as_bytes());
                let message = parse_text(&text);
                assert!(message.command.is_ok(), "{text}: {:?}", message.command);
            }
            // A field that the command needs is an error, which has the reference.
            for field in ["sub", "since", "presence"] {
                let text = format!(r#"{{"sub":"t","ref":1,"{field}":{value}}}"#);
                check_invariants(text.as_bytes());
                let message = parse_text(&text);
                assert!(message.reference.is_some(), "{text}");
                let is_invalid = matches!(message.command, Err(CommandError::Invalid(_)));
                assert!(is_invalid, "{text}");
            }
            let text = format!(r#"{{"pub":"t","data":{value},"ref":1}}"#);
            check_invariants(text.as_bytes());
            match parse_text(&text).command {
                Ok(Command::Publish { publish, .. }) => {
                    assert_eq!(publish.data, Data::Json(value.into()));
                }
                other => assert!(*value == *deep, "{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn last_value_of_a_repeated_field_counts() {
        let text = r#"{"sub":"a","since":1,"since":null,"su\u0062":"b","base64":1}"#;
        let expected = Command::Subscribe {
            topic: "b".into(),
            resume: None,
            presence: false,
        };
        assert_eq!(parse_text(text).command.expect("it is valid"), expected);
    }

    #[test]
    fn since_is_a_number_or_a_string() {
        for since in ["1000", "1e3", "1000.0", r#""1000""#] {
            let text = format!(r#"{{"sub":"t","since":{since}}}"#);
            let command = parse_text(&text).command.expect(&text);
            let Command::Subscribe { resume, .. } = command else {
                panic!("{text}: {command:?}");
            };
            assert_eq!(resume.map(|resume| resume.since), Some(1000), "{text}");
        }
        for since in ["-1", "1.5", r#""1e3""#, r#""""#, r#"" 7""#, "true", "[1]"] {
            let text = format!(r#"{{"sub":"t","since":{since}}}"#);
            assert!(parse_text(&text).command.is_err(), "{text}");
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
