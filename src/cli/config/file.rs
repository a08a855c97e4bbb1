//! [`ConfigFile`]: a configuration file that has been read and checked.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::arguments::check;
use super::document::{Document, Setting, TopicTable};
use super::problems::describe;
use crate::cli::topics::TopicFlag;

/// The largest file that is read, in bytes. Otherwise the wrong path, such as a device, could exhaust the memory.
const MAX_FILE: u64 = 1 << 20;

/// Some editors begin a UTF-8 file with this character.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A configuration file. Every key belongs to an argument, whose parser has accepted the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    /// Whether every user of the machine can read the file.
    pub(crate) is_open: bool,
    document: Document,
}

impl ConfigFile {
    /// Reads a file whose keys are the arguments of `command`.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a wrong key or value. The text has a line for each problem, with the
    /// file, the line, the key and the reason. It shows no value, because a value may be a password.
    pub(crate) fn read(path: &Path, command: &clap::Command) -> Result<ConfigFile, String> {
        let name = path.display().to_string();
        let (text, is_open) = read(path).map_err(|reason| format!("{name}: {reason}"))?;
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
        let document = Document::parse(text).map_err(|problems| describe(&name, problems))?;
        let problems = check(command, &document.settings);
        if !problems.is_empty() {
            return Err(describe(&name, problems));
        }
        Ok(ConfigFile {
            path: path.to_owned(),
            is_open,
            document,
        })
    }

    /// Makes the values of the file the defaults of the arguments of `command`. So a flag and a variable override them.
    pub(crate) fn with_defaults(&'static self, command: clap::Command) -> clap::Command {
        command.mut_args(|arg| {
            let setting = arg.get_long().and_then(|key| self.setting(key));
            match setting {
                Some(setting) if !setting.values.is_empty() => {
                    arg.default_values(setting.values.iter().map(String::as_str))
                }
                _ => arg,
            }
        })
    }

    pub(crate) fn settings(&self) -> &[Setting] {
        &self.document.settings
    }

    /// Returns the setting of this key.
    pub(crate) fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings().iter().find(|setting| setting.key == key)
    }

    /// Returns the tables with the settings of topics, or `None` if the file says nothing about topics.
    pub(crate) fn topic_tables(&self) -> Option<&[TopicTable]> {
        self.document.topics.as_deref()
    }

    /// Returns the settings of the topics.
    pub(crate) fn topics(&self) -> Vec<TopicFlag> {
        let tables = self.topic_tables().unwrap_or_default().iter();
        tables.map(|table| table.flag.clone()).collect()
    }

    /// Returns the keys whose values differ in `other`, except those of topics.
    pub(crate) fn changed_keys<'a>(&'a self, other: &'a ConfigFile) -> Vec<&'a str> {
        let all = self.settings().iter().chain(other.settings());
        let mut keys: Vec<&str> = all.map(|setting| setting.key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        let values = |file: &'a ConfigFile, key| file.setting(key).map(|setting| &setting.values);
        keys.retain(|key| values(self, key) != values(other, key));
        keys
    }
}

/// Returns the text of a file, and whether every user of the machine can read it.
fn read(path: &Path) -> Result<(String, bool), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(text)?;
    let mode = file.metadata().map_err(text)?.mode();
    let mut file = file.take(MAX_FILE + 1);
    file.read_to_end(&mut bytes).map_err(text)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("the file is larger than {MAX_FILE} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text")?;
    Ok((text, mode & 0o004 != 0))
}
