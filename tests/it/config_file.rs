//! The configuration file of the binary: `--config`, `check-config`, and the errors.

use std::process::{Command, Output};

use crate::binary::{Binary, standpipe};
use crate::secrets::File;
use crate::support::{TestClient, within};

/// Runs a command to its end. Returns its exit code, its standard output and its standard error.
#[track_caller]
fn run(mut command: Command) -> (Option<i32>, String, String) {
    let output: Output = within(20, "a command to end", move || command.output().unwrap());
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn hub_is_configured_by_a_file() {
    let file = File::new(
        "config-hub",
        "listen = \"127.0.0.1:0\"\nadmin-open = true\nno-echo = true\n[[topic]]\npattern = \"news\"\nhistory = 3\n",
    );
    for flags in [
        &["--config", file.path()][..],
        &["serve", "-c", file.path()],
    ] {
        let binary = Binary::of(standpipe(flags));
        assert_eq!(binary.get("/echo").status, 404);
        for text in ["a", "b", "c", "d"] {
            let mut client = TestClient::connect(binary.address, "/ws/news?echo=true");
            client.send_half().text(text);
            client.expect_text(text);
            client.leave();
        }
        let history = binary.get("/topics/news/history").body;
        assert!(
            !history.contains("\"a\"") && history.contains("\"b\""),
            "{history}"
        );
    }
    let mut command = standpipe(&[]);
    command.env("STANDPIPE_CONFIG", file.path());
    assert_eq!(Binary::of(command).get("/echo").status, 404);
}

#[test]
fn source_of_each_value_is_printed() {
    let file = File::new(
        "config-sources",
        "queue = 1\nqueue-bytes = \"1MiB\"\npolicy = \"conflate\"\n\n[[topic]]\npattern = \"a-*\"\nhistory = 5\n",
    );
    let path = file.path();
    let mut command = standpipe(&["check-config", "--queue", "3", "-c", path]);
    command.env("STANDPIPE_QUEUE", "2");
    command.env("STANDPIPE_POLICY", "block");
    command.env("STANDPIPE_RATE", "");
    let (code, stdout, stderr) = run(command);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stderr, "");
    for expected in [
        "queue = 3 # --queue".to_owned(),
        "policy = \"block\" # STANDPIPE_POLICY".into(),
        format!("queue-bytes = \"1MiB\" # {path}:2"),
        "max-message = \"64KiB\" # default".into(),
        "listen = [\"127.0.0.1:9000\"] # default".into(),
        "# rate is not set: no limit".into(),
        "no-echo = false # default".into(),
        format!("[[topic]] # {path}:5"),
        "pattern = \"a-*\"".into(),
    ] {
        assert!(
            stdout.lines().any(|line| line == expected),
            "{expected}: {stdout}"
        );
    }
    // The report is a configuration file with the same values.
    let report = File::new("config-report", &stdout);
    let (code, again, stderr) = run(standpipe(&["check-config", "-c", report.path()]));
    assert_eq!(code, Some(0), "{stderr}");
    let values = |report: &str| -> Vec<String> {
        let lines = report.lines().filter(|line| !line.starts_with("# "));
        lines
            .map(|line| line.split(" # ").next().unwrap_or(line).to_owned())
            .collect()
    };
    assert_eq!(values(&again), values(&stdout));
}

