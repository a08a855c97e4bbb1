//! The file of `default-config`: it has every key, with its default, and is accepted.

use std::collections::BTreeMap;
use std::fs;

use super::{ConfigFile, keys};
use crate::cli::config::default_file;
use crate::cli::topics::TopicFlag;

/// Returns the file with every setting, instead of with every setting commented out.
fn with_settings() -> String {
    let is_setting =
        |line: &str| line.starts_with(|first: char| first.is_ascii_lowercase() || first == '[');
    let lines = default_file();
    let lines = lines.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if is_setting(setting) => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn read(name: &str, text: &str) -> ConfigFile {
    let file = format!("standpipe-default-{name}-{}.toml", std::process::id());
    let path = std::env::temp_dir().join(file);
    fs::write(&path, text).expect("a file in the temporary directory");
    let file = ConfigFile::read(&path, &keys());
    fs::remove_file(&path).expect("the file is there");
    file.expect(text)
}

#[test]
fn default_file_changes_nothing() {
    let file = read("unchanged", &default_file());
    assert!(file.settings().is_empty() && file.topics().is_empty());
}

/// A new flag needs its key in `src/cli/config/default.toml`, with its default and the reason.
#[test]
fn default_file_has_every_key_with_its_default() {
    let file = read("keys", &with_settings());
    let settings = file.settings().iter();
    let mut found: BTreeMap<&str, &[String]> = settings
        .map(|setting| (setting.key.as_str(), &setting.values[..]))
        .collect();
    for arg in keys().get_arguments() {
        let key = arg.get_long().expect("every flag has a long name");
        if ["config", "topic"].contains(&key) {
            continue;
        }
        let values = found.remove(key);
        let values =
            values.unwrap_or_else(|| panic!("src/cli/config/default.toml lacks the key {key}"));
        let defaults: Vec<_> = arg
            .get_default_values()
            .iter()
            .map(|value| value.to_string_lossy())
            .collect();
        let is_switch = !arg.get_action().takes_values();
        let defaults = match (&defaults[..], arg.get_action()) {
            ([], clap::ArgAction::Count) => vec!["0".into()],
            ([], _) if is_switch => vec!["false".into()],
            _ => defaults,
        };
        if !defaults.is_empty() {
            assert_eq!(values, defaults, "the default of {key}");
        }
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn default_file_has_every_part_of_a_topic() {
    let topics = read("topics", &with_settings()).topics();
    let [topic] = &topics[..] else {
        panic!("{topics:?}");
    };
    let parts: Vec<_> = topic.parts().map(|(key, _)| key).collect();
    assert_eq!(parts, TopicFlag::KEYS);
}

#[test]
fn every_key_of_the_default_file_has_a_reason() {
    let text = default_file();
    let blocks = text.split("\n\n").filter(|block| block.contains("\n#"));
    for block in blocks.filter(|block| {
        block
            .lines()
            .any(|line| line.contains(" = ") && !line.starts_with("# "))
    }) {
        assert!(
            block.contains("Default") || block.contains("Reason"),
            "{block}"
        );
    }
    for line in text.lines() {
        assert!(line.chars().count() <= 120, "{line}");
    }
}
