//! `standpipe check-config`: every value in force, and where it comes from. The report is a configuration file itself.

use std::fmt::Write;

use super::document::TOPIC;
use super::file::ConfigFile;
use super::in_force::{InForce, Source};
use crate::cli::topics::TopicFlag;

/// Returns the report. `hide` hides what is secret in the value of a key.
pub(crate) fn report(
    in_force: &[InForce],
    topics: &[TopicFlag],
    file: Option<&ConfigFile>,
    hide: impl Fn(&str, &str) -> String,
) -> String {
    let mut report = String::new();
    let topic_source = in_force.iter().find(|value| value.key == TOPIC);
    for value in in_force.iter().filter(|value| value.key != TOPIC) {
        let _ = writeln!(report, "{}", line(value, &hide));
    }
    let tables = file.and_then(ConfigFile::topic_tables).unwrap_or_default();
    for (index, topic) in topics.iter().enumerate() {
        let source = match topic_source.map(|value| &value.source) {
            Some(source @ (Source::Flag(_) | Source::Variable(_))) => source.to_string(),
            _ => match (file, tables.get(index)) {
                (Some(file), Some(table)) => {
                    Source::File(file.path.display().to_string(), table.line).to_string()
                }
                _ => Source::Default.to_string(),
            },
        };
        let _ = writeln!(report, "\n[[{TOPIC}]] # {}", comment(&source));
        let _ = writeln!(report, "pattern = {}", text(&topic.pattern));
        for (key, value) in topic.parts() {
            let _ = writeln!(report, "{key} = {}", literal(&value));
        }
    }
    report
}

/// Returns the line of one value. A key without a value is a comment.
fn line(value: &InForce, hide: impl Fn(&str, &str) -> String) -> String {
    let key = &value.key;
    let literals: Vec<String> = (value.values.iter())
        .map(|text| literal(&hide(key, text)))
        .collect();
    let source = comment(&value.source.to_string());
    match &literals[..] {
        [] => match &value.default {
            Some(default) => format!("# {key} is not set: {}", comment(default)),
            None => format!("# {key} is not set"),
        },
        [literal] if !value.is_list => format!("{key} = {literal} # {source}"),
        literals => format!("{key} = [{}] # {source}", literals.join(", ")),
    }
}

/// Returns a value as TOML. The text of a number or a switch needs no quotes.
fn literal(value: &str) -> String {
    let is_number = value
        .parse::<i64>()
        .is_ok_and(|number| number.to_string() == value);
    if is_number || matches!(value, "true" | "false") {
        value.to_owned()
    } else {
        text(value)
    }
}

/// Returns a text as TOML.
fn text(value: &str) -> String {
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns a text that stays on its line. The name of a file may contain any character.
fn comment(text: &str) -> String {
    text.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(values: &[&str], is_list: bool, source: Source) -> InForce {
        InForce {
            key: "key".into(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            is_list,
            source,
            default: Some("what the kernel allows".into()),
        }
    }

    #[test]
    fn line_has_the_value_and_its_source() {
        let plain = |_: &str, value: &str| value.to_owned();
        let file = Source::File("a.toml".into(), 3);
        for (value, expected) in [
            (value(&["64"], false, Source::Default), "key = 64 # default"),
            (
                value(&["007"], false, Source::Default),
                "key = \"007\" # default",
            ),
            (
                value(&["true"], false, Source::Flag("--key".into())),
                "key = true # --key",
            ),
            (
                value(&["64KiB"], false, file.clone()),
                "key = \"64KiB\" # a.toml:3",
            ),
            (
                value(&["a", "b\"\\\n"], true, file),
                "key = [\"a\", \"b\\\"\\\\\\u000A\"] # a.toml:3",
            ),
            (
                value(&[], false, Source::Default),
                "# key is not set: what the kernel allows",
            ),
        ] {
            assert_eq!(line(&value, plain), expected);
        }
        let secret = value(&["s3cret"], false, Source::Default);
        let hidden = line(&secret, |_, _| "***".into());
        assert_eq!(hidden, "key = \"***\" # default");
    }
}
