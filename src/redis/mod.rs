//! Hubs on several machines that share their topics through a Redis or Valkey server: [`Redis`].

mod backoff;
mod calls;
mod candidate;
mod claims;
mod config;
mod connection;
mod delivery;
mod fences;
mod figures;
mod interval;
mod join;
mod keys;
mod link;
mod link_thread;
mod link_word;
mod malformed;
mod mirror;
mod open;
mod others;
mod pending;
mod presence;
mod present_names;
mod publish;
mod publisher;
mod queue;
mod record;
mod server_clock;
mod shard;
mod status;
mod subscriber;
#[cfg(feature = "tls")]
mod tls;
mod topics;
#[cfg(feature = "tls")]
mod trust;
mod unread;
mod users;

#[cfg(all(test, feature = "testing"))]
#[path = "tests/everywhere.rs"]
mod everywhere_tests;
#[cfg(all(test, feature = "testing"))]
#[path = "tests/faults.rs"]
mod faults_tests;
#[cfg(all(test, feature = "testing"))]
#[path = "tests/nodes.rs"]
mod nodes_tests;
#[cfg(all(test, feature = "testing"))]
#[path = "tests/presence_node.rs"]
mod presence_node;
#[cfg(test)]
#[path = "tests/presence_script.rs"]
mod presence_script_tests;
#[cfg(all(test, feature = "testing"))]
#[path = "tests/presence.rs"]
mod presence_tests;
#[cfg(test)]
#[allow(dead_code, reason = "the tests of the program use the rest")]
#[path = "../../tests/machines/redis_server.rs"]
mod redis_server;
#[cfg(test)]
#[path = "tests/script_caller.rs"]
mod script_caller;
#[cfg(test)]
#[path = "tests/script_errors.rs"]
mod script_errors_tests;
#[cfg(test)]
#[path = "tests/scripts.rs"]
mod scripts_tests;
#[cfg(all(test, feature = "tls"))]
#[path = "tests/tls.rs"]
mod tls_tests;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::process;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::hub::{Engine, Since, Unavailable};
use crate::hub::{HubConfig, Publication, PublishError, PublishOutcome, Topic};

pub use config::{Lost, RedisConfig};
pub use status::{LinkCounts, LinkState, LinkStatus};

use candidate::first_address;
use config::invalid;
use connection::fnv1a;
use shard::Shard;

/// The connection of a hub to the Redis or Valkey servers through which it shares its topics with other hubs.
///
/// Cloning it is cheap; all clones are the same connection.
///
/// ```no_run
/// use standpipe::redis::{Redis, RedisConfig};
/// use standpipe::{Hub, HubConfig};
///
/// let redis = Redis::start(RedisConfig::new("redis://127.0.0.1"))?;
/// let hub = Hub::new(HubConfig::default().redis(&redis));
/// hub.topic("news")?.publish("hello to all machines")?;
/// redis.shutdown();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    config: RedisConfig,
    shards: Vec<Shard>,
    /// The same for all hubs with the same prefix.
    epoch: Arc<str>,
}

impl HubConfig {
    /// Shares the topics of the hub with the other hubs that use the same servers. One `Redis` belongs to one hub.
    ///
    /// ```no_run
    /// # use standpipe::redis::Redis;
    /// # use standpipe::{Hub, HubConfig};
    /// # fn hub(redis: &Redis) -> Hub {
    /// Hub::new(HubConfig::default().redis(redis))
    /// # }
    /// ```
    #[must_use]
    pub fn redis(mut self, redis: &Redis) -> Self {
        self.engine = Some(Arc::clone(&redis.shared) as Arc<dyn Engine>);
        self
    }
}

