//! [`Layout`]: how a line of the log looks. As text, as one JSON object, and with the level in front for the journal.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{Level, Record};
use serde_json::{Map, Value as Json};

use crate::cli::terminal::is_unsafe;

/// The number of characters of a field. A client could fill the log with longer texts.
const SHOWN: usize = 200;

/// The values of `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line of text
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) format: LogFormat,
    /// Whether the lines go to the journal of systemd. It reads the level from the beginning of each line, and knows the
    /// time (sd-daemon(3)).
    pub(crate) is_journal: bool,
}

impl Layout {
    /// Returns whether lines look as `env_logger` writes them.
    pub(crate) fn is_default(self) -> bool {
        self.format == LogFormat::Text && !self.is_journal
    }

    /// Writes the line, with its end.
    pub(crate) fn write(self, out: &mut impl Write, record: &Record<'_>) -> io::Result<()> {
        match self.format {
            LogFormat::Json => {
                let mut object = Object(Map::new());
                object.push("time", time(SystemTime::now()));
                object.push("level", record.level().as_str().to_ascii_lowercase());
                object.push("target", record.target());
                object.push("message", record.args().to_string());
                // A field that cannot be read is left out.
                let _ = record.key_values().visit(&mut object);
                self.write_text(out, record.level(), &object.text())
            }
            LogFormat::Text => self.write_text(out, record.level(), &record.args().to_string()),
        }
    }

    /// Writes the line that stands for `count` lines that were dropped.
    pub(crate) fn write_dropped(self, out: &mut impl Write, count: u64) -> io::Result<()> {
        let text =
            format!("{count} log lines were dropped here because standard error was not read");
        if self.format == LogFormat::Text {
            return self.write_text(out, Level::Warn, &format!("[{text}]"));
        }
        let fields = [("dropped", Value::from(count))];
        let mut record = Record::builder();
        record.level(Level::Warn).target("standpipe::log");
        record.key_values(&fields);
        self.write(out, &record.args(format_args!("{text}")).build())
    }

    fn write_text(self, out: &mut impl Write, level: Level, text: &str) -> io::Result<()> {
        if !self.is_journal {
            return writeln!(out, "{text}");
        }
        // To the journal, each line of a text is an entry of its own.
        let priority = match level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        text.lines()
            .try_for_each(|line| writeln!(out, "<{priority}>{line}"))
    }
}

/// The fields of a line, in their order.
struct Object(Map<String, Json>);

impl Object {
    fn push(&mut self, key: &str, value: impl Into<Json>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// Returns the object as JSON. Characters that would disturb a terminal are escaped too: JSON requires this only of
    /// those below U+0020.
    fn text(self) -> String {
        let json = Json::Object(self.0).to_string();
        let mut text = String::with_capacity(json.len());
        for c in json.chars() {
            if is_unsafe(c) {
                // Such a character can only stand in a string, and none is above U+FFFF.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            } else {
                text.push(c);
            }
        }
        text
    }
}

impl<'kvs> VisitSource<'kvs> for Object {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let mut json = Json::Null;
        value.visit(ToJson(&mut json))?;
        self.push(key.as_str(), json);
        Ok(())
    }
}

struct ToJson<'a>(&'a mut Json);

impl<'v> VisitValue<'v> for ToJson<'_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), kv::Error> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        *self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        *self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        *self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        *self.0 = value.into();
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        *self.0 = match value.char_indices().nth(SHOWN) {
            Some((at, _)) => format!("{}…", &value[..at]).into(),
            None => value.into(),
        };
        Ok(())
    }
}

/// Returns the time as RFC 3339 writes it, in UTC, with microseconds.
fn time(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, micros) = (since.as_secs(), since.subsec_micros());
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    // Days are counted from 0000-03-01, so that a leap day is the last day of its year. 400 years have 146,097 days.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(layout: Layout, level: Level, text: &str, fields: &[(&str, Value<'_>)]) -> String {
        let mut record = Record::builder();
        record.level(level).target("a::b").key_values(&fields);
        let mut out = Vec::new();
        layout
            .write(&mut out, &record.args(format_args!("{text}")).build())
            .expect("a vector accepts every line");
        String::from_utf8(out).expect("the line is text")
    }

    #[test]
    fn json_line_is_an_object_with_the_fields() {
        let layout = Layout {
            format: LogFormat::Json,
            is_journal: false,
        };
        let long = "x".repeat(201);
        let fields = [
            ("client", Value::from(7)),
            ("duration_s", Value::from(0.5)),
            ("user", Value::from("a\u{202e}\u{9b}\n\"é")),
            ("path", Value::from(&*long)),
        ];
        let line = line(layout, Level::Warn, "#7 two\nlines", &fields);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.contains(r#"a\u202e\u009b\n\"é"#), "{line}");
        let parsed: Json = serde_json::from_str(&line).expect("the line is JSON");
        assert_eq!(parsed["level"], "warn");
        assert_eq!(parsed["target"], "a::b");
        assert_eq!(parsed["message"], "#7 two\nlines");
        assert_eq!(parsed["client"], 7);
        assert_eq!(parsed["duration_s"], 0.5);
        assert_eq!(parsed["user"], "a\u{202e}\u{9b}\n\"é");
        assert_eq!(parsed["path"], format!("{}…", &long[1..]));
        let time = parsed["time"].as_str().expect("a time");
        assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
    }

    #[test]
    fn each_line_for_the_journal_begins_with_its_level() {
        let journal = |format| Layout {
            format,
            is_journal: true,
        };
        for (level, priority) in [
            (Level::Error, 3),
            (Level::Warn, 4),
            (Level::Info, 6),
            (Level::Debug, 7),
            (Level::Trace, 7),
        ] {
            let text = line(journal(LogFormat::Text), level, "one\ntwo", &[]);
            assert_eq!(text, format!("<{priority}>one\n<{priority}>two\n"));
            let json = line(journal(LogFormat::Json), level, "one\ntwo", &[]);
            assert!(
                json.starts_with(&format!("<{priority}>{{\"time\":\"")),
                "{json}"
            );
            assert_eq!(json.matches('\n').count(), 1, "{json}");
        }
    }

    #[test]
    fn dropped_lines_are_told_in_the_format_of_the_log() {
        let dropped = |format, is_journal| {
            let mut out = Vec::new();
            (Layout { format, is_journal })
                .write_dropped(&mut out, 3)
                .expect("a vector accepts every line");
            String::from_utf8(out).expect("the line is text")
        };
        let text = "3 log lines were dropped here because standard error was not read";
        assert_eq!(dropped(LogFormat::Text, false), format!("[{text}]\n"));
        assert_eq!(dropped(LogFormat::Text, true), format!("<4>[{text}]\n"));
        let json: Json =
            serde_json::from_str(&dropped(LogFormat::Json, false)).expect("the line is JSON");
        assert_eq!(
            (&json["message"], &json["dropped"]),
            (&text.into(), &3.into())
        );
    }

    #[test]
    fn time_is_that_of_the_gregorian_calendar() {
        // From `date --utc --date=@SECONDS +%FT%TZ`.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (1_798_761_599, "2026-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(time(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
        let micros = UNIX_EPOCH + Duration::from_micros(1_000_007);
        assert_eq!(time(micros), "1970-01-01T00:00:01.000007Z");
    }
}
