//! [`InForce`]: the value of an argument, and where it comes from.

use std::fmt;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::arguments::{is_list, keys};
use super::file::ConfigFile;

/// Where a value comes from. A source overrides those below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The flag, with its two hyphens.
    Flag(String),
    /// The name of the environment variable.
    Variable(String),
    /// The file, and its line.
    File(String, usize),
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(name) | Source::Variable(name) => f.write_str(name),
            Source::File(name, line) => write!(f, "{name}:{line}"),
            Source::Default => f.write_str("default"),
        }
    }
}

/// The value of one argument. It may be a password, so `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct InForce {
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
    pub(crate) is_list: bool,
    pub(crate) source: Source,
    /// The words of the help for an argument without a value, such as `the kernel's default`.
    pub(crate) default: Option<String>,
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.source)
    }
}

/// Returns the values of all arguments that are keys, in the order of the arguments. `known` has the variables, which
/// `command` may lack.
pub(crate) fn in_force(
    known: &Command,
    matches: &ArgMatches,
    file: Option<&ConfigFile>,
) -> Vec<InForce> {
    let value = |(key, arg): (&str, &Arg)| {
        let id = arg.get_id().as_str();
        let values = matches.try_get_raw(id).ok()?.into_iter().flatten();
        let values = values.map(|value| value.to_string_lossy().into_owned());
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Source::Flag(format!("--{key}")),
            Some(ValueSource::EnvVariable) => {
                let name = arg.get_env().unwrap_or_default();
                Source::Variable(name.to_string_lossy().into_owned())
            }
            _ => match file.and_then(|file| Some((file, file.setting(key)?))) {
                Some((file, setting)) => {
                    Source::File(file.path.display().to_string(), setting.line)
                }
                None => Source::Default,
            },
        };
        Some(InForce {
            key: key.to_owned(),
            values: values.collect(),
            is_list: is_list(arg),
            source,
            default: described_default(arg),
        })
    };
    keys(known).filter_map(value).collect()
}

/// Returns what the help of an argument without a default value says, such as `[default: no limit]`.
fn described_default(arg: &Arg) -> Option<String> {
    let help = arg.get_help()?.to_string();
    let (_, rest) = help.rsplit_once("[default: ")?;
    Some(rest.strip_suffix(']')?.replace('\n', " "))
}
