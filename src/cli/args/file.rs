//! The flag for the configuration file of `serve`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::config::{ConfigFile, InForce, Source};
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
}

impl FileArgs {
    /// Returns the settings of topics in the file, unless a flag or a variable overrides them.
    pub(super) fn set(
        &mut self,
        file: Option<&'static ConfigFile>,
        in_force: &[InForce],
    ) -> Option<Vec<TopicFlag>> {
        let mut flags = in_force.iter().filter(|value| value.key == "topic");
        if flags.any(|value| value.source != Source::Default) {
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
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
