//! The environment variables of all commands, and the words of their switches.

use std::process::Command;

use crate::binary::{Binary, standpipe};
use crate::binary_client::{command, end, feed, ws};
use crate::secrets::File;
use crate::support::{Connect, http_url, post, until, within};

/// Runs a command with these variables to its end. Returns its exit code and its standard error.
#[track_caller]
fn run(mut command: Command, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    command.envs(variables.iter().copied());
    let output = within(20, "a command to end", move || command.output().unwrap());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), stderr)
}

#[test]
fn empty_variable_counts_as_unset() {
    let names = [
        "MAX_CLIENTS",
        "QUEUE",
        "POLICY",
        "TOPIC",
        "ORIGIN",
        "TOKEN_FILE",
        "EARLY_FLUSH",
        "NO_ECHO",
        "ALLOW_ANY_ORIGIN",
        "VERBOSE",
        "MAX_MESSAGE",
        "WRITE_TIMEOUT",
    ];
    let mut command = standpipe(&["--listen", "127.0.0.1:0"]);
    command.envs(names.map(|name| (format!("STANDPIPE_{name}"), "")));
    let binary = Binary::of(command);
    binary.connect("/echo").leave();
    let mut command = standpipe(&["--queue", "many"]);
    command.env("STANDPIPE_LISTEN", "");
    let (code, stderr) = run(command, &[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("'--queue <N>'"), "{stderr}");
}

#[test]
fn error_names_the_variable_that_the_value_came_from() {
    for (flags, name, value, reason) in [
        (&[][..], "STANDPIPE_QUEUE", "many", "a whole number"),
        (&["serve"], "STANDPIPE_QUEUE", "0", "at least 1"),
        (
            &[],
            "STANDPIPE_LISTEN",
            "127.0.0.1:0,9000",
            "127.0.0.1:9000",
        ),
        (&[], "STANDPIPE_NO_ECHO", "maybe", "true or false"),
        (&[], "STANDPIPE_EARLY_FLUSH", "2", "true or false"),
        (&[], "STANDPIPE_VERBOSE", "much", "0, 1 or 2"),
        (&[], "STANDPIPE_TOPIC", "a:queue=0", "at least 1"),
        (
            &["pub", "t", "x"],
            "STANDPIPE_URL",
            "http://a/?b",
            "has no query",
        ),
        (&["top"], "STANDPIPE_URL", "a", "http://127.0.0.1:9000"),
    ] {
        let (code, stderr) = run(standpipe(flags), &[(name, value)]);
        assert_eq!(code, Some(2), "{name}: {stderr}");
        let says = stderr.contains(&format!("'{name}'")) && stderr.contains(reason);
        assert!(says && !stderr.contains("for '--"), "{name}: {stderr}");
    }
    // The flag takes precedence, and so does its error.
    let (code, stderr) = run(standpipe(&["--queue", "0"]), &[("STANDPIPE_QUEUE", "many")]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("'--queue <N>': must be at least 1"),
        "{stderr}"
    );
}

#[test]
fn variable_that_is_not_utf8_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = standpipe(&[]);
    command.env("STANDPIPE_QUEUE", std::ffi::OsStr::from_bytes(b"\xff"));
    let (code, stderr) = run(command, &[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("STANDPIPE_QUEUE is not UTF-8"), "{stderr}");
}

#[test]
fn wrong_variable_of_the_server_does_not_stop_a_client() {
    let binary = Binary::start(&[]);
    let url = ws(&binary, "/echo");
    let (code, stderr) = run(standpipe(&["client", &url]), &[("STANDPIPE_QUEUE", "many")]);
    assert_eq!((code, &*stderr), (Some(0), "closed with 1000\n"));
}

#[test]
fn unknown_variable_is_a_warning() {
    let mut command = standpipe(&["--listen", "127.0.0.1:0"]);
    command.env("STANDPIPE_MAX_CLIENT", "7");
    // This is a variable of a client, and this is one that Kubernetes sets.
    command.env("STANDPIPE_URL", "http://127.0.0.1:9000");
    command.env("STANDPIPE_SERVICE_HOST", "10.0.0.1");
    let binary = Binary::of(command);
    let url = ws(&binary, "/echo");
    let client = run(standpipe(&["client", &url]), &[("STANDPIPE_TOKEN", "x")]);
    binary.signal("TERM");
    let (_, _, log) = binary.end();
    let warnings: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("is unknown"))
        .collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(
        warnings[0].contains("STANDPIPE_MAX_CLIENT is unknown"),
        "{log}"
    );
    let expected = "warning: the variable STANDPIPE_TOKEN is unknown and ignored; the nearest one is STANDPIPE_TOKEN_FILE\n\
                    closed with 1000\n";
    assert_eq!((client.0, &*client.1), (Some(0), expected));
}

#[test]
fn clients_read_their_variables() {
    let keys = File::new("environment-keys", "s3cret\n");
    let tokens = File::new("environment-tokens", "t0ken\n");
    let wrong = File::new("environment-wrong", "wrong\n");
    let flags = [
        "--publish-key-file",
        keys.path(),
        "--token-file",
        tokens.path(),
    ];
    let binary = Binary::start(&flags);
    let base = http_url(binary.address, "");
    let url = ("STANDPIPE_URL", base.as_str());
    let key = ("STANDPIPE_KEY_FILE", keys.path());
    for arguments in [&["pub", "t", "x"][..], &["top", "--once"]] {
        let (code, stderr) = run(standpipe(arguments), &[url]);
        assert_eq!(code, Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains("401"), "{arguments:?}: {stderr}");
        let (code, stderr) = run(standpipe(arguments), &[url, key]);
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        let flag = [arguments, &["--key-file", wrong.path()]].concat();
        assert_eq!(run(standpipe(&flag), &[url, key]).0, Some(1), "{flag:?}");
    }
    let mut client = command(&["client", &ws(&binary, "/echo")]);
    client.env("STANDPIPE_TOKEN_FILE", tokens.path());
    let (code, stdout, stderr) = end(feed(client.spawn().unwrap(), b"hello\n"));
    assert_eq!((code, &*stdout), (Some(0), "hello\n"), "{stderr}");
}

#[test]
fn switches_and_query_parameters_take_the_same_words() {
    for (word, is_on) in [("yes", true), ("1", true), ("OFF", false), ("0", false)] {
        let mut command = standpipe(&[
            "--listen",
            "127.0.0.1:0",
            "--admin-open",
            "--topic",
            "t:history=1",
        ]);
        command.env("STANDPIPE_NO_ECHO", word);
        let binary = Binary::of(command);
        let (_, answer) = Connect::to(binary.address).path("/echo").request();
        assert_eq!(answer.status, if is_on { 404 } else { 101 }, "{word}");
        let mut client = binary.connect(&format!("/ws/t?echo={word}"));
        client.text("mine");
        until("the client's message is published", || {
            binary.get("/topics/t/history").body.contains("mine")
        });
        post(
            binary.address,
            "/publish/t",
            "Content-Type: text/plain\r\n",
            "theirs",
        );
        client.expect_text(if is_on { "mine" } else { "theirs" });
    }
    let binary = Binary::start(&[]);
    for word in ["", "maybe", "2", "falsch"] {
        let path = format!("/ws/t?echo={word}");
        let (_, answer) = Connect::to(binary.address).path(&path).request();
        assert_eq!(answer.status, 400, "{word}");
        let body = binary.get(&path).body;
        assert_eq!(body, "echo must be true or false\n", "{word}");
    }
}
