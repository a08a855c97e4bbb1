//! Every flag: its default, its place in the configuration, and the error for a wrong value.

use std::time::Duration;

use log::LevelFilter;
use standpipe::{Config, Rate};

use super::*;
use crate::cli::values::Listen;

fn parse(flags: &[&str]) -> Result<ServeArgs, clap::Error> {
    // The environment of the test process must not change the result.
    let bare = |command: clap::Command| command.mut_args(|arg| arg.env(None::<&'static str>));
    let command = bare(command()).mut_subcommands(bare);
    let mut matches = command.try_get_matches_from([&["standpipe"], flags].concat())?;
    let Command::Serve(args) = Command::from_matches(&mut matches, None)? else {
        panic!("{flags:?} are not flags of `serve`");
    };
    Ok(*args)
}

/// Returns the error for wrong flags.
fn error_of(flags: &[&str]) -> String {
    let error = parse(flags).expect_err("the flags are wrong");
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn defaults_are_the_documented_ones() {
    let args = parse(&[]).expect("no flag is required");
    let config = args.config();
    assert!(args.listeners().eq(&[Listen::Tcp("127.0.0.1:9000".into())]));
    assert!(
        !args.no_echo
            && !args.pages.no_page
            && !args.admin_open
            && args.admin_listeners().next().is_none()
    );
    assert_eq!(args.logs.level(), LevelFilter::Info);
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
        (config.drain_delay, 0),
        (config.close_spread, 0),
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
fn every_flag_sets_its_field_with_and_without_serve() {
    let flags = "--listen 127.0.0.1:0 -l unix:/run/sp.sock,mode=660,fd:3 --admin-listen 127.0.0.1:1 --admin-open --max-clients 1 --max-clients-per-ip 17 --connect-rate 18/s --rate 19/s:20 --queue 2 --queue-bytes 3KiB \
                 --write-timeout 4s --handshake-timeout 5ms --close-timeout 6s --shutdown-timeout 7s --drain-delay 21s --close-spread 0s \
                 --message-timeout 8s --ping-interval 9s --ping-timeout 10m --max-message 11MiB --max-fragments 12 \
                 --read-buffer 13KiB --rcvbuf 14KB --sndbuf 15KiB --unsent 16KiB --early-flush false \
                 --origin https://a.example --origin b.example:8080,https://*.c.example --allow-any-origin \
                 --trusted-proxy 10.0.0.0/8,unix --trusted-proxy fd00::1 --proxy-protocol --no-echo --no-page -vv";
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let proxies = ["10.0.0.0/8", "unix", "fd00::1"].map(|text| text.parse().expect("a proxy"));
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
        .drain_delay(Duration::from_secs(21))
        .close_spread(Duration::ZERO)
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
        .allow_any_origin(true)
        .trusted_proxies(proxies.to_vec());
    for flags in [flags.clone(), [vec!["serve"], flags].concat()] {
        let args = parse(&flags).expect("all flags go together");
        assert_eq!(format!("{:?}", args.config()), format!("{expected:?}"));
        assert!(args.listeners().eq(&[
            Listen::Tcp("127.0.0.1:0".into()),
            Listen::Unix {
                path: "/run/sp.sock".into(),
                mode: Some(0o660)
            },
            Listen::Fd(3),
        ]));
        assert!(
            args.admin_listeners()
                .eq(&[Listen::Tcp("127.0.0.1:1".into())])
        );
        assert!(args.no_echo && args.pages.no_page && args.admin_open);
        assert!(args.proxies.proxy_protocol);
        assert_eq!(args.logs.level(), LevelFilter::Trace);
    }
}

#[test]
fn wrong_value_is_answered_with_the_correct_form() {
    for (flag, value, right) in [
        ("--listen", "9000", "127.0.0.1:9000"),
        ("--listen", ":9000", "127.0.0.1:9000"),
        ("--listen", "::1:9000", "[::1]:9000"),
        ("--listen", "localhost:99999", "at most 65535"),
        ("--listen", "unix:", "unix:/run/standpipe.sock"),
        ("--listen", "unix:/a.sock,mode=9", "mode=0660"),
        ("--listen", "fd:2", "begin at fd:3"),
        ("--listen", "fd:", "fd:3 or fd:NAME"),
        ("--listen", "http://localhost:9000", "localhost:9000"),
        ("--max-clients", "0", "at least 1"),
        ("--queue", "0", "at least 1"),
        ("--queue", "many", "a whole number like 1024"),
        ("--queue", "99999999", "at most 1048576"),
        ("--max-message", "64K", "64KiB"),
        ("--rate", "100", "100/s"),
        ("--policy", "drop", "drop-newest"),
        ("--policy", "block:5", "50ms"),
        ("--policy", "disconnect:80", "disconnect:80%:10s"),
        ("--topic", "chat", "PATTERN:policy="),
        ("--topic", "chat:policy=none", "drop-newest"),
        ("--topic", "chat:queue=0", "at least 1"),
        ("--topic", "chat:size=1", "max-age"),
        ("--topic", "chat:publish=all", "anyone, token or server"),
        ("--admin-listen", "9001", "127.0.0.1:9000"),
        ("--rcvbuf", "4GiB", "at most 2147483647"),
        ("--write-timeout", "30", "30s"),
        ("--ping-interval", "0s", "longer than zero"),
        ("--drain-delay", "0", "0s"),
        ("--early-flush", "maybe", "true or false"),
        ("--trusted-proxy", "proxy.example", "10.0.0.0/8"),
        ("--trusted-proxy", "10.0.0.1/8", "write 10.0.0.0/8"),
        ("--trusted-proxy", "0.0.0.0/0", "would trust every client"),
        ("--origin", "https://example.com/path", "without a path"),
    ] {
        let error = error_of(&[flag, value]);
        assert!(
            error.contains(flag) && error.contains(right),
            "{flag} {value}: {error}"
        );
    }
}

#[test]
fn wrong_flags_are_answered_with_a_suggestion() {
    assert!(error_of(&["--queue-byte", "1"]).contains("--queue-bytes"));
    assert!(error_of(&["sevre"]).contains("serve"));
    assert!(error_of(&["--queue", "1", "serve"]).contains("cannot be used with"));
    let settings = ["exec", "--topic", "log:history=3", "--", "true"];
    assert!(error_of(&settings).contains("--topic-settings"));
}

#[test]
fn every_flag_has_an_environment_variable_and_help() {
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
    assert!(command.get_arguments().count() >= 41);
}

#[cfg(feature = "redis")]
mod redis {
    use standpipe::redis::{Lost, RedisConfig};

    use super::*;

    #[test]
    fn hub_shares_no_topics_without_redis() {
        let flags = [
            "--redis-lost",
            "refuse",
            "--redis-prefix",
            "p",
            "--node",
            "n",
        ];
        let args = parse(&flags).expect("the flags are correct");
        assert!(args.redis.config(1).is_none());
    }

    #[test]
    fn redis_flags_set_their_fields() {
        let args = parse(&["--redis", "redis://a"]).expect("the flag is correct");
        let expected = RedisConfig::new("redis://a").max_message(7);
        let config = args.redis.config(7).expect("there is a server");
        assert_eq!(config.shards, expected.shards);
        assert_eq!(format!("{config:?}"), format!("{expected:?}"));

        let flags = "--redis redis://a,redis://b:1/2 --redis unix:/c --redis-lost refuse --redis-timeout 2s --redis-prefix p \
                     --node eu-1 --redis-ca ca.pem";
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let expected = RedisConfig::new("redis://a,redis://b:1/2")
            .shard("unix:/c")
            .lost(Lost::Refuse)
            .timeout(Duration::from_secs(2))
            .prefix("p")
            .node("eu-1")
            .authorities("ca.pem");
        for flags in [flags.clone(), [vec!["serve"], flags].concat()] {
            let args = parse(&flags).expect("the flags are correct");
            let config = args.redis.config(64 << 10).expect("there is a server");
            assert_eq!(config.shards, expected.shards);
            assert_eq!(format!("{config:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn password_on_the_command_line_is_noticed() {
        for (flags, is_shown) in [
            (&["--redis", "redis://:s3cret@a"][..], true),
            (
                &[
                    "serve",
                    "--redis",
                    "redis://a",
                    "--redis",
                    "redis://:s3cret@b",
                ],
                true,
            ),
            (&["--redis", "redis://hub@a"], false),
            (&[], false),
        ] {
            let args = parse(flags).expect("the flags are correct");
            assert_eq!(args.redis.shows_password(), is_shown, "{flags:?}");
            assert!(!format!("{args:?}").contains("s3cret"));
        }
    }

    #[test]
    fn wrong_redis_flag_is_answered_with_the_correct_form() {
        for (flag, value, right) in [
            ("--redis", "10.0.0.1", "redis://10.0.0.1:6379"),
            ("--redis", "rediss://", "the host is missing"),
            ("--redis-lost", "wait", "local or refuse"),
            ("--redis-timeout", "500", "500ms"),
            ("--redis-timeout", "49ms", "between 50ms and 1m"),
            ("--redis-timeout", "61s", "between 50ms and 1m"),
            ("--redis-prefix", "", "1 to 100 bytes"),
            ("--redis-prefix", "a{b", "no braces"),
            ("--node", "", "1 to 200 bytes"),
        ] {
            let error = error_of(&[flag, value]);
            assert!(
                error.contains(flag) && error.contains(right),
                "{flag} {value}: {error}"
            );
        }
    }
}
