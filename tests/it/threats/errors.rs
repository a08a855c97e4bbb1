//! The library logs a handler's error safely, because the text of the error may come from a client (SECURITY.md, T27).

use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};
use standpipe::{Config, Connection};

use crate::support::{TestServer, until};

const CANARY: &str = "canary-of-errors";

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps the log lines that contain the canary. Other tests of this process log too.
struct CanaryLines;

impl Log for CanaryLines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        if line.contains(CANARY) {
            LINES.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}

#[test]
fn handler_error_is_logged_as_one_escaped_line() {
    log::set_logger(&CanaryLines).unwrap();
    log::set_max_level(LevelFilter::Debug);
    let server = TestServer::start(Config::default(), |conn: &mut Connection| {
        if conn.request().path() == "/late" {
            conn.close(4000, "finished");
            while conn.recv()?.is_some() {}
        }
        Err(format!("{CANARY}\r\n\x1b[2J\u{202e}{}", "x".repeat(1000)).into())
    });
    server.connect().expect_close(1011);
    let mut late = server.client().path("/late").connect();
    late.expect_close(4000);
    late.close(4000, "finished");
    until("both errors are logged", || {
        LINES.lock().unwrap().len() == 2
    });
    for line in &*LINES.lock().unwrap() {
        assert!(
            !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{line:?}"
        );
        assert!(line.chars().count() < 400, "{line:?}");
    }
}
