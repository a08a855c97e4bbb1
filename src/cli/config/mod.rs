//! The configuration file: its keys are the flags of `serve`, and its `[[topic]]` tables are the values of `--topic`.
//!
//! The values of a file become the defaults of the arguments. A flag therefore overrides a variable, which overrides the
//! file, which overrides the built-in default.

mod arguments;
mod default;
mod document;
mod file;
mod in_force;
mod nearest;
mod problems;
mod report;

pub(crate) use arguments::CONFIG;
pub(crate) use default::default_file;
pub(crate) use document::TOPIC;
pub(crate) use file::ConfigFile;
pub(crate) use in_force::{InForce, Source, in_force};
pub(crate) use nearest::nearest;
pub(crate) use report::report;
