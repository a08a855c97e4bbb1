//! [`RedisConfig`]: which servers connect a hub with others, and how it behaves without them.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::keys::check_prefix;

/// How a hub shares its topics with others: see [`Redis`](super::Redis).
///
/// ```
/// use standpipe::redis::{Lost, RedisConfig};
///
/// let config = RedisConfig::new("redis://10.0.0.1,redis://10.0.0.2")
///     .lost(Lost::Refuse)
///     .prefix("chat");
/// assert_eq!(config.timeout, std::time::Duration::from_millis(500));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct RedisConfig {
    /// The shards. Each is a list of URLs, separated by commas: the candidates of one server, of which the master is used.
    /// With several shards, a hash of its name decides to which one a topic belongs. The forms of a URL are
    /// `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, the same with `rediss://` for TLS (feature `tls`), and
    /// `unix:PATH[?user=USER&pass=PASSWORD&db=DB]`, with a user and a password that are percent-encoded. No two shards begin
    /// with the same server.
    pub shards: Vec<String>,
    /// What is done with publishes while the server is away. Default [`Lost::Local`].
    pub lost: Lost,
    /// How long a publish may take, and how long a server may be silent before it counts as lost. From 50 ms to 60 s,
    /// default 500 ms.
    pub timeout: Duration,
    /// The prefix of all keys and channels. Hubs with the same prefix share their topics. 1 to 100 bytes,
    /// without braces and control characters. Default `standpipe`.
    pub prefix: String,
    /// The name of this hub in logs and figures. Default `None`.
    pub node: Option<String>,
    /// The largest message that is taken from the server, in bytes. A larger one is dropped and counted. Default 64 KiB,
    /// as [`Config::max_message`](crate::Config::max_message).
    pub max_message: usize,
    /// A file with the certificates of authorities, as PEM. For `rediss://`, one of them must have signed the server's
    /// certificate. It is read by [`Redis::start`](super::Redis::start). Default `None`: the authorities of the system.
    pub authorities: Option<PathBuf>,
}

/// What a hub does with publishes while its Redis server is away.
///
/// ```
/// use standpipe::redis::Lost;
/// assert_eq!("refuse".parse(), Ok(Lost::Refuse));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// A message reaches the members on this hub only. They are told of a gap before and after such messages.
    #[default]
    Local,
    /// A publish is refused.
    Refuse,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lost::Local => "local",
            Lost::Refuse => "refuse",
        })
    }
}

impl FromStr for Lost {
    type Err = String;

    fn from_str(text: &str) -> Result<Lost, String> {
        match text {
            "local" => Ok(Lost::Local),
            "refuse" => Ok(Lost::Refuse),
            _ => Err("must be local or refuse".into()),
        }
    }
}

impl RedisConfig {
    /// Shares topics through the server at `urls`: one URL, or the candidates of one server, separated by commas.
    ///
    /// ```
    /// # use standpipe::redis::RedisConfig;
    /// let config = RedisConfig::new("redis://127.0.0.1:6379");
    /// # let _ = config;
    /// ```
    pub fn new(urls: &str) -> RedisConfig {
        RedisConfig {
            shards: vec![urls.into()],
            lost: Lost::default(),
            timeout: Duration::from_millis(500),
            prefix: "standpipe".into(),
            node: None,
            max_message: 64 << 10,
            authorities: None,
        }
    }

    /// Adds a further server, which carries a part of the topics.
    ///
    /// ```
    /// # use standpipe::redis::RedisConfig;
    /// let config = RedisConfig::new("redis://10.0.0.1").shard("redis://10.0.0.2");
    /// assert_eq!(config.shards.len(), 2);
    /// ```
    #[must_use]
    pub fn shard(mut self, urls: &str) -> Self {
        self.shards.push(urls.into());
        self
    }

    /// Sets [`lost`](Self#structfield.lost).
    ///
    /// ```
    /// # use standpipe::redis::{Lost, RedisConfig};
    /// let config = RedisConfig::new("redis://127.0.0.1").lost(Lost::Refuse);
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn lost(mut self, lost: Lost) -> Self {
        self.lost = lost;
        self
    }

    /// Sets [`timeout`](Self#structfield.timeout).
    ///
    /// ```
    /// # use standpipe::redis::RedisConfig;
    /// # use std::time::Duration;
    /// let config = RedisConfig::new("redis://127.0.0.1").timeout(Duration::from_secs(1));
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`prefix`](Self#structfield.prefix).
    ///
    /// ```
    /// # use standpipe::redis::RedisConfig;
    /// let config = RedisConfig::new("redis://127.0.0.1").prefix("chat");
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets [`node`](Self#structfield.node).
    ///
    /// ```
    /// # use standpipe::redis::RedisConfig;
    /// let config = RedisConfig::new("redis://127.0.0.1").node("eu-1");
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn node(mut self, name: &str) -> Self {
        self.node = Some(name.into());
        self
    }

    /// Sets [`max_message`](Self#structfield.max_message).
    ///
    /// ```
    /// # use standpipe::redis::RedisConfig;
    /// let config = RedisConfig::new("redis://127.0.0.1").max_message(1 << 20);
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Sets [`authorities`](Self#structfield.authorities).
    ///
    /// ```
    /// # use standpipe::redis::RedisConfig;
    /// let config = RedisConfig::new("rediss://10.0.0.1").authorities("/etc/standpipe/redis-ca.pem");
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn authorities(mut self, file: impl Into<PathBuf>) -> Self {
        self.authorities = Some(file.into());
        self
    }
}

/// An I/O error that says which part of the configuration is wrong.
pub(super) fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

impl RedisConfig {
    /// Returns what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.shards.is_empty() {
            return Err("there must be at least one shard".into());
        }
        let (shortest, longest) = (Duration::from_millis(50), Duration::from_secs(60));
        if self.timeout < shortest || self.timeout > longest {
            return Err(format!(
                "the timeout must be between {shortest:?} and {longest:?}"
            ));
        }
        check_prefix(&self.prefix)
    }
}

/// Without the URLs, which may contain passwords.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("shards", &self.shards.len())
            .field("lost", &self.lost)
            .field("timeout", &self.timeout)
            .field("prefix", &self.prefix)
            .field("node", &self.node)
            .field("max_message", &self.max_message)
            .field("authorities", &self.authorities)
            .finish()
    }
}
