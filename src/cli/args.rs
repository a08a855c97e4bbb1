//! What a person types: flags and environment → [`Config`], or exit 2 with what is right.

use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use log::LevelFilter;
use standpipe::{Config, HubConfig, Policy, Rate, TopicSettings};

use super::topics::{self, TopicFlag};
use super::units::{Size, Time};
use super::url::Url;
use super::values::{Listen, bench_size, count, kernel_size, origin, queue, yes_or_no};

pub(crate) use peers::{ClientArgs, PublishArgs, TopArgs};

mod peers;

/// A WebSocket server made of plain blocking threads
#[derive(Debug, Parser)]
#[command(name = "standpipe", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Listens and serves until Ctrl-C or SIGTERM (the default)
    #[command(after_help = AFTER_HELP)]
    Serve(Box<ServeArgs>),
    /// Talks to a WebSocket: what is typed is sent, what comes is printed; or reads it slowly
    Client(ClientArgs),
    /// Publishes over HTTP
    Pub(PublishArgs),
    /// Shows every client of a server, live in the terminal
    Top(TopArgs),
    /// Loads any WebSocket server, and says how fast it was
    Bench(BenchArgs),
}

/// The flags of `bench`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// The server, such as ws://127.0.0.1:9000/echo, or /ws/TOPIC for a fan-out
    pub(crate) url: Url,

    /// What the clients do
    #[arg(long, value_enum, default_value_t = Kind::Echo)]
    pub(crate) kind: Kind,

    /// Clients at once, each with a thread
    #[arg(long, value_name = "N", value_parser = count, default_value_t = 10)]
    pub(crate) clients: usize,

    /// Bytes of a message
    #[arg(long, value_name = "B", value_parser = bench_size, default_value = "64")]
    pub(crate) size: Size,

    /// Messages in flight: of each client in an echo, in all in a fan-out
    #[arg(long, value_name = "N", value_parser = queue, default_value_t = 1)]
    pub(crate) window: usize,

    /// For how long
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub(crate) time: Time,
}

/// What the clients of a benchmark do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Each sends and waits for what comes back
    Echo,
    /// One sends, and all receive, itself among them
    Fanout,
    /// They are there, and do nothing
    Idle,
}

const AFTER_HELP: &str = "\
Without a command it serves: `standpipe --listen X` is `standpipe serve --listen X`.

Each flag is also STANDPIPE_UPPER_SNAKE in the environment, STANDPIPE_MAX_MESSAGE=1MiB for one; what may be given more \
than once is separated by commas. A flag wins over the environment.

Sizes: 512, 64KiB, 1MiB, 1GiB, or 64KB, 1MB, 1GB in powers of 1000. Times: 250ms, 10s, 1.5s, 2m, 1h.

Exit codes: 0 clean (also after one Ctrl-C or SIGTERM), 1 runtime error, 2 wrong flag or value, 130 second Ctrl-C.";

/// The address of the first thing a newcomer types; loopback, because nothing here asks for a password.
const LISTEN: &str = "127.0.0.1:9000";

