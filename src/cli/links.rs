//! [`Links`]: the connections through which this hub shares its topics with the hubs on other machines, as `serve` uses
//! them.

use std::io;

use prometheus_client::registry::Registry;
use standpipe::redis::{LinkStatus, Lost, Redis, RedisConfig};
use standpipe::{HubConfig, Policy, ServerHandle};

use super::Failure;
use super::admin::answer_table::LIFETIME;
use super::args::ServeArgs;
use super::exit::BadConfiguration;
use super::units::Time;
use readiness::Readiness;

mod metrics;
mod readiness;
mod rows;

pub(crate) use rows::Machines;
use rows::Row;

#[derive(Clone)]
pub(crate) struct Links {
    redis: Redis,
    lost: Lost,
    node: Option<String>,
}

impl Links {
    /// Begins to connect, if `--redis` is given, and logs with what. A server that cannot be reached is no error.
    ///
    /// # Errors
    /// When the flags do not go together, or a thread cannot be started.
    pub(crate) fn start(
        args: &ServeArgs,
        hub: &HubConfig,
        max_message: usize,
    ) -> Result<Option<Links>, Failure> {
        let Some(config) = args.redis.config(max_message) else {
            let flags = args.redis.without_effect();
            if !flags.is_empty() {
                log::warn!(
                    "these have no effect without --redis: {}; topics are not shared",
                    flags.join(", ")
                );
            }
            return Ok(None);
        };
        if args.redis.shows_password() {
            log::warn!(
                "--redis: every user of this machine can see the password in the arguments of this process; use the variable \
                 STANDPIPE_REDIS"
            );
        }
        if args.redis.has_useless_authorities() {
            log::warn!(
                "--redis-ca: has no effect, because no URL of --redis begins with rediss://"
            );
        }
        if args.redis.has_password_in_open_file() {
            log::warn!(
                "redis: every user of this machine can read the password in the configuration file; use chmod o-rwx"
            );
        }
        let (lost, node) = (config.lost, config.node.clone());
        let settings = settings(&config);
        let redis = Redis::start(config).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => BadConfiguration(format!("--redis: {error}")).into(),
            _ => Failure::from(format!("cannot start the threads of --redis: {error}")),
        })?;
        let links = Links { redis, lost, node };
        let status = links.status();
        for (shard, link) in status.iter().enumerate() {
            let of = if status.len() > 1 {
                format!(" (shard {shard} of {})", status.len())
            } else {
                String::new()
            };
            log::info!("topics are shared through {}{of}; {settings}", link.address);
        }
        log_block(hub);
        Ok(Some(links))
    }

    /// Makes the hub use the links.
    pub(crate) fn hub(links: Option<&Links>, config: HubConfig) -> HubConfig {
        match links {
            Some(links) => config.redis(&links.redis),
            None => config,
        }
    }

    /// Returns the addresses of the servers, without user and password.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.status().into_iter().map(|link| link.address).collect()
    }

    /// Returns the status and the text for `/readyz`.
    pub(crate) fn readiness(&self) -> (u16, String) {
        let states = self.status();
        let states = states.iter().map(|link| (link.state, link.isolated_for));
        Readiness::of(states).answer(self.lost)
    }

    /// Adds the figures of all links to those of `/metrics`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        metrics::register(registry, &self.status(), self.node.as_deref());
    }

    /// Returns the figures for the log.
    pub(crate) fn figures(&self) -> String {
        self.rows().iter().map(Row::figures).collect()
    }

    /// Returns the figures for the dashboard.
    pub(crate) fn machines(&self) -> Machines {
        Machines {
            node: self.node.clone(),
            lost: self.lost.to_string(),
            shards: self.rows(),
        }
    }

    fn rows(&self) -> Vec<Row> {
        let status = self.status();
        status
            .iter()
            .map(|link| Row::new(link, self.lost))
            .collect()
    }

    /// Claims a request for this hub. Returns what is known about it, if it is claimed already.
    ///
    /// # Blocking
    /// Up to `--redis-timeout`.
    pub(crate) fn claim(&self, name: &str, value: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.redis.claim(name, value, LIFETIME)
    }

    /// Stores the answer to a request that this hub has claimed.
    pub(crate) fn set_claim(&self, name: &str, value: &[u8]) {
        // Without it, a repetition on another hub is refused until the claim expires.
        if let Err(error) = self.redis.set_claim(name, value, LIFETIME) {
            log::debug!("the answer to a request with an Idempotency-Key is not shared: {error}");
        }
    }

    /// Gives back a request that was not carried out.
    pub(crate) fn release_claim(&self, name: &str) {
        if let Err(error) = self.redis.release_claim(name) {
            log::debug!("an Idempotency-Key is not given back: {error}");
        }
    }

    /// Whether this hub works alone after this error, by `--redis-lost`.
    pub(crate) fn works_alone(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::NotConnected && self.lost == Lost::Local
    }

    /// Tells the other hubs to disconnect a user.
    ///
    /// # Blocking
    /// Up to `--redis-timeout`.
    pub(crate) fn disconnect_user(&self, user: &str, code: u16, reason: &str) -> io::Result<()> {
        self.redis.disconnect_user(user, code, reason)
    }

    /// Disconnects the users that other hubs disconnect.
    pub(crate) fn follow_disconnects(&self, handle: ServerHandle) {
        self.redis.on_disconnect_user(move |user, code, reason| {
            handle.disconnect_user(user, code, reason);
        });
    }

    /// Disconnects, after the clients have gone.
    ///
    /// # Blocking
    /// Up to `--redis-timeout` and 1 s more.
    pub(crate) fn shutdown(&self) {
        self.redis.shutdown();
    }

    fn status(&self) -> Vec<LinkStatus> {
        self.redis.links()
    }
}

/// Returns the settings of all links, for the log.
fn settings(config: &RedisConfig) -> String {
    let node = config.node.as_ref();
    let node = node.map_or(String::new(), |node| format!(", node {node}"));
    let (prefix, lost, timeout) = (&config.prefix, config.lost, Time(config.timeout));
    format!("prefix {prefix}, lost {lost}, timeout {timeout}{node}")
}

/// Logs which topics make publishers wait, because they do so for members of this hub only.
fn log_block(hub: &HubConfig) {
    let blocks = |policy| matches!(policy, Policy::Block { .. });
    let patterns = hub
        .topics
        .iter()
        .filter(|(_, settings)| blocks(settings.policy));
    let mut patterns: Vec<&str> = patterns.map(|(pattern, _)| &**pattern).collect();
    if blocks(hub.default.policy) {
        patterns.push("(default)");
    }
    if !patterns.is_empty() {
        log::info!(
            "the policy block of {} makes publishers wait for members on their own hub; for members on other hubs it acts as \
             disconnect",
            patterns.join(", ")
        );
    }
}
