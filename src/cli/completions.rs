//! `standpipe completions`: prints what a shell needs to complete the commands, the flags and their values.

use super::args::{self, CompletionsArgs};
use super::{Failure, stdout};

pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = args::command();
    clap_complete::generate(args.shell, &mut command, "standpipe", &mut script);
    stdout::write(&script)
}