/// The flags of `serve`. Every default is [`Config::default`]'s own, so that it is written once.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// Where to listen; port 0 takes a free one and says which. May be given more than once
    #[arg(short, long, env = "STANDPIPE_LISTEN", value_name = "ADDR:PORT|unix:PATH|fd:N", default_value = LISTEN)]
    #[arg(value_delimiter = ',')]
    pub(crate) listen: Vec<Listen>,

    /// Clients held at once; one more is answered 503 [default: what the kernel lets this process have]
    #[arg(long, env = "STANDPIPE_MAX_CLIENTS", value_name = "N", value_parser = count)]
    max_clients: Option<usize>,

    /// Clients one address may have at once, an IPv6 /64 counted as one [default: no limit]
    #[arg(long, env = "STANDPIPE_MAX_CLIENTS_PER_IP", value_name = "N", value_parser = count)]
    max_clients_per_ip: Option<usize>,

    /// Connections one address may open, such as 20/s or 20/s:100 with a burst [default: no limit]
    #[arg(long, env = "STANDPIPE_CONNECT_RATE", value_name = "N/s[:BURST]")]
    connect_rate: Option<Rate>,

    /// Messages one client may send, such as 100/s or 100/s:500 with a burst; beyond: close code 1008 [default: no limit]
    #[arg(long, env = "STANDPIPE_RATE", value_name = "N/s[:BURST]")]
    rate: Option<Rate>,

    /// Messages that may wait for one client
    #[arg(long, env = "STANDPIPE_QUEUE", value_name = "N", value_parser = queue)]
    #[arg(default_value_t = Config::default().queue)]
    queue: usize,

    /// What happens to a member that is slow: block[:TIMEOUT], drop-newest, drop-oldest, conflate,
    /// disconnect[:SOFT%:FOR]
    #[arg(long, env = "STANDPIPE_POLICY", value_name = "P", value_parser = topics::policy, default_value = "disconnect")]
    policy: Policy,

    /// The topics that match, such as 'doc-*:policy=disconnect,queue=256,history=1000,max-age=1h'; the first match wins.
    /// May be given more than once, in the environment separated by semicolons
    #[arg(
        long,
        env = "STANDPIPE_TOPIC",
        value_name = "PATTERN:KEY=VALUE,…",
        value_delimiter = ';'
    )]
    topic: Vec<TopicFlag>,

    /// Topics at once
    #[arg(long, env = "STANDPIPE_MAX_TOPICS", value_name = "N", value_parser = count)]
    #[arg(default_value_t = HubConfig::default().max_topics)]
    max_topics: usize,

    /// Topics one client may be subscribed to; one more is answered with close code 1013
    #[arg(long, env = "STANDPIPE_MAX_SUBSCRIPTIONS", value_name = "N", value_parser = count, default_value_t = 1024)]
    pub(crate) max_subscriptions: usize,

    /// Bytes that all histories may keep together
    #[arg(long, env = "STANDPIPE_HISTORY_BYTES", value_name = "B")]
    #[arg(default_value_t = Size(HubConfig::default().history_bytes))]
    history_bytes: Size,

    /// A file with a token a line: clients must bring one, as a bearer, in the subprotocol or in the query
    #[arg(long, env = "STANDPIPE_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// A file with a key a line: whoever brings one as a bearer may publish over HTTP, read histories and /debug;
    /// without it that is open to this machine alone
    #[arg(long, env = "STANDPIPE_PUBLISH_KEY_FILE", value_name = "FILE")]
    pub(crate) publish_key_file: Option<PathBuf>,

    /// Bytes that may wait for one client; whichever of the two is full first
    #[arg(long, env = "STANDPIPE_QUEUE_BYTES", value_name = "B")]
    #[arg(default_value_t = Size(Config::default().queue_bytes))]
    queue_bytes: Size,

    /// How long a client that has stopped reading may take for the next 64 KiB
    #[arg(long, env = "STANDPIPE_WRITE_TIMEOUT", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().write_timeout))]
    write_timeout: Time,

    /// From the accepted connection to its answered request
    #[arg(long, env = "STANDPIPE_HANDSHAKE_TIMEOUT", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().handshake_timeout))]
    handshake_timeout: Time,

    /// From our Close to the client's
    #[arg(long, env = "STANDPIPE_CLOSE_TIMEOUT", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().close_timeout))]
    close_timeout: Time,

    /// For a whole shutdown, all clients together
    #[arg(long, env = "STANDPIPE_SHUTDOWN_TIMEOUT", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().shutdown_timeout))]
    shutdown_timeout: Time,

    /// From a message's first byte to its last
    #[arg(long, env = "STANDPIPE_MESSAGE_TIMEOUT", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().message_timeout))]
    message_timeout: Time,

    /// A ping goes to a client from which nothing has come for so long
    #[arg(long, env = "STANDPIPE_PING_INTERVAL", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().ping_interval))]
    ping_interval: Time,

    /// After that ping, silence for so long ends the client
    #[arg(long, env = "STANDPIPE_PING_TIMEOUT", value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().ping_timeout))]
    ping_timeout: Time,

    /// Largest message that is taken; a larger one is answered with close code 1009
    #[arg(long, env = "STANDPIPE_MAX_MESSAGE", value_name = "B")]
    #[arg(default_value_t = Size(Config::default().max_message))]
    max_message: Size,

    /// Frames that one message may come in
    #[arg(long, env = "STANDPIPE_MAX_FRAGMENTS", value_name = "N", value_parser = count)]
    #[arg(default_value_t = Config::default().max_fragments)]
    max_fragments: usize,

    /// Bytes that are read from a client at a time; each client has so many
    #[arg(long, env = "STANDPIPE_READ_BUFFER", value_name = "B")]
    #[arg(default_value_t = Size(Config::default().read_buffer))]
    read_buffer: Size,

    /// The kernel's buffer for what a client sends, SO_RCVBUF [default: the kernel's own]
    #[arg(long, env = "STANDPIPE_RCVBUF", value_name = "B", value_parser = kernel_size)]
    rcvbuf: Option<Size>,

    /// The kernel's buffer for what a client is sent, SO_SNDBUF [default: the kernel's own]
    #[arg(long, env = "STANDPIPE_SNDBUF", value_name = "B", value_parser = kernel_size)]
    sndbuf: Option<Size>,

    /// What the kernel takes beyond what the client has room for, TCP_NOTSENT_LOWAT
    #[arg(long, env = "STANDPIPE_UNSENT", value_name = "B", value_parser = kernel_size)]
    #[arg(default_value_t = Size(Config::default().unsent))]
    unsent: Size,

    /// Whether a thread that has queued a message may write it itself, when that needs no waiting
    #[arg(long, env = "STANDPIPE_EARLY_FLUSH", value_name = "BOOL", value_parser = yes_or_no, action = ArgAction::Set)]
    #[arg(default_value_t = Config::default().early_flush)]
    early_flush: bool,

    /// Lets pages of this origin in, besides our own: https://example.com, example.com:8080, https://*.example.com.
    /// May be given more than once
    #[arg(long, env = "STANDPIPE_ORIGIN", value_name = "PATTERN", value_parser = origin, value_delimiter = ',')]
    origin: Vec<String>,

    /// Lets pages of every origin in
    #[arg(long, env = "STANDPIPE_ALLOW_ANY_ORIGIN", value_parser = yes_or_no, action = ArgAction::SetTrue)]
    allow_any_origin: bool,

    /// Turns /echo off
    #[arg(long, env = "STANDPIPE_NO_ECHO", value_parser = yes_or_no, action = ArgAction::SetTrue)]
    pub(crate) no_echo: bool,

    /// Logs each client's life; twice: each message
    #[arg(short, long, env = "STANDPIPE_VERBOSE", action = ArgAction::Count)]
    verbose: u8,
}