#[test]
fn wrong_file_ends_every_command_that_reads_it_with_code_78() {
    let file = File::new(
        "config-wrong",
        "queue = 1\nmax_message = 1\n\n[[topic]]\nqueue = 0\n",
    );
    let path = file.path();
    for flags in [
        &["-c", path][..],
        &["serve", "--config", path],
        &["check-config", "-c", path],
    ] {
        let (code, stdout, stderr) = run(standpipe(flags));
        assert_eq!(
            (code, stdout.as_str()),
            (Some(78), ""),
            "{flags:?}: {stderr}"
        );
        let expected = format!("{path}:4: topic.pattern: each [[topic]] needs a pattern");
        assert!(stderr.contains(&expected), "{flags:?}: {stderr}");
    }
    file.write("queue = 1\nmax_message = 1\n");
    let (code, _, stderr) = run(standpipe(&["check-config", "-c", path]));
    assert_eq!(code, Some(78));
    let expected =
        format!("error: {path}:2: max_message: unknown key; the nearest key is max-message\n");
    assert_eq!(stderr, expected);
    let (code, _, stderr) = run(standpipe(&["-c", "/nonexistent.toml"]));
    assert_eq!(code, Some(78));
    assert!(stderr.starts_with("error: /nonexistent.toml: "), "{stderr}");
}

