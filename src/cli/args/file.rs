//! The flag for the configuration file of `serve`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::config::{ConfigFile, InForce, Source, TOPIC};
use crate::cli::topics::TopicFlag;

/// The flag `--config`, and what the file says about topics.
#[derive(Args, Clone, Debug)]
pub(crate) struct FileArgs {
    /// A configuration file (TOML) with the other flags as keys, and a [[topic]] table for each pattern. A flag overrides a
    /// variable, which overrides the file. `standpipe default-config` prints a file with every key
    #[arg(short, long, env = "STANDPIPE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// The file whose settings of topics are in force.
    #[arg(skip)]
    of_topics: Option<&'static ConfigFile>,

    /// Every value and its source.
    #[arg(skip)]
    in_force: Vec<InForce>,
}

impl FileArgs {
    /// Records every value and its source. Returns the settings of topics in the file, unless a flag or a variable
    /// overrides them.
    pub(super) fn set(
        &mut self,
        file: Option<&'static ConfigFile>,
        in_force: Vec<InForce>,
    ) -> Option<Vec<TopicFlag>> {
        self.in_force = in_force;
        if (self.source(TOPIC)).is_some_and(|source| *source != Source::Default) {
            return None;
        }
        self.of_topics = file;
        file.map(ConfigFile::topics)
    }

    /// Returns the file whose settings of topics a reload reads again. There is none if a flag or a variable overrides
    /// them.
    pub(crate) fn of_topics(&self) -> Option<&'static ConfigFile> {
        self.of_topics
    }

    /// Returns every value and its source.
    pub(crate) fn in_force(&self) -> &[InForce] {
        &self.in_force
    }

    /// Returns where the value of this key comes from.
    pub(crate) fn source(&self, key: &str) -> Option<&Source> {
        let mut values = self.in_force.iter();
        values
            .find(|value| value.key == key)
            .map(|value| &value.source)
    }

    /// Returns an error that begins with a flag with the source of its value instead: the variable, or the line of the
    /// file and the key.
    pub(crate) fn name_source(&self, error: &str) -> String {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let Some(rest) = error.strip_prefix("--") else {
            return error.to_owned();
        };
        let (key, rest) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
        match self.source(key) {
            Some(source @ Source::Variable(_)) => format!("{source}{rest}"),
            Some(source @ Source::File(..)) => format!("{source}: {key}{rest}"),
            Some(Source::Flag(_) | Source::Default) | None => error.to_owned(),
        }
    }
}

#[cfg(test)]
#[path = "tests/file.rs"]
mod tests;
