//! What a person types: flags and environment → [`Config`], or exit 2 with what is right.

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use log::LevelFilter;
use standpipe::{Config, Rate};

use super::units::{Size, Time};
use super::values::{Listen, count, kernel_size, origin, queue, yes_or_no};

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
    #[arg(short, long, env = "STANDPIPE_LISTEN", value_name = "ADDR:PORT|unix:PATH", default_value = LISTEN)]
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
            .queue(self.queue)
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
mod tests {
    use super::*;
    use std::time::Duration;

    fn parse(flags: &[&str]) -> Result<ServeArgs, clap::Error> {
        // The tests' own environment must not decide them.
        let bare = |command: clap::Command| command.mut_args(|arg| arg.env(None::<&'static str>));
        let command = bare(command()).mut_subcommands(bare);
        let mut matches = command.try_get_matches_from([&["standpipe"], flags].concat())?;
        let Command::Serve(args) = Command::of_matches(&mut matches)?;
        Ok(*args)
    }

    fn refused(flags: &[&str]) -> String {
        let error = parse(flags).expect_err("the flags are wrong");
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    #[test]
    fn defaults_are_the_contracts() {
        let args = parse(&[]).expect("no flag is needed");
        let config = args.config();
        assert_eq!(args.listen, [Listen::Tcp("127.0.0.1:9000".into())]);
        assert!(!args.no_echo);
        assert_eq!(args.log_level(), LevelFilter::Info);
        assert_eq!(config.max_clients, None);
        assert_eq!((config.queue, config.queue_bytes), (64, 1 << 20));
        let clocks = [
            (config.write_timeout, 30),
            (config.handshake_timeout, 10),
            (config.close_timeout, 5),
            (config.shutdown_timeout, 5),
            (config.message_timeout, 30),
            (config.ping_interval, 20),
            (config.ping_timeout, 20),
        ];
        for (index, (clock, seconds)) in clocks.into_iter().enumerate() {
            assert_eq!(clock, Duration::from_secs(seconds), "clock {index}");
        }
        assert_eq!((config.max_message, config.max_fragments), (64 << 10, 1024));
        assert_eq!(
            (
                config.read_buffer,
                config.rcvbuf,
                config.sndbuf,
                config.unsent
            ),
            (8 << 10, None, None, 128 << 10)
        );
        assert!(config.early_flush && config.origin.is_empty() && !config.allow_any_origin);
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn every_flag_reaches_its_field_with_and_without_the_command() {
        let flags = "--listen 127.0.0.1:0 -l unix:/run/sp.sock --max-clients 1 --max-clients-per-ip 17 --connect-rate 18/s --rate 19/s:20 --queue 2 --queue-bytes 3KiB \
                     --write-timeout 4s --handshake-timeout 5ms --close-timeout 6s --shutdown-timeout 7s \
                     --message-timeout 8s --ping-interval 9s --ping-timeout 10m --max-message 11MiB --max-fragments 12 \
                     --read-buffer 13KiB --rcvbuf 14KB --sndbuf 15KiB --unsent 16KiB --early-flush false \
                     --origin https://a.example --origin b.example:8080,https://*.c.example --allow-any-origin \
                     --no-echo -vv";
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let expected = Config::default()
            .max_clients(Some(1))
            .max_clients_per_ip(Some(17))
            .connect_rate(Some(Rate::per_second(18)))
            .rate(Some("19/s:20".parse().expect("a rate")))
            .queue(2)
            .queue_bytes(3 << 10)
            .write_timeout(Duration::from_secs(4))
            .handshake_timeout(Duration::from_millis(5))
            .close_timeout(Duration::from_secs(6))
            .shutdown_timeout(Duration::from_secs(7))
            .message_timeout(Duration::from_secs(8))
            .ping_interval(Duration::from_secs(9))
            .ping_timeout(Duration::from_secs(600))
            .max_message(11 << 20)
            .max_fragments(12)
            .read_buffer(13 << 10)
            .rcvbuf(Some(14_000))
            .sndbuf(Some(15 << 10))
            .unsent(16 << 10)
            .early_flush(false)
            .origin(vec![
                "https://a.example".into(),
                "b.example:8080".into(),
                "https://*.c.example".into(),
            ])
            .allow_any_origin(true);
        for flags in [flags.clone(), [vec!["serve"], flags].concat()] {
            let args = parse(&flags).expect("all flags go together");
            assert_eq!(format!("{:?}", args.config()), format!("{expected:?}"));
            assert_eq!(
                args.listen,
                [
                    Listen::Tcp("127.0.0.1:0".into()),
                    Listen::Unix("/run/sp.sock".into())
                ]
            );
            assert!(args.no_echo);
            assert_eq!(args.log_level(), LevelFilter::Trace);
        }
    }

    #[test]
    fn a_wrong_value_is_told_the_right_form() {
        for (flag, value, right) in [
            ("--listen", "9000", "127.0.0.1:9000"),
            ("--listen", ":9000", "127.0.0.1:9000"),
            ("--listen", "::1:9000", "[::1]:9000"),
            ("--listen", "localhost:99999", "at most 65535"),
            ("--listen", "unix:", "unix:/run/standpipe.sock"),
            ("--listen", "fd:3", "127.0.0.1:9000"),
            ("--listen", "http://localhost:9000", "localhost:9000"),
            ("--max-clients", "0", "at least 1"),
            ("--queue", "0", "at least 1"),
            ("--queue", "many", "a whole number like 1024"),
            ("--queue", "99999999", "at most 1048576"),
            ("--max-message", "64K", "64KiB"),
            ("--rate", "100", "100/s"),
            ("--rcvbuf", "4GiB", "at most 2147483647"),
            ("--write-timeout", "30", "30s"),
            ("--ping-interval", "0s", "longer than zero"),
            ("--early-flush", "maybe", "true or false"),
            ("--origin", "https://example.com/path", "without a path"),
        ] {
            let said = refused(&[flag, value]);
            assert!(
                said.contains(flag) && said.contains(right),
                "{flag} {value}: {said}"
            );
        }
    }

    #[test]
    fn a_wrong_flag_is_told_its_neighbour_and_a_flag_before_the_command_is_refused() {
        assert!(refused(&["--queue-byte", "1"]).contains("--queue-bytes"));
        assert!(refused(&["sevre"]).contains("serve"));
        assert!(refused(&["--queue", "1", "serve"]).contains("cannot be used with"));
    }

    #[test]
    fn every_flag_has_its_name_in_the_environment_and_a_sentence() {
        let command = Cli::command();
        command.clone().debug_assert();
        for arg in command.get_arguments() {
            let name = arg
                .get_long()
                .expect("every flag has a long name")
                .replace('-', "_")
                .to_uppercase();
            assert_eq!(arg.get_env(), Some(format!("STANDPIPE_{name}").as_ref()));
            assert!(arg.get_help().is_some(), "{name}");
        }
        assert_eq!(command.get_arguments().count(), 25);
    }
}