/// The library knows more limits than the parsers of the flags.
#[test]
fn refusal_by_the_library_names_the_source() {
    let file = File::new("config-library", "\nread-buffer = \"65MiB\"\n");
    let (code, _, stderr) = run(standpipe(&["-c", file.path()]));
    assert_eq!(code, Some(78), "{stderr}");
    let expected = format!(
        "error: {}:2: read-buffer: must be at most 67108864\n",
        file.path()
    );
    assert_eq!(stderr, expected);
    let mut command = standpipe(&["check-config"]);
    command.env("STANDPIPE_PING_TIMEOUT", "0.5ms");
    let (code, _, stderr) = run(command);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("STANDPIPE_PING_TIMEOUT: must be at least 1 ms"),
        "{stderr}"
    );
    let (code, _, stderr) = run(standpipe(&["--origin", "a*b.example"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--origin: invalid pattern"), "{stderr}");
}

#[cfg(feature = "redis")]
#[test]
fn report_hides_passwords() {
    let text = "redis = [\"redis://:s3cret@a\", \"redis://hub:s3cret@b,redis://c\"]\n";
    let file = File::new("config-password", text);
    let mut command = standpipe(&["check-config", "-c", file.path()]);
    let (code, stdout, stderr) = run(command);
    assert_eq!(code, Some(0), "{stderr}");
    let expected = format!(
        "redis = [\"redis://:***@a\", \"redis://hub:***@b,redis://c\"] # {}:1",
        file.path()
    );
    assert!(stdout.lines().any(|line| line == expected), "{stdout}");
    command = standpipe(&["check-config"]);
    command.env(
        "STANDPIPE_REDIS",
        "redis://:s3cret@a;unix:/r.sock?pass=s3cret",
    );
    let (_, stdout, stderr) = run(command);
    assert!(
        !stdout.contains("s3cret") && !stderr.contains("s3cret"),
        "{stdout}"
    );
}

#[test]
fn default_config_is_accepted_and_changes_nothing() {
    let (code, default, _) = run(standpipe(&["default-config"]));
    assert_eq!(code, Some(0));
    let file = File::new("config-default", &default);
    let (code, with_file, stderr) = run(standpipe(&["check-config", "-c", file.path()]));
    assert_eq!(code, Some(0), "{stderr}");
    let (_, without_file, _) = run(standpipe(&["check-config"]));
    assert_eq!(with_file, without_file);
}

#[test]
fn check_config_refuses_what_a_start_would_refuse() {
    let missing = "token-file = \"/nonexistent/tokens\"\n";
    let remote = "admin-listen = \"0.0.0.0:9001\"\n";
    let open = "admin-open = true\nlisten = [\"unix:/nonexistent/a.sock\"]\n";
    let key = "\njwks-file = \"/nonexistent/set\"\n";
    for (text, expected) in [
        (missing, ":1: token-file: /nonexistent/tokens: "),
        (key, ":2: jwks-file: /nonexistent/set: "),
        (
            remote,
            ":1: admin-listen 0.0.0.0:9001: other machines can reach",
        ),
        (
            open,
            ":1: admin-open: every listener must be a TCP listener on loopback",
        ),
    ] {
        let file = File::new("config-refused", text);
        let (code, stdout, stderr) = run(standpipe(&["check-config", "-c", file.path()]));
        assert_eq!((code, stdout.as_str()), (Some(78), ""), "{text}: {stderr}");
        assert!(stderr.contains(expected), "{text}: {stderr}");
    }
    // The server itself says the same.
    let mut command = standpipe(&["--listen", "127.0.0.1:0"]);
    command.env("STANDPIPE_ADMIN_LISTEN", "0.0.0.0:0");
    let (code, _, stderr) = run(command);
    assert_eq!(code, Some(78));
    assert!(
        stderr.contains("STANDPIPE_ADMIN_LISTEN 0.0.0.0:"),
        "{stderr}"
    );
}

#[test]
fn check_config_listens_nowhere_and_leaves_no_file() {
    let path = std::env::temp_dir().join(format!("standpipe-check-{}.sock", std::process::id()));
    let text = format!("listen = [\"unix:{}\"]\n", path.display());
    let file = File::new("config-sockets", &text);
    let (code, _, stderr) = run(standpipe(&["check-config", "-c", file.path()]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!path.exists());
}

#[test]
fn variable_of_the_file_is_read_and_empty_counts_as_unset() {
    let file = File::new("config-variable", "queue = 0\n");
    let mut command = standpipe(&["check-config"]);
    command.env("STANDPIPE_CONFIG", file.path());
    let (code, _, stderr) = run(command);
    assert_eq!(code, Some(78));
    assert!(stderr.contains(":1: queue: must be at least 1"), "{stderr}");
    let mut command = standpipe(&["check-config"]);
    command.env("STANDPIPE_CONFIG", "");
    assert_eq!(run(command).0, Some(0));
    // The file is for the server. Another command does not read it, and does not call the variable unknown.
    let mut command = standpipe(&["pub", "--url", "http://127.0.0.1:1", "t", "x"]);
    command.env("STANDPIPE_CONFIG", "/nonexistent.toml");
    let (code, _, stderr) = run(command);
    assert_eq!(code, Some(1));
    assert!(!stderr.contains("STANDPIPE_CONFIG"), "{stderr}");
}

#[test]
fn every_command_warns_of_an_unknown_variable_and_names_the_nearest() {
    for flags in [
        &["check-config"][..],
        &["default-config"],
        &["pub", "--url", "http://127.0.0.1:1", "t", "x"],
        &["top", "http://127.0.0.1:1", "--once"],
        &["client", "ws://127.0.0.1:1/ws/t"],
        &["bench", "ws://127.0.0.1:1/echo", "--time", "1ms"],
    ] {
        let mut command = standpipe(flags);
        command.env("STANDPIPE_QUEU", "7").env("STANDPIPE_RATE", "");
        let (_, _, stderr) = run(command);
        let expected = "the variable STANDPIPE_QUEU is unknown and ignored; the nearest one is STANDPIPE_QUEUE\n";
        assert!(stderr.contains(expected), "{flags:?}: {stderr}");
        assert!(!stderr.contains("STANDPIPE_RATE"), "{flags:?}: {stderr}");
    }
}

#[cfg(feature = "redis")]
#[test]
fn password_in_a_file_for_everybody_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;

    let text =
        "redis = \"redis://:s3cret@127.0.0.1:1\"\nlisten = \"127.0.0.1:0\"\nadmin-open = true\n";
    let file = File::new("config-mode", text);
    for (mode, is_warned) in [(0o644, true), (0o600, false)] {
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
        let binary = Binary::of(standpipe(&["-c", file.path()]));
        binary.signal("TERM");
        let (_, _, log) = binary.end();
        assert_eq!(
            log.contains("can read the password"),
            is_warned,
            "{mode:o}: {log}"
        );
        assert!(!log.contains("s3cret"), "{log}");
    }
}
