//! The flags of `serve`, and the configuration that they stand for.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use standpipe::{Config, HubConfig, Policy, Rate, TopicSettings};

use super::jwt::JwtArgs;
use crate::cli::config::{ConfigFile, InForce};
use crate::cli::rules::TopicRules;
use crate::cli::topics::TopicFlag;
use crate::cli::units::{Size, Time};
use crate::cli::values::{Listen, Listens, count, kernel_size, origin, queue, yes_or_no};

/// The default address. It is on loopback, because a server without any flags requires no token.
const LISTEN: &str = "127.0.0.1:9000";

/// The flags of `serve`. The defaults come from [`Config::default`] and [`HubConfig::default`].
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) file: super::file::FileArgs,

    /// Where to listen; port 0 selects a free port, which is printed. May be given more than once
    #[arg(short, long, env = "STANDPIPE_LISTEN", value_name = "ADDR:PORT|unix:PATH[,mode=MODE]|fd:N|fd:NAME", default_value = LISTEN)]
    listen: Vec<Listens>,

    /// Where to serve the admin paths, such as publishing over HTTP, /metrics and /dashboard; the other listeners then
    /// answer 404 to them. Needs --publish-key-file if other machines can reach the address. May be given more than once
    #[arg(
        long,
        env = "STANDPIPE_ADMIN_LISTEN",
        value_name = "ADDR:PORT|unix:PATH[,mode=MODE]|fd:N|fd:NAME"
    )]
    admin_listen: Vec<Listens>,

    /// Requires no key for the admin paths from this machine, for experiments and tests. Every listener must be a TCP
    /// listener on loopback. Clients of a proxy on this machine may use the admin paths too
    #[arg(long, env = "STANDPIPE_ADMIN_OPEN", value_parser = yes_or_no, action = ArgAction::SetTrue)]
    pub(crate) admin_open: bool,

    /// Maximum number of clients connected at the same time; further clients are answered 503 [default: what the
    /// kernel's limits allow]
    #[arg(long, env = "STANDPIPE_MAX_CLIENTS", value_name = "N", value_parser = count)]
    max_clients: Option<usize>,

    /// Maximum number of clients per address at the same time; an IPv6 /64 counts as one address [default: no limit]
    #[arg(long, env = "STANDPIPE_MAX_CLIENTS_PER_IP", value_name = "N", value_parser = count)]
    max_clients_per_ip: Option<usize>,

    /// Maximum rate of new connections per address, such as 20/s, or 20/s:100 with a burst [default: no limit]
    #[arg(long, env = "STANDPIPE_CONNECT_RATE", value_name = "N/s[:BURST]")]
    connect_rate: Option<Rate>,

    /// Maximum rate of messages from one client, such as 100/s, or 100/s:500 with a burst; a client that exceeds it is
    /// closed with code 1008 [default: no limit]
    #[arg(long, env = "STANDPIPE_RATE", value_name = "N/s[:BURST]")]
    rate: Option<Rate>,

    /// Maximum number of messages queued for one client
    #[arg(long, env = "STANDPIPE_QUEUE", value_name = "N", value_parser = queue)]
    #[arg(default_value_t = Config::default().queue)]
    queue: usize,

    /// What happens when a member is slow: block[:TIMEOUT], drop-newest, drop-oldest, conflate,
    /// disconnect[:SOFT%:FOR]
    #[arg(
        long,
        env = "STANDPIPE_POLICY",
        value_name = "P",
        default_value = "disconnect"
    )]
    policy: Policy,

    /// Settings of the topics that match a pattern, such as
    /// 'doc-*:policy=disconnect,queue=256,history=1000,max-age=1h,publish=token,subscribe=anyone'; the first match counts.
    /// The rules for publish and subscribe are: anyone, token (clients with a token), server (no client). May be given
    /// more than once; in the environment separated by semicolons
    #[arg(
        long,
        env = "STANDPIPE_TOPIC",
        value_name = "PATTERN:KEY=VALUE,…",
        value_delimiter = ';'
    )]
    topic: Vec<TopicFlag>,

    /// Maximum number of topics at the same time
    #[arg(long, env = "STANDPIPE_MAX_TOPICS", value_name = "N", value_parser = count)]
    #[arg(default_value_t = HubConfig::default().max_topics)]
    max_topics: usize,

    /// Maximum number of topics that one client may subscribe to; a client that exceeds it is closed with code 1013
    #[arg(long, env = "STANDPIPE_MAX_SUBSCRIPTIONS", value_name = "N", value_parser = count, default_value_t = 1024)]
    pub(crate) max_subscriptions: usize,

    /// Maximum number of bytes in all histories together
    #[arg(long, env = "STANDPIPE_HISTORY_BYTES", value_name = "B")]
    #[arg(default_value_t = Size(HubConfig::default().history_bytes))]
    history_bytes: Size,

    /// A file with one token per line; clients must send one, as a bearer token, a subprotocol or a query parameter
    #[arg(long, env = "STANDPIPE_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) jwt: JwtArgs,

    /// A file with one key per line; the admin paths, such as publishing over HTTP, /metrics and /dashboard, require one
    /// as a bearer token [default: a key that is made at the start and printed]
    #[arg(long, env = "STANDPIPE_PUBLISH_KEY_FILE", value_name = "FILE")]
    pub(crate) publish_key_file: Option<PathBuf>,

    /// Maximum number of bytes queued for one client; its queue is full when either limit is reached
    #[arg(long, env = "STANDPIPE_QUEUE_BYTES", value_name = "B")]
    #[arg(default_value_t = Size(Config::default().queue_bytes))]
    queue_bytes: Size,

    /// How long a client may take to receive the next 64 KiB, once its socket has refused bytes
    #[arg(long, env = "STANDPIPE_WRITE_TIMEOUT", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().write_timeout))]
    write_timeout: Time,

    /// How long an opening handshake may take, from the accepted connection to the 101; also the time for the head of any
    /// other request
    #[arg(long, env = "STANDPIPE_HANDSHAKE_TIMEOUT", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().handshake_timeout))]
    handshake_timeout: Time,

    /// How long a closing handshake may take, from the server's Close to the client's
    #[arg(long, env = "STANDPIPE_CLOSE_TIMEOUT", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().close_timeout))]
    close_timeout: Time,

    /// How long the end of a shutdown may take, from the Close of the last client on
    #[arg(long, env = "STANDPIPE_SHUTDOWN_TIMEOUT", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().shutdown_timeout))]
    shutdown_timeout: Time,

    /// How long clients are still accepted after the shutdown has begun; /readyz answers 503, so that a load balancer can
    /// notice
    #[arg(long, env = "STANDPIPE_DRAIN_DELAY", value_name = "TIME", value_parser = Time::or_zero, default_value = "0s")]
    drain_delay: Time,

    /// The time over which a shutdown spreads the Closes of the clients, so that they do not all reconnect at the same
    /// moment
    #[arg(long, env = "STANDPIPE_CLOSE_SPREAD", value_name = "TIME", value_parser = Time::or_zero, default_value = "0s")]
    close_spread: Time,

    /// How long a message may take, from its first byte to its last; also the time for each 64 KiB of a request's body
    #[arg(long, env = "STANDPIPE_MESSAGE_TIMEOUT", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().message_timeout))]
    message_timeout: Time,

    /// A client that has sent nothing for this long is pinged
    #[arg(long, env = "STANDPIPE_PING_INTERVAL", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().ping_interval))]
    ping_interval: Time,

    /// A client that has sent nothing for this long after the ping is disconnected
    #[arg(long, env = "STANDPIPE_PING_TIMEOUT", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().ping_timeout))]
    ping_timeout: Time,

    /// Largest message from a client; a larger one is answered with close code 1009
    #[arg(long, env = "STANDPIPE_MAX_MESSAGE", value_name = "B")]
    #[arg(default_value_t = Size(Config::default().max_message))]
    max_message: Size,

    /// Maximum number of frames in one message
    #[arg(long, env = "STANDPIPE_MAX_FRAGMENTS", value_name = "N", value_parser = count)]
    #[arg(default_value_t = Config::default().max_fragments)]
    max_fragments: usize,

    /// Size of the buffer that each client has for reading
    #[arg(long, env = "STANDPIPE_READ_BUFFER", value_name = "B")]
    #[arg(default_value_t = Size(Config::default().read_buffer))]
    read_buffer: Size,

    /// Size of a socket's receive buffer in the kernel, SO_RCVBUF [default: the kernel's default]
    #[arg(long, env = "STANDPIPE_RCVBUF", value_name = "B", value_parser = kernel_size)]
    rcvbuf: Option<Size>,

    /// Size of a socket's send buffer in the kernel, SO_SNDBUF [default: the kernel's default]
    #[arg(long, env = "STANDPIPE_SNDBUF", value_name = "B", value_parser = kernel_size)]
    sndbuf: Option<Size>,

    /// Maximum number of unsent bytes in a socket's send buffer, TCP_NOTSENT_LOWAT
    #[arg(long, env = "STANDPIPE_UNSENT", value_name = "B", value_parser = kernel_size)]
    #[arg(default_value_t = Size(Config::default().unsent))]
    unsent: Size,

    /// Whether the thread that sends a message may write it itself, if that needs no waiting
    #[arg(long, env = "STANDPIPE_EARLY_FLUSH", value_name = "BOOL", value_parser = yes_or_no, action = ArgAction::Set)]
    #[arg(default_value_t = Config::default().early_flush)]
    early_flush: bool,

    /// Allows web pages of this origin to connect and to read the answers of HTTP requests, in addition to the server's
    /// own: https://example.com, example.com:8080, https://*.example.com; null or file:// for files, but every site can
    /// send null. May be given more than once
    #[arg(long, env = "STANDPIPE_ORIGIN", value_name = "PATTERN", value_parser = origin, value_delimiter = ',')]
    origin: Vec<String>,

    /// Allows web pages of every origin to connect, and to read the answers of HTTP requests
    #[arg(long, env = "STANDPIPE_ALLOW_ANY_ORIGIN", value_parser = yes_or_no, action = ArgAction::SetTrue)]
    allow_any_origin: bool,

    /// Turns /echo off
    #[arg(long, env = "STANDPIPE_NO_ECHO", value_parser = yes_or_no, action = ArgAction::SetTrue)]
    pub(crate) no_echo: bool,

    #[command(flatten)]
    pub(crate) pages: super::pages::PageArgs,

    #[command(flatten)]
    pub(crate) proxies: super::proxies::ProxyArgs,

    #[command(flatten)]
    pub(crate) tls: super::tls::TlsArgs,

    #[cfg(feature = "redis")]
    #[command(flatten)]
    pub(crate) redis: super::redis::RedisArgs,

    #[command(flatten)]
    pub(crate) logs: super::logs::LogArgs,
}

