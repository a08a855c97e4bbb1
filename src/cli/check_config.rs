//! `standpipe check-config`: checks what `standpipe serve` would use, and prints every value and its source.

use super::args::CheckConfigArgs;
use super::config::report;
use super::{Failure, stdout};

/// Prints the report. A wrong flag, variable or file has ended the process before.
pub(crate) fn run(args: &CheckConfigArgs) -> Result<(), Failure> {
    let hide = |key: &str, value: &str| match key {
        #[cfg(feature = "redis")]
        "redis" => super::redis_url::without_passwords(value),
        _ => value.to_owned(),
    };
    let report = report(
        &args.in_force,
        args.serve.topics(),
        args.serve.file.of_topics(),
        hide,
    );
    stdout::write(report.as_bytes())
}
