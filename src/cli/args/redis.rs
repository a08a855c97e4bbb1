//! The flags of `serve` for hubs on several machines, and the configuration that they stand for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use standpipe::redis::{Lost, RedisConfig};

use crate::cli::config::Source;
use crate::cli::names;
use crate::cli::redis_url::Candidates;
use crate::cli::units::Time;

/// The flags whose names begin with `--redis`, and `--node`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RedisArgs {
    /// Shares the topics with the hubs on other machines that use this Redis or Valkey server. Several URLs are the
    /// candidates of one server, of which the master is used. Given more than once (in the environment separated by
    /// semicolons), each topic belongs to one of the servers. Every user of the machine can see a password in a flag, but
    /// not in the environment
    #[arg(
        long,
        env = "STANDPIPE_REDIS",
        value_name = "URL[,URL…]",
        value_delimiter = ';'
    )]
    redis: Vec<Candidates>,

    /// A file with the certificates of authorities, as PEM. For a rediss:// URL, one of them must have signed the certificate
    /// of the server [default: the authorities of the system]
    #[arg(long, env = "STANDPIPE_REDIS_CA", value_name = "FILE")]
    redis_ca: Option<PathBuf>,

    /// How publishes are treated while the server of --redis is away: local (only the members on this hub get the message)
    /// or refuse (it is answered with an error)
    #[arg(long, env = "STANDPIPE_REDIS_LOST", value_name = "local|refuse", default_value_t = Lost::Local)]
    redis_lost: Lost,

    /// How long a publish may take, and how long the server of --redis may be silent before it counts as away
    #[arg(long, env = "STANDPIPE_REDIS_TIMEOUT", value_name = "TIME", value_parser = timeout)]
    #[arg(default_value_t = Time(RedisConfig::new("").timeout))]
    redis_timeout: Time,

    /// The prefix of all keys and channels in the server of --redis. Hubs with the same prefix share their topics
    #[arg(long, env = "STANDPIPE_REDIS_PREFIX", value_name = "PREFIX", value_parser = prefix)]
    #[arg(default_value_t = RedisConfig::new("").prefix)]
    redis_prefix: String,

    /// The name of this hub in the log, in /metrics and on the dashboard
    #[arg(long, env = "STANDPIPE_NODE", value_name = "NAME", value_parser = node)]
    node: Option<String>,

    /// Whether a URL comes from the command line, and not from the environment.
    #[arg(skip)]
    is_on_command_line: bool,

    /// Whether a URL comes from a configuration file that every user of the machine can read.
    #[arg(skip)]
    is_in_open_file: bool,
}

impl RedisArgs {
    /// Returns how the hub shares its topics, or `None` if it does not.
    pub(crate) fn config(&self, max_message: usize) -> Option<RedisConfig> {
        let (first, further) = self.redis.split_first()?;
        let mut config = RedisConfig::new(first.as_str())
            .lost(self.redis_lost)
            .timeout(self.redis_timeout.0)
            .prefix(&self.redis_prefix)
            .max_message(max_message);
        for urls in further {
            config = config.shard(urls.as_str());
        }
        if let Some(node) = &self.node {
            config = config.node(node);
        }
        if let Some(file) = &self.redis_ca {
            config = config.authorities(file);
        }
        Some(config)
    }

    /// Returns the flags that differ from their defaults, and that have no effect because there is no `--redis`.
    pub(crate) fn without_effect(&self) -> Vec<&'static str> {
        if !self.redis.is_empty() {
            return Vec::new();
        }
        let default = RedisConfig::new("");
        let flags = [
            ("--redis-lost", self.redis_lost != default.lost),
            ("--redis-timeout", self.redis_timeout.0 != default.timeout),
            ("--redis-prefix", self.redis_prefix != default.prefix),
            ("--node", self.node.is_some()),
            ("--redis-ca", self.redis_ca.is_some()),
        ];
        let set = flags.into_iter().filter(|(_, is_set)| *is_set);
        set.map(|(flag, _)| flag).collect()
    }

    /// Returns whether `--redis-ca` has no effect, because no URL has TLS.
    pub(crate) fn has_useless_authorities(&self) -> bool {
        self.redis_ca.is_some() && !self.redis.iter().any(Candidates::have_tls)
    }

    /// Records where the URLs come from. `is_file_open` says that every user of the machine can read the file.
    pub(super) fn set_source(&mut self, source: Option<&Source>, is_file_open: bool) {
        self.is_on_command_line = matches!(source, Some(Source::Flag(_)));
        self.is_in_open_file = is_file_open && matches!(source, Some(Source::File(..)));
    }

    /// Returns whether every user of the machine can read a password in the configuration file.
    pub(crate) fn has_password_in_open_file(&self) -> bool {
        self.is_in_open_file && self.redis.iter().any(Candidates::have_password)
    }

    /// Returns whether every user of the machine can read a password in the arguments of this process.
    pub(crate) fn shows_password(&self) -> bool {
        self.is_on_command_line && self.redis.iter().any(Candidates::have_password)
    }
}

/// A shorter time would make every pause of the kernel an outage. A longer one would keep publishers waiting.
const TIMEOUTS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(60)];

fn timeout(text: &str) -> Result<Time, String> {
    let time: Time = text.parse()?;
    let [shortest, longest] = TIMEOUTS;
    if (shortest..=longest).contains(&time.0) {
        return Ok(time);
    }
    let (shortest, longest) = (Time(shortest), Time(longest));
    Err(format!("must be between {shortest} and {longest}"))
}

const MAX_PREFIX: usize = 100;

/// Braces are refused because they mark, in a key, the part that decides about its place in a cluster.
fn prefix(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > MAX_PREFIX {
        return Err(format!("a prefix has 1 to {MAX_PREFIX} bytes"));
    }
    if text.contains(|c: char| c.is_control() || matches!(c, '{' | '}')) {
        return Err("a prefix has no braces and no control characters".into());
    }
    Ok(text.into())
}

fn node(text: &str) -> Result<String, String> {
    names::check("the name of a hub", text)?;
    Ok(text.into())
}
