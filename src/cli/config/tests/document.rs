//! Documents, and what is wrong with them.

use super::*;

/// Returns the problems of a document.
fn problems_of(text: &str) -> Vec<String> {
    let problems = Document::parse(text).expect_err(text);
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn values_are_those_of_flags() {
    let text = "queue = 1_000\nmax-message = \"64KiB\"\nno-echo = true\norigin = [\"https://a.example\", \"b.example\"]\n\
                max-clients = 0x10\n";
    let document = Document::parse(text).expect("the text is TOML");
    let settings: Vec<_> = document
        .settings
        .iter()
        .map(|setting| (setting.line, setting.key.as_str(), setting.values.join(" ")))
        .collect();
    let expected = [
        (1, "queue", "1000"),
        (2, "max-message", "64KiB"),
        (3, "no-echo", "true"),
        (4, "origin", "https://a.example b.example"),
        (5, "max-clients", "16"),
    ];
    assert_eq!(
        settings,
        expected.map(|(line, key, value)| (line, key, value.to_owned()))
    );
    assert_eq!(document.topics, None);
}

#[test]
fn topic_table_has_the_settings_of_the_flag() {
    let text = "[[topic]]\npattern = \"a:b\"\nqueue = 5\npolicy = \"block:1s\"\nmax-age = \"1h\"\n\n[[topic]]\n\
                pattern = \"*\"\nhistory = 10\nmax-lateness = \"1s\"\npublish = \"server\"\nsubscribe = \"token\"\n";
    let document = Document::parse(text).expect("the text is TOML");
    let topics = document.topics.expect("there are tables");
    let mut first = TopicFlag::new("a:b".into());
    for (key, value) in [("queue", "5"), ("policy", "block:1s"), ("max-age", "1h")] {
        first.set(key, value).expect("the value is correct");
    }
    let second = "*:history=10,max-lateness=1s,publish=server,subscribe=token";
    let second = second.parse().expect("the flag is correct");
    let expected = [(1, first), (7, second)];
    let topics = topics.into_iter().map(|topic| (topic.line, topic.flag));
    assert!(topics.eq(expected));
}

#[test]
fn topics_may_be_written_as_flags() {
    let text = "topic = [\"a:queue=1\", { pattern = \"b\", queue = 2 }]";
    let document = Document::parse(text).expect("the text is TOML");
    let flags: Vec<_> = document.topics.expect("there are topics");
    assert_eq!(flags.len(), 2);
    assert_eq!(Some(flags[0].flag.clone()), "a:queue=1".parse().ok());
    assert_eq!(Some(flags[1].flag.clone()), "b:queue=2".parse().ok());
}

#[test]
fn problem_names_its_line_and_key() {
    for (text, expected) in [
        ("a = 1\nqueue = = 2", "2: queue: "),
        ("queue 2", "1: "),
        ("a = 1\na = 2", "2: a: duplicate key"),
        ("\nstarted = 2020-01-01", "2: started: must be a text"),
        ("[server]\nqueue = 1", "1: server: must be a text"),
        ("topic = 1", "1: topic: write [[topic]]"),
        ("[topic]\nqueue = 1", "1: topic: write [[topic]]"),
        (
            "a = 1\n[[topic]]\nqueue = 1",
            "2: topic.pattern: each [[topic]] needs a pattern",
        ),
        ("[[topic]]\npattern = \"\"", "1: topic.pattern: each"),
        (
            "[[topic]]\npattern = \"a\"\nquue = 1",
            "3: topic.quue: unknown key; the nearest key is queue",
        ),
        ("[[topic]]\npatern = \"a\"", "1: topic.pattern: each"),
        ("[[topic]]\nqueue = 2\n[[topic]]", "1: topic.pattern: each"),
        (
            "[[topic]]\npattern = \"a\"\nqueue = 0",
            "3: topic.queue: must be at least 1",
        ),
        (
            "[[topic]]\npattern = \"a\"\npublish = \"all\"",
            "3: topic.publish: must be anyone, token or server",
        ),
        ("topic = [\"a\"]", "1: topic: write PATTERN:policy="),
    ] {
        let problems = problems_of(text);
        assert!(problems[0].starts_with(expected), "{text:?}: {problems:?}");
    }
}

#[test]
fn misspelt_pattern_is_named() {
    let problems = problems_of("[[topic]]\npatern = \"a\"");
    assert_eq!(
        problems[1..],
        ["2: topic.patern: unknown key; the nearest key is pattern"]
    );
}

#[test]
fn flag_and_variable_are_compared_as_keys() {
    for key in ["STANDPIPE_QUEUE", "--queue", "Queue"] {
        let reason = unknown(key, ["listen", "queue", "queue-bytes"]);
        assert_eq!(reason, "unknown key; the nearest key is queue", "{key}");
    }
}

#[test]
fn every_problem_of_the_tables_is_reported() {
    let text = "[[topic]]\npattern = \"a\"\nqueue = 0\npolicy = \"x\"\n[[topic]]\nhistory = 1\n";
    assert_eq!(problems_of(text).len(), 3);
}

#[test]
fn error_in_toml_shows_no_value() {
    for text in [
        "redis = \"redis://:s3cret@a\nqueue = 1",
        "redis = s3cret",
        "redis = [\"s3cret\"",
        "redis = \"\"\"\nS3=s3cret",
        "s3cret",
        "redis://:s3cret@a = = 1",
    ] {
        let problems = problems_of(text).join("\n");
        assert!(!problems.contains("s3cret"), "{text:?}: {problems}");
    }
}
