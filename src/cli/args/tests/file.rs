//! The configuration file, between the flags and the defaults. `tests/it/config_file.rs` has the variables.

use std::fs;
use std::path::PathBuf;

use standpipe::{Config, HubConfig, TopicSettings};

use super::super::{Command, ServeArgs, command, keys, with_file};
use super::*;

/// A file that is removed at the end of the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let file = format!("standpipe-config-{name}-{}.toml", std::process::id());
        let file = File(std::env::temp_dir().join(file));
        fs::write(&file.0, text).expect("a file in the temporary directory");
        file
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Returns the problems of a file.
fn problems_of(name: &str, text: &str) -> String {
    let file = File::new(name, text);
    ConfigFile::read(&file.0, &keys()).expect_err(text)
}

/// Parses flags with a file.
fn parse(name: &str, text: &str, flags: &[&str]) -> ServeArgs {
    let file = File::new(name, text);
    let read = ConfigFile::read(&file.0, &keys()).expect(text);
    let read: &'static ConfigFile = Box::leak(Box::new(read));
    // The environment of the test process must not change the result.
    let bare = |command: clap::Command| command.mut_args(|arg| arg.env(None::<&'static str>));
    let command = bare(command()).mut_subcommands(bare);
    let arguments = [&["standpipe"], flags].concat();
    let matches = command.clone().try_get_matches_from(&arguments);
    let matches = matches.expect("the flags are correct");
    let command = with_file(command, &matches, read);
    let mut matches = command
        .try_get_matches_from(&arguments)
        .expect("the file is correct");
    match Command::from_matches(&mut matches, Some(read)).expect("the limits are correct") {
        Command::Serve(args) => *args,
        other => panic!("not `serve`: {other:?}"),
    }
}

#[test]
fn file_sets_each_kind_of_value() {
    let text = "listen = [\"127.0.0.1:1\", \"unix:/a.sock,mode=0660\"]\nqueue = 128\nmax-message = \"1MiB\"\n\
                write-timeout = \"5s\"\nno-echo = true\nearly-flush = false\nverbose = 2\norigin = \"https://a.example\"\n\
                rate = \"100/s\"\n[[topic]]\npattern = \"chat-*\"\nhistory = 7\n";
    for flags in [&[][..], &["serve"]] {
        let args = parse("kinds", text, flags);
        let listeners: Vec<_> = args.listeners().map(ToString::to_string).collect();
        assert_eq!(listeners, ["127.0.0.1:1", "unix:/a.sock,mode=0660"]);
        let expected = Config::default()
            .queue(128)
            .max_message(1 << 20)
            .write_timeout(std::time::Duration::from_secs(5))
            .early_flush(false)
            .rate(Some("100/s".parse().expect("a rate")))
            .origin(vec!["https://a.example".into()]);
        assert_eq!(args.config(), expected);
        assert!(args.no_echo);
        assert_eq!(args.logs.level(), log::LevelFilter::Trace);
        let settings = TopicSettings::default().queue(128);
        let hub = HubConfig::default().default_settings(settings);
        let hub = hub.topic("chat-*", settings.history(7));
        assert_eq!(format!("{:?}", args.hub()), format!("{hub:?}"));
    }
}

#[test]
fn flag_overrides_the_file() {
    let text = "queue = 128\nmax-message = \"1MiB\"\nlisten = \"127.0.0.1:1\"\nverbose = 2\n[[topic]]\npattern = \"a\"\n";
    let flags = [
        "serve",
        "--queue",
        "7",
        "-v",
        "--listen",
        "127.0.0.1:2",
        "--topic",
        "b:queue=3",
    ];
    let args = parse("flags", text, &flags);
    assert_eq!(
        (args.config().queue, args.config().max_message),
        (7, 1 << 20)
    );
    let listeners: Vec<_> = args.listeners().map(ToString::to_string).collect();
    assert_eq!(listeners, ["127.0.0.1:2"]);
    assert_eq!(args.logs.level(), log::LevelFilter::Debug);
    let patterns: Vec<_> = args
        .hub()
        .topics
        .into_iter()
        .map(|(pattern, _)| pattern)
        .collect();
    assert_eq!(patterns, ["b"]);
    assert!(args.file.of_topics().is_none(), "a reload changes no topic");
}

#[test]
fn problem_names_file_line_key_and_nearest_key() {
    let text = "queue = \"many\"\n\nquue-bytes = 1\nmax-clients = [1]\nlisten = []\ntoken-file = \"\"\nno-echo = \"maybe\"\n\
                early-flush = 2\nverbose = \"much\"\nwrite-timeout = 30\nconfig = \"a\"\n";
    let problems = problems_of("problems", text);
    let lines: Vec<&str> = problems.lines().collect();
    let expected = [
        (1, "queue: must be a whole number like 1024"),
        (3, "quue-bytes: unknown key; the nearest key is queue-bytes"),
        (4, "max-clients: has one value, not an array"),
        (5, "listen: needs a value"),
        (6, "token-file: must not be empty"),
        (7, "no-echo: must be true or false"),
        (8, "early-flush: must be true or false"),
        (9, "verbose: must be 0, 1 or 2"),
        (10, "write-timeout: a time needs a unit: 30s"),
        (11, "config: unknown key"),
    ];
    assert_eq!(lines.len(), expected.len(), "{problems}");
    for (line, (number, reason)) in lines.into_iter().zip(expected) {
        let (file, rest) = line.split_once(".toml:").expect(line);
        assert!(file.contains("standpipe-config-problems"), "{line}");
        assert!(rest.starts_with(&format!("{number}: {reason}")), "{line}");
    }
}

#[cfg(feature = "redis")]
#[test]
fn problem_shows_no_password() {
    for value in ["valkeys://:s3cret@a", "redis://:s3cret", "s3cret"] {
        let problems = problems_of("password", &format!("redis = \"{value}\""));
        assert!(problems.contains(":1: redis: "), "{problems}");
        assert!(!problems.contains("s3cret"), "{problems}");
    }
}

#[test]
fn unreadable_file_is_refused() {
    for path in ["/nonexistent/standpipe.toml", "/tmp", "/dev/zero"] {
        let error = ConfigFile::read(path.as_ref(), &keys()).expect_err(path);
        assert!(error.starts_with(path), "{error}");
    }
}

#[test]
fn file_may_begin_with_a_byte_order_mark() {
    let args = parse("mark", "\u{feff}queue = 9\n", &[]);
    assert_eq!(args.config().queue, 9);
}

#[test]
fn empty_file_changes_nothing() {
    let args = parse("empty", "# nothing\norigin = []\n", &[]);
    assert_eq!(args.config(), Config::default());
}