impl Redis {
    /// Connects in the background, with three threads for each shard. A server that cannot be reached is no error: the hub
    /// is isolated until it can.
    ///
    /// # Errors
    /// A URL, the prefix or the timeout is not valid, two shards begin with the same server, there are no authorities for
    /// `rediss://`, or a thread cannot be started.
    ///
    /// ```no_run
    /// # use standpipe::redis::{Redis, RedisConfig};
    /// let redis = Redis::start(RedisConfig::new("redis://127.0.0.1"))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn start(config: RedisConfig) -> io::Result<Redis> {
        config.check().map_err(invalid)?;
        check_first_servers(&config)?;
        // The keys of a `RandomState` come from the random number generator of the system.
        let node = RandomState::new().hash_one((SystemTime::now(), process::id()));
        let shards = config.shards.iter();
        let shards: io::Result<Vec<Shard>> = shards
            .map(|urls| Shard::start(&config, urls, node))
            .collect();
        let epoch = format!("{:016x}", fnv1a(config.prefix.as_bytes())).into();
        let shared = Shared {
            shards: shards?,
            config,
            epoch,
        };
        Ok(Redis {
            shared: Arc::new(shared),
        })
    }

    /// Returns the state of each shard, in the order of [`RedisConfig::shards`]. After [`shutdown`](Self::shutdown) it is
    /// the last one.
    ///
    /// ```no_run
    /// # use standpipe::redis::{LinkState, Redis};
    /// fn is_up(redis: &Redis) -> bool {
    ///     redis.links().iter().all(|link| link.state == LinkState::Up)
    /// }
    /// ```
    pub fn links(&self) -> Vec<LinkStatus> {
        self.shared.shards.iter().map(Shard::status).collect()
    }

    /// Returns the configuration.
    ///
    /// ```no_run
    /// # use standpipe::redis::Redis;
    /// fn name(redis: &Redis) -> &str {
    ///     redis.config().node.as_deref().unwrap_or("a hub without a name")
    /// }
    /// ```
    pub fn config(&self) -> &RedisConfig {
        &self.shared.config
    }

    /// Disconnects, and ends the threads. Publishes fail from now on. Dropping the last clone and the last hub that uses it
    /// does the same.
    ///
    /// # Blocking
    /// Up to [`RedisConfig::timeout`] and 1 s more, also when a server is frozen.
    ///
    /// ```no_run
    /// # use standpipe::redis::Redis;
    /// # fn end(redis: Redis) {
    /// redis.shutdown();
    /// # }
    /// ```
    pub fn shutdown(&self) {
        // All are told to end before any is waited for.
        self.shared.shards.iter().for_each(Shard::stop);
        self.shared.shards.iter().for_each(Shard::join);
        for shard in &self.shared.shards {
            shard.link().on_disconnect.set(None);
        }
    }
}

/// Checks that each shard begins with another server. Two that begin with the same one have the same weight for every
/// topic, so one of them would have no topics.
fn check_first_servers(config: &RedisConfig) -> io::Result<()> {
    let addresses = config.shards.iter().map(|urls| first_address(urls));
    let mut addresses = addresses.collect::<io::Result<Vec<String>>>()?;
    addresses.sort_unstable();
    match addresses.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(invalid(format!(
            "two shards begin with the server {}; the candidates of one shard are separated by commas",
            pair[0]
        ))),
        None => Ok(()),
    }
}

impl Shared {
    /// Returns the shard of a topic: the one with the highest hash of both. If a shard is added or removed, only the topics
    /// of that shard move.
    fn shard(&self, topic: &str) -> &Shard {
        let weight = |shard: &&Shard| shard.weight(topic);
        self.shards.iter().max_by_key(weight).unwrap_or_else(|| {
            unreachable!("a configuration without shards is refused at the start")
        })
    }
}

/// Checks what must hold for all bytes from a server. The fuzz target `wire_record` only calls this function.
///
/// # Panics
/// If it does not hold.
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(fuzzing), allow(dead_code, reason = "only fuzz targets call it"))]
pub(crate) fn check_invariants(data: &[u8]) {
    record::check_invariants(data);
    users::check_invariants(data);
}

impl Engine for Shared {
    fn epoch(&self) -> Arc<str> {
        Arc::clone(&self.epoch)
    }

    fn publish(
        &self,
        topic: &Topic,
        publications: Vec<Publication>,
        deadline: Option<Instant>,
    ) -> Result<Vec<PublishOutcome>, PublishError<Vec<Publication>>> {
        let link = self.shard(topic.name()).link();
        link.publish(topic, publications, deadline)
    }

    fn open(&self, topic: &Topic) -> Result<(), Unavailable> {
        if topic.is_placed() {
            return Ok(());
        }
        self.shard(topic.name()).link().open(topic)
    }

    fn fill(&self, topic: &Topic) {
        if !topic.is_filled() && topic.settings().history > 0 {
            self.shard(topic.name()).link().fill(topic);
        }
    }

    fn clear_history(&self, topic: &Topic) -> Result<(), Unavailable> {
        self.shard(topic.name()).link().clear_history(topic)
    }

    fn check_since(&self, topic: &Topic, since: u64) -> Since {
        self.shard(topic.name()).link().check_since(topic, since)
    }

    fn close(&self, topic: &str) {
        self.shard(topic).link().close(topic);
    }

    fn set_present(&self, topic: &Topic, name: &str, is_present: bool) {
        let link = self.shard(topic.name()).link();
        link.set_present(topic.name(), name, is_present);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("config", &self.config)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}