impl Command {
    /// The command of this process's arguments and environment. Ends the process for `--help`, and with 2 and what is
    /// right for a wrong one.
    pub(crate) fn of_process() -> Command {
        let mut matches = command().get_matches();
        // `command()` was derived from `Cli`, so what it matched is one.
        Self::of_matches(&mut matches).unwrap_or_else(|error| error.exit())
    }

    fn of_matches(matches: &mut clap::ArgMatches) -> Result<Command, clap::Error> {
        let cli =
            Cli::from_arg_matches_mut(matches).map_err(|error| error.format(&mut command()))?;
        Ok(cli
            .command
            .unwrap_or_else(|| Command::Serve(Box::new(cli.serve))))
    }
}

/// `Cli` without the environment's name beside each flag: one sentence at the end of the help says the rule.
fn command() -> clap::Command {
    let hide = |command: clap::Command| command.mut_args(|arg| arg.hide_env(true));
    hide(Cli::command()).mut_subcommands(hide)
}

impl ServeArgs {
    /// Every limit and clock that was given, in the library's terms.
    pub(crate) fn config(&self) -> Config {
        Config::default()
            .max_clients(self.max_clients)
            .max_clients_per_ip(self.max_clients_per_ip)
            .connect_rate(self.connect_rate)
            .rate(self.rate)
            // A client's outbox has a place for each message of its largest topic.
            .queue(self.hub().largest_queue())
            .queue_bytes(self.queue_bytes.0)
            .write_timeout(self.write_timeout.0)
            .handshake_timeout(self.handshake_timeout.0)
            .close_timeout(self.close_timeout.0)
            .shutdown_timeout(self.shutdown_timeout.0)
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

    /// The topics and their policies, in the library's terms.
    pub(crate) fn hub(&self) -> HubConfig {
        let default = TopicSettings::default()
            .queue(self.queue)
            .policy(self.policy);
        let mut config = HubConfig::default();
        config.default = default;
        config.max_topics = self.max_topics;
        config.history_bytes = self.history_bytes.0;
        for flag in &self.topic {
            config = config.topic(flag.pattern.clone(), flag.settings(default));
        }
        config
    }

    /// The server's life, with `-v` each client's too, with `-vv` each message's.
    pub(crate) fn log_level(&self) -> LevelFilter {
        match self.verbose {
            0 => LevelFilter::Info,
            1 => LevelFilter::Debug,
            _ => LevelFilter::Trace,
        }
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