impl ServeArgs {
    /// Takes the settings of topics from the configuration file, unless a flag or a variable overrides them.
    pub(super) fn set_file(&mut self, file: Option<&'static ConfigFile>, in_force: Vec<InForce>) {
        if let Some(topics) = self.file.set(file, in_force) {
            self.topic = topics;
        }
        #[cfg(feature = "redis")]
        {
            let is_open = file.is_some_and(|file| file.is_open);
            self.redis.set_source(self.file.source("redis"), is_open);
        }
    }

    /// Returns where to listen, in the order of the flags.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Listen> {
        self.listen.iter().flat_map(|listens| &listens.0)
    }

    /// Returns where to serve the admin paths, in the order of the flags.
    pub(crate) fn admin_listeners(&self) -> impl Iterator<Item = &Listen> {
        self.admin_listen.iter().flat_map(|listens| &listens.0)
    }

    /// Returns the limits and timeouts of the server.
    pub(crate) fn config(&self) -> Config {
        self.proxies
            .apply(Config::default())
            .max_clients(self.max_clients)
            .max_clients_per_ip(self.max_clients_per_ip)
            .connect_rate(self.connect_rate)
            .rate(self.rate)
            .queue(self.queue)
            .queue_bytes(self.queue_bytes.0)
            .write_timeout(self.write_timeout.0)
            .handshake_timeout(self.handshake_timeout.0)
            .close_timeout(self.close_timeout.0)
            .shutdown_timeout(self.shutdown_timeout.0)
            .drain_delay(self.drain_delay.0)
            .close_spread(self.close_spread.0)
            .message_timeout(self.message_timeout.0)
            .ping_interval(self.ping_interval.0)
            .ping_timeout(self.ping_timeout.0)
            .max_message(self.max_message.0)
            .max_fragments(self.max_fragments)
            .read_buffer(self.read_buffer.0)
            .rcvbuf(self.rcvbuf.map(|size| size.0))
            .sndbuf(self.sndbuf.map(|size| size.0))
            .unsent(self.unsent.0)
            .early_flush(self.early_flush)
            .origin(self.origin.clone())
            .allow_any_origin(self.allow_any_origin)
    }

    /// Returns the settings of the topics.
    pub(crate) fn hub(&self) -> HubConfig {
        let mut config = HubConfig::default()
            .default_settings(self.default_settings())
            .max_topics(self.max_topics)
            .history_bytes(self.history_bytes.0);
        config.topics = self.settings_of(&self.topic);
        config
    }

    /// Returns the settings of the topics that no pattern matches.
    fn default_settings(&self) -> TopicSettings {
        let settings = TopicSettings::default().queue(self.queue);
        settings.policy(self.policy)
    }

    /// Returns the settings of the topics that match the patterns of `topics`.
    pub(crate) fn settings_of(&self, topics: &[TopicFlag]) -> Vec<(String, TopicSettings)> {
        let default = self.default_settings();
        let settings = |topic: &TopicFlag| (topic.pattern.clone(), topic.settings(default));
        topics.iter().map(settings).collect()
    }

    /// Returns the settings of topics as they were written, in their order.
    pub(crate) fn topics(&self) -> &[TopicFlag] {
        &self.topic
    }

    /// Returns who may publish and subscribe to which topics.
    pub(crate) fn rules(&self) -> TopicRules {
        Self::rules_of(&self.topic)
    }

    /// Returns who may publish and subscribe to the topics that match the patterns of `topics`.
    pub(crate) fn rules_of(topics: &[TopicFlag]) -> TopicRules {
        TopicRules(topics.iter().map(TopicFlag::rule).collect())
    }
}
