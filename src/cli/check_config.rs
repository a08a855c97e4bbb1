//! `standpipe check-config`: checks what `standpipe serve` would use, and prints every value and its source.

use std::io::{self, Write};

use super::args::CheckConfigArgs;
use super::certificate::Certificate;
use super::config::report;
use super::exit::BadConfiguration;
use super::{Failure, exposure, listen, stdout};

/// Prints the report. A wrong flag, variable or file has ended the process before.
///
/// # Errors
/// [`BadConfiguration`] for what would be refused at the start, although each value is valid by itself: flags that
/// contradict each other, and files of secrets and certificates that cannot be used.
pub(crate) fn run(args: &CheckConfigArgs) -> Result<(), Failure> {
    let serve = &args.serve;
    let refuse = |text: String| BadConfiguration(serve.file.name_source(&text));
    let endpoints = listen::expected(serve).map_err(|error| refuse(error.to_string()))?;
    let certificate = Certificate::of(serve).map_err(|error| refuse(error.to_string()))?;
    exposure::access(serve, &endpoints).map_err(|error| refuse(error.to_string()))?;
    for warning in certificate.iter().flat_map(Certificate::warnings) {
        let _ = writeln!(
            io::stderr(),
            "warning: {}",
            serve.file.name_source(&warning)
        );
    }
    let hide = |key: &str, value: &str| match key {
        #[cfg(feature = "redis")]
        "redis" => super::redis_url::without_passwords(value),
        _ => value.to_owned(),
    };
    let report = report(
        serve.file.in_force(),
        serve.topics(),
        serve.file.of_topics(),
        hide,
    );
    stdout::write(report.as_bytes())
}
