//! The lines of the log: their formats, their levels, and what they say about a client.

use standpipe::{Config, Connection, Handler, HandlerResult, Reply, Request};

use crate::support::{LogLines, TestServer, in_own_process, until};

/// An echo server that names the user of each connection.
#[derive(Clone, Copy)]
struct NamesUsers;

impl Handler for NamesUsers {
    fn request(&self, _: &mut Request) -> Reply {
        Reply::upgrade().user("ann\u{202e}")
    }

    fn run(&self, conn: &mut Connection) -> HandlerResult {
        while let Some(message) = conn.recv()? {
            conn.send(message)?;
        }
        Err("the handler has failed".into())
    }
}

#[test]
fn every_line_names_number_address_and_user() {
    let name = "log_lines::every_line_names_number_address_and_user";
    in_own_process(name, || {
        let lines = LogLines::keep(log::LevelFilter::Trace);
        let server = TestServer::start(Config::default(), NamesUsers);
        let mut client = server.client().path("/path?token=secret").connect();
        let address = client.local_addr();
        client.text("hello");
        client.expect_text("hello");
        client.leave();
        let end = " /path ended after ";
        until("the end is logged", || {
            lines.get().iter().any(|line| line.contains(end))
        });
        let before_101 = format!("#1 {address} ");
        let after_101 = format!("#1 {address} (ann\\u{{202e}}) ");
        let lines = lines.get();
        for text in [
            "opened",
            "received text, 5 bytes: hello",
            "sent text, 5 bytes: hello",
        ] {
            assert!(lines.contains(&format!("{after_101}{text}")), "{lines:?}");
        }
        for line in lines.iter().filter(|line| line.contains("#1")) {
            assert!(line.starts_with(&before_101), "{line}");
            assert!(!line.contains("secret"), "{line}");
        }
    });
}

#[cfg(feature = "cli")]
mod binary {
    use serde_json::{Value, json};

    use super::*;
    use crate::support::{get, http};
    use crate::threats::spawned::{Spawned, standpipe, with_limits};

    /// Ends the process, and returns its whole log.
    fn end(mut spawned: Spawned, last: &str) -> String {
        spawned.signal(&["TERM"]);
        assert_eq!(spawned.end().code(), Some(0));
        until("the last line is logged", || spawned.log().contains(last));
        spawned.log()
    }

    fn parsed(log: &str) -> Vec<Value> {
        let lines = log.lines();
        lines
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    #[test]
    fn json_line_at_the_end_says_all_about_a_connection() {
        let spawned = Spawned::start(&["--log-format", "json", "-v"]);
        let mut client = spawned.connect("/echo?token=secret");
        let address = client.local_addr().to_string();
        client.text("hello");
        client.expect_text("hello");
        client.leave();
        until("the end is logged", || {
            spawned.log().contains("ended after")
        });
        let log = end(spawned, "drained");
        assert!(!log.contains("secret"), "{log}");
        let lines = parsed(&log);
        let is_end = |line: &&Value| line.get("duration_s").is_some();
        let line = lines.iter().find(is_end).expect("a line at the end");
        let seconds = line["duration_s"].as_f64().expect("a number");
        assert!((0.0..60.0).contains(&seconds), "{line}");
        // A frame of a client has 4 bytes more, its mask.
        for (field, value) in [
            ("level", json!("debug")),
            ("target", json!("standpipe::clients")),
            ("client", json!(1)),
            ("address", json!(address)),
            ("path", json!("/echo")),
            ("received", json!(1)),
            ("received_bytes", json!(6 + 5 + 6 + 2)),
            ("accepted", json!(1)),
            ("delivered", json!(1)),
            ("delivered_bytes", json!(2 + 5 + 2 + 2)),
            ("dropped", json!(0)),
            ("discarded", json!(0)),
            ("close", json!("closed by the peer: 1000 (normal closure)")),
            ("code", json!(1000)),
        ] {
            assert_eq!(line[field], value, "{field}: {line}");
        }
        let text = line["message"].as_str().expect("a text");
        assert!(text.starts_with(&format!("#1 {address} /echo ended after ")));
        let rest = "closed by the peer: 1000 (normal closure); received 1 messages, 19 bytes; \
                    sent 1 of 1 messages, 11 bytes";
        assert!(text.ends_with(rest), "{text}");
    }

    #[test]
    fn json_line_of_a_refused_request_has_its_status() {
        let spawned = Spawned::start(&["--log-format", "json"]);
        let answer = http(
            spawned.addr(),
            "GET /x?token=secret HTTP/1.1\r\nHost: a.example\r\n\r\n",
        );
        assert_eq!(answer.status, 421);
        until("the refusal is logged", || {
            spawned.log().contains("\"status\"")
        });
        let log = end(spawned, "drained");
        assert!(!log.contains("secret"), "{log}");
        let lines = parsed(&log);
        let line = lines.iter().find(|line| line["status"] == 421);
        let line = line.expect("a line with the status");
        assert_eq!(
            (&line["level"], &line["method"], &line["path"]),
            (&json!("info"), &json!("GET"), &json!("/x"))
        );
    }

    #[test]
    fn quiet_log_has_warnings_only() {
        for (flags, levels) in [
            (&["-q"][..], &["WARN"][..]),
            (&["-qq"], &[]),
            (&["-q", "-v"], &["INFO", "WARN"]),
        ] {
            let mut command = standpipe(flags);
            command.env("STANDPIPE_UNKNOWN", "a warning");
            let mut spawned = Spawned::of(command);
            assert_eq!(get(spawned.addr(), "/healthz", "").status, 200);
            spawned.signal(&["TERM"]);
            assert_eq!(spawned.end().code(), Some(0));
            let has = |level: &str| spawned.log().contains(&format!(" {level} "));
            until("the last line is logged", || {
                levels.iter().all(|level| has(level))
            });
            for level in ["INFO", "WARN", "DEBUG"] {
                assert_eq!(
                    has(level),
                    levels.contains(&level),
                    "{flags:?}: {}",
                    spawned.log()
                );
            }
        }
    }

    #[test]
    fn lines_for_the_journal_begin_with_their_level() {
        // systemd names the stream that is standard error.
        let journal = "export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)";
        let spawned = Spawned::of(with_limits(journal, &["-v"]));
        let mut violator = spawned.connect("/echo");
        violator.bytes([0xff, 0xff]);
        violator.expect_close(1002);
        until("the end is logged", || {
            spawned.log().contains("ended after")
        });
        let log = end(spawned, "drained");
        assert!(log.lines().all(|line| line.starts_with('<')), "{log}");
        for (priority, text) in [(4, "violation: 1002"), (7, "ended after"), (6, "drained 0")] {
            let line = log.lines().find(|line| line.contains(text));
            let line = line.unwrap_or_else(|| panic!("no line with {text}: {log}"));
            assert!(line.starts_with(&format!("<{priority}>")), "{line}");
        }
        // The variable is inherited by a child that writes elsewhere.
        let elsewhere = Spawned::of(with_limits("export JOURNAL_STREAM=1:1", &[]));
        let log = end(elsewhere, "drained");
        assert!(log.lines().all(|line| line.starts_with("[20")), "{log}");
    }
}
