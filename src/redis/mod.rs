//! Hubs on several machines that share their topics through a Redis or Valkey server: [`Redis`].

mod config;
mod keys;
mod malformed;
mod record;
mod status;
mod unread;

#[cfg(test)]
#[allow(dead_code, reason = "the tests of the program use the rest")]
#[path = "../../tests/machines/redis_server.rs"]
mod redis_server;
#[cfg(test)]
#[path = "tests/scripts.rs"]
mod scripts_tests;

use std::io;
use std::sync::Arc;

use crate::hub::HubConfig;

pub use config::{Lost, RedisConfig};
pub use status::{Durations, LinkCounts, LinkState, LinkStatus};

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
#[derive(Clone, Debug)]
pub struct Redis {
    shards: Arc<Vec<()>>,
}

impl HubConfig {
    /// Shares the topics of the hub with the other hubs that use the same servers.
    ///
    /// ```no_run
    /// # use standpipe::redis::Redis;
    /// # use standpipe::{Hub, HubConfig};
    /// # fn hub(redis: &Redis) -> Hub {
    /// Hub::new(HubConfig::default().redis(redis))
    /// # }
    /// ```
    #[must_use]
    pub fn redis(self, redis: &Redis) -> Self {
        let _ = redis;
        self
    }
}

impl Redis {
    /// Connects in the background, with three threads for each shard. A server that cannot be reached is no error: the hub
    /// is isolated until it can.
    ///
    /// # Errors
    /// A URL, the prefix or the timeout is not valid, or a thread cannot be started.
    ///
    /// ```no_run
    /// # use standpipe::redis::{Redis, RedisConfig};
    /// let redis = Redis::start(RedisConfig::new("redis://127.0.0.1"))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn start(config: RedisConfig) -> io::Result<Redis> {
        let _ = config;
        Ok(Redis {
            shards: Arc::default(),
        })
    }

    /// Returns the state of each shard, in the order of [`RedisConfig::shards`].
    ///
    /// ```no_run
    /// # use standpipe::redis::{LinkState, Redis};
    /// fn is_up(redis: &Redis) -> bool {
    ///     redis.links().iter().all(|link| link.state == LinkState::Up)
    /// }
    /// ```
    pub fn links(&self) -> Vec<LinkStatus> {
        let _ = &self.shards;
        Vec::new()
    }

    /// Disconnects, and ends the threads. Publishes fail from now on. Dropping the last clone does the same.
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
    pub fn shutdown(&self) {}
}
