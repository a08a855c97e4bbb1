//! [`ConfigError`]: a value with which a server, or a connection, cannot work. And the rules for such values.

use std::fmt;
use std::time::Duration;

/// A value of [`Config`](crate::Config) or [`Limits`](crate::Limits) with which no client could be
/// served. [`Server::bind`](crate::Server::bind) returns it as the source of an [`io::Error`](std::io::Error) of the
/// kind `InvalidInput`.
///
/// ```
/// use standpipe::{Config, ConfigError, Server};
///
/// let refused = Server::bind("127.0.0.1:0", Config::default().queue(0));
/// let error = refused.expect_err("a queue needs room for a message");
/// let error = error.downcast::<ConfigError>().expect("the configuration is wrong");
/// assert_eq!(error.field(), "queue");
/// assert_eq!(error.to_string(), "queue: must be at least 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    problem: String,
}

impl ConfigError {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> ConfigError {
        let problem = problem.into();
        ConfigError { field, problem }
    }

    /// Returns the name of the field.
    ///
    /// ```
    /// use standpipe::{Config, ConfigError, Server};
    ///
    /// let refused = Server::bind("127.0.0.1:0", Config::default().max_message(0)).expect_err("no message fits");
    /// let error = refused.downcast::<ConfigError>().expect("the configuration is wrong");
    /// assert_eq!(error.field(), "max_message");
    /// ```
    pub fn field(&self) -> &'static str {
        self.field
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// Checks a number.
pub(crate) fn check_size(
    field: &'static str,
    value: usize,
    least: usize,
    most: usize,
) -> Result<(), ConfigError> {
    if value < least {
        Err(ConfigError::new(field, format!("must be at least {least}")))
    } else if value > most {
        Err(ConfigError::new(field, format!("must be at most {most}")))
    } else {
        Ok(())
    }
}

/// Checks a time limit. The clocks count milliseconds, so a shorter one would have passed before it began.
pub(crate) fn check_time(field: &'static str, value: Duration) -> Result<(), ConfigError> {
    if value < Duration::from_millis(1) {
        return Err(ConfigError::new(field, "must be at least 1 ms"));
    }
    Ok(())
}
