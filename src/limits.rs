//! [`Limits`]: the limits of one connection, where they differ from those of its server.

use std::time::Duration;

use crate::config::Config;
use crate::config_error::ConfigError;
use crate::rate::Rate;

/// Generates the struct and a chained setter for each field from one list. Each field has the name and the type of the
/// field of [`Config`] that it replaces. The value is the one in the example of the setter.
macro_rules! limits {
    ($($name:ident: $type:ty, such as $example:expr;)*) => {
        /// The limits and time limits of one connection, where they differ from those of its server. They are given with
        /// the 101: [`Reply::limits`](crate::Reply::limits). What is not set is as in the server's [`Config`].
        ///
        /// Values that [`Config`] does not allow are not allowed here either: the client is then answered 500, and the
        /// log names the field. A queue is never smaller than that of a topic
        /// of an attached hub. The connection limit of the server is computed from its own configuration. So a server
        /// that gives many clients a large queue needs [`Config::max_clients`].
        ///
        /// ```
        /// use std::time::Duration;
        ///
        /// use standpipe::{Limits, Rate, Reply, Request};
        ///
        /// /// Cameras send large images, and nobody else may.
        /// fn request(request: &mut Request) -> Reply {
        ///     match request.path() {
        ///         "/camera" => Reply::upgrade().limits(
        ///             Limits::new().max_message(8 << 20).message_timeout(Duration::from_secs(60)),
        ///         ),
        ///         "/chat" => Reply::upgrade().limits(Limits::new().rate(Some(Rate::per_second(10)))),
        ///         _ => Reply::status(404),
        ///     }
        /// }
        /// # let _: fn(&mut Request) -> Reply = request;
        /// ```
        #[must_use]
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Limits {
            $($name: Option<$type>,)*
        }

        impl Limits {
            $(
                #[doc = concat!(
                    "Sets [`Config::", stringify!($name), "`](Config#structfield.", stringify!($name),
                    ") of this connection.\n\n```\n",
                    "# #[allow(unused_imports)] use {std::time::Duration, standpipe::Rate};\n",
                    "let limits = standpipe::Limits::new().", stringify!($name), "(", stringify!($example),
                    ");\n# drop(limits);\n```"
                )]
                pub fn $name(mut self, value: $type) -> Limits {
                    self.$name = Some(value);
                    self
                }
            )*

            /// Returns `config` with these limits.
            pub(crate) fn apply(&self, config: &Config) -> Result<Config, ConfigError> {
                let mut config = config.clone();
                $(
                    if let Some(value) = self.$name {
                        config.$name = value;
                    }
                )*
                config.check()?;
                Ok(config)
            }
        }
    };
}

limits! {
    queue: usize, such as 256;
    queue_bytes: usize, such as 4 << 20;
    max_message: usize, such as 1 << 20;
    max_streamed_message: Option<usize>, such as Some(1 << 30);
    max_fragments: usize, such as 64;
    rate: Option<Rate>, such as Some(Rate::per_second(100));
    write_timeout: Duration, such as Duration::from_secs(10);
    message_timeout: Duration, such as Duration::from_secs(60);
    ping_interval: Duration, such as Duration::from_secs(10);
    ping_timeout: Duration, such as Duration::from_secs(5);
    close_timeout: Duration, such as Duration::from_secs(2);
}

impl Limits {
    /// Returns limits that change nothing yet.
    ///
    /// ```
    /// # use standpipe::{Limits, Reply};
    /// let reply = Reply::upgrade().limits(Limits::new().queue(16));
    /// ```
    pub fn new() -> Limits {
        Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_changes() {
        let config = Config::default().queue(7).rate(Some(Rate::per_second(1)));
        let limits = Limits::new().max_message(1).rate(None);
        let own = limits.apply(&config).expect("the limits are valid");
        assert_eq!((own.queue, own.max_message, own.rate), (7, 1, None));
        assert_eq!(own.max_fragments, config.max_fragments);
    }

    #[test]
    fn senseless_limits_are_refused_by_name() {
        let config = Config::default();
        let refused = |limits: Limits| limits.apply(&config).expect_err("refused").field();
        assert_eq!(refused(Limits::new().queue(0)), "queue");
        assert_eq!(refused(Limits::new().max_message(0)), "max_message");
        assert_eq!(
            refused(Limits::new().ping_timeout(Duration::ZERO)),
            "ping_timeout"
        );
    }
}
