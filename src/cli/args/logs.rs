//! The flags of the log.

use clap::{ArgAction, Args};
use log::LevelFilter;

use crate::cli::logs::LogFormat;
use crate::cli::values::verbosity;

/// The levels from which `-v` and `-q` choose. Without them, it is the third.
const LEVELS: [LevelFilter; 5] = [
    LevelFilter::Error,
    LevelFilter::Warn,
    LevelFilter::Info,
    LevelFilter::Debug,
    LevelFilter::Trace,
];

/// The flags of the log, which goes to standard error.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogArgs {
    /// Whether each line of the log is a text, or a JSON object with the fields of its event
    #[arg(
        long,
        env = "STANDPIPE_LOG_FORMAT",
        value_name = "text|json",
        value_enum,
        default_value_t
    )]
    pub(crate) log_format: LogFormat,

    /// Logs warnings and errors only; given twice, errors only
    #[arg(short, long, env = "STANDPIPE_QUIET", value_parser = verbosity, action = ArgAction::Count)]
    quiet: u8,

    /// Logs when each client connects and disconnects, and each refused request; given twice, also each message, with the
    /// beginning of a text. One -q takes back one -v
    #[arg(short, long, env = "STANDPIPE_VERBOSE", value_parser = verbosity, action = ArgAction::Count)]
    verbose: u8,
}

impl LogArgs {
    /// Returns the level of the log: events of the server, with `-v` also of each client, with `-vv` also of each message.
    pub(crate) fn level(&self) -> LevelFilter {
        let chosen = (2 + usize::from(self.verbose)).saturating_sub(self.quiet.into());
        LEVELS[chosen.min(LEVELS.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_takes_back_verbose() {
        for (verbose, quiet, level) in [
            (0, 0, LevelFilter::Info),
            (1, 0, LevelFilter::Debug),
            (2, 0, LevelFilter::Trace),
            (9, 0, LevelFilter::Trace),
            (0, 1, LevelFilter::Warn),
            (0, 2, LevelFilter::Error),
            (0, 9, LevelFilter::Error),
            (1, 1, LevelFilter::Info),
            (2, 1, LevelFilter::Debug),
        ] {
            let log_format = LogFormat::Text;
            let args = LogArgs {
                log_format,
                quiet,
                verbose,
            };
            assert_eq!(args.level(), level, "{args:?}");
        }
    }
}
