//! [`Reloader`]: what SIGHUP reads again: the files of secrets, the certificate, and the settings of
//! topics in the configuration file.

use std::sync::Arc;

use standpipe::Hub;

use super::access::Access;
use super::args::{ServeArgs, keys};
use super::certificate::Certificate;
use super::config::ConfigFile;

/// Reads the files again while the server runs. Each file is independent: one that cannot be used keeps its old values.
pub(crate) struct Reloader {
    access: Arc<Access>,
    certificate: Option<Certificate>,
    topics: Option<TopicsFile>,
}

/// The configuration file whose settings of topics are in force.
struct TopicsFile {
    /// The file as it was read at the start. Its other keys stay in force.
    at_start: &'static ConfigFile,
    args: ServeArgs,
    hub: Hub,
}

impl Reloader {
    pub(crate) fn new(
        args: &ServeArgs,
        hub: Hub,
        access: Arc<Access>,
        certificate: Option<Certificate>,
    ) -> Reloader {
        let topics = args.file.of_topics().map(|at_start| TopicsFile {
            at_start,
            args: args.clone(),
            hub,
        });
        Reloader {
            access,
            certificate,
            topics,
        }
    }

    /// Reads every file, and then replaces the values of those that can be used.
    ///
    /// # Errors
    /// Names each file that cannot be used. Its old values stay in force.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let read = self.topics.as_ref().map(|topics| (topics, topics.read()));
        let secrets = self.access.reload();
        let topics = match read {
            Some((topics, read)) => read.and_then(|file| topics.apply(&file, &self.access)),
            None => Ok(()),
        };
        let certificate = self
            .certificate
            .as_ref()
            .map_or(Ok(()), Certificate::reload);
        let results = [secrets, certificate, topics];
        let errors: Vec<String> = results.into_iter().filter_map(Result::err).collect();
        match errors.is_empty() {
            true => Ok(()),
            false => Err(errors.join("; ")),
        }
    }
}

impl TopicsFile {
    fn read(&self) -> Result<ConfigFile, String> {
        // A line of the log has all problems of a file.
        ConfigFile::read(&self.at_start.path, &keys()).map_err(|error| error.replace('\n', "; "))
    }

    /// Gives the topics their new settings and rules. Connected clients feel the rules at their next command.
    fn apply(&self, file: &ConfigFile, access: &Access) -> Result<(), String> {
        let path = file.path.display();
        let flags = file.topics();
        // The hub may refuse the settings. Then the rules stay too, because both come from the same tables.
        let settings = self.args.settings_of(&flags);
        (self.hub.set_topics(settings)).map_err(|error| format!("{path}: {error}"))?;
        access.rules.replace(ServeArgs::rules_of(&flags));
        log::info!(
            "number of patterns of topics read from {path}: {}",
            flags.len()
        );
        let changed = self.at_start.changed_keys(file);
        if !changed.is_empty() {
            log::warn!(
                "{path}: a reload changes no key but the tables [[topic]], so these keys keep their values until a restart: {}",
                changed.join(", ")
            );
        }
        Ok(())
    }
}
