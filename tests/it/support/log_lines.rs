//! Keeps what the library logs. A process has one logger, so such a test runs with
//! [`in_own_process`](super::in_own_process).

use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};

/// The lines that the library has logged in this process, without time and level.
pub(crate) struct LogLines(Mutex<Vec<String>>);

static LINES: LogLines = LogLines(Mutex::new(Vec::new()));

impl LogLines {
    /// Begins to keep the lines up to this level.
    pub(crate) fn keep(level: LevelFilter) -> &'static LogLines {
        log::set_logger(&LINES).expect("the process has no other logger");
        log::set_max_level(level);
        &LINES
    }

    pub(crate) fn get(&self) -> Vec<String> {
        self.0
            .lock()
            .expect("no thread panics with the lock")
            .clone()
    }
}

impl Log for LogLines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let mut lines = self.0.lock().expect("no thread panics with the lock");
        lines.push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Returns the number of lines with `text`, and the sum of the counts of lines that were left out. A count stands at the
/// end of the next line, or in a line of its own, which begins with `kind`.
pub(crate) fn lines_and_left_out<'a>(
    lines: impl IntoIterator<Item = &'a str>,
    text: &str,
    kind: &str,
) -> (u64, u64) {
    let (mut count, mut left_out) = (0, 0);
    for line in lines {
        let told = line.strip_suffix(" of this kind");
        let told = told.and_then(|line| line.rsplit_once(" left out: "));
        let is_count_only = told.is_some_and(|(before, _)| before.ends_with(kind));
        if is_count_only || line.contains(text) {
            count += u64::from(!is_count_only);
            left_out += told.map_or(0, |(_, number)| number.parse().expect("a number"));
        }
    }
    (count, left_out)
}
