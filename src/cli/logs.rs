//! The log: lines are put into a bounded queue, and one thread writes them to standard error.
//!
//! A write to standard error waits if the process that reads it has stopped reading. A thread that serves a client must
//! not wait for that. When the queue is full, lines are therefore dropped and counted, and the count is written before the
//! next line.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;
use std::time::Duration;
use std::{env, panic};

use crossbeam_channel::{Receiver, Sender};
use env_logger::{Target, WriteStyle};
use log::LevelFilter;

pub(crate) use layout::LogFormat;

use super::args::LogArgs;
use super::journal::is_journal;
use layout::Layout;

mod layout;

/// The maximum number of lines in the queue.
const MAX_LINES: usize = 4096;

/// How long the process waits at its end for the last lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

enum Item {
    Line(Vec<u8>),
    /// Acknowledged when all lines queued before it have been written.
    Flush(Sender<()>),
}

/// The lines of the process that were dropped.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Returns how many lines were dropped since the process started.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// The sending end of the queue, which the logger writes into.
struct Queue {
    lines: Sender<Item>,
    dropped: Arc<AtomicU64>,
}

impl Write for Queue {
    /// Queues one line. `env_logger` calls this once for each line. Never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Item::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps the log running. Dropping it waits until the queued lines have been written, up to a limit.
pub(crate) struct Log(Sender<Item>);

impl Drop for Log {
    /// # Blocking
    /// Until all queued lines have been written, at most 1 s for each of two waits: for room in the queue, and for the
    /// acknowledgement. Woken by thread `sp-log`.
    fn drop(&mut self) {
        let (done, written) = crossbeam_channel::bounded(1);
        if self
            .0
            .send_timeout(Item::Flush(done), FLUSH_TIMEOUT)
            .is_ok()
        {
            let _ = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Starts the log. `RUST_LOG` overrides the level.
pub(crate) fn start(args: &LogArgs) -> io::Result<Log> {
    let layout = Layout {
        format: args.log_format,
        is_journal: is_journal(io::stderr()),
    };
    let (lines, waiting) = crossbeam_channel::bounded(MAX_LINES);
    let dropped = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&dropped);
    Builder::new()
        .name("sp-log".into())
        .spawn(move || write_lines(&waiting, &counted, layout, &mut io::stderr()))?;
    let colour = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none();
    let queue = Queue {
        lines: lines.clone(),
        dropped,
    };
    let mut logger = env_logger::Builder::new();
    if !layout.is_default() {
        logger.format(move |out, record| layout.write(out, record));
    }
    logger
        .filter_level(args.level())
        .parse_default_env()
        // At lower levels tungstenite logs the contents of messages, which may be private.
        .filter_module("tungstenite", LevelFilter::Info)
        .write_style(if colour {
            WriteStyle::Always
        } else {
            WriteStyle::Never
        })
        .target(Target::Pipe(Box::new(queue)))
        .init();
    // The standard hook writes to standard error itself, so a panicking thread might wait.
    panic::set_hook(Box::new(|panicked| log::error!("{panicked}")));
    Ok(Log(lines))
}

/// Thread `sp-log`: writes the lines of the queue in their order. Every thread that logs feeds the queue. The thread ends
/// with the process.
///
/// # Blocking
/// On the queue, and on standard error. No other thread waits for standard error.
fn write_lines(
    waiting: &Receiver<Item>,
    dropped: &AtomicU64,
    layout: Layout,
    out: &mut impl Write,
) {
    for item in waiting {
        // Errors are ignored, because the queue must be emptied even if standard error is closed.
        match item {
            Item::Line(line) => {
                let missing = dropped.swap(0, Ordering::Relaxed);
                if missing > 0 {
                    let _ = layout.write_dropped(out, missing);
                }
                let _ = out.write_all(&line);
            }
            Item::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_queue_drops_lines_and_reports_how_many() {
        let (lines, waiting) = crossbeam_channel::bounded(2);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut queue = Queue {
            lines,
            dropped: Arc::clone(&dropped),
        };
        for n in 0..5 {
            queue
                .write_all(format!("line {n}\n").as_bytes())
                .expect("queueing a line never fails");
        }
        drop(queue);
        let mut out = Vec::new();
        let layout = Layout {
            format: LogFormat::Text,
            is_journal: false,
        };
        write_lines(&waiting, &dropped, layout, &mut out);
        let out = String::from_utf8(out).expect("the lines are text");
        assert!(out.contains("[3 log lines were dropped here"), "{out}");
        assert!(out.ends_with("line 0\nline 1\n"), "{out}");
    }
}
