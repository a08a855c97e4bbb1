//! [`Document`]: the keys and tables of a configuration file, each with its line. Nothing here knows the arguments.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::nearest::nearest;
use super::problems::Problem;
use crate::cli::topics::TopicFlag;

/// The key of the tables with the settings of topics.
pub(crate) const TOPIC: &str = "topic";

/// The key of a topic's pattern.
const PATTERN: &str = "pattern";

/// One key of the file, and its values as they would be written in a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) key: String,
    /// One, or the elements of an array.
    pub(crate) values: Vec<String>,
    pub(crate) is_array: bool,
    pub(crate) line: usize,
}

impl Setting {
    pub(crate) fn problem(&self, text: impl Into<String>) -> Problem {
        Problem {
            line: self.line,
            key: Some(self.key.clone()),
            text: text.into(),
        }
    }
}

/// One `[[topic]]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicTable {
    pub(crate) flag: TopicFlag,
    pub(crate) line: usize,
}

/// The keys and values of a file, in the order of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) settings: Vec<Setting>,
    /// `None` if the file says nothing about topics.
    pub(crate) topics: Option<Vec<TopicTable>>,
}

impl Document {
    /// Parses TOML, and the settings of topics.
    pub(crate) fn parse(text: &str) -> Result<Document, Vec<Problem>> {
        let table = DeTable::parse(text).map_err(|error| {
            // The error's own text shows the line of the file, which may contain a password.
            let at = error.span().map_or(text.len(), |span| span.start);
            vec![Problem {
                line: line(text, at),
                key: key_before(text, at),
                text: error.message().trim().replace('\n', ", "),
            }]
        })?;
        let (mut document, mut problems) = (Document::default(), Vec::new());
        for (key, value) in table.into_inner() {
            let line = line(text, key.span().start);
            let key = key.into_inner().into_owned();
            if key == TOPIC {
                document.topics = Some(topics(text, &value, line, &mut problems));
                continue;
            }
            match values(value.get_ref()) {
                Ok(values) => document.settings.push(Setting {
                    key,
                    values,
                    is_array: value.get_ref().is_array(),
                    line,
                }),
                // A table has an unknown key, which says more. `values` comes first, because it shows no value.
                Err(reason) => problems.push(Problem {
                    line,
                    key: Some(key),
                    text: reason,
                }),
            }
        }
        document.settings.sort_by_key(|setting| setting.line);
        if problems.is_empty() {
            Ok(document)
        } else {
            Err(problems)
        }
    }
}

/// Returns the line of the byte `at`, from 1 on.
fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Returns the key of the line in which an error is, at the byte `at`. Anything else in that line may be a password.
fn key_before(text: &str, at: usize) -> Option<String> {
    let begin = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let (key, _) = text.get(begin..)?.lines().next()?.split_once('=')?;
    let key = key.trim();
    let is_key = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    is_key.then(|| key.to_owned())
}

/// Returns one value, or the elements of an array, as they would be written in a flag.
fn values(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(array) => array.iter().map(|value| text_of(value.get_ref())).collect(),
        value => text_of(value).map(|text| vec![text]),
    }
}

/// Returns a value as it would be written in a flag.
fn text_of(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| "the number is too large".into()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        other => Err(format!(
            "must be a text, a number, true, false or an array of them, not a {}",
            other.type_str()
        )),
    }
}

/// Returns the settings of topics: `[[topic]]` tables, or texts as for `--topic`.
fn topics(
    text: &str,
    value: &Spanned<DeValue<'_>>,
    at: usize,
    problems: &mut Vec<Problem>,
) -> Vec<TopicTable> {
    let elements: &DeArray<'_> = match value.get_ref() {
        DeValue::Array(elements) => elements,
        _ => {
            problems.push(Problem {
                line: at,
                key: Some(TOPIC.into()),
                text: "write [[topic]] above the settings of each pattern".into(),
            });
            return Vec::new();
        }
    };
    let mut tables = Vec::new();
    for element in elements {
        let line = line(text, element.span().start);
        let flag = match element.get_ref() {
            DeValue::String(flag) => flag.parse().map_err(|reason: String| {
                vec![Problem {
                    line,
                    key: Some(TOPIC.into()),
                    text: reason,
                }]
            }),
            DeValue::Table(table) => topic(text, table, line),
            _ => Err(vec![Problem {
                line,
                key: Some(TOPIC.into()),
                text: "write [[topic]] above the settings of each pattern".into(),
            }]),
        };
        match flag {
            Ok(flag) => tables.push(TopicTable { flag, line }),
            Err(more) => problems.extend(more),
        }
    }
    tables
}

/// Returns the settings of one table.
fn topic(text: &str, table: &DeTable<'_>, at: usize) -> Result<TopicFlag, Vec<Problem>> {
    let problem = |line, key: &str, text: String| Problem {
        line,
        key: Some(format!("{TOPIC}.{key}")),
        text,
    };
    let pattern = table.iter().find(|(key, _)| key.get_ref() == PATTERN);
    let pattern = pattern.map(|(_, value)| text_of(value.get_ref()));
    let mut problems = Vec::new();
    let pattern = match pattern {
        Some(Ok(pattern)) if !pattern.is_empty() => pattern,
        Some(Err(reason)) => {
            problems.push(problem(at, PATTERN, reason));
            String::new()
        }
        Some(Ok(_)) | None => {
            let reason = "each [[topic]] needs a pattern, such as pattern = \"chat-*\"".into();
            problems.push(problem(at, PATTERN, reason));
            String::new()
        }
    };
    // Without a pattern, the other keys are checked all the same: one of them may be the misspelt pattern.
    let mut flag = TopicFlag::new(pattern);
    for (key, value) in table {
        let (line, name) = (line(text, key.span().start), key.get_ref().as_ref());
        if name == PATTERN {
            continue;
        }
        if !TopicFlag::KEYS.contains(&name) {
            let known = TopicFlag::KEYS.into_iter().chain([PATTERN]);
            problems.push(problem(line, name, unknown(name, known)));
            continue;
        }
        let set = text_of(value.get_ref()).and_then(|value| flag.set(name, &value));
        if let Err(reason) = set {
            problems.push(problem(line, name, reason));
        }
    }
    if problems.is_empty() {
        Ok(flag)
    } else {
        Err(problems)
    }
}

/// Returns the reason for a key that does not exist. A flag or a variable in place of a key is compared as that key.
pub(crate) fn unknown<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let name = key.to_ascii_lowercase().replace('_', "-");
    let name = name.trim_start_matches('-');
    match nearest(name.strip_prefix("standpipe-").unwrap_or(name), known) {
        Some(nearest) => format!("unknown key; the nearest key is {nearest}"),
        None => "unknown key".into(),
    }
}

#[cfg(test)]
#[path = "tests/document.rs"]
mod tests;
